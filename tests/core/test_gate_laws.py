"""What holds of the gates whatever the numbers: tighter never lets more through, no number that is none opens one, a denial leaves no trace."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import settings as effort
from hypothesis import strategies as st

from execution.core.messages import Decided, Decision, SignalKind
from execution.core.turn import ENCODER
from risk.core.book import Book
from risk.core.circuit_breaker import CircuitBreaker
from risk.core.session_pnl import SessionPnl
from risk.core.settings import ACCOUNT_PRESET, CEILINGS, PRESETS, AccountLimits, Profile, RiskSettings, effective
from risk.core.throttle import Approval, Throttle, record
from risk.core.units import NO_LIMIT, AssetClass, OrdType, Side
from risk.core.verdict import Approved, Denied, HintKind, Proposal, Reason, SizeHint
from tests.core.builders import BOT, BTC, NOON, Bench
from tests.core.builders import quote as quote_of
from tests.core.builders import settings as desk_settings
from tests.core.risk_builders import BTC as SPEC
from tests.core.risk_builders import NAN, D, account, book, buy, exposure, judged, later, limits, quote, sell, settings

#: limits of which a larger value is the tighter one
LARGER_IS_TIGHTER = {
    "session_loss_limit",
    "breaker_cooldown_s",
    "breaker_window_s",
    "stop_distance_pct_min",
    "reward_risk_min",
    "duplicate_window_s",
}
#: what sizes an order, or works after it was let through, is no limit of gates
NO_LIMITS = {
    *("margin_per_trade", "leverage", "qty_max", "risk_pct", "flip_policy", "entry_ttl_s", "unsupported_protection"),
    *("naked_policy", "naked_after_ms", "leg_retries", "exit_wait_ms", "is_stop_required"),
}
OF_PROFILE = sorted(set(RiskSettings.__struct_fields__) - NO_LIMITS)
OF_ACCOUNT = sorted(set(AccountLimits.__struct_fields__) - set(CEILINGS.values()) - {"resume_at_rollover"})
#: values on both sides of what the books and orders below come to
VALUES = st.sampled_from(["0.1", "1", "1.02", "2", "3", "5", "9.8", "10", "20", "100", "200", "1000", "1001", "5000", "Infinity"])
COUNTS = st.integers(0, 6)


def value_of(field: str, draw: Callable[[Any], Any]) -> Any:
    if field in {"breaker_losses", "entries_in_flight_max", "adds_max", "positions_max", "repeated_execution_max"}:
        return draw(COUNTS)
    if field.startswith("breaker"):
        return draw(st.sampled_from([1, 60, 600, 3600]))
    value = D(draw(VALUES))
    return -value if field == "session_loss_limit" else value


def is_tighter(field: str, one: Any, other: Any) -> bool:
    """Whether `one` lets no more through than `other`. "No limit" is the loosest of all, in either direction."""
    if other == NO_LIMIT:
        return True
    if one == NO_LIMIT:
        return False
    return bool(one >= other if field in LARGER_IS_TIGHTER else one <= other)


@st.composite
def trials(draw: Callable[[Any], Any]) -> tuple[Proposal, Book]:
    """An order that may pass or not, on an account that holds, works and did something."""
    make, qty = draw(st.sampled_from([buy, sell])), draw(st.sampled_from(["1", "10", "11"]))
    px = draw(st.sampled_from(["99.5", "100", "101.5"]))
    kind: dict[str, Any] = draw(st.sampled_from([{}, {"ord_type": OrdType.LIMIT, "price": D(px)}]))
    throttle = Throttle()
    for seconds in sorted(draw(st.lists(st.sampled_from([-3000, -61, -9, -4, -0.5]), max_size=3))):
        record(throttle, Approval(later(seconds), "BTCUSDT", Side.BUY, D(10), None, None))
    held = draw(
        st.lists(st.builds(exposure, st.sampled_from(["BTCUSDT", "ETHUSDT"]), qty=st.sampled_from(["-9", "0", "5"])), max_size=2)
    )
    money = draw(st.sampled_from([D(100_000), D(100_000), D(10_000), D(97_000)]))
    on = book(
        session=SessionPnl(worst_net=D(-draw(st.sampled_from([0, 0, 0, 3, 50])))),
        breaker=CircuitBreaker(losses=[NOON], tripped_at=draw(st.sampled_from([None, None, None, None, later(-30), later(-900)]))),
        position_qty=D(draw(st.sampled_from([0, 5]))),
        entries_in_flight=draw(st.sampled_from([0, 0, 1, 3])),
        adds=draw(st.sampled_from([0, 0, 1, 3])),
        portfolio=account(*held, equity=money),
        throttles={"alpha": throttle},
    )
    return make(qty, quote=quote(received_at=later(-draw(st.sampled_from([0, 1.5])))), **kind), on


def under(on: Book, *, profile: dict[str, Any], of_account: dict[str, Any]) -> Book:
    wide = {"qty_max": D(1000), "breaker_losses": 1000, "entries_in_flight_max": 9, "adds_max": 9, "order_equity_pct_max": NO_LIMIT}
    return msgspec.structs.replace(on, settings=settings(**(wide | profile)), limits=limits(**of_account))


@effort(max_examples=200)
@given(trials(), st.data())
def test_it_never_lets_more_through_when_a_limit_is_tightened(trial: tuple[Proposal, Book], data: st.DataObject) -> None:
    proposal, on = trial
    is_of_account = data.draw(st.booleans())
    field = data.draw(st.sampled_from(OF_ACCOUNT if is_of_account else OF_PROFILE))
    one, other = value_of(field, data.draw), value_of(field, data.draw)
    looser, tighter = (other, one) if is_tighter(field, one, other) else (one, other)
    # a tighter collar also sets less aside for a market order, which the account's limits may then have room for
    free = dict.fromkeys(set(OF_ACCOUNT) - {"positions_max"}, NO_LIMIT) if field == "price_collar_pct" else {}

    def verdict(value: Any) -> Approved | Denied:
        mine = {field: value}
        on_trial = under(on, profile={} if is_of_account else mine, of_account=mine if is_of_account else free)
        return judged(proposal, on_trial)

    before, after = verdict(looser), verdict(tighter)
    assume(not (field == "price_collar_pct" and isinstance(before, Denied) and before.reason is Reason.BUYING_POWER))
    assert isinstance(before, Approved) or isinstance(after, Denied), f"{field} {looser} → {tighter}: {before.text}"
    if isinstance(after, Approved):
        assert isinstance(verdict(None), Denied) or field in {"reward_risk_min", "feed_lag_ms_max", "adds_max"}


# --- what is not a number -------------------------------------------------------------------------------------------------

TENTH = exposure("BTCUSDT", qty="1", bot="alpha", buys=D(1), sells=D(1))
OPEN = book(portfolio=account(TENTH, exposure("ETHUSDT", qty="1")), settings=settings(adds_max=5))
ORDER = buy(ord_type=OrdType.LIMIT, price=D(100), confidence=D("0.5"), quote=quote(is_synchronised=True))


def decimals(value: Any) -> list[str]:
    """The fields of a struct that are numbers now."""
    return [name for name in value.__struct_fields__ if isinstance(getattr(value, name), Decimal)]


def in_settings(name: str, bad: Decimal) -> Book:
    return msgspec.structs.replace(OPEN, settings=settings(**{"adds_max": 5, name: bad}))


def in_exposure(symbol: str, name: str, bad: Decimal) -> Book:
    exposures = {
        key: msgspec.structs.replace(e, **{name: bad}) if key == symbol else e for key, e in OPEN.portfolio.exposures.items()
    }
    return msgspec.structs.replace(OPEN, portfolio=msgspec.structs.replace(OPEN.portfolio, exposures=exposures))


#: numbers that no gate reads: other sizings' inputs, words of a meter, the size at the best price
UNREAD = {"margin_per_trade", "risk_pct", "bid_qty", "ask_qty", "realised", "fees", "exit_capacity", *CEILINGS.values()}
BAD: list[tuple[str, Proposal, Book]] = []
for bad in (NAN, D("sNaN")):
    BAD += [(f"proposal {n}", msgspec.structs.replace(ORDER, **{n: bad}), OPEN) for n in decimals(ORDER)]
    BAD += [("hint", msgspec.structs.replace(ORDER, hint=SizeHint(HintKind.QUANTITY, bad)), OPEN)]
    BAD += [
        (f"quote {n}", msgspec.structs.replace(ORDER, quote=quote(**{n: bad})), OPEN) for n in decimals(quote()) if n not in UNREAD
    ]
    BAD += [(f"settings {n}", ORDER, in_settings(n, bad)) for n in decimals(PRESETS[AssetClass.CRYPTO_PERP]) if n not in UNREAD]
    BAD += [
        (f"limits {n}", ORDER, msgspec.structs.replace(OPEN, limits=limits(**{n: bad})))
        for n in decimals(ACCOUNT_PRESET)
        if n not in UNREAD
    ]
    BAD += [
        (f"instrument {n}", ORDER, msgspec.structs.replace(OPEN, instrument=msgspec.structs.replace(SPEC, **{n: bad})))
        for n in decimals(SPEC)
    ]
    BAD += [
        (f"account {n}", ORDER, msgspec.structs.replace(OPEN, portfolio=msgspec.structs.replace(OPEN.portfolio, **{n: bad})))
        for n in decimals(OPEN.portfolio)
    ]
    BAD += [(f"{s} {n}", ORDER, in_exposure(s, n, bad)) for s in ("BTCUSDT", "ETHUSDT") for n in decimals(TENTH)]
    BAD += [
        (f"session {n}", ORDER, msgspec.structs.replace(OPEN, session=msgspec.structs.replace(SessionPnl(), **{n: bad})))
        for n in decimals(SessionPnl())
        if n not in UNREAD
    ]
    BAD += [("position_qty", ORDER, msgspec.structs.replace(OPEN, position_qty=bad))]


def test_it_passes_while_every_number_is_one() -> None:
    assert isinstance(judged(ORDER, OPEN), Approved)


@pytest.mark.parametrize(("proposal", "on"), [pytest.param(p, b, id=f"{name}-{n}") for n, (name, p, b) in enumerate(BAD)])
def test_it_denies_whatever_number_is_none(proposal: Proposal, on: Book) -> None:
    assert isinstance(judged(proposal, on), Denied)


@pytest.mark.parametrize("bad", [NAN, D("sNaN")])
@pytest.mark.parametrize("ceiling", sorted(CEILINGS.values()))
def test_it_takes_a_ceiling_that_is_no_number_for_a_breach(ceiling: str, bad: Decimal) -> None:
    profile = Profile(code="demo", base=PRESETS[AssetClass.CRYPTO_PERP])
    found = effective(profile, limits(**{ceiling: bad}), symbol="BTCUSDT", asset_class=AssetClass.CRYPTO_PERP)
    hint = SizeHint(HintKind.RISK_PCT) if ceiling == "risk_pct_ceiling" else SizeHint()
    assert isinstance(judged(buy(hint=hint), msgspec.structs.replace(book(), settings=found)), Denied)


# --- a denial leaves no trace ----------------------------------------------------------------------------------------------

SELDOM = st.sampled_from([None] * 9 + [D(1), D(101), NAN, D(0), D("1E+999999")])
ODD = st.sampled_from([None, D(98), D(100), D(102), D(104), NAN, D("sNaN"), D(0), D(-1), D("1E+999999")])
DECISIONS = st.builds(
    Decision,
    signal=st.sampled_from([SignalKind.BUY, SignalKind.SELL, SignalKind.CLOSE]),
    hint=st.builds(SizeHint, st.sampled_from(HintKind), ODD.map(lambda value: value or D(1))),
    ord_type=st.sampled_from(OrdType),
    price=ODD,
    stop_px=ODD,
    stop_loss=ODD,
    take_profit=ODD,
    post_only=st.booleans(),
    confidence=SELDOM,
    stop_limit_offset=SELDOM,
    trail_offset=SELDOM,
    trail_pct=SELDOM,
    trail_activation=SELDOM,
    time_limit_s=st.sampled_from([None] * 9 + [60, 0, -1, 10**15]),
)


@given(st.lists(DECISIONS, max_size=8), st.sampled_from(["", "4", "10"]), st.sampled_from([D(100)] * 4 + [NAN, D("sNaN"), D(0)]))
def test_it_leaves_the_desk_as_it_was_by_a_denial(decisions: list[Decision], filled: str, last: Decimal) -> None:
    bench = Bench(desk_settings(duplicate_window_s=D(5), order_rate_max=D(3), repeated_execution_max=4))
    if filled:
        entry = bench.buy("10")
        bench.ack(entry)
        bench.fill(entry, filled)
    for n, decision in enumerate(decisions):
        before, digest, seq = ENCODER.encode(bench.desk.state), bench.desk.digest(), bench.desk.seq
        at = later(n + 1)
        seen = msgspec.structs.replace(quote_of(at=at), last=last)
        event = Decided(at=at, bot=BOT, symbol=BTC, decision=decision, quote=seen, decision_id=str(n), market_at=later(10 + n))
        bench.take(event)
        (signal,) = bench.published("signal")
        is_changed = (ENCODER.encode(bench.desk.state), bench.desk.digest(), bench.desk.seq) != (before, digest, seq)
        assert is_changed is signal.is_approved
        assert bool(bench.sent()) is signal.is_approved
