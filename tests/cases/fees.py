"""fees.json: what an order costs by the published schedules of brokers, told to the simulated venue as its options.

A schedule is found by the words of its name and note. What those do not say is in SCHEDULES, from the broker's own price list.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

import pytest

from execution.brokers.simulated.codec import behaviour_of
from execution.brokers.simulated.ledger import Ledger
from execution.brokers.simulated.orders import BookOrder
from risk.core.units import AssetClass, Instrument, OrdType, Side, TimeInForce
from tests.cases.reading import Case, agree, number

D = Decimal
NOON: Final = datetime(2024, 1, 5, 15, tzinfo=UTC)
Options = dict[str, Any]


def check(case: Case) -> None:
    inputs, expected = case["inputs"], case["expected"]
    schedule = _schedule(case)
    if schedule is None:
        pytest.xfail(f"the case does not say what “{case['schedule']}” charges")
    qty, price = _traded(inputs)
    base, _, quote = str(inputs.get("symbol", "")).partition("/")
    rules, _ = behaviour_of({"fees": [schedule]})
    asset_class = AssetClass.EQUITY if case["asset"] == "equity" else AssetClass.CRYPTO_SPOT
    spec = Instrument("ONE", asset_class, D("0.00000001"), D("0.00000001"), D(0), quote or expected["ccy"], base or "BASE")
    ledger = Ledger(instruments={"ONE": spec}, currency=spec.currency, holdings={}, fees=rules.fees, fills_so_far=0)
    fill = ledger.book(_order(qty, Side(inputs.get("side", "BUY"))), qty, price, inputs.get("liquidity", "taker").upper(), NOON)
    agree(case, {"fee": fill.fee, "ccy": fill.fee_currency})


def _traded(inputs: Mapping[str, Any]) -> tuple[Decimal, Decimal]:
    """Quantity and price; of a bare notional one unit at that price."""
    if "notional" in inputs:
        return D(1), number(inputs["notional"])
    qty = next((inputs[name] for name in ("qty", "shares", "contracts", "quantity") if name in inputs), 1)
    price = next((inputs[name] for name in ("px", "premium", "price") if name in inputs), 1)
    return abs(number(qty)), number(price)


def _order(qty: Decimal, side: Side) -> BookOrder:
    return BookOrder(
        order_id="S1",
        cl_ord_id="a1",
        symbol="ONE",
        side=side,
        ord_type=OrdType.MARKET,
        time_in_force=TimeInForce.GTC,
        order_qty=qty,
        created_at=NOON,
        updated_at=NOON,
    )


# --- schedules -----------------------------------------------------------------------------------------------------------------


def _schedule(case: Case) -> Options | None:
    """The venue's option `fees` for the case's schedule."""
    words = f"{case['schedule']}; {case.get('note', '')}"
    known = next(
        (make(case["inputs"]) for name, make in SCHEDULES.items() if re.search(name, case["schedule"], re.IGNORECASE)), None
    )
    told = known if known is not None else _told(words, case["inputs"])
    if told is None:
        return None
    return told | _minimum(words, case["expected"]["ccy"]) | _received(words)


def _told(words: str, inputs: Mapping[str, Any]) -> Options | None:
    """What the words of a schedule and the inputs of a case say by themselves."""
    if tiers := re.findall(r"<= ?([\d.]+) ([\d.]+)", words):
        above = re.search(r"above ([\d.]+) ?%", words)
        rate = str(D(above[1]) * 100) if above else "0"
        rows = [{"up_to": up_to, "per_order": fee} for up_to, fee in tiers]
        return {"tier_by": "NOTIONAL", "tiers": [*rows, {"maker_bps": rate, "taker_bps": rate}]}
    if "rate" in inputs:
        return _rate(number(inputs["rate"]) * 10000)
    if each := next((inputs[name] for name in ("per_unit", "per_share", "per_contract") if name in inputs), None):
        return {"per_unit": str(each)}
    if bps := re.search(r"([\d.]+) ?bps maker ?/ ?([\d.]+) ?bps taker", words):
        return {"maker_bps": bps[1], "taker_bps": bps[2]}
    if each := re.search(r"\$?([\d.]+) (?:USD )?per (?:contract|share|unit)", words):
        return {"per_unit": each[1]}
    if percent := re.search(r"([\d.]+) ?% of (?:trade value|notional)", words):
        return _rate(D(percent[1]) * 100)
    return {} if re.search(r"zero|commission.free|no commission", words, re.IGNORECASE) else None


def _rate(bps: Decimal) -> Options:
    return {"maker_bps": str(bps), "taker_bps": str(bps)}


def _minimum(words: str, currency: str) -> Options:
    """“minimum 1 USD / 40 JPY” in the currency of the case."""
    told = re.search(r"min(?:imum)?\.? ((?:[\d.]+ [A-Z]{3}(?: / )?)+)", words)
    amounts = {ccy: amount for amount, ccy in re.findall(r"([\d.]+) ([A-Z]{3})", told[1])} if told else {}
    return {"minimum": amounts[currency]} if currency in amounts else {}


def _received(words: str) -> Options:
    return {"taken_from": "RECEIVED"} if "received asset" in words else {}


def _premium(*tiers: tuple[str, str], beyond: str) -> Options:
    """So much per contract for premiums up to and including these."""
    rows = [{"up_to": up_to, "per_unit": fee} for up_to, fee in tiers]
    return {"tier_by": "PRICE", "tiers": [*rows, {"per_unit": beyond}]}


def _contracts(*tiers: tuple[str, str], beyond: str) -> Options:
    return {**_premium(*tiers, beyond=beyond), "tier_by": "QTY"}


#: Webull's fees per contract of an index option: its own 0.50 and the exchange's
_WEBULL: Final[Mapping[str, Options]] = {
    "SPX": _premium(("0.99", "1.07"), beyond="1.16"),
    "SPXW": _premium(("0.99", "1.00"), beyond="1.09"),
    "VIX": _premium(("0.10", "0.60"), ("0.99", "0.75"), ("1.99", "0.90"), beyond="0.95"),
    "VIXW": _premium(("0.10", "0.60"), ("0.99", "0.75"), ("1.99", "0.90"), beyond="0.95"),
    "XSP": _contracts(("9", "0.50"), beyond="0.57"),
    "DJX": {"per_unit": "0.68"},
    "NDX": _premium(("24.99", "1.00"), beyond="1.25"),
    "NDXP": _premium(("24.99", "1.00"), beyond="1.25"),
}

#: what a schedule charges where the case only names it
SCHEDULES: Final[Mapping[str, Callable[[Mapping[str, Any]], Options | None]]] = {
    r"webull.*index option": lambda inputs: _WEBULL.get(inputs["root"]),
    r"webull.*crypto": lambda _: _rate(D(60)),
    r"(ibkr|interactive).*(equit|stock|share)": lambda _: {"per_unit": "0.005", "minimum": "1", "maximum_pct": "1"},
    r"(ibkr|interactive).*crypto": lambda _: _rate(D(18)) | {"minimum": "1.75", "maximum_pct": "1"},
    r"(ibkr|interactive).*(forex|fx|currenc)": lambda _: _rate(D("0.2")) | {"minimum": "2"},
    r"(ibkr|interactive).*option": lambda _: _premium(("0.04", "0.25"), ("0.09", "0.50"), beyond="0.65") | {"minimum": "1"},
    r"(alpaca|public|webull|etoro).*(equit|stock)": lambda _: {},
    r"etoro.*crypto": lambda _: _rate(D(100)),
    r"public.*index option": lambda _: {"per_unit": "0.50"},
}
