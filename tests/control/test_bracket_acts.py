"""Acts on brackets and decisions: what they carry to the Desk, and what is refused before it."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from django.utils import timezone

from execution import services
from execution.core.messages import CommandKind, CommandSpec, Decision, Leg, SignalKind
from execution.models import Account, Act, Bot, Bracket, Order, Position
from risk.core.verdict import HintKind, SizeHint
from risk.models import AuditEntry

pytestmark = pytest.mark.db

D = Decimal


@pytest.fixture
def bracket(account: Account, bot: Bot) -> Bracket:
    """A long position with its stop at the venue."""
    now = timezone.now()
    told: dict[str, Any] = {"account": account, "bot": bot.code, "symbol": "BTCUSDT", "created_at": now, "updated_at": now}
    terms = {"ord_type": "STOP", "time_in_force": "GTC", "order_class": "PROTECTION", "ord_status": "NEW", "is_working": True}
    Order.objects.create(
        cl_ord_id="s1", side="SELL", purpose="STOP_LOSS", bracket_id="b1", order_qty=D(1), leaves_qty=D(1), **terms, **told
    )
    Position.objects.create(account=account, bot=bot.code, symbol="BTCUSDT", qty=D(1), is_open=True, updated_at=now)
    return Bracket.objects.create(bracket_id="b1", side="BUY", status="ARMED", stop_id="s1", open_qty=D(1), **told)


def spec(act: Act) -> CommandSpec:
    return msgspec.convert(act.commands.get().body, CommandSpec)


def test_it_carries_a_move_to_the_desk(account: Account, bracket: Bracket) -> None:
    act = services.bracket_leg_move(
        account=account, bracket_id="b1", leg=Leg.STOP, price=D("98.50"), by="alice", idempotency_key="m"
    )
    told = spec(act)
    assert (told.kind, told.target, told.leg, told.price) == (CommandKind.MOVE_LEG, "b1", Leg.STOP, D("98.50"))
    assert told.valid_until == act.at + timedelta(seconds=10)
    entry = AuditEntry.objects.get()
    assert entry.after is not None
    assert (entry.after["leg"], entry.after["price"]) == ("stop", "98.50")


@pytest.mark.parametrize("target", ["b1", "BTCUSDT"])
def test_it_carries_an_arming_to_the_desk(account: Account, bracket: Bracket, target: str) -> None:
    act = services.bracket_arm(account=account, target=target, stop_px=D(95), target_px=D(110), by="alice", idempotency_key="a")
    told = spec(act)
    assert (told.kind, told.target, told.stop_px, told.target_px) == (CommandKind.ARM, target, D(95), D(110))


def test_it_cancels_a_leg_by_its_order_or_by_its_bracket(account: Account, bracket: Bracket) -> None:
    by_order = services.bracket_leg_cancel(account=account, cl_ord_id="s1", by="alice", idempotency_key="1")
    watched = services.bracket_leg_cancel(account=account, cl_ord_id="b1", leg=Leg.TARGET, by="alice", idempotency_key="2")
    assert [(spec(act).target, spec(act).leg) for act in (by_order, watched)] == [("s1", None), ("b1", Leg.TARGET)]


def test_it_carries_a_decision_to_the_desk(account: Account, bot: Bot) -> None:
    decision = Decision(
        signal=SignalKind.BUY, hint=SizeHint(HintKind.QUANTITY, D("0.5")), stop_loss=D(95), trail_pct=D(2), note="by hand"
    )
    act = services.decision_submit(
        account=account, symbol="BTCUSDT", decision=decision, is_by_hand=False, by="api", idempotency_key="d"
    )
    told = spec(act)
    assert (told.kind, told.target, told.decision, told.is_by_hand) == (CommandKind.SUBMIT_DECISION, "BTCUSDT", decision, False)


@pytest.mark.parametrize(
    ("ask", "fields", "why"),
    [
        (services.bracket_leg_move, {"bracket_id": "no", "leg": Leg.STOP, "price": D(1)}, "has no bracket no"),
        (services.bracket_leg_cancel, {"cl_ord_id": "no", "leg": Leg.STOP}, "has no bracket no"),
        (services.bracket_leg_cancel, {"cl_ord_id": "no"}, "has no order no"),
        (services.bracket_arm, {"target": "no", "stop_px": D(1)}, "has no bracket no"),
        (services.bracket_arm, {"target": "b1"}, "Give a stop, a target or both"),
        (services.decision_submit, {"symbol": "no", "decision": Decision(signal=SignalKind.BUY)}, "no instrument “no”"),
    ],
)
def test_it_refuses_what_names_nothing(account: Account, bracket: Bracket, ask: Any, fields: dict[str, Any], why: str) -> None:
    with pytest.raises(services.ActRefused, match=why):
        ask(account=account, by="alice", idempotency_key="k", **fields)
    assert not Act.objects.exists()


def test_it_refuses_a_key_that_carried_another_price(account: Account, bracket: Bracket) -> None:
    asked: dict[str, Any] = {"account": account, "bracket_id": "b1", "leg": Leg.STOP, "by": "alice", "idempotency_key": "k"}
    first = services.bracket_leg_move(price=D("98.5"), **asked)
    assert services.bracket_leg_move(price=D("98.50"), **asked) == first
    with pytest.raises(services.ActRefused, match="already made another act"):
        services.bracket_leg_move(price=D(99), **asked)
