"""Bad rows, told by reason: a mistyped channel is one line, however many rows name it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from ...bulk import Cause, Reason
from ...bulk.report import counted

_MOST_REASONS: Final = 1000
_MOST_RANGES: Final = 100
"""Ranges of lines that are named for one reason."""
_OPTIONS: Final[Mapping[str | int, str]] = {"app_id": "--app", "channel": "--channel"}
"""The options that fill a column in all rows."""


class Rejections:
    """Collects bad rows in bounded memory and says each reason once, with ranges of lines."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._groups: dict[Reason, _Group] = {}
        self._rest = 0

    def __call__(self, rejected: Sequence[tuple[int, Reason]]) -> None:
        """Take bad rows, each as line and reason, in the order of lines."""
        for line, reason in rejected:
            group = self._groups.get(reason.of_all)
            if group is not None:
                group.add(line)
            elif len(self._groups) < _MOST_REASONS:
                self._groups[reason.of_all] = _Group(line, reason)
            else:
                self._rest += 1

    def tell(self) -> None:
        """Print the reasons, in the order of their first lines."""
        for group in self._groups.values():
            self._say(str(group))
        if self._rest:
            self._say(f"and {counted(self._rest, 'row')} for other reasons")


class _Group:
    """Rows that are bad for the same reason."""

    def __init__(self, line: int, first: Reason) -> None:
        self._first = first
        self._rows = 1
        self._ranges = [(line, line)]
        self._unnamed = 0

    def add(self, line: int) -> None:
        """Count one more row."""
        self._rows += 1
        first, last = self._ranges[-1]
        if last == line - 1 and not self._unnamed:
            self._ranges[-1] = (first, line)
        elif len(self._ranges) < _MOST_RANGES:
            self._ranges.append((line, line))
        else:
            self._unnamed += 1

    def __str__(self) -> str:
        if self._rows == 1:
            return f"line {self._ranges[0][0]}: {_advised(self._first)}"
        lines = ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in self._ranges)
        more = f" and {self._unnamed:,} more" if self._unnamed else ""
        return f"lines {lines}{more} ({self._rows:,} rows): {_advised(self._first.of_all)}"


def _advised(reason: Reason) -> str:
    """Return a reason with what to do about it on the command line."""
    match reason.cause:
        case Cause.MISSING_VALUE if option := _OPTIONS.get(reason.details[0]):
            return f"{reason}; add the column or pass {option}"
        case Cause.LINK_TO_PUBLIC_CHANNEL:
            return f"{reason}; use `devices unlink` instead"
        case _:
            return str(reason)
