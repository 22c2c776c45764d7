"""Prints listings and items: JSON for programs, tables on terminals, otherwise tab-separated text."""

import sys
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Final, TypeVar

import msgspec

from ...listing.listing import Listing
from .exit_codes import ExitCode
from .speech import Speech, is_terminal
from .tables import Tables

T = TypeVar("T", bound=msgspec.Struct)

_ONE_LINE: Final = str.maketrans("\t\n\r", "   ")


async def print_listing(listing: Listing[T], columns: Sequence[str], speech: Speech) -> int:
    """Print every row of `listing` as it arrives, with `columns` unless JSON is wanted.

    Adds notes on what could not be proven.
    """
    code = await print_pages(listing.pages(), columns, speech)
    for caveat in listing.caveats if speech.heard else ():
        speech.note(f"note: {caveat}")
    return code


async def print_items(items: Iterable[T], columns: Sequence[str], speech: Speech) -> int:
    """Print `items` like a listing."""

    async def pages() -> AsyncIterator[tuple[T, ...]]:
        yield tuple(items)

    return await print_pages(pages(), columns, speech)


async def print_pages(pages: AsyncIterator[Sequence[T]], columns: Sequence[str], speech: Speech) -> int:
    """Print pages as they arrive, and return the exit code. A listing that cannot be written is an error."""
    if speech.json:
        await _print_json(pages, speech)
    elif is_terminal(sys.stdout):
        await _print_tables(pages, columns, speech)
    else:
        await _print_tabbed(pages, columns, speech)
    return _code(speech)


def print_item(item: msgspec.Struct, speech: Speech, *, always: Sequence[str] = ()) -> int:
    """Print one item: all fields that have a value, and those in `always`."""
    if speech.json:
        speech.emit(item)
        return _code(speech)
    told = {name: value for name, value in msgspec.to_builtins(item).items() if value not in (None, "", []) or name in always}
    width = max((len(name) for name in told), default=0)
    for name, value in told.items():
        speech.show(f"{name:<{width}}  {'null' if value is None else _cell(value)}")
    return _code(speech)


async def _print_json(pages: AsyncIterator[Sequence[T]], speech: Speech) -> None:
    async for page in pages:
        for item in page:
            speech.emit(item)
        if not speech.heard:
            return


async def _print_tabbed(pages: AsyncIterator[Sequence[T]], columns: Sequence[str], speech: Speech) -> None:
    # The header is printed with the first page, so that an error before it leaves stdout empty.
    header: tuple[str, ...] = ("\t".join(columns),)
    async for page in pages:
        for line in (*header, *("\t".join(_cells(item, columns)) for item in page)):
            speech.show(line)
        header = ()
        if not speech.heard:
            return
    for line in header:
        speech.show(line)


async def _print_tables(pages: AsyncIterator[Sequence[T]], columns: Sequence[str], speech: Speech) -> None:
    tables = Tables(columns, speech)
    async for page in pages:
        tables.add(_cells(item, columns) for item in page)
        if not speech.heard:
            return
    tables.end()


def _code(speech: Speech) -> int:
    return ExitCode.STOPPED if speech.lost else ExitCode.OK


def _cells(item: msgspec.Struct, columns: Sequence[str]) -> list[str]:
    return [_cell(msgspec.to_builtins(getattr(item, column))) for column in columns]


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return text.translate(_ONE_LINE)
