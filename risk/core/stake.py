"""What the account has at stake: sums over its exposures, with and without one more order.

The exposure of a symbol is the worse of (position + working buys) and (position − working sells): positions at marks, working
entries at their reservations. The net exposure of the account is the worse of the same two sums over all symbols.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal

import msgspec

from risk.core.book import AccountBook, Exposure
from risk.core.units import ZERO, Side


class Stake(msgspec.Struct):
    """Sums over exposures, in the account's currency. `up` and `down` are the net value if all working buys, or sells, filled."""

    gross: Decimal = ZERO
    up: Decimal = ZERO
    down: Decimal = ZERO
    #: value of the positions alone
    open_value: Decimal = ZERO
    #: exposure ÷ leverage, symbol by symbol
    margin: Decimal = ZERO
    positions: int = 0
    #: gross exposure of one bot's symbols
    bot_gross: Decimal = ZERO
    oldest_mark_at: datetime | None = None
    #: a symbol with a position and no usable mark
    unmarked: str = ""

    def add(self, exposure: Exposure, bot: str) -> None:
        """Count one symbol."""
        qty, mark = exposure.qty, exposure.mark
        up, down = exposure.buys, -exposure.sells
        if qty:
            if mark is None or exposure.marked_at is None or not mark.is_finite() or mark <= 0:
                self.unmarked = exposure.symbol
                return
            if self.oldest_mark_at is None or exposure.marked_at < self.oldest_mark_at:
                self.oldest_mark_at = exposure.marked_at
            value = qty * mark * exposure.contract_value
            self.open_value += abs(value)
            up += value
            down += value
        elif not (up or down):
            return
        worst = max(up, -down)
        self.gross += worst
        self.up += up
        self.down += down
        self.margin += worst / exposure.leverage
        self.positions += 1
        if exposure.bot == bot:
            self.bot_gross += worst

    @property
    def net(self) -> Decimal:
        return max(self.up, -self.down)


def stake_of(book: AccountBook, *, bot: str = "") -> Stake:
    """What the account has at stake now; `bot_gross` counts the symbols of `bot`."""
    stake = Stake()
    for exposure in book.exposures.values():
        stake.add(exposure, bot)
    return stake


class Room:
    """The account without the order's symbol, that symbol without the order, and that symbol with it."""

    __slots__ = ("down", "gross", "others", "own", "up", "worst")

    def __init__(self, exposures: Mapping[str, Exposure], *, symbol: str, bot: str, side: Side, order: Decimal) -> None:
        """`order` is what the order would reserve."""
        self.others, self.own = Stake(), Stake()
        for exposure in exposures.values():
            (self.own if exposure.symbol == symbol else self.others).add(exposure, bot)
        self.up, self.down = self.own.up, self.own.down
        if side is Side.BUY:
            self.up += order
        else:
            self.down -= order
        #: exposure of the order's symbol if the order is taken
        self.worst = max(self.up, -self.down)
        self.gross = self.others.gross + self.worst
