"""Sentences and tables of the page, whose numbers say which field of the report they are."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, NamedTuple

import msgspec

from ..bulk.clock import local_time
from ..printable import printable

_LONGEST: Final = 400
"""Characters of a text of the server that the page shows."""

MOST_APPS: Final = 12
"""Apps that a chart shows one by one; the others are one together."""


class Figure(NamedTuple):
    """A number of the report. `path` leads to its field in the JSON report, such as `runs.0.requests`."""

    path: str
    value: float

    def __str__(self) -> str:
        return f"{self.value:,}" if isinstance(self.value, int) else f"{self.value:,.1f}"


Word = str | Figure
Words = Sequence[Word]
"""One sentence, in parts."""


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """Rows of cells. The columns in `numeric` are aligned right."""

    heads: tuple[str, ...]
    rows: tuple[tuple[Words, ...], ...]
    numeric: frozenset[int] = frozenset()
    called: str = "As a table"


class Drawing(msgspec.Struct, frozen=True, kw_only=True):
    """A chart as SVG text.

    `key` names its colours, each with a class of the page. `variants` are drawings for a wide page and for a phone; `panels`
    are small ones with titles instead, which stand side by side.
    """

    key: tuple[tuple[str, str], ...] = ()
    variants: Mapping[str, str] = {}
    panels: tuple[tuple[str, str], ...] = ()


class Chart(NamedTuple):
    """A chart in a section. `alternative` says in a sentence what it shows."""

    name: str
    alternative: str
    caption: str = ""


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """What one row says, where a table would be too narrow for it."""

    title: Words
    text: str
    items: tuple[str, ...]
    advice: str


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """A heading, what it says in sentences, its charts and its tables."""

    name: str
    title: str
    lead: Words
    charts: tuple[Chart, ...]
    cards: tuple[Card, ...] = ()
    tables: tuple[Table, ...] = ()


def plain(words: Words) -> str:
    """Return a sentence as text."""
    return "".join(map(str, words))


def clipped(text: str, most: int = _LONGEST) -> str:
    """Return a text of the server, without control characters, and shortened if it is very long.

    The library that draws the charts ends the process when a label holds an escape character.
    """
    text = printable(text[: most + 1])
    return text if len(text) <= most else f"{text[: most - 1]}…"


def shortened(name: str, most: int) -> str:
    """Return a name for a chart, as `clipped` does. Both ends of a long one remain: many begin alike."""
    name = clipped(name)
    if len(name) <= most:
        return name
    end = (most - 1) // 2
    return f"{name[: most - 1 - end]}…{name[-end:]}"


def time_of(text: str) -> str:
    """Return a stored time as local time, for people."""
    return local_time(datetime.fromisoformat(text).replace(microsecond=0))


def state_in_words(state: str) -> str:
    """Return the state of a wave, in words."""
    return "not shown by the server" if state == "cannot_tell" else state
