"""What each venue can do and what it can be told, by the name an Account gives its broker, without loading an adapter.

The options of a venue are one JSON object, `Account.broker_options`. OPTIONS says what each of them may be; `venue_options` reads
them, and says in one plain sentence what is wrong with one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

import msgspec

from execution.core.messages import BooksBy
from execution.core.ports import number_within
from risk.core.gates import live_lack
from risk.core.units import AssetClass
from risk.core.verdict import Capability

VENUES: Final[Mapping[str, frozenset[Capability]]] = {
    "simulated": frozenset(
        {
            Capability.STOP_ORDERS,
            Capability.REPLACE,
            Capability.POST_ONLY,
            Capability.IOC,
            Capability.FOK,
            Capability.REDUCE_ONLY,
            Capability.QUERY_BY_CLIENT_ID,
            Capability.ECHOES_CLIENT_ID,
            Capability.ORDER_TRACKING,
            Capability.FILL_STREAM,
            Capability.MASS_CANCEL,
            Capability.FRACTIONAL,
        }
    ),
}

#: what a venue's fills are counted by; its README names it too
BOOKS_BY: Final[Mapping[str, BooksBy]] = {"simulated": BooksBy.TRADE_ID}

#: venues that only play
PAPER_ONLY: Final = frozenset({"simulated"})

#: what a venue may be told to lack, to stand for one that does
REMOVABLE: Final = (
    Capability.STOP_ORDERS,
    Capability.REPLACE,
    Capability.POST_ONLY,
    Capability.IOC,
    Capability.FOK,
    Capability.REDUCE_ONLY,
    Capability.QUERY_BY_CLIENT_ID,
    Capability.MASS_CANCEL,
)


class Number(msgspec.Struct, frozen=True):
    """A number within bounds, as decimal strings. Whole, unless one of the three has a point. Without a default it may be left out."""

    default: str | None
    lowest: str
    highest: str


class Choice(msgspec.Struct, frozen=True):
    """One word of several."""

    words: tuple[str, ...]
    default: str


class Words(msgspec.Struct, frozen=True):
    """A list of words, each of `words`; of anything when that is empty."""

    words: tuple[str, ...] = ()


class Text(msgspec.Struct, frozen=True):
    """A word, which must be given."""


class Moment(msgspec.Struct, frozen=True):
    """A time with its offset from UTC, which must be given."""


class Rows(msgspec.Struct, frozen=True):
    """A list of objects with these fields."""

    fields: dict[str, Field]


Field = Number | Choice | Words | Text | Moment | Rows

_UNITS: Final = Number("1", "1", "10000")
_PERCENT: Final = Number("0.0", "0", "100")
_BPS: Final = Number("0.0", "-100", "10000")
_MONEY: Final = Number("0.0", "0", "1000000")
_CLASSES: Final = tuple(AssetClass.__members__)

#: a fee schedule: rates, what one unit and one order cost, and tiers instead of those; `for` names symbols and asset classes
_FEES: Final[dict[str, Field]] = {
    "for": Words(),
    "maker_bps": _BPS,
    "taker_bps": _BPS,
    "per_unit": _MONEY,
    "per_order": _MONEY,
    "minimum": _MONEY,
    "maximum_pct": Number(None, "0.0", "100"),
    "tier_by": Choice(("NOTIONAL", "PRICE", "QTY"), "NOTIONAL"),
    "tiers": Rows(
        {
            "up_to": Number(None, "0.0", "1000000000000"),
            "maker_bps": _BPS,
            "taker_bps": _BPS,
            "per_unit": _MONEY,
            "per_order": _MONEY,
        }
    ),
    "taken_from": Choice(("QUOTE", "RECEIVED"), "QUOTE"),
    "regulatory": Choice(("NONE", "US_EQUITY"), "NONE"),
}

#: a slippage model with the numbers of all of them
_SLIPPAGE: Final[dict[str, Field]] = {
    "for": Words(),
    "model": Choice(("BPS", "FIXED", "SPREAD", "VOLUME_SHARE", "VOLUME_IMPACT", "VOLATILITY"), "BPS"),
    "bps": Number("0.0", "0", "10000"),
    "exit_bps": Number(None, "0.0", "10000"),
    "amount": _MONEY,
    "fraction": Number("0.5", "0", "100"),
    "volume_limit": Number("0.025", "0", "1"),
    "price_impact": Number("0.1", "0", "100"),
    "coefficient": Number("0.1", "0", "100"),
    "exponent": Number("0.5", "0.1", "2"),
    "volume": Number("1000000.0", "0", "1000000000000"),
    "factor": Number("1.0", "0", "100"),
}

OPTIONS: Final[Mapping[str, Mapping[str, Field]]] = {
    "simulated": {
        "seed": Number("1", "0", "9223372036854775807"),
        "latency_ms": Number("2", "0", "60000"),
        "fee_maker_bps": Number("2.0", "-100", "1000"),
        "fee_taker_bps": Number("5.0", "-100", "1000"),
        "fees": Rows(_FEES),
        "slippage_bps": Number("0.0", "0", "1000"),
        "slippage": Rows(_SLIPPAGE),
        "funding_bps": Number("0.0", "-100", "100"),
        "funding_interval_h": Number("8", "1", "24"),
        "splits": Rows({"symbol": Text(), "new": _UNITS, "old": _UNITS, "at": Moment()}),
        "leverage_max": Number("20", "1", "1000"),
        "self_trades": Choice(("NONE", "EXPIRE_MAKER", "EXPIRE_TAKER", "EXPIRE_BOTH", "DECREMENT"), "NONE"),
        "without": Words(tuple(REMOVABLE)),
        "partial_pct": _PERCENT,
        "reject_pct": _PERCENT,
        "replace_reject_pct": _PERCENT,
        "lost_answer_pct": _PERCENT,
        "duplicate_pct": _PERCENT,
        "late_report_pct": _PERCENT,
        "late_report_ms": Number("250", "0", "60000"),
        "bust_pct": _PERCENT,
        "correct_pct": _PERCENT,
        "bust_after_ms": Number("1000", "0", "600000"),
        "query_lag_ms": Number("0", "0", "5000"),
    },
}


def venue_options(broker: str, options: Mapping[str, object]) -> dict[str, Any]:
    """Every option of the venue, given or default: Decimals, words, tuples of words, tuples of objects.

    ValueError with one plain sentence for a wrong name or value.
    """
    known = OPTIONS[broker]
    if not isinstance(options, Mapping):
        raise ValueError(f"The options of a venue are one object, was “{options}”.")
    for name in options:
        if name not in known:
            raise ValueError(f"The venue “{broker}” has no option “{name}”; it has {', '.join(known)}.")
    values = _object(known, options, "")
    for n, schedule in enumerate(values.get("fees", ()), start=1):
        _check_tiers(schedule["tiers"], f"fees {n}: ")
    for n, split in enumerate(values.get("splits", ()), start=1):
        if split["new"] == split["old"]:
            raise ValueError(f"splits {n}: new and old are both {split['new']}, which splits nothing.")
    return values


def _check_tiers(tiers: Sequence[Mapping[str, Any]], place: str) -> None:
    ends = [tier["up_to"] for tier in tiers]
    if ends and ends[-1] is not None:
        raise ValueError(f"{place}the last of tiers has no up_to, so that every order has a tier.")
    bounds = ends[:-1]
    if None in bounds or bounds != sorted(bounds):
        raise ValueError(f"{place}tiers must be in ascending order of up_to, and only the last has none.")


def options_told(broker: str) -> str:
    """Every option with its default and what it may be, for people."""
    return " · ".join(f"{name}: {_told(field)}" for name, field in OPTIONS[broker].items())


def _told(field: Field) -> str:
    match field:
        case Number():
            return f"{field.default} ({field.lowest} to {field.highest})"
        case Choice():
            return f"{field.default} ({', '.join(field.words)})"
        case Words():
            return f"a list of {', '.join(field.words) or 'words'}"
        case Text():
            return "a word"
        case Moment():
            return "a time with its offset from UTC"
        case Rows():
            return f"a list of objects with {', '.join(field.fields)}"


def capabilities_of(broker: str, options: Mapping[str, object]) -> frozenset[Capability]:
    """What the venue can do for an account with these options. ValueError as `venue_options`."""
    return VENUES[broker].difference(Capability(word) for word in venue_options(broker, options).get("without", ()))


def live_refusal(broker: str, options: Mapping[str, object], *, is_allowed: bool) -> str:
    """Why no account at this venue may be LIVE, in one sentence; empty when one may. `is_allowed` is the operator's own word."""
    if lack := live_lack("LIVE", capabilities_of(broker, options)):
        return f"LIVE is refused: {lack}"
    if not is_allowed:
        return "LIVE is refused: start the desk with TRADINGDESK_ALLOW_LIVE=1 when you mean it."
    return f"LIVE is refused: at the venue “{broker}” no money is real." if broker in PAPER_ONLY else ""


