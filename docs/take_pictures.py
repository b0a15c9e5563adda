"""`make pictures`: the eight moments of a first visit, light and dark, into docs/pictures/. With TAPE=PATH the first is on that tape."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

from tests.e2e.visitor import Visitor, visitor
from tests.embedded import EmbeddedDesk, until

PICTURES = Path(__file__).resolve().parent / "pictures"


async def take(someone: Visitor, name: str) -> None:
    """The same moment twice: light and dark."""
    for scheme in ("dark", "light"):
        await someone.page.emulate_media(color_scheme="dark" if scheme == "dark" else "light", reduced_motion="reduce")
        await someone.page.screenshot(path=PICTURES / f"{name}-{scheme}.png", animations="disabled")
    print(name, flush=True)


async def trade(desk: EmbeddedDesk) -> None:
    async with visitor(desk.url) as someone:
        await someone.enter(desk.link)
        await someone.see_trading()
        await someone.see_position()
        await take(someone, "1-trading")


async def act(desk: EmbeddedDesk) -> None:
    """From a denial to a verified kill."""
    async with visitor(desk.url) as someone:
        await someone.enter(desk.link)
        await someone.see_trading()
        await someone.open_denial()
        await take(someone, "2-denial")
        await someone.change_size("LTCUSDT", "1500")
        await someone.see_size("LTCUSDT")
        await take(someone, "3-size")
        await someone.see_order("chan-ltc")
        await someone.cancel_target()
        await take(someone, "4-target-canceled")
        await someone.kill("the market looks odd")
        await take(someone, "5-verified")


async def recover(desk: EmbeddedDesk) -> None:
    """After a restart: still killed, cleared with a reason, paused."""
    async with visitor(desk.url) as someone:
        await someone.enter(desk.link)
        await someone.see_killed()
        await take(someone, "6-still-killed")
        await someone.open_clear("it was only a drill")
        await take(someone, "7-clear")
        await someone.clear("it was only a drill")
        await someone.states()
        await take(someone, "8-paused")


def main(tape: str) -> None:
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        with EmbeddedDesk(Path(place) / "first") as desk:
            asyncio.run(trade(desk.start(*(["--feed", f"replay:{tape}"] if tape else []))))
        with EmbeddedDesk(Path(place) / "second") as desk:
            asyncio.run(act(desk.start()))
            desk.stop()
            desk.start()
            until(desk.is_ready, within_s=30, what="engine, layer and database")
            asyncio.run(recover(desk))


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "")
