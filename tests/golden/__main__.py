"""Record every session again: `python -m tests.golden`. What changed is in the diff: look at the money first."""

from __future__ import annotations

import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tradingdesk.settings")
django.setup()

from tests.golden.recordings import FOLDER, write  # noqa: E402
from tests.golden.sessions import SESSIONS, play  # noqa: E402

for path in FOLDER.glob("*.jsonl"):
    path.unlink()
for name, session in SESSIONS.items():
    write(FOLDER / f"{name}.jsonl", play(session))
