"""Bad rows, told by reason: a mistyped channel is one line, however many rows name it, and no line of the input is left out."""

from collections.abc import Callable, Sequence
from typing import Final

_MOST_SPANS: Final = 20
_MOST_REASONS: Final = 1000


class Rejections:
    """Collects bad rows, and says each reason once with its lines. Bounded: what grows too long is said before the end."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._spans: dict[str, list[tuple[int, int]]] = {}
        self._rows: dict[str, int] = {}

    def __call__(self, rejected: Sequence[tuple[int, str]]) -> None:
        """Take bad rows, each as line and reason, in the order of lines."""
        for line, reason in rejected:
            self._add(line, reason)

    def tell(self) -> None:
        """Say what is left."""
        for reason in list(self._spans):
            self._tell(reason)

    def _add(self, line: int, reason: str) -> None:
        spans = self._spans.setdefault(reason, [])
        self._rows[reason] = self._rows.get(reason, 0) + 1
        if spans and spans[-1][1] == line - 1:
            spans[-1] = (spans[-1][0], line)
            return
        spans.append((line, line))
        if len(spans) == _MOST_SPANS:
            self._tell(reason)
        elif len(self._spans) > _MOST_REASONS:
            self._tell(next(iter(self._spans)))

    def _tell(self, reason: str) -> None:
        rows, spans = self._rows.pop(reason), self._spans.pop(reason)
        if rows == 1:
            self._say(f"line {spans[0][0]}: {reason}")
            return
        self._say(f"lines {', '.join(_text(*span) for span in spans)} ({rows:,} rows): {reason}")


def _text(first: int, last: int) -> str:
    if first == last:
        return f"{first:,}"
    return f"{first:,}, {last:,}" if last == first + 1 else f"{first:,} to {last:,}"