def is_eventually_consistent(broker: str, options: Mapping[str, object]) -> bool:
    """Whether the venue's answers lag its stream for an account with these options. ValueError as `venue_options`."""
    return bool(venue_options(broker, options).get("query_lag_ms"))


def _object(fields: Mapping[str, Field], given: Mapping[str, object], place: str) -> dict[str, Any]:
    return {name: _value(field, given.get(name), place + name) for name, field in fields.items()}


def _value(field: Field, given: object, place: str) -> Any:
    match field:
        case Number():
            return _number(field, given, place)
        case Choice():
            return field.default if given is None else _word(field.words, given, place)
        case Words():
            return tuple(_word(field.words, word, place) for word in _list(given, place))
        case Text():
            return _word((), given, place)
        case Moment():
            return _moment(given, place)
        case Rows():
            return tuple(_row(field, row, f"{place} {n}") for n, row in enumerate(_list(given, place), start=1))


def _number(field: Number, given: object, place: str) -> Decimal | None:
    if given is None and field.default is None:
        return None
    if isinstance(given, bool):
        raise ValueError(f"{place} must be a number, was “{given}”.")
    return number_within(place, field.default if given is None else given, (field.default or "", field.lowest, field.highest))


def _moment(given: object, place: str) -> datetime:
    try:
        at = datetime.fromisoformat(given) if isinstance(given, str) else None
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise ValueError(f"{place} must be a time with its offset from UTC, such as 2026-11-21T14:30:00Z, was “{given}”.")
    return at.astimezone(UTC)


def _word(words: Sequence[str], given: object, place: str) -> str:
    if not isinstance(given, str) or (words and given not in words):
        raise ValueError(f"{place} must be {_alternatives(words)}, was “{given}”.")
    return given


def _alternatives(words: Sequence[str]) -> str:
    return f"one of {', '.join(words)}" if words else "a word"


def _list(given: object, place: str) -> Sequence[object]:
    if given is None:
        return ()
    if not isinstance(given, list | tuple):
        raise ValueError(f"{place} must be a list, was “{given}”.")
    return given


def _row(rows: Rows, given: object, place: str) -> dict[str, Any]:
    if not isinstance(given, Mapping):
        raise ValueError(f"{place} must be an object, was “{given}”.")
    for name in given:
        if name not in rows.fields:
            raise ValueError(f"{place} has no “{name}”; it has {', '.join(rows.fields)}.")
    return _object(rows.fields, given, f"{place}: ")
