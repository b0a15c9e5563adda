"""`manage.py replay` and the refusals of `manage.py runworker`."""

from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from execution.core.desk import Desk
from execution.core.messages import Effect, Event
from execution.engine.recovery import EPOCH_LENGTH, ReplayDiffers, epoch_draw, rebuild
from execution.models import JournalEntry
from execution.store.journal import Loaded
from tests.engine.desk import Place
from tests.engine.test_runner import enter
from tests.engine.venue import until
from tests.store.values import entry

pytestmark = pytest.mark.db


def replay(account: str) -> tuple[str, str, int]:
    out, err = StringIO(), StringIO()
    try:
        call_command("replay", account=account, stdout=out, stderr=err)
    except SystemExit as e:
        return out.getvalue(), err.getvalue(), int(str(e.code))
    return out.getvalue(), err.getvalue(), 0


async def test_it_replays_a_journal_and_finds_every_digest_equal(place: Place) -> None:
    async with place.engine() as engine:
        await enter(place, engine)
        await engine.drain()
        seq = await place.rows(JournalEntry.objects.count)
    out, err, code = await place.rows(lambda: replay("paper-crypto"))
    assert (code, err) == (0, "")
    assert f"{seq} events" in out
    assert "every digest equal" in out


async def test_it_names_the_first_event_that_gives_another_digest(place: Place) -> None:
    async with place.engine() as engine:
        await enter(place, engine)
        await until(lambda: engine.runner._loop.unwritten == 0)
    await place.rows(lambda: JournalEntry.objects.filter(seq=4).update(digest=b"other"))
    out, err, code = await place.rows(lambda: replay("paper-crypto"))
    assert (out, code) == ("", 1)
    assert "the digest differs at event 4" in err


@pytest.mark.django_db
def test_it_has_nothing_to_replay_before_the_first_run(account: Any) -> None:
    assert replay(account.code) == ("Replay of paper-crypto: the journal is empty.\n", "", 0)
    with pytest.raises(CommandError, match="There is no account “other”"):
        replay("other")


def test_it_names_an_event_that_cannot_be_handled_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Desk, event: Event) -> tuple[Effect, ...]:
        raise ZeroDivisionError("a defect of the core")

    monkeypatch.setattr(Desk, "handle", fail)
    with pytest.raises(ReplayDiffers, match=r"event 1 .* cannot be handled again: .*a defect of the core"):
        rebuild("paper", Loaded("e1", None, [entry(1)]))


def test_it_draws_another_epoch_each_time() -> None:
    drawn = {epoch_draw() for _ in range(50)}
    assert len(drawn) > 45
    assert all(len(epoch) == EPOCH_LENGTH and epoch.isalnum() and epoch == epoch.lower() for epoch in drawn)


def test_it_runs_no_engine_with_debug_on(settings: Any) -> None:
    settings.DEBUG = True
    with pytest.raises(CommandError, match="TRADINGDESK_DEBUG"):
        call_command("runworker", "execution")
