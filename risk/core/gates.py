"""The gates: every order passes through `judge()`, and only `judge()` makes an Approved.

Rules.
- GATES is the order. The first denial ends it; every check that ran is recorded with its number, its limit and the limit's level.
- ENTRY runs all gates. EXIT runs those that ask whether it can be sent, may be sent and really only closes. PROTECTION asks for a
  lease, an order link and readable numbers, in every state of the desk.
- Comparisons are strict (above the limit denies) except losses, which trip at it. An unset limit denies with LIMIT_NOT_SET.
- A number that is not one is a breach. No arithmetic can open a gate: what cannot be computed is denied.
- Gates read. Windows, sessions and cooldowns are functions of the book and `at`; nothing here changes either.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Final, NamedTuple

from risk.core import circuit_breaker, hours, order_gates, portfolio, repetition, session_pnl
from risk.core.book import EXTERNAL, Book, Halt, NotReadyCause
from risk.core.sizing import is_positive
from risk.core.trial import INSTRUMENT_LEVEL, UNCOMPUTED, Bound, Trial, age_ms, age_s
from risk.core.units import ZERO
from risk.core.verdict import Approved, Capability, Check, Denied, HaltMode, OrderClass, Proposal, Reason
from risk.core.wording import exact, number, pair

_ENTRY: Final = frozenset({OrderClass.ENTRY})
_CLOSING: Final = frozenset({OrderClass.ENTRY, OrderClass.EXIT})
_ALL: Final = frozenset(OrderClass)

#: what stops even protection: without these there is nobody to send to
_NOWHERE_TO_SEND: Final = frozenset({NotReadyCause.LEASE, NotReadyCause.ORDER_LINK})

#: what ends a cause that does not end by itself
_ENDS: Final = {
    NotReadyCause.DISCREPANCY: "Ends when the venue agrees, or a person settles it.",
    NotReadyCause.SETTINGS: "Entries pass once there are.",
    NotReadyCause.BOT: "Entries pass while it runs.",
}
#: symbols a sentence names at most
_LISTED: Final = 10

Function = Callable[[Trial], Check | None]


class Gate(NamedTuple):
    """One row of the table. A gate without a function is missing: its codes cannot be given yet, and LIVE is refused while any is."""

    number: int
    name: str
    codes: tuple[Reason, ...]
    function: Function | None
    classes: frozenset[OrderClass] = _ENTRY


def judge(proposal: Proposal, book: Book, *, at: datetime) -> Approved | Denied:
    """Judge a proposal on the book at `at`. Never raises on any proposal: what cannot be read or computed is denied."""
    trial = Trial(proposal, book, at)
    for gate, function in _RUNS[proposal.order_class]:
        try:
            denial = function(trial)
        except ArithmeticError as e:
            detail = f"The gate could not compute with the numbers it was given ({type(e).__name__}), so it stays closed."
            denial = trial.denied(UNCOMPUTED, gate.codes[0], detail)
        if denial is not None:
            assert denial.reason is not None
            return Denied(reason=denial.reason, checks=tuple(trial.checks))
    return Approved(
        order_class=proposal.order_class,
        account=proposal.account,
        bot=proposal.bot,
        symbol=proposal.symbol,
        side=proposal.side,
        order_qty=trial.order_qty,
        ord_type=proposal.ord_type,
        time_in_force=proposal.time_in_force,
        price=trial.price,
        stop_px=trial.stop_px,
        post_only=proposal.post_only,
        reduce_only=proposal.reduce_only,
        reserved=trial.order_qty * trial.reserve_px,
        checks=tuple(trial.checks),
        reserve_px=trial.reserve_px,
    )


def missing_gates() -> tuple[Gate, ...]:
    """The gates this version does not have."""
    return tuple(gate for gate in GATES if gate.function is None)


def live_lack(environment: str, capabilities: frozenset[Capability]) -> str:
    """Why an account that is not PAPER may not trade, in one sentence; empty when nothing is lacking."""
    if environment != "LIVE":
        return f"The account's environment is “{environment}”; only PAPER and LIVE are known."
    if missing := missing_gates():
        return f"LIVE needs every gate, and this version has no gate {', '.join(f'{g.number} {g.name.lower()}' for g in missing)}."
    if Capability.ECHOES_CLIENT_ID not in capabilities:
        return "LIVE needs a venue that echoes our order ids: without them an order whose answer is lost could not be found again."
    return ""


# --- 1, 2: may this account and bot act at all -------------------------------------------------------------------------


def account_ready(trial: Trial) -> Check | None:
    """Gate 1. For exits and protection only what makes sending impossible counts."""
    book, gate = trial.book, "Account ready"
    is_entry = trial.is_entry
    for not_ready in book.not_ready:
        if is_entry or not_ready.cause in _NOWHERE_TO_SEND:
            what = not_ready.text or not_ready.cause.replace("_", " ").lower()
            end = _ENDS.get(not_ready.cause, "Ends by itself.")
            return trial.denied(gate, Reason.NOT_READY, f"Not ready: {what}. {end}", level="account")
    if is_entry and book.environment != "PAPER" and (lack := live_lack(book.environment, book.capabilities)):
        return trial.denied(gate, Reason.NOT_READY, lack, level="account")
    trial.passed(gate)
    return None


def halts(trial: Trial) -> Check | None:
    """Gate 2. The most restrictive halt that covers the order. An operator's exit passes every halt, REDUCE_ONLY passes every exit."""
    proposal, is_entry = trial.proposal, trial.is_entry
    halt = _halt_over(trial)
    if halt is not None and (is_entry or (halt.mode is HaltMode.HALTED and proposal.is_automatic)):
        reason = Reason.HALTED if halt.mode is HaltMode.HALTED else Reason.REDUCE_ONLY
        return trial.denied("Halts", reason, _halt_sentence(halt), level=str(halt.scope))
    if is_entry and _is_held_by_external(trial):
        detail = (
            f"{EXTERNAL} holds a position in {proposal.symbol}, so only orders that reduce it pass until it is flat or adopted."
        )
        return trial.denied("Halts", Reason.REDUCE_ONLY, detail, level=f"instrument {proposal.symbol}")
    trial.passed("Halts")
    return None


