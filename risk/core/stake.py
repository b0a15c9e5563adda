"""What the account has at stake: sums over its exposures, with and without one more order.

The exposure of a symbol is the worse of (position + working buys) and (position − working sells): positions at marks, working
entries at their reservations. The net exposure of the account is the worse of the same two sums over all symbols.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Final

import msgspec

from risk.core.book import Exposure
from risk.core.units import ZERO, worth


class Stake(msgspec.Struct, frozen=True, gc=False):
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

    @property
    def net(self) -> Decimal:
        return max(self.up, -self.down)


_NOTHING: Final = Stake()


def stake_of(exposures: Iterable[Exposure], *, bot: str = "") -> Stake:
    """What these exposures put at stake together; `bot_gross` counts the symbols of `bot`."""
    gross = all_up = all_down = open_value = margin = bot_gross = ZERO
    positions, oldest_at, unmarked = 0, None, ""
    for exposure in exposures:
        up, down = exposure.buys, -exposure.sells
        if exposure.qty:
            mark, marked_at = exposure.mark, exposure.marked_at
            if mark is None or marked_at is None or not mark.is_finite() or mark <= 0:
                unmarked = exposure.symbol
                continue
            if oldest_at is None or marked_at < oldest_at:
                oldest_at = marked_at
            value = exposure.qty * abs(worth(mark, is_inverse=exposure.is_inverse)) * exposure.contract_value
            open_value += abs(value)
            up += value
            down += value
        elif not (up or down):
            continue
        worst = max(up, -down)
        gross += worst
        all_up += up
        all_down += down
        margin += worst / exposure.leverage
        positions += 1
        if exposure.bot == bot:
            bot_gross += worst
    return Stake(gross, all_up, all_down, open_value, margin, positions, bot_gross, oldest_at, unmarked)


class Room:
    """The account without the order's symbol, that symbol without the order, and that symbol with it."""

    __slots__ = ("down", "gross", "others", "own", "up", "worst")

    def __init__(self, exposures: Mapping[str, Exposure], *, symbol: str, bot: str, is_buy: bool, order: Decimal) -> None:
        """`order` is what the order would reserve."""
        self.others = stake_of((exposure for exposure in exposures.values() if exposure.symbol != symbol), bot=bot)
        own = exposures.get(symbol)
        self.own = stake_of((own,), bot=bot) if own is not None else _NOTHING
        self.up = self.own.up + order if is_buy else self.own.up
        self.down = self.own.down if is_buy else self.own.down - order
        #: exposure of the order's symbol if the order is taken
        self.worst = max(self.up, -self.down)
        self.gross = self.others.gross + self.worst
