"""The outbox: order, drops, outcomes, and the lease."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from decimal import Decimal

import pytest

from execution.core.messages import SendCancel, SendFailed, SendMassCancel, SendNewOrder, SendOutcome, SendReplace, Timing
from execution.core.ports import Duplicate, NotSent, Refused
from execution.engine.clock import AccountClock, Clock
from execution.engine.lanes import Budget, Budgets, Lane
from execution.engine.leases import Claim, Held
from execution.engine.outbox import Outbox
from risk.core.units import OrdType, Scope, ScopeKind, Side, TimeInForce
from risk.core.verdict import Approved, OrderClass
from tests.engine.venue import ScriptedVenue, until

FIRM = Scope(ScopeKind.FIRM)


def send(cl_ord_id: str, order_class: OrderClass = OrderClass.ENTRY, *, bot: str = "trend") -> SendNewOrder:
    approved = Approved(
        order_class=order_class,
        account="paper",
        bot=bot,
        symbol="BTCUSDT",
        side=Side.BUY,
        order_qty=Decimal(1),
        ord_type=OrdType.MARKET,
        time_in_force=TimeInForce.GTC,
        price=None,
        stop_px=None,
        post_only=False,
        reduce_only=False,
        reserved=Decimal(0),
        checks=(),
    )
    return SendNewOrder(cl_ord_id=cl_ord_id, approved=approved)


def cancel(cl_ord_id: str) -> SendCancel:
    return SendCancel(cl_ord_id=cl_ord_id, order_id="", symbol="BTCUSDT", side=Side.BUY, order_class=OrderClass.ENTRY)


def replace(cl_ord_id: str, orig_cl_ord_id: str) -> SendReplace:
    return SendReplace(
        cl_ord_id=cl_ord_id, orig_cl_ord_id=orig_cl_ord_id, order_id="", symbol="BTCUSDT", order_qty=Decimal(2), price=Decimal(5)
    )


class Desk:
    """An outbox with its venue and what came back."""

    def __init__(
        self, *, lease_s: float = 10.0, timing: Timing | None = None, budgets: Mapping[Lane, Budget] | None = None
    ) -> None:
        self.venue = ScriptedVenue()
        self.failed: list[SendFailed] = []
        self.crashed: list[BaseException] = []
        self.lease = Held(Claim(1, 1, 0.0), asked=time.monotonic(), lease_s=lease_s)
        self.box = Outbox(
            self.venue,
            lease=self.lease,
            clock=AccountClock(Clock()),
            timing=timing or Timing(send_timeout_ms=200, send_age_ms_max=10_000),
            budgets=budgets or Budgets().at("simulated"),
            failed=self.failed.append,
            crashed=self.crashed.append,
        )

    def put(self, effect: SendNewOrder | SendCancel | SendReplace | SendMassCancel, *, age_s: float = 0.0) -> None:
        self.box.put(effect, born=time.monotonic() - age_s)

    @property
    def outcomes(self) -> list[tuple[str, str, SendOutcome]]:
        return [(f.cl_ord_id, f.request, f.outcome) for f in self.failed]


async def turns() -> None:
    """Let everything run that could."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_it_starts_requests_in_the_order_they_were_committed() -> None:
    desk = Desk()
    for n in range(40):
        desk.put(send(f"o{n}"))
    await desk.box.finished()
    assert desk.venue.log == [f"new o{n}" for n in range(40)]
    assert desk.outcomes == []


async def test_it_lets_no_cancel_overtake_an_order_on_its_way() -> None:
    desk = Desk()
    gate = desk.venue.hold("o1")
    desk.put(send("o1"))
    await until(lambda: bool(desk.venue.log))
    desk.put(cancel("o1"))
    desk.put(cancel("other"))
    await until(lambda: "cancel other" in desk.venue.log)
    assert "cancel o1" not in desk.venue.log
    gate.set()
    await desk.box.finished()
    assert desk.venue.log[-2:] == ["answered o1", "cancel o1"]


