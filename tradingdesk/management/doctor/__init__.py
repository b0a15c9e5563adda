"""What `manage.py doctor` looks at, from the machine outwards: this machine, the servers, and the desk that runs on them.

Each look yields what it found. Where the database cannot be asked, nothing that needs it is looked at.
"""

from __future__ import annotations

from typing import NamedTuple


class Finding(NamedTuple):
    """One thing that is not as it should be. `is_wrong` fails the examination; the others are good to know."""

    name: str
    what: str
    why: str
    to_do: str
    is_wrong: bool = True