def _halt_over(trial: Trial) -> Halt | None:
    proposal, found = trial.proposal, None
    for halt in trial.book.halts:
        if halt.scope.covers(account=trial.book.account, bot=proposal.bot, symbol=proposal.symbol):
            if halt.mode is HaltMode.HALTED:
                return halt
            found = found or halt
    return found


def _halt_sentence(halt: Halt) -> str:
    what = "Halted" if halt.mode is HaltMode.HALTED else "Reduce-only"
    why = f": {halt.reason}" if halt.reason else ""
    return f"{what} at {halt.scope} ({halt.cause}) by {halt.by} since {halt.at:%Y-%m-%d %H:%M:%S} UTC{why}. Stands until a person clears it."


def _is_held_by_external(trial: Trial) -> bool:
    exposure = trial.book.portfolio.exposures.get(trial.proposal.symbol)
    return exposure is not None and exposure.bot == EXTERNAL and bool(exposure.qty) and trial.proposal.bot != EXTERNAL


# --- 3, 4: has this symbol lost enough ---------------------------------------------------------------------------------


def session_loss(trial: Trial) -> Check | None:
    """Gate 3. The worst net of the running session against the limit; a session that has ended counts no more."""
    gate, session, limit = "Session loss", trial.book.session, trial.values.session_loss_limit
    if limit is None:
        return trial.unset(gate, "session_loss_limit")
    level = trial.levels["session_loss_limit"]
    if not session_pnl.is_over(session, limit=limit, at=trial.at):
        worst = ZERO if session_pnl.has_ended(session, at=trial.at) else session.worst_net
        trial.passed(gate, worst, limit, level)
        return None
    end = f" at {session.session_end_at:%H:%M} UTC" if session.session_end_at else ""
    detail = (
        f"{trial.proposal.symbol} was down to {number(session.worst_net)} this session and stands at {number(session.net)}; "
        f"the limit is {number(limit)}. Ends by itself with the session{end}."
    )
    return trial.denied(gate, Reason.SESSION_LOSS, detail, observed=session.worst_net, limit=limit, level=level)


