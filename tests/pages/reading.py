"""Reads a page: its numbers with the fields of the report that they are, its headings, its text."""

from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any


class Reader(HTMLParser):
    """What a page says. `figures` are pairs of a path into the JSON report and the text that is shown for it."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.figures: list[tuple[str, str]] = []
        self.headings: list[str] = []
        self.texts: list[str] = []
        self.tags: set[str] = set()
        self._path: str | None = None
        self._heading = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self._heading = tag == "h2"
        self._path = dict(attrs).get("data-json") if tag == "data" else None

    def handle_data(self, data: str) -> None:
        self.texts.append(data)
        if self._path is not None:
            self.figures.append((self._path, data))
            self._path = None
        if self._heading:
            self.headings.append(data)
            self._heading = False


def numbers_of(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield every number of a decoded JSON document with its path, as a page shows it."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from numbers_of(inner, f"{path}.{name}" if path else name)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from numbers_of(inner, f"{path}.{index}")
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield path, f"{value:,}" if isinstance(value, int) else f"{value:,.1f}"
