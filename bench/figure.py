"""One measured figure. Each module of this package that measures has `run() -> list[Figure]`."""

from __future__ import annotations

from typing import NamedTuple


class Figure(NamedTuple):
    """A value with its unit, its bound ("<= 150", ">= 200000" or "" for none) and how it was measured, in words."""

    name: str
    value: float
    unit: str
    bound: str
    how: str

    @property
    def ok(self) -> bool:
        if not self.bound:
            return True
        sign, number = self.bound.split()
        return self.value <= float(number) if sign == "<=" else self.value >= float(number)