async def test_it_cancels_after_the_time_out_of_an_order_without_answer() -> None:
    desk = Desk(timing=Timing(send_timeout_ms=30))
    desk.venue.hold("o1")
    desk.put(send("o1"))
    await until(lambda: bool(desk.venue.log))
    desk.put(cancel("o1"))
    await desk.box.finished()
    assert desk.outcomes == [("o1", "new", SendOutcome.UNKNOWN)]
    assert desk.venue.log[-1] == "cancel o1"


async def test_it_lets_no_replace_overtake_its_order() -> None:
    desk = Desk()
    gate = desk.venue.hold("o1")
    desk.put(send("o1"))
    desk.put(replace("r1", "o1"))
    desk.put(replace("r2", "working"))
    await until(lambda: "replace r2" in desk.venue.log)
    assert desk.box.waiting["SAFETY"] == 1
    gate.set()
    await desk.box.finished()
    assert desk.venue.log == ["new o1", "replace r2", "answered o1", "replace r1"]
    assert desk.outcomes == []


async def test_it_holds_no_lane_up_with_cancels_that_wait_for_their_orders() -> None:
    desk = Desk()
    for n in range(100):
        desk.venue.hold(f"o{n}")
        desk.put(send(f"o{n}", OrderClass.PROTECTION if n < 60 else OrderClass.ENTRY))
    await turns()
    for n in range(60, 70):
        desk.put(cancel(f"o{n}"))
    desk.put(cancel("working"))
    await turns()
    assert desk.venue.log[-1] == "cancel working"
    for gate in desk.venue.held.values():
        gate.set()
    await desk.box.finished()
    assert {f"cancel o{n}" for n in range(60, 70)} <= set(desk.venue.log)


async def test_it_brings_a_replace_back_with_its_order() -> None:
    desk = Desk(lease_s=0.0)
    desk.put(send("o1"))
    desk.put(replace("r1", "o1"))
    desk.box.drop_unsent(FIRM)
    assert desk.outcomes == [("o1", "new", SendOutcome.NOT_SENT), ("r1", "replace", SendOutcome.NOT_SENT)]


async def test_it_brings_the_changes_back_of_an_order_that_could_not_be_written() -> None:
    desk = Desk()
    gate = desk.venue.hold("o1")
    desk.venue.raises["o1"] = NotSent("no socket")
    desk.put(send("o1"))
    await turns()
    desk.put(cancel("o1"))
    gate.set()
    await desk.box.finished()
    assert desk.outcomes == [("o1", "new", SendOutcome.NOT_SENT), ("o1", "cancel", SendOutcome.NOT_SENT)]
    assert "cancel o1" not in desk.venue.log


async def test_it_refuses_a_replace_that_the_venue_cannot_do() -> None:
    desk = Desk()
    desk.venue.capabilities = frozenset()
    desk.put(replace("r1", "o1"))
    await desk.box.finished()
    assert desk.outcomes == [("r1", "replace", SendOutcome.REFUSED)]
    assert desk.venue.log == []


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (NotSent("no socket"), SendOutcome.NOT_SENT),
        (Refused("too late"), SendOutcome.REFUSED),
        (OSError("reset"), SendOutcome.UNKNOWN),
    ],
)
async def test_it_names_the_outcome_of_a_change(error: Exception, outcome: SendOutcome) -> None:
    desk = Desk()
    desk.venue.raises = {"o1": error, "r1": error}
    desk.put(cancel("o1"))
    desk.put(replace("r1", "o2"))
    await desk.box.finished()
    assert desk.outcomes == [("o1", "cancel", outcome), ("r1", "replace", outcome)]


async def test_it_takes_an_order_back_that_was_canceled_before_it_started() -> None:
    desk = Desk()
    for n in range(30):
        desk.venue.hold(f"o{n}")
        desk.put(send(f"o{n}"))
    desk.put(cancel("o29"))
    assert desk.outcomes == [("o29", "new", SendOutcome.NOT_SENT)]
    for gate in desk.venue.held.values():
        gate.set()
    await desk.box.finished()
    assert "new o29" not in desk.venue.log
    assert "cancel o29" not in desk.venue.log