def breaker(trial: Trial) -> Check | None:
    """Gate 4. A cooldown after too many losing closes."""
    gate, state, values = "Circuit breaker", trial.book.breaker, trial.values
    trips_at, window_s, cooldown_s = values.breaker_losses, values.breaker_window_s, values.breaker_cooldown_s
    if trips_at is None or window_s is None or cooldown_s is None:
        fields = {"breaker_losses": trips_at, "breaker_window_s": window_s, "breaker_cooldown_s": cooldown_s}
        return trial.unset(gate, next(field for field, value in fields.items() if value is None))
    limit, level = Decimal(trips_at), trial.levels["breaker_losses"]
    observed = Decimal(circuit_breaker.losses_within(state, at=trial.at, window_s=window_s))
    if not circuit_breaker.is_tripped(state, at=trial.at, cooldown_s=cooldown_s):
        trial.passed(gate, observed, limit, level)
        return None
    end = circuit_breaker.ends_at(state, cooldown_s=cooldown_s)
    left = f"in {_duration(age_ms(end, trial.at))}" if end else "when a cooldown is set"
    detail = f"{number(observed)} losing closes of {trial.proposal.symbol} in the window; it trips at {number(limit)}. Ends by itself {left}."
    return trial.denied(gate, Reason.CIRCUIT_BREAKER, detail, observed=observed, limit=limit, level=level)


def _duration(ms: Decimal) -> str:
    seconds = int(ms) // 1000
    return f"{seconds // 60} min {seconds % 60} s" if seconds >= 60 else f"{seconds} s"


# --- 5, 6: can this price and instrument be used -----------------------------------------------------------------------


def price(trial: Trial) -> Check | None:
    """Gate 5. The quote the decision was made on: present, readable, uncrossed, fresh, not long under way, and moving."""
    quote, gate = trial.proposal.quote, "Price age"
    if quote is None or quote.symbol != trial.proposal.symbol:
        return trial.denied(gate, Reason.NO_PRICE, f"No price of {trial.proposal.symbol} is known. Entries pass with one.")
    if not (is_positive(quote.bid) and is_positive(quote.ask) and is_positive(quote.last)):
        detail = f"Bid {exact(quote.bid)}, ask {exact(quote.ask)} and last {exact(quote.last)} are not all positive numbers."
        return trial.denied(gate, Reason.NO_PRICE, detail)
    if quote.bid > quote.ask:
        detail = f"The market is crossed: bid {exact(quote.bid)} is above ask {exact(quote.ask)}."
        return trial.denied(gate, Reason.CROSSED_PRICE, detail, observed=quote.bid, limit=quote.ask)
    return (
        trial.at_most(_STALE, age_ms(trial.at, quote.received_at))
        or _lag(trial)
        or trial.at_most(_FROZEN, age_s(trial.at, quote.changed_at))
    )


def _lag(trial: Trial) -> Check | None:
    """How long the price was under way, where the venue's clock can be compared with ours."""
    quote = trial.quote
    return trial.at_most(_LAG, age_ms(quote.received_at, quote.at)) if quote.is_synchronised else None


def _stale_sentence(trial: Trial, age: Decimal, limit: Decimal) -> str:
    return f"The price is {number(age)} ms old; the limit is {number(limit)} ms. Entries pass with a fresh one."


def _lag_sentence(trial: Trial, lag: Decimal, limit: Decimal) -> str:
    return f"The price was {number(lag)} ms under way; the limit is {number(limit)} ms. Entries pass when the feed keeps up."


def _frozen_sentence(trial: Trial, still: Decimal, limit: Decimal) -> str:
    texts = pair(still, limit)
    return f"The price last changed {texts[0]} s ago; the limit is {texts[1]} s. Entries pass when it moves."


_STALE: Final = Bound("Price age", Reason.STALE_PRICE, "price_age_ms_max", _stale_sentence)
_LAG: Final = Bound("Feed lag", Reason.STALE_PRICE, "feed_lag_ms_max", _lag_sentence)
_FROZEN: Final = Bound("Price frozen", Reason.FROZEN_PRICE, "price_frozen_s", _frozen_sentence)


def instrument(trial: Trial) -> Check | None:
    """Gate 6. On the bot's list, tradable, open. An exit only needs it tradable."""
    spec, symbol, gate = trial.book.instrument, trial.proposal.symbol, "Instrument"
    if spec is None or not spec.is_tradable:
        detail = f"{symbol} is not tradable. Mark it tradable, or close the position at the venue."
        return trial.denied(gate, Reason.INSTRUMENT_NOT_ALLOWED, detail, level=INSTRUMENT_LEVEL)
    if trial.is_entry:
        if symbol not in trial.book.symbols:
            listed = ", ".join(sorted(trial.book.symbols)[:_LISTED]) or "nothing"
            detail = f"Bot {trial.proposal.bot} may trade {listed}; {symbol} is not on its list."
            return trial.denied(gate, Reason.INSTRUMENT_NOT_ALLOWED, detail, level=f"bot {trial.proposal.bot}")
        if spec.calendar != hours.ALWAYS and not hours.is_open(trial.book.sessions, trial.at):
            return trial.denied(gate, Reason.MARKET_CLOSED, _closed_sentence(trial), level=INSTRUMENT_LEVEL)
    trial.passed(gate)
    return None


