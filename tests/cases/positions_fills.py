"""positions_fills.json: fills on one net position, booked by average cost. What a source counts its own way is mapped here.

The product's position keeps what it needs to trade: quantity, cost, result, fees. What a source derives from those (the highest
quantity of a cycle, how many fills it had) is read off the position after each fill; what it estimates is not ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any, Final

import pytest

from execution.core import pnl
from execution.core.lots import Grouping, LotFill, Lots, Matching
from execution.core.pnl import Booked
from execution.core.positions import PositionState
from risk.core.units import ONE, ZERO, AssetClass, Instrument, Side
from tests.cases.reading import Case, agree, number

D = Decimal
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
CLASSES: Final = {
    "CurrencyPair": AssetClass.CRYPTO_SPOT,
    "CryptoPerpetual": AssetClass.CRYPTO_PERP,
    "PerpetualContract": AssetClass.CRYPTO_PERP,
    "FuturesContract": AssetClass.FUTURES,
    "CryptoFuture": AssetClass.FUTURES,
    "Equity": AssetClass.EQUITY,
}
#: places of money; every other currency is a coin with eight
PLACES: Final = {"USD": 2, "EUR": 2, "GBP": 2, "AUD": 2, "JPY": 0}
#: what a source writes for the adjustments it made itself for a fee in kind: the fill before it says as much
_FEE_IN_KIND: Final = ("1", "COMMISSION")


def check(case: Case) -> None:
    if any(event.get("expect_rejected") for event in case["events"]):
        pytest.xfail("a position books what its orders let through: a repeated trade is caught there, by its exec_id")
    book = _Book(case)
    unknown: list[str] = []
    rows = case.get("checks", ())
    for n, event in enumerate(case["events"], start=1):
        book.take(event)
        for row in (row for row in rows if row["after_event"] == n):
            unknown += book.agrees(case, row)
    if "expected_open_position" in case:
        unknown += book.agrees_cycle(case)
    if "end_profit" in case:
        agree(case, {"end_profit": book.net_by_rate}, {"end_profit": case["end_profit"]}, at="end")
    if unknown:
        pytest.xfail(f"the product has no notion of {', '.join(sorted(set(unknown)))}; the rest agrees")


def instrument_of(given: Mapping[str, Any]) -> Instrument:
    currency, base = str(given.get("quote") or "QUOTE"), str(given.get("base") or "")
    is_inverse = bool(given.get("is_inverse"))
    return Instrument(
        symbol="ONE",
        asset_class=CLASSES.get(str(given.get("class")), AssetClass.CRYPTO_SPOT),
        tick_size=D(1).scaleb(-int(given.get("price_precision", 8))),
        lot_size=D(1).scaleb(-int(given.get("size_precision", 8))),
        min_notional=ZERO,
        currency=base if is_inverse else currency,
        base_currency=base,
        contract_value=number(given.get("multiplier", 1)),
        is_inverse=is_inverse,
    )


class _Book:
    """The product's position, fed with the events, and what can be read off it."""

    def __init__(self, case: Case) -> None:
        self.spec = instrument_of(case.get("instrument", {}))
        self.position = PositionState(
            symbol="ONE", bot="one", contract_value=self.spec.contract_value, is_inverse=self.spec.is_inverse
        )
        self.lots = Lots(Matching.FIFO, Grouping.FLAT_TO_FLAT, contract_value=self.spec.contract_value)
        self.rate = number(case.get("fee_rate", 0))
        self.fees: dict[str, Decimal] = {}
        #: fees of this cycle, in the currency the result is in
        self.cycle_fees = self.realised_before = self.peak = ZERO
        self.fills_in_cycle = 0
        self.at = EPOCH
        self.exit_net: Decimal | None = None
        #: the result so far by all that was put in, as of the last exit
        self.ratio: Decimal | None = None
        self.net_by_rate = self.invested = ZERO
        self.is_reduced = False

    # --- events ------------------------------------------------------------------------------------------------------------

    def take(self, event: Mapping[str, Any]) -> None:
        kind = str(event["type"]).upper()
        if kind == "FILL":
            self._fill(event)
        elif kind not in _FEE_IN_KIND and str(event.get("pnl")) not in ("", "None"):
            self.position.realised += number(str(event["pnl"]).split()[0])

    def _fill(self, event: Mapping[str, Any]) -> None:
        side, qty, px = Side(event["side"]), number(event["qty"]), number(event["px"])
        fee, currency = number(event.get("fee", {}).get("amt", 0)), str(event.get("fee", {}).get("ccy", ""))
        self.at = EPOCH + timedelta(microseconds=int(event.get("ts_event", 0)) // 1000)
        fee_qty = pnl.fee_in_kind(self.spec, fee, currency)
        held, avg = self.position.qty, self.position.avg_px
        booked = pnl.apply_fill(self.position, side=side, qty=qty, px=px, at=self.at, fee_qty=fee_qty)
        fee_of_cycle = self._cycle(held, booked, qty, fee)
        self.fees[currency] = self.fees.get(currency, ZERO) + fee_of_cycle
        self._net(booked, px, qty, avg)
        self.lots.book(LotFill(cl_ord_id="", side=side, last_qty=qty, last_px=px, fee=fee, at=self.at))

    def _cycle(self, held: Decimal, booked: Booked, qty: Decimal, fee: Decimal) -> Decimal:
        """A position that was flat, or turned, begins a new cycle; of a fill that turns it the fee is split by quantity.

        Returns the part of the fee that belongs to the cycle.
        """
        begins = not held or bool(booked.closed_qty and booked.opened_qty)
        if begins:
            self.realised_before = self.position.realised
            self.cycle_fees, self.peak, self.fills_in_cycle, self.is_reduced, self.fees = ZERO, ZERO, 0, False, {}
            fee = fee * booked.opened_qty / qty if held else fee
        self.is_reduced = self.is_reduced or bool(booked.closed_qty and not begins)
        self.cycle_fees += fee
        self.fills_in_cycle += 1
        self.peak = max(self.peak, abs(self.position.qty))
        return fee

    def _net(self, booked: Booked, px: Decimal, qty: Decimal, avg: Decimal | None) -> None:
        """The result where a rate is charged on both values of what was closed."""
        if booked.closed_qty and avg is not None:
            self.exit_net = booked.realised - self.rate * booked.closed_qty * (px + avg)
            self.net_by_rate += self.exit_net
            self.ratio = self.net_by_rate / self.invested
        else:
            self.invested += qty * px * (ONE + self.rate)

    # --- what is read off --------------------------------------------------------------------------------------------------

    @property
    def realised(self) -> Decimal:
        """Of this cycle, with the fees that were paid in money."""
        in_money = ZERO if self.spec.base_currency in self.fees and not self.spec.is_inverse else self.cycle_fees
        return self.position.realised - self.realised_before - in_money

    def agrees(self, case: Case, row: Mapping[str, Any]) -> list[str]:
        if "field" not in row:
            return self._agrees_rated(case, row)
        found = self._found(row["field"], row.get("args", {}))
        if found is ...:
            return [row["field"]]
        expected = row["expected"]
        if isinstance(expected, Mapping) and "money" in expected:
            found, expected = _rounded(found, expected["ccy"]), expected["money"]
        agree({**case, "tol": row.get("tol", case.get("tol"))}, found, expected, at=f"event {row['after_event']}.{row['field']}")
        return []

    def _found(self, field: str, args: Mapping[str, Any]) -> Any:
        position, closed = self.position, self.lots.closed
        is_flat, last = not position.qty, closed[-1] if closed else None
        unrealised = self._at(args["mark"]).unrealised if "mark" in args else ZERO
        known: dict[str, Any] = {
            "abs_qty": abs(position.qty),
            "signed_qty": position.qty,
            "peak_abs_qty": self.peak,
            "side": "FLAT" if is_flat else "LONG" if position.qty > 0 else "SHORT",
            "closing_order_side": ... if is_flat else position.closing_side.value,
            "avg_px_open": last.entry_px if is_flat and last else position.avg_px,
            "avg_px_close": last.exit_px if is_flat and last else ... if self.is_reduced else ZERO,
            "realized_return": _return(last) if is_flat and last else ... if self.is_reduced else ZERO,
            "fill_count_in_current_cycle": self.fills_in_cycle,
            "realized_pnl": self.realised,
            "unrealized_pnl": unrealised,
            "total_pnl": self.realised + unrealised,
            "commissions": [{"money": _rounded(amount, ccy), "ccy": ccy} for ccy, amount in self.fees.items()],
            "ts_opened_ns": (position.opened_at - EPOCH) // timedelta(microseconds=1) * 1000 if position.opened_at else ...,
            "duration_ns": (self.at - position.opened_at) // timedelta(microseconds=1) * 1000
            if is_flat and position.opened_at
            else 0,
        }
        if field == "notional_value":
            return self.spec.notional(position.qty, number(args["mark"]))
        if field == "calculate_pnl":
            return self._result(number(args["avg_px_open"]), number(args["avg_px_close"]), number(args["qty"]))
        return known.get(field, ...)

    def _at(self, mark: object) -> PositionState:
        self.position.mark = number(mark)
        return self.position

    def _result(self, entry: Decimal, exit_: Decimal, qty: Decimal) -> Decimal:
        """What a position on this side makes from one price to another."""
        side = Side.BUY if self.position.qty >= 0 else Side.SELL
        fresh = PositionState(symbol="ONE", bot="one", contract_value=self.spec.contract_value, is_inverse=self.spec.is_inverse)
        pnl.apply_fill(fresh, side=side, qty=qty, px=entry, at=EPOCH)
        return pnl.apply_fill(fresh, side=side.opposite, qty=qty, px=exit_, at=EPOCH).realised

    def agrees_cycle(self, case: Case) -> list[str]:
        """An open position and the last closed one, with all their fees in the result."""
        unknown: list[str] = []
        if (expected := case["expected_open_position"]) is not None:
            ours = {
                "side": Side.BUY.value if self.position.qty > 0 else Side.SELL.value,
                "avg_px_open": self.position.avg_px,
                "abs_qty": abs(self.position.qty),
                "peak_abs_qty": self.peak,
                "realized_pnl": self.realised,
            }
            unknown += [name for name in expected if name not in ours]
            agree(case, ours, {name: value for name, value in expected.items() if name in ours}, at="expected_open_position")
        else:
            assert not self.position.qty, case["id"]
        if (expected := case.get("expected_closed_position")) is not None:
            trade = self.lots.closed[-1]
            turned = ZERO if not self.position.qty else self.cycle_fees
            ours = {
                "side": trade.side.value,
                "avg_px_open": trade.entry_px,
                "realized_pnl": trade.realised - trade.fees + turned,
            }
            unknown += [name for name in expected if name not in ours]
            agree(case, ours, {name: value for name, value in expected.items() if name in ours}, at="expected_closed_position")
        return unknown

    def _agrees_rated(self, case: Case, row: Mapping[str, Any]) -> list[str]:
        """Rows that charge a rate on what was closed; a flat position's last quantity and average are the source's memory."""
        ours = {
            "abs_qty": abs(self.position.qty),
            "avg_px_open": self.position.avg_px,
            "open_cost_at_avg": abs(self.position.cost),
            "realized_pnl_cum": self.net_by_rate,
            "pnl_of_this_exit": self.exit_net,
            "pnl_ratio_of_total_invested": self.ratio,
        }
        scored = row.get("score_only", list(ours))
        agree(case, ours, {name: row[name] for name in scored if name in row}, at=f"event {row['after_event']}")
        return []


def _return(trade: Any) -> Decimal:
    result: Decimal = (trade.exit_px - trade.entry_px) * trade.side.sign / trade.entry_px
    return result


def _rounded(amount: Any, currency: str) -> Decimal:
    """Money in whole units of its currency."""
    return number(amount).quantize(D(1).scaleb(-PLACES.get(currency, 8)), rounding=ROUND_HALF_EVEN)
