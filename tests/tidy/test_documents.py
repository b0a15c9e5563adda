"""What the documents say is so: the README's brain runs, its pictures are there, every setting is told."""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal
from typing import Any

from execution.brains.base import Bar, Brain, View
from execution.core.messages import SignalKind
from risk.core.units import AssetClass, Instrument
from tests.conftest import NOON
from tests.tidy.sources import ROOT

README = (ROOT / "README.md").read_text()
FLAT = View(position_qty=Decimal(0), avg_px=None, entries_working=0, exits_working=0, last_denial="")
BTC = Instrument(
    symbol="BTCUSDT",
    asset_class=AssetClass.CRYPTO_SPOT,
    tick_size=Decimal("0.01"),
    lot_size=Decimal("0.00001"),
    min_notional=Decimal(5),
    currency="USDT",
    base_currency="BTC",
)


def bar(n: int, price: int) -> Bar:
    at, px = NOON + timedelta(minutes=n), Decimal(price)
    return Bar(symbol="BTCUSDT", interval_s=60, start_at=at, open=px, high=px, low=px, close=px, volume=Decimal(1))


def readme_brain() -> type[Brain]:
    code = re.search(r"```python\n(.*?)```", README, re.DOTALL)
    assert code
    names: dict[str, Any] = {"__name__": "momentum"}
    exec(code[1], names)
    brain: type[Brain] = names["Momentum"]
    return brain


def test_it_shows_a_brain_that_runs() -> None:
    kind = readme_brain()
    brain = kind(BTC, {name: Decimal(row[0]) for name, row in kind.PARAMS.items()})
    decisions = [brain.on_bar(bar(n, price), FLAT) for n, price in enumerate((100, 101, 102))]
    assert [decision.signal for decision in decisions] == [SignalKind.HOLD, SignalKind.HOLD, SignalKind.BUY]
    assert (decisions[-1].stop_loss, decisions[-1].take_profit) == (Decimal("101.49"), Decimal("102.51"))


def test_it_links_to_what_is_there() -> None:
    missing = []
    for document in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        targets = re.findall(r"\]\(([^)#:]+)\)", document.read_text())
        missing += [f"{document.name}: {target}" for target in targets if not (document.parent / target).exists()]
    assert missing == []


def test_it_tells_every_setting() -> None:
    settings = (ROOT / "tradingdesk" / "settings.py").read_text()
    read = set(re.findall(r"os\.environ\.get\(\s*\"(\w+)\"", settings)) | set(
        re.findall(r"_(?:secret|address)\(\"(\w+)\"", settings)
    )
    told = set(re.findall(r"^\| `(\w+)`", (ROOT / "docs" / "deploy.md").read_text(), re.MULTILINE))
    assert read == told