def _closed_sentence(trial: Trial) -> str:
    symbol, calendar = trial.proposal.symbol, trial.instrument.calendar
    opening = hours.opens_at(trial.book.sessions, trial.at)
    if opening is None:
        return f"The hours of {symbol} ({calendar}) are not known from here on. Entries pass once the settings name them."
    return f"The market of {symbol} ({calendar}) is closed. It opens at {opening:%a %Y-%m-%d %H:%M} UTC."


# --- the table -----------------------------------------------------------------------------------------------------------

#: In the order they run. The documents' table is rendered from this one.
GATES: Final = (
    Gate(1, "Account ready", (Reason.NOT_READY,), account_ready, _ALL),
    Gate(2, "Halts", (Reason.HALTED, Reason.REDUCE_ONLY), halts, _CLOSING),
    Gate(3, "Session loss of the symbol", (Reason.SESSION_LOSS,), session_loss),
    Gate(4, "Circuit breaker of the symbol", (Reason.CIRCUIT_BREAKER,), breaker),
    Gate(5, "Price usable", (Reason.NO_PRICE, Reason.STALE_PRICE, Reason.CROSSED_PRICE, Reason.FROZEN_PRICE), price),
    Gate(6, "Instrument allowed and open", (Reason.INSTRUMENT_NOT_ALLOWED, Reason.MARKET_CLOSED), instrument, _CLOSING),
    Gate(7, "Decision sane", (Reason.INVALID_DECISION, Reason.MISSING_STOP_LOSS), order_gates.decision, _ALL),
    Gate(8, "Entries in flight and adds", (Reason.ENTRY_IN_FLIGHT, Reason.PYRAMIDING), order_gates.in_flight),
    Gate(9, "Size", (Reason.SIZE_ZERO,), order_gates.size),
    Gate(10, "Minimum notional", (Reason.MIN_NOTIONAL,), order_gates.min_notional),
    Gate(
        11,
        "Order limits",
        (
            Reason.ORDER_QTY,
            Reason.ORDER_NOTIONAL,
            Reason.ORDER_EQUITY_PCT,
            Reason.PRICE_COLLAR,
            Reason.TRADE_RISK,
            Reason.REWARD_RISK,
        ),
        order_gates.order_limits,
    ),
    Gate(
        12,
        "Order kind and protection",
        (Reason.UNSUPPORTED_ORDER_KIND, Reason.UNSUPPORTED_PROTECTION),
        order_gates.kind_and_protection,
    ),
    Gate(
        13,
        "Duplicates and rates",
        (Reason.DUPLICATE_ORDER, Reason.ORDER_RATE, Reason.REPEATED_EXECUTION),
        repetition.repetition,
    ),
    Gate(
        14,
        "Account limits, checked and reserved",
        (
            Reason.DAILY_LOSS,
            Reason.DRAWDOWN,
            Reason.MAX_POSITIONS,
            Reason.GROSS_EXPOSURE,
            Reason.NET_EXPOSURE,
            Reason.LEVERAGE,
            Reason.CONCENTRATION,
            Reason.BOT_EXPOSURE,
            Reason.BUYING_POWER,
        ),
        portfolio.account,
    ),
)

_RUNS: Final[Mapping[OrderClass, tuple[tuple[Gate, Function], ...]]] = {
    order_class: tuple((g, g.function) for g in GATES if g.function is not None and order_class in g.classes)
    for order_class in OrderClass
}


def table() -> str:
    """GATES as the Markdown table of the documents."""
    rows = ["| # | gate | runs for | denies with |", "|---|---|---|---|"]
    for gate in GATES:
        name = gate.name if gate.function else f"{gate.name} (**missing**: LIVE is refused)"
        classes = ", ".join(c for c in OrderClass if c in gate.classes)
        rows.append(f"| {gate.number} | {name} | {classes} | {', '.join(f'`{code}`' for code in gate.codes)} |")
    return "\n".join(rows)
