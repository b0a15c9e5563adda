"""The peer's half of `make bench-peer`: nautilus_trader on the tape and rule that `desk.py` runs too. Runs in the peer's own Python.

`nautilus.py QUOTES EVERY` prints one JSON line: seconds of processor time the run took, and brackets completed.
EVERY 0 runs the averages without ever deciding.
"""

from __future__ import annotations

import json
import sys
import time
from decimal import Decimal
from typing import Any

from nautilus_trader.backtest.engine import BacktestEngine, BacktestEngineConfig  # type: ignore[import-not-found,unused-ignore]
from nautilus_trader.config import LoggingConfig, StrategyConfig  # type: ignore[import-not-found,unused-ignore]
from nautilus_trader.indicators import ExponentialMovingAverage  # type: ignore[import-not-found,unused-ignore]
from nautilus_trader.model.currencies import BTC, USDT  # type: ignore[import-not-found,unused-ignore]
from nautilus_trader.model.data import QuoteTick  # type: ignore[import-not-found,unused-ignore]
from nautilus_trader.model.enums import AccountType, OmsType, OrderSide  # type: ignore[import-not-found,unused-ignore]
from nautilus_trader.model.identifiers import InstrumentId, Symbol, Venue  # type: ignore[import-not-found,unused-ignore]
from nautilus_trader.model.instruments import CryptoPerpetual  # type: ignore[import-not-found,unused-ignore]
from nautilus_trader.model.objects import Money, Price, Quantity  # type: ignore[import-not-found,unused-ignore]
from nautilus_trader.trading.strategy import Strategy  # type: ignore[import-not-found,unused-ignore]

from tape import AWAY, HALF_SPREAD, START_NS, STEP_NS, middle  # type: ignore[import-not-found,unused-ignore]  # isort: skip

VENUE = Venue("SIM")
ID = InstrumentId(Symbol("BTCUSDT"), VENUE)
PERPETUAL = CryptoPerpetual(
    instrument_id=ID,
    raw_symbol=Symbol("BTCUSDT"),
    base_currency=BTC,
    quote_currency=USDT,
    settlement_currency=USDT,
    is_inverse=False,
    price_precision=1,
    size_precision=3,
    price_increment=Price.from_str("0.1"),
    size_increment=Quantity.from_str("0.001"),
    ts_event=0,
    ts_init=0,
    max_quantity=Quantity.from_str("1000"),
    min_quantity=Quantity.from_str("0.001"),
    margin_init=Decimal("0.05"),
    margin_maint=Decimal("0.025"),
    maker_fee=Decimal("0.0002"),
    taker_fee=Decimal("0.0005"),
)


class BracketEvery(Strategy):  # type: ignore[misc,unused-ignore]
    """Two averages of the middle; when flat, a bracket at every n-th quote."""

    def __init__(self, every: int) -> None:
        super().__init__(StrategyConfig(strategy_id="peer-000"))
        self.every = every
        self.quotes = self.completed = 0
        self.fast, self.slow = ExponentialMovingAverage(9), ExponentialMovingAverage(21)

    def on_start(self) -> None:
        self.subscribe_quote_ticks(ID)

    def on_quote_tick(self, tick: Any) -> None:
        self.quotes += 1
        middle_px = (tick.bid_price.as_double() + tick.ask_price.as_double()) / 2
        self.fast.update_raw(middle_px)
        self.slow.update_raw(middle_px)
        if (
            self.every
            and self.quotes % self.every == 0
            and self.portfolio.is_flat(ID)
            and not self.cache.orders_open(instrument_id=ID)
        ):
            self.submit_order_list(
                self.order_factory.bracket(
                    instrument_id=ID,
                    order_side=OrderSide.BUY,
                    quantity=Quantity.from_str("0.010"),
                    sl_trigger_price=Price(tick.bid_price.as_double() - AWAY, 1),
                    tp_price=Price(tick.ask_price.as_double() + AWAY, 1),
                )
            )

    def on_position_closed(self, event: Any) -> None:
        self.completed += 1


def tape(quotes: int) -> list[Any]:
    size = Quantity.from_str("1.000")
    found = []
    for n in range(quotes):
        px, ns = middle(n), START_NS + n * STEP_NS
        found.append(QuoteTick(ID, Price(px - HALF_SPREAD, 1), Price(px + HALF_SPREAD, 1), size, size, ns, ns))
    return found


def main(quotes: int, every: int) -> dict[str, float]:
    engine = BacktestEngine(BacktestEngineConfig(logging=LoggingConfig(bypass_logging=True)))
    engine.add_venue(
        venue=VENUE,
        oms_type=OmsType.NETTING,
        account_type=AccountType.MARGIN,
        base_currency=USDT,
        starting_balances=[Money(1_000_000, USDT)],
    )
    engine.add_instrument(PERPETUAL)
    engine.add_data(tape(quotes))
    strategy = BracketEvery(every)
    engine.add_strategy(strategy)
    begun = time.process_time()
    engine.run()
    return {"seconds": time.process_time() - begun, "lives": strategy.completed}


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]), int(sys.argv[2]))))