async def test_it_drops_unsent_entries_of_a_scope_and_nothing_else() -> None:
    desk = Desk()
    for n in range(16):
        desk.venue.hold(f"o{n}")
        desk.put(send(f"o{n}"))
    await turns()
    desk.put(send("a", bot="trend"))
    desk.put(send("b", bot="range"))
    desk.box.drop_unsent(Scope(ScopeKind.BOT, "trend"))
    assert desk.outcomes == [("a", "new", SendOutcome.NOT_SENT)]
    for gate in desk.venue.held.values():
        gate.set()
    await desk.box.finished()
    assert "new b" in desk.venue.log


async def test_it_never_drops_protection() -> None:
    desk = Desk(lease_s=0.0)
    desk.put(send("stop", OrderClass.PROTECTION))
    desk.put(send("exit", OrderClass.EXIT))
    desk.box.drop_unsent(FIRM)
    desk.box.close_entries("halted")
    await turns()
    assert desk.outcomes == []
    desk.lease.renewed(asked=time.monotonic() + 10)
    await desk.box.finished()
    assert desk.venue.log == ["new stop", "new exit"]


@pytest.mark.parametrize(
    ("order_class", "outcome"),
    [
        (OrderClass.ENTRY, [("o1", "new", SendOutcome.NOT_SENT)]),
        (OrderClass.EXIT, []),
        (OrderClass.PROTECTION, []),
    ],
)
async def test_it_lets_only_entries_grow_old(order_class: OrderClass, outcome: list[object]) -> None:
    desk = Desk(timing=Timing(send_age_ms_max=100))
    desk.put(send("o1", order_class), age_s=0.2)
    await desk.box.finished()
    assert desk.outcomes == outcome
    assert desk.venue.log == ([] if outcome else ["new o1"])


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (NotSent("no socket"), SendOutcome.NOT_SENT),
        (Refused("insufficient funds"), SendOutcome.REFUSED),
        (Duplicate("duplicate client order id"), SendOutcome.REFUSED),
        (ConnectionResetError("reset"), SendOutcome.UNKNOWN),
        (ValueError("unreadable answer"), SendOutcome.UNKNOWN),
    ],
)
async def test_it_names_the_outcome_of_a_send(error: Exception, outcome: SendOutcome) -> None:
    desk = Desk()
    desk.venue.raises["o1"] = error
    desk.put(send("o1"))
    await desk.box.finished()
    assert desk.outcomes == [("o1", "new", outcome)]
    assert str(error) in desk.failed[0].text
    assert desk.failed[0].is_duplicate is isinstance(error, Duplicate)


async def test_it_does_not_know_the_outcome_of_a_send_that_is_not_answered() -> None:
    desk = Desk(timing=Timing(send_timeout_ms=20))
    desk.venue.hold("o1")
    desk.put(send("o1"))
    await desk.box.finished()
    assert desk.outcomes == [("o1", "new", SendOutcome.UNKNOWN)]


async def test_it_starts_nothing_when_the_lease_ends_before_the_answer_may_come() -> None:
    desk = Desk(lease_s=0.1)
    desk.put(send("o1"))
    desk.put(cancel("o2"))
    await turns()
    assert desk.venue.log == []
    desk.lease.renewed(asked=time.monotonic() + 10)
    await desk.box.finished()
    assert sorted(desk.venue.log) == ["cancel o2", "new o1"]


async def test_it_sends_nothing_once_closed() -> None:
    desk = Desk()
    desk.box.close()
    desk.put(send("o1"))
    desk.put(cancel("o1"))
    await desk.box.finished()
    assert desk.venue.log == []


async def test_it_refuses_entries_while_they_are_closed_and_takes_them_again() -> None:
    desk = Desk()
    desk.box.close_entries("the engine is stopping")
    desk.put(send("o1"))
    desk.put(send("stop", OrderClass.PROTECTION))
    desk.box.close_entries("")
    desk.put(send("o2"))
    await desk.box.finished()
    assert desk.outcomes == [("o1", "new", SendOutcome.NOT_SENT)]
    assert desk.failed[0].text == "the engine is stopping"
    assert sorted(desk.venue.log) == ["new o2", "new stop"]


