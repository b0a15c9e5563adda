"""The outbox: order, drops, outcomes, and the lease."""

from __future__ import annotations

import asyncio
import time
from decimal import Decimal

import pytest

from execution.core.messages import SendCancel, SendFailed, SendNewOrder, SendOutcome, Timing
from execution.core.ports import Duplicate, NotSent, Refused
from execution.engine.clock import AccountClock, Clock
from execution.engine.leases import Claim, Held
from execution.engine.outbox import Budget, Outbox
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


class Desk:
    """An outbox with its venue and what came back."""

    def __init__(self, *, lease_s: float = 10.0, timing: Timing | None = None) -> None:
        self.venue = ScriptedVenue()
        self.failed: list[SendFailed] = []
        self.crashed: list[BaseException] = []
        self.lease = Held(Claim(1, 1, 0.0), asked=time.monotonic(), lease_s=lease_s)
        self.box = Outbox(
            self.venue,
            lease=self.lease,
            clock=AccountClock(Clock()),
            timing=timing or Timing(send_timeout_ms=200, send_age_ms_max=10_000),
            failed=self.failed.append,
            crashed=self.crashed.append,
        )

    def put(self, effect: SendNewOrder | SendCancel, *, age_s: float = 0.0) -> None:
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


async def test_it_spends_no_more_than_the_budget() -> None:
    budget = Budget(5.0)
    assert [budget.take() for _ in range(6)] == [True] * 5 + [False]
    assert budget.wait_s > 0
