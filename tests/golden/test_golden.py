"""Recorded sessions come to the digest and the money they came to when they were recorded."""

from __future__ import annotations

from pathlib import Path

import pytest

from execution.core.state import CORE_VERSION
from tests.golden.recordings import FOLDER, outcome_of, read
from tests.golden.sessions import SESSIONS, play

RECORDINGS = sorted(FOLDER.glob("*.jsonl"))


def test_it_has_a_recording_of_every_session() -> None:
    assert [path.stem for path in RECORDINGS] == sorted(SESSIONS)


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.stem)
def test_it_comes_to_what_was_recorded(path: Path) -> None:
    recording = read(path)
    head = recording.head
    assert head.core_version == CORE_VERSION, (
        f"recorded by core {head.core_version}, and this is {CORE_VERSION}. Record again: .venv/bin/python -m tests.golden"
    )
    assert outcome_of(head.account, recording.events) == head.outcome


@pytest.mark.parametrize("name", SESSIONS)
def test_it_recorded_the_money_that_was_reckoned(name: str) -> None:
    """By hand, from the prices at which the session trades."""
    session, outcome = SESSIONS[name], read(FOLDER / f"{name}.jsonl").head.outcome
    assert (outcome.realised, outcome.fees, outcome.positions) == (session.realised, session.fees, {})
    assert outcome.equity == 100_000 + session.realised - session.fees


@pytest.mark.parametrize("name", SESSIONS)
def test_it_comes_to_the_same_money_when_it_is_played_again(name: str) -> None:
    """The engine of today, from the first price on: it may say other things on its way, and earns the same."""
    session, outcome = SESSIONS[name], play(SESSIONS[name]).head.outcome
    assert (outcome.realised, outcome.fees, outcome.positions) == (session.realised, session.fees, {})
