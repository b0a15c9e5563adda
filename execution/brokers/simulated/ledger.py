"""What the account holds at the venue, and how a fill moves it: cash by price × quantity and the fee, positions at average cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Final

import msgspec

from execution.brokers.simulated.fees import Schedule, fill_fee, regulatory_fee, schedule_of
from execution.brokers.simulated.orders import BookOrder, Holding
from execution.core.messages import ExecType, VenueFill
from execution.core.positions import split_qty
from risk.core.units import ZERO, AssetClass, Instrument, Quote, Side

#: where a buy brings the asset itself; on margin it brings a position, and fees are money
_DELIVERED: Final = frozenset({AssetClass.CRYPTO_SPOT, AssetClass.EQUITY})


class Ledger:
    """The holdings of one account: money by currency, positions by symbol."""

    def __init__(
        self,
        *,
        instruments: Mapping[str, Instrument],
        currency: str,
        holdings: Mapping[str, Holding],
        fees: Sequence[Schedule],
        fills_so_far: int,
    ) -> None:
        self._instruments = instruments
        self._currency = currency
        self._fees = fees
        self._schedules: dict[str, Schedule] = {}
        self._fills_so_far = fills_so_far
        self.holdings = dict(holdings)

    def reducible(self, symbol: str, side: Side) -> Decimal:
        """How much an order of this side can take off the position."""
        holding = self.holdings.get(symbol)
        return max(ZERO, -side.sign * holding.qty) if holding else ZERO

    def equity_and_gross(self, quotes: Mapping[str, Quote | None]) -> tuple[Decimal, Decimal]:
        """What the account is worth, and the value of its positions without their signs; at cost where nobody quotes."""
        equity, gross = self.holdings.get(self._currency, Holding()).qty, ZERO
        for symbol, holding in self.holdings.items():
            if not holding.qty or (instrument := self._instruments.get(symbol)) is None:
                continue
            quote = quotes.get(symbol)
            value = (holding.qty * instrument.worth(quote.mid) if quote else holding.cost) * instrument.contract_value
            equity, gross = equity + value, gross + abs(value)
        return equity, gross

    def receive(self, currency: str, amount: Decimal) -> None:
        """Money that moved without a trade."""
        self.holdings.setdefault(currency, Holding()).qty += amount

    def split(self, symbol: str, new_units: Decimal, old_units: Decimal) -> None:
        """Count a position in other units; what it cost is what it cost."""
        holding = self.holdings.setdefault(symbol, Holding())
        holding.qty = split_qty(holding.qty, new_units, old_units)

    def book(self, order: BookOrder, qty: Decimal, price: Decimal, liquidity: str, at: datetime) -> VenueFill:
        """Book a fill of the order: what it bought and paid, and its fee."""
        fee, fee_currency = self._charge(order, qty, price, liquidity, at)
        self._fills_so_far += 1
        fill = VenueFill(
            cl_ord_id=order.name,
            order_id=order.order_id,
            exec_id=f"X{self._fills_so_far:09d}",
            symbol=order.symbol,
            side=order.side,
            last_qty=qty,
            last_px=price,
            fee=fee,
            fee_currency=fee_currency,
            liquidity=liquidity,
            transact_at=at,
        )
        self._move(fill, 1)
        return fill

    def bust(self, order: BookOrder, fill: VenueFill) -> VenueFill:
        """Take a fill back with its fee; returns the execution that says so."""
        self._move(fill, -1)
        notional = self._instruments[fill.symbol].notional(fill.last_qty, fill.last_px)
        order.traded = order.traded.plus(-fill.last_qty, -notional, fill.liquidity)
        return self._again(fill, ExecType.TRADE_CANCEL, fill.last_px)

    def correct(self, fill: VenueFill, price: Decimal) -> VenueFill:
        """Say that a fill was at another price, for the same fee; returns the execution that takes its place."""
        corrected = self._again(fill, ExecType.TRADE_CORRECT, price)
        self._move(fill, -1)
        self._move(corrected, 1)
        return corrected

    def _again(self, fill: VenueFill, exec_type: ExecType, price: Decimal) -> VenueFill:
        self._fills_so_far += 1
        exec_id = f"X{self._fills_so_far:09d}"
        return msgspec.structs.replace(fill, exec_id=exec_id, exec_type=exec_type, exec_ref_id=fill.exec_id, last_px=price)

    def _move(self, fill: VenueFill, sign: int) -> None:
        """Move cash and position by the fill, or back."""
        instrument = self._instruments[fill.symbol]
        cash = self.holdings.setdefault(instrument.currency, Holding())
        position = self.holdings.setdefault(fill.symbol, Holding())
        signed = sign * fill.side.sign * fill.last_qty
        cash.qty -= signed * instrument.worth(fill.last_px) * instrument.contract_value
        position.move(signed, instrument.worth(fill.last_px))
        if fill.fee_currency == instrument.currency:
            cash.qty -= sign * fill.fee
        else:
            position.move(-sign * fill.fee, fill.last_px)

    def _charge(self, order: BookOrder, qty: Decimal, price: Decimal, liquidity: str, at: datetime) -> tuple[Decimal, str]:
        """What the fill costs and in what: money, or a part of what a buy brings."""
        instrument = self._instruments[order.symbol]
        if (schedule := self._schedules.get(order.symbol)) is None:
            schedule = self._schedules[order.symbol] = schedule_of(self._fees, instrument)
        before = order.traded
        order.traded = before.plus(qty, instrument.notional(qty, price), liquidity)
        fee = fill_fee(schedule, instrument, before=before, after=order.traded)
        fee += regulatory_fee(schedule, instrument, side=order.side, qty=qty, price=price, day=at.date())
        is_delivered = instrument.asset_class in _DELIVERED and instrument.base_currency
        if schedule.is_taken_from_received and order.side is Side.BUY and is_delivered:
            return fee / (price * instrument.contract_value), instrument.base_currency
        return fee, instrument.currency
