"""Prints listings and single things: JSON for programs, tables for terminals, tab-separated text for everything else."""

import sys
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Final, TypeVar

import msgspec

from ..bulk.report import ExitCode
from ..paging import Listing
from .speech import Speech, is_terminal, printable

T = TypeVar("T", bound=msgspec.Struct)

_ROWS_OF_A_TABLE: Final = 500
"""A longer listing becomes several tables, so that it never has to be held whole."""


async def print_listing(listing: Listing[T], columns: Sequence[str], speech: Speech) -> int:
    """Print every row of `listing` as it comes, `columns` of it unless JSON is wanted; note what it cannot prove."""
    await _print_pages(listing.pages(), columns, speech)
    for caveat in listing.caveats if speech.heard else ():
        speech.note(f"note: {caveat}")
    return ExitCode.OK


async def print_items(items: Iterable[T], columns: Sequence[str], speech: Speech) -> int:
    """Print things that are at hand as if they were a listing."""

    async def pages() -> AsyncIterator[tuple[T, ...]]:
        yield tuple(items)

    await _print_pages(pages(), columns, speech)
    return ExitCode.OK


async def _print_pages(pages: AsyncIterator[tuple[T, ...]], columns: Sequence[str], speech: Speech) -> None:
    rows: list[list[str]] = []
    tabled = is_terminal(sys.stdout) and not speech.json
    if not speech.json and not tabled:
        speech.show("\t".join(columns))
    async for page in pages:
        for item in page:
            if speech.json:
                speech.emit(item)
            elif tabled:
                rows.append(_cells(item, columns))
            else:
                speech.show("\t".join(_cells(item, columns)))
        if len(rows) >= _ROWS_OF_A_TABLE:
            _print_table(columns, rows)
            rows = []
        if not speech.heard:
            return
    if tabled:
        _print_table(columns, rows)


def print_item(item: msgspec.Struct, speech: Speech) -> int:
    """Print one thing: all fields that the server told."""
    if speech.json:
        speech.emit(item)
        return ExitCode.OK
    told = {name: value for name, value in msgspec.to_builtins(item).items() if value not in (None, "", [])}
    width = max((len(name) for name in told), default=0)
    for name, value in told.items():
        speech.show(f"{name:<{width}}  {_cell(value)}")
    return ExitCode.OK


def _cells(item: msgspec.Struct, columns: Sequence[str]) -> list[str]:
    return [_cell(msgspec.to_builtins(getattr(item, column))) for column in columns]


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return printable(text).replace("\t", " ").replace("\n", " ")


def _print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console  # noqa: PLC0415 - slow to import, and of use on terminals only
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(*columns)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console(file=sys.stdout).print(table)
