"""Positions of ids within a sorted list, to cut it into parts of even size."""

from bisect import bisect_right
from collections.abc import Iterable
from typing import Final

_MEASURED: Final = 32
"""Characters at the start of an id that are used."""


class Ruler:
    """Maps ids to numbers and back; `seen` are ids that show which characters occur."""

    def __init__(self, seen: Iterable[str]) -> None:
        self._characters = sorted({each for name in seen for each in name if each.isprintable() and each != "|"})
        self._base = len(self._characters) + 1
        self.end = self._base**_MEASURED

    def knows(self, name: str) -> bool:
        """Return whether all characters of `name` are known, except for those that are ignored."""
        return all(each in self._characters or each == "|" or not each.isprintable() for each in name)

    def measure(self, name: str) -> int:
        """Return the number of an id."""
        number = 0
        for each in name[:_MEASURED].ljust(_MEASURED, "\0"):
            number = number * self._base + bisect_right(self._characters, each)
        return number

    def name(self, number: int) -> str:
        """Return an id at `number`, or as near to it as the characters allow."""
        digits: list[int] = []
        for _ in range(_MEASURED):
            number, digit = divmod(number, self._base)
            if digit or digits:
                digits.append(max(1, digit))
        return "".join(self._characters[digit - 1] for digit in reversed(digits))
