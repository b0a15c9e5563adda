"""The state machines in the documents are the tables in the code."""

from __future__ import annotations

from pathlib import Path

from execution.core import diagrams

README = Path(diagrams.__file__).with_name("README.md")


def test_it_shows_the_state_machines_as_they_are() -> None:
    text = README.read_text()
    assert text == diagrams.drawn_into(text), "write execution.core.diagrams.drawn_into() over execution/core/README.md"