async def test_it_sends_no_more_entries_than_the_venue_grants_and_cancels_all_the_same() -> None:
    budgets = {Lane.SAFETY: Budget(1000.0), Lane.ENTRIES: Budget(2.0), Lane.QUERIES: Budget(1000.0)}
    desk = Desk(timing=Timing(send_age_ms_max=100), budgets=budgets)
    for n in range(4):
        desk.put(send(f"o{n}"))
    desk.put(cancel("working"))
    await turns()
    assert desk.venue.log == ["new o0", "new o1", "cancel working"]
    await desk.box.finished()
    assert desk.outcomes == [("o2", "new", SendOutcome.NOT_SENT), ("o3", "new", SendOutcome.NOT_SENT)]


async def test_it_asks_a_question_without_waiting_for_orders() -> None:
    desk, asked = Desk(), asyncio.Event()
    for n in range(200):
        desk.venue.hold(f"o{n}")
        desk.put(send(f"o{n}"))

    async def ask() -> None:
        asked.set()

    desk.box.ask(ask)
    await asked.wait()
    desk.box.abandon()


async def test_it_cancels_everything_at_once_without_waiting_for_anything() -> None:
    desk = Desk()
    gate = desk.venue.hold("o1")
    desk.put(send("o1"))
    await until(lambda: bool(desk.venue.log))
    desk.put(SendMassCancel(symbol="BTCUSDT"))
    await until(lambda: "cancel all BTCUSDT" in desk.venue.log)
    gate.set()
    await desk.box.finished()
    assert desk.outcomes == []


@pytest.mark.parametrize("error", [ConnectionResetError("gone"), Refused("no such request"), NotSent("closed")])
async def test_it_leaves_a_mass_cancel_that_failed_to_the_cancels_of_the_orders(error: Exception) -> None:
    desk = Desk()
    desk.venue.raises[""] = error
    desk.put(SendMassCancel())
    desk.put(cancel("o1"))
    await desk.box.finished()
    assert desk.venue.log == ["cancel all ", "cancel o1"]
    assert (desk.outcomes, desk.crashed) == ([], [])


async def test_it_holds_entries_back_while_nobody_can_know_of_a_halt() -> None:
    desk = Desk(timing=Timing(send_timeout_ms=200, send_age_ms_max=10_000))
    desk.box.news_heard(asked=time.monotonic() - 11)
    desk.put(send("entry"))
    desk.put(send("stop", order_class=OrderClass.PROTECTION))
    desk.put(cancel("other"))
    await turns()
    assert desk.venue.log == ["new stop", "cancel other"]
    desk.box.news_heard(asked=time.monotonic())
    await desk.box.finished()
    assert desk.venue.log[-1] == "new entry"


async def test_it_gives_up_an_entry_when_nobody_can_know_of_a_halt_for_too_long() -> None:
    desk = Desk(timing=Timing(send_timeout_ms=200, send_age_ms_max=30))
    desk.box.news_heard(asked=time.monotonic() - 11)
    desk.put(send("entry"))
    await desk.box.finished()
    assert desk.outcomes == [("entry", "new", SendOutcome.NOT_SENT)]
    assert desk.venue.log == []


@pytest.mark.parametrize(
    "take_out", [lambda box: box.drop_unsent(FIRM), lambda box: box.put(cancel("entry"), born=time.monotonic())]
)
async def test_it_takes_out_what_a_halt_or_a_cancel_of_the_same_moment_meets(take_out: Callable[[Outbox], None]) -> None:
    """One commit lets both out; the request's task exists, and has not taken its first step."""
    desk = Desk()
    desk.put(send("entry"))
    take_out(desk.box)
    await desk.box.finished()
    assert desk.venue.log == []
    assert ("entry", "new", SendOutcome.NOT_SENT) in desk.outcomes


async def test_it_starts_nothing_more_once_it_is_closed() -> None:
    desk = Desk()
    desk.put(send("entry"))
    desk.box.close()
    await desk.box.finished()
    assert desk.venue.log == []
