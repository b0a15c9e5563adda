"""sizing.json: how much. A case says by its inputs which hint it is about: a risk with a stop, a share of equity, a notional, a margin."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from risk.core.settings import RiskSettings
from risk.core.sizing import fixed_risk_qty, order_qty
from risk.core.units import NO_LIMIT, ONE, ZERO, AssetClass, Instrument, use_decimal_context
from risk.core.verdict import HintKind, SizeHint
from tests.cases.reading import Case, agree, number

D = Decimal
#: the name of an input → the hint it asks for; the first that a case has counts
HINTS: Final = {
    "quantity": HintKind.QUANTITY,
    "notional": HintKind.NOTIONAL,
    "equity_pct": HintKind.EQUITY_PCT,
    "margin_fraction": HintKind.MARGIN_FRACTION,
}


def check(case: Case) -> None:
    use_decimal_context()
    inputs = case["inputs"]
    is_risk = "risk" in inputs and ("stop_loss" in inputs or "stop" in inputs)
    agree(case, {"qty": _by_risk(inputs) if is_risk else _by_hint(inputs)})


def _by_risk(inputs: Mapping[str, Any]) -> Decimal:
    stop = inputs.get("stop_loss", inputs.get("stop"))
    return fixed_risk_qty(
        equity=_amount(inputs["equity"]),
        risk=number(inputs["risk"]),
        entry=number(inputs["entry"]),
        stop_loss=None if stop is None else number(stop),
        instrument=_instrument(inputs),
        commission_rate=_or(inputs, "commission_rate", ZERO),
        exchange_rate=_or(inputs, "exchange_rate", ONE),
        hard_limit=_or(inputs, "hard_limit", NO_LIMIT),
        unit_batch_size=_or(inputs, "unit_batch_size", ZERO),
        units=int(_or(inputs, "units", ONE)),
    )


def _by_hint(inputs: Mapping[str, Any]) -> Decimal:
    hint = next((SizeHint(kind, number(inputs[name])) for name, kind in HINTS.items() if inputs.get(name) is not None), SizeHint())
    return order_qty(
        hint,
        price=_or(inputs, "price", _or(inputs, "entry", ZERO)),
        stop_loss=None,
        equity=_amount(inputs.get("equity") or 0),
        instrument=_instrument(inputs),
        settings=RiskSettings(
            margin_per_trade=_or(inputs, "margin_per_trade", _or(inputs, "margin", ZERO)),
            leverage=_or(inputs, "leverage", ONE),
            qty_max=_or(inputs, "qty_max", _or(inputs, "max_contracts", _or(inputs, "hard_limit", NO_LIMIT))),
        ),
    )


def _instrument(inputs: Mapping[str, Any]) -> Instrument:
    given = inputs.get("instrument") or {}
    step = given.get("size_increment") or inputs.get("lot_size")
    return Instrument(
        symbol=str(given.get("id", "X")),
        asset_class=AssetClass.FX,
        tick_size=D("0.00001"),
        lot_size=number(step) if step else ONE.scaleb(-int(given.get("size_precision", 0))),
        min_notional=ZERO,
        currency="USD",
        contract_value=number(given.get("multiplier") or inputs.get("contract_value") or 1),
        order_qty_max=NO_LIMIT if given.get("max_qty") is None else number(given["max_qty"]),
    )


def _or(inputs: Mapping[str, Any], name: str, default: Decimal) -> Decimal:
    """The number of an input, and what its absence means."""
    return default if inputs.get(name) is None else number(inputs[name])


def _amount(value: object) -> Decimal:
    """Money, with or without its currency."""
    return number(str(value).split()[0])
