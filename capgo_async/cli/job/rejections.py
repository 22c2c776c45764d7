"""Bad rows, told by reason: a mistyped channel is one line, however many rows name it."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from ...bulk import Cause, Reason
from ...bulk.report import counted
from ..output.advice import to_see_bad_rows

_MOST_REASONS: Final = 1000
_MOST_CONTRADICTIONS: Final = 100
"""Contradictions that are told one by one."""
_MOST_RANGES: Final = 100
"""Ranges of lines that are named for one reason."""
_MOST_PLACES: Final = 3
"""Ranges of lines that are named with their places."""
_OPTIONS: Final[Mapping[str | int, str]] = {"app_id": "--app", "channel": "--channel"}
"""The options that fill a column in all rows."""


class Rejections:
    """Collects bad rows in bounded memory and says each reason once, with ranges of lines."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self.listed = True
        """Whether the rows are lines of a list. Otherwise no lines are named."""
        self._groups: dict[Reason, _Group] = {}
        self._contradictions = 0
        self._rest = 0

    def __call__(self, rejected: Sequence[tuple[int, Reason]]) -> None:
        """Take bad rows, each as line and reason, in the order of lines."""
        for line, reason in rejected:
            shared = self._shared(reason)
            group = self._groups.get(shared)
            if group is not None:
                group.add(line, reason)
            elif len(self._groups) < _MOST_REASONS:
                self._groups[shared] = _Group(line, reason, shared)
            else:
                self._rest += 1

    def tell(self, path: Path) -> None:
        """Print the reasons, in the order of their first lines. `path` is the job file."""
        for group in self._groups.values():
            self._say(group.told(listed=self.listed))
        if self._rest:
            self._say(f"and {counted(self._rest, 'row')} for other reasons")
        if self._rest or any(group.unnamed for group in self._groups.values()):
            self._say(to_see_bad_rows(path))

    def _shared(self, reason: Reason) -> Reason:
        """Return what the rows of one message share. Each contradiction is a message of its own."""
        if reason.cause is not Cause.CONTRADICTION:
            return reason.of_all
        if reason not in self._groups:
            self._contradictions += 1
            if self._contradictions > _MOST_CONTRADICTIONS:
                return reason.of_all
        return reason


class _Group:
    """Rows that are bad for the same reason."""

    def __init__(self, line: int, first: Reason, shared: Reason) -> None:
        self._first = first
        self._shared = shared
        self._rows = 1
        self._ranges = [(line, line, self._place(first))]
        self.unnamed = 0
        """Rows whose lines are not named."""

    def add(self, line: int, reason: Reason) -> None:
        """Count one more row."""
        self._rows += 1
        place = self._place(reason) if len(self._ranges) <= _MOST_PLACES else ""
        first, last, last_place = self._ranges[-1]
        if last == line - 1 and place == last_place and not self.unnamed:
            self._ranges[-1] = (first, line, place)
        elif len(self._ranges) < _MOST_RANGES:
            self._ranges.append((line, line, place if len(self._ranges) < _MOST_PLACES else ""))
        else:
            self.unnamed += 1

    def _place(self, reason: Reason) -> str:
        return "" if self._shared.places else reason.place

    def told(self, *, listed: bool) -> str:
        """Return the reason, with the lines if the rows are `listed`."""
        if not listed:
            return _advised(self._first) if self._rows == 1 else f"{_advised(self._first.of_all)} ({self._rows:,} targets)"
        if self._rows == 1:
            return f"line {self._ranges[0][0]}: {_advised(self._first)}"
        lines = ", ".join(f"{first if first == last else f'{first}-{last}'}{place}" for first, last, place in self._ranges)
        more = f" and {self.unnamed:,} more" if self.unnamed else ""
        return f"lines {lines}{more} ({self._rows:,} rows): {_advised(self._first.of_all)}"


def _advised(reason: Reason) -> str:
    """Return a reason with what to do about it on the command line."""
    match reason.cause:
        case Cause.MISSING_VALUE if option := _OPTIONS.get(reason.details[0]):
            return f"{reason}; add the column or pass {option}"
        case Cause.ONLY_EXPORTED:
            return f"{reason}; pass --channel to say where the devices should go"
        case Cause.CONFLICTING_VALUE if reason.details[0] == "channel":
            return f"{reason}; if the column says where the devices are now, pass --ignore-column channel"
        case Cause.ENDS_ROLLOUT:
            return f"{reason}; --end-rollouts allows that"
        case Cause.LINK_TO_PUBLIC_CHANNEL:
            return f"{reason}; use `devices unlink` instead"
        case _:
            return str(reason)
