"""Measures a list of ids while it is read, so that it can be cut into even parts."""

from bisect import bisect_right
from collections.abc import Iterable
from typing import Final

_MEASURED: Final = 32
"""Characters of an id that are measured."""


class Ruler:
    """Ids as numbers, so that there are places between them; `seen` are ids that show which characters there are."""

    def __init__(self, seen: Iterable[str]) -> None:
        self._characters = sorted({each for name in seen for each in name if each.isprintable() and each != "|"})
        self._base = len(self._characters) + 1
        self.end = self._base**_MEASURED

    def knows(self, name: str) -> bool:
        """Tell whether it knows all characters of an id that it takes any notice of."""
        return all(each in self._characters or each == "|" or not each.isprintable() for each in name)

    def measure(self, name: str) -> int:
        """Return where an id is."""
        number = 0
        for each in name[:_MEASURED].ljust(_MEASURED, "\0"):
            number = number * self._base + bisect_right(self._characters, each)
        return number

    def name(self, number: int) -> str:
        """Return an id that is at `number`, or as near as these characters come."""
        digits: list[int] = []
        for _ in range(_MEASURED):
            number, digit = divmod(number, self._base)
            if digit or digits:
                digits.append(max(1, digit))
        return "".join(self._characters[digit - 1] for digit in reversed(digits))
