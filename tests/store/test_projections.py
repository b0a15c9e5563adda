"""Core values as rows: every digit kept, the last body of a key written, denials folded."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from execution.core.brackets import BracketState
from execution.core.controls import AlarmState, BotState, BotStatus, DiscrepancyState
from execution.core.messages import AdjustmentKind, AnswerCommand, ClearAlarm, CommandStatus, Effect, RaiseAlarm, Step
from execution.core.orders import OrdStatus
from execution.core.positions import AdjustmentState
from execution.models import Account, Act, Adjustment, Alarm, Bot, Bracket, Command, Discrepancy, Fill, Order, Signal
from execution.models import BotState as BotRow
from execution.store import journal
from execution.store.projections import SignalFold, signals_last
from risk.core.book import Halt
from risk.core.units import NO_LIMIT, Scope, ScopeKind, Side
from risk.core.verdict import Check, HaltCause, HaltMode, Reason
from risk.core.wording import check_as_dict
from risk.models import Halt as HaltRow
from risk.models import RiskProfile
from tests.store.values import at, entry, fill, order, part, publish, signal

pytestmark = [pytest.mark.django_db, pytest.mark.db]
_SEQ = iter(range(1, 10_000))


def commit(account: Account, *effects: Effect, by: str = "") -> None:
    assert journal.append([part(account.pk, entry(next(_SEQ)), effects=effects, by=by)]) == set()


@pytest.fixture(autouse=True)
def from_one() -> None:
    global _SEQ  # noqa: PLW0603
    _SEQ = iter(range(1, 10_000))


def test_it_keeps_every_digit(leased: Account) -> None:
    commit(leased, publish("order", "o1", order()), publish("fill", "x1", fill()))
    assert Order.objects.get().order_qty == Decimal("0.000123456789012345")
    assert Fill.objects.get().last_px == Decimal("61000.123456789012345")


def test_it_writes_the_last_state_of_an_order(leased: Account) -> None:
    commit(leased, publish("order", "o1", order()))
    first = Order.objects.get()
    assert (first.ord_status, first.is_working) == (OrdStatus.PENDING_NEW, True)
    done = order(done=OrdStatus.FILLED, is_accepted=True, cum_qty=Decimal(2), cum_cost=Decimal(20), order_qty=Decimal(2))
    commit(leased, publish("order", "o1", order(is_accepted=True)), publish("order", "o1", done))
    row = Order.objects.get()
    assert row.pk == first.pk
    assert (row.ord_status, row.is_working, row.leaves_qty, row.avg_px) == (OrdStatus.FILLED, False, 0, 10)


def test_it_cuts_a_text_that_is_too_long_for_its_column(leased: Account) -> None:
    commit(leased, publish("order", "o1", order(text="x" * 1000)))
    assert len(Order.objects.get().text) == 300


def test_it_says_why_an_order_was_sent_until_the_venue_says_something_of_it(leased: Account) -> None:
    commit(leased, publish("order", "o1", order(why="its stop was touched at 98")))
    assert Order.objects.get().text == "its stop was touched at 98"
    commit(leased, publish("order", "o1", order(why="its stop was touched at 98", text="insufficient margin")))
    assert Order.objects.get().text == "insufficient margin"


def test_it_says_which_legs_the_venue_does_not_hold(leased: Account) -> None:
    held = BracketState(
        bracket_id="o1",
        bot="trend",
        symbol="BTCUSDT",
        side=Side.BUY,
        stop_px=Decimal(98),
        target_px=Decimal(104),
        open_qty=Decimal(2),
        is_target_emulated=True,
        text="target watched here, not at the venue",
        created_at=at(1),
        updated_at=at(1),
    )
    commit(leased, publish("bracket", "o1", held))
    row = Bracket.objects.get()
    assert (row.is_stop_emulated, row.is_target_emulated, row.naked_since, row.text) == (False, True, None, held.text)


def test_it_books_a_fill_once(leased: Account) -> None:
    commit(leased, publish("fill", "x1", fill()))
    commit(leased, publish("fill", "x1", fill()))
    assert Fill.objects.count() == 1


def test_it_marks_a_busted_fill_and_keeps_its_correction(leased: Account) -> None:
    commit(leased, publish("fill", "x1", fill()))
    commit(leased, publish("fill", "x1", fill(busted_at=at(1))), publish("fill", "x2", fill("x2", exec_ref_id="x1")))
    assert list(Fill.objects.order_by("id").values_list("exec_id", "exec_ref_id", "busted_at")) == [
        ("x1", "", at(1)),
        ("x2", "x1", None),
    ]


def test_it_keeps_what_the_venue_moved_without_a_trade(leased: Account) -> None:
    paid = AdjustmentState(
        adjustment_id="F1",
        kind=AdjustmentKind.FUNDING,
        bot="trend",
        symbol="BTCUSDT",
        qty=Decimal(2),
        amount=Decimal("-0.123456789012"),
        new_units=Decimal(1),
        old_units=Decimal(1),
        at=at(1),
        transact_at=at(0),
    )
    for _ in range(2):
        commit(leased, publish("adjustment", "F1", paid))
    row = Adjustment.objects.get()
    assert (row.kind, row.bot, row.qty, row.amount, row.at, row.transact_at) == (
        "FUNDING",
        "trend",
        2,
        Decimal("-0.123456789012"),
        at(1),
        at(0),
    )


def test_it_writes_a_disagreement_from_its_beginning_to_its_end(leased: Account) -> None:
    found = DiscrepancyState(symbol="BTCUSDT", ours=Decimal(10), theirs=Decimal(8), since=at(0), seen_at=at(0))
    commit(leased, publish("discrepancy", found.key, found))
    found.theirs, found.seen_at, found.ended, found.ended_at = Decimal("7.5"), at(2), "the venue agrees", at(2)
    commit(leased, publish("discrepancy", found.key, found))
    row = Discrepancy.objects.get()
    assert (row.ours, row.theirs, row.since, row.seen_at, row.ended, row.ended_at) == (
        10,
        Decimal("7.5"),
        at(0),
        at(2),
        "the venue agrees",
        at(2),
    )


def test_it_counts_the_same_denial_on_one_row(leased: Account) -> None:
    fold = SignalFold()
    for n in range(4):
        record = signal(n)
        _fold(leased, fold, record)
    row = Signal.objects.get()
    assert (row.decision_id, row.repeats, row.at, row.last_at) == ("d0", 4, at(0), at(3))


@pytest.mark.parametrize(
    "between",
    [
        signal(9, None),
        signal(9, Reason.STALE_PRICE),
    ],
    ids=["approved", "denied for another reason"],
)
def test_it_starts_a_new_row_after_something_else(leased: Account, between: Any) -> None:
    fold = SignalFold()
    for record in (signal(0), signal(1), between, signal(2)):
        _fold(leased, fold, record)
    assert list(Signal.objects.order_by("id").values_list("decision_id", "repeats")) == [("d0", 2), ("d9", 1), ("d2", 1)]


def test_it_keeps_the_numbers_of_a_check_and_reads_its_words(leased: Account) -> None:
    checks = (
        Check("Order notional", is_passed=True, observed=Decimal("1250.5"), limit=NO_LIMIT, level="profile demo"),
        Check("Halts", is_passed=False, level="firm", detail="the firm is halted", reason=Reason.HALTED),
    )
    _fold(leased, SignalFold(), signal(1, checks=checks))
    assert Signal.objects.get().checks == [check_as_dict(check) for check in checks]
    Signal.objects.update(checks=[["A gate of old", True, "7", "9", "profile demo"]])
    (old,) = Signal.objects.get().checks
    assert (old["gate"], old["observed"], old["limit"]) == ("A gate of old", "7", "9")


def test_it_never_folds_an_approval(leased: Account) -> None:
    fold = SignalFold()
    _fold(leased, fold, signal(1, None))
    _fold(leased, fold, signal(2, None))
    assert Signal.objects.count() == 2


def test_it_goes_on_counting_after_a_restart(leased: Account) -> None:
    from execution.models import BotInstrument
    from risk.models import Instrument

    instrument = Instrument.objects.create(symbol="BTCUSDT", asset_class="CRYPTO_SPOT", tick_size="0.1", lot_size="0.001")
    BotInstrument.objects.create(bot=_bot(leased), instrument=instrument, account=leased)
    _fold(leased, SignalFold(), signal(0))
    _fold(leased, SignalFold(signals_last(leased.pk)), signal(1))
    assert Signal.objects.get().repeats == 2


def test_it_raises_an_alarm_once_and_again_after_its_return(leased: Account) -> None:
    raised = RaiseAlarm(key="naked", priority=1, title="No stop", cause="a", consequence="b", to_do="c")
    commit(leased, raised)
    commit(leased, msgspec_replace(raised, cause="still"))
    assert Alarm.objects.get().cause == "still"
    commit(leased, ClearAlarm(key="naked"))
    assert Alarm.objects.get().returned_at is not None
    commit(leased, raised)
    assert Alarm.objects.count() == 2


def test_it_writes_an_alarm_that_was_published(leased: Account) -> None:
    state = AlarmState(
        key="k", priority=2, title="t", cause="c", consequence="d", to_do="e", bot="trend", symbol="", raised_at=at(5)
    )
    commit(leased, publish("alarm", "k", state))
    assert Alarm.objects.get().raised_at == at(5)
    commit(leased, publish("alarm_cleared", "k", state))
    assert Alarm.objects.get().returned_at is not None


def test_it_keeps_a_halt_until_it_is_cleared(leased: Account) -> None:
    halt = Halt(
        halt_id="h1",
        scope=Scope(ScopeKind.ACCOUNT, "paper-crypto"),
        mode=HaltMode.HALTED,
        cause=HaltCause.DAILY_LOSS,
        reason="−3 %",
        by="desk",
        at=at(0),
    )
    commit(leased, publish("halt", "h1", halt))
    assert HaltRow.objects.get().cleared_at is None
    commit(leased, publish("halt_cleared", "h1", halt), by="bob")
    row = HaltRow.objects.get()
    assert (row.cleared_by, row.cleared_at is not None) == ("bob", True)


def test_it_answers_the_commands_row(leased: Account) -> None:
    act = Act.objects.create(kind="KILL", scope="FIRM", by="bob", idempotency_key="k", at=at(0))
    row = Command.objects.create(act=act, account=leased, body={}, created_at=at(0))
    commit(
        leased, AnswerCommand(command_id=str(row.pk), status=CommandStatus.RUNNING, text="1 of 3", steps=(Step("gates", "closed"),))
    )
    commit(leased, AnswerCommand(command_id=str(row.pk), status=CommandStatus.DONE, text="verified"))
    row.refresh_from_db()
    assert (row.status, row.text, row.applied_seq, row.steps) == ("DONE", "verified", 1, [])


def test_it_writes_a_bots_state_and_survives_a_bot_that_is_gone(leased: Account) -> None:
    _bot(leased)
    commit(
        leased,
        publish("bot", "trend", BotState(code="trend", status=BotStatus.RUNNING, placed=2)),
        publish("bot", "gone", BotState(code="gone")),
    )
    assert list(BotRow.objects.values_list("bot__code", "status", "placed")) == [("trend", "RUNNING", 2)]


def test_it_counts_a_bot_s_denials_and_keeps_its_last_signal(leased: Account) -> None:
    """Folded or not; what the bot publishes later takes neither back."""
    _bot(leased)
    commit(leased, publish("bot", "trend", BotState(code="trend", placed=1, last_signal_at=at(0))))
    fold = SignalFold()
    for record in (signal(1), signal(2), signal(3, Reason.STALE_PRICE), signal(4, None), signal(5)):
        _fold(leased, fold, record)
    commit(leased, publish("bot", "trend", BotState(code="trend", placed=2, last_signal_at=at(4))))
    told = BotRow.objects.values_list("placed", "denied", "last_signal_at").get()
    assert told == (2, 4, at(5))
    commit(leased, publish("bot", "trend", BotState(code="trend", placed=3, last_signal_at=at(6))))
    assert BotRow.objects.values_list("placed", "denied", "last_signal_at").get() == (3, 4, at(6))


def msgspec_replace(effect: RaiseAlarm, **fields: Any) -> RaiseAlarm:
    import msgspec

    return msgspec.structs.replace(effect, **fields)


def _fold(account: Account, fold: SignalFold, record: Any) -> None:
    made = part(account.pk)
    effects = (publish("signal", record.decision_id, record),)
    made.projection.add(effects, seq=0, at=record.at, fold=fold.fold(effects[0].body))
    journal.append([made])


def _bot(account: Account) -> Bot:
    profile = RiskProfile.objects.create(code="p", name="P")
    return Bot.objects.create(code="trend", account=account, brain="ema_cross", profile=profile)
