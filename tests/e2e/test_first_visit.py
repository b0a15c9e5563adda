"""The first hour of a new user, in a real browser against the desk that `make run` starts."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.visitor import visitor
from tests.embedded import EmbeddedDesk, until

pytestmark = [pytest.mark.e2e, pytest.mark.skipif(os.environ.get("SKIP_E2E") == "1", reason="SKIP_E2E=1: no browser was asked")]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[EmbeddedDesk]:
    with EmbeddedDesk(tmp_path / "var") as desk:
        yield desk.start()


async def test_it_is_what_the_readme_says(desk: EmbeddedDesk) -> None:
    async with visitor(desk.url) as someone:
        await someone.enter(desk.link)
        await someone.see_trading()
        assert "25" in await someone.open_denial()
        await someone.change_size("LTCUSDT", "1500")
        assert "1,500 USDT" in await someone.see_size("LTCUSDT")
        assert "LTCUSDT" in await someone.see_order("chan-ltc")
        assert "Cancel stop" in await someone.cancel_target()

        killed = desk.pid("engine")
        os.killpg(killed, signal.SIGKILL)
        until(lambda: desk.pid("engine") != killed and desk.is_ready(), within_s=30, what="a new engine")
        assert "Verified" in await someone.kill("the market looks odd")

        await someone.leave()
        assert desk.stop() == 0
        desk.start()
        until(desk.is_ready, within_s=30, what="engine, layer and database")
        await someone.enter(desk.link)
        assert "KILLED" in await someone.see_killed()
        await someone.clear("it was only a drill")
        assert set(await someone.states()) == {"Paused"}
        assert someone.complaints == []
