"""The promises that the auditor looks at, in the words in which a broken one is told."""

from __future__ import annotations

from typing import Final

import msgspec

JOURNAL_FIRST: Final = "nothing reaches a venue that a restart would not know about"
ONCE: Final = "nothing is sent twice"
FENCED: Final = "an engine that lost its account sends nothing"
HALTED: Final = "a halt admits no new risk once it is in force"
LIMITS: Final = "no limit is exceeded"
FAIL_CLOSED: Final = "without a usable price, limit or state there is no new risk"
NOT_BLOCKED: Final = "what protects or reduces is never held up"
KILLED: Final = "a kill is finished when the venue says so"
PROTECTED: Final = "a position without a live stop is an alarm, and is protected or closed"
NOT_THROUGH_ZERO: Final = "nothing that only closes takes a position through zero"
EXPLAINED: Final = "every decision explains itself"
DENIED: Final = "a denied decision sends nothing"
NOTHING_LOST: Final = "no fill is lost, and none is booked twice"
AGREED: Final = "in peace the desk and the venue agree about every order"
GIVEN_UP: Final = "no order is given up that works at the venue, or reaches it later"
SURVIVES: Final = "a halt stands until a person clears it"
ANSWERED: Final = "every command is answered"
ALIVE: Final = "an engine never fails by itself"
REPLAYED: Final = "replaying the journal gives the same state"
PROMISES: Final = (
    JOURNAL_FIRST,
    ONCE,
    FENCED,
    HALTED,
    LIMITS,
    FAIL_CLOSED,
    NOT_BLOCKED,
    KILLED,
    PROTECTED,
    NOT_THROUGH_ZERO,
    EXPLAINED,
    DENIED,
    NOTHING_LOST,
    AGREED,
    GIVEN_UP,
    SURVIVES,
    ANSWERED,
    ALIVE,
    REPLAYED,
)


class Broken(msgspec.Struct, frozen=True):
    """A promise that did not hold: which, how, and when (virtual seconds)."""

    promise: str
    how: str
    t: float

    def told(self) -> str:
        return f"“{self.promise}” is broken at {self.t:.3f} s: {self.how}"
