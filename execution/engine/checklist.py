"""The start-up gate of an account, as people see it: only when every line has passed once is the account ACTIVE."""

from __future__ import annotations

from typing import Any, Final

from risk.core.settings import AccountLimits

LEASE: Final = "lease"
JOURNAL: Final = "journal replayed"
VENUE: Final = "venue reachable"
CLOCK: Final = "clock skew"
RECONCILED: Final = "open orders and positions reconciled"
FEEDS: Final = "feeds fresh"
SETTINGS: Final = "settings resolved"
LIMITS: Final = "limits present"
BRAINS: Final = "brains warm"

LINES: Final = (LEASE, JOURNAL, VENUE, CLOCK, RECONCILED, FEEDS, SETTINGS, LIMITS, BRAINS)


class Checklist:
    """Lines that pass or wait, each with a sentence. `is_dirty` until the row was written."""

    def __init__(self) -> None:
        self._lines: dict[str, tuple[bool, str]] = dict.fromkeys(LINES, (False, "waiting"))
        self._was_active = False
        self.is_dirty = True

    def note(self, name: str, is_passed: bool, text: str) -> None:
        if self._lines[name] != (is_passed, text):
            self._lines[name] = (is_passed, text)
            self.is_dirty = True

    @property
    def phase(self) -> str:
        """ACTIVE once everything has passed; what fails later is a condition of the Desk and does not restart anything."""
        self._was_active = self._was_active or all(is_passed for is_passed, _ in self._lines.values())
        return "ACTIVE" if self._was_active else "STARTING"

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [{"name": name, "is_passed": is_passed, "text": text} for name, (is_passed, text) in self._lines.items()]


def limits_missing(limits: AccountLimits) -> list[str]:
    """The account limits of gate 14 that nobody set. Ceilings may be absent."""
    names = (name for name in AccountLimits.__struct_fields__ if not name.endswith("_ceiling"))
    return [name for name in names if getattr(limits, name) is None]
