"""Walks: given this page of a listing, which one is next (contract C6, C7, G3).

A walk is pure. It is fed pages, and returns what to request next or that the listing is complete, or raises `ListingError`.
This file is longer than 300 lines so that the walks of all generations and their guards can be compared.
"""

from collections.abc import Callable, Hashable
from typing import Final, Generic, Protocol, TypeVar

import msgspec

from ..errors import ListingError
from ..http.dialect import Dialect

T = TypeVar("T")
Position = tuple[tuple[str, str], ...]
"""The query parameters of a page: `cursor`, `page`, or none for the first page."""

PAGE_ROWS: Final = 50
"""Rows of a page of the server's own size (contract F)."""
ROW_CAP: Final = 1000
"""The most rows that a backend returns (contract C6, F)."""

# These rest on contract C7, C6, C7, D6, D6 and G3, in this order.
MASKED_EMPTY: Final = "the first page was empty twice, as it also is if the server cannot read its devices"
TIES: Final = "rows with the same creation time are on two pages, and their order is undefined: one may be missing"
SHORT_FIRST: Final = "the first page had 49 rows: some servers end it there and leave out the next row"
UNREADABLE: Final = "the key sees apps of organizations that it may not read; these organizations are missing"
TRUNCATED: Final = "the server lists only 50 organizations; others are listed if the key sees one of their apps"
BAD_ROWS: Final = "rows that could not be read were left out"
NO_ORDER: Final = "the server does not define the order of this list: a row may be missing if it has several pages"


class Page(msgspec.Struct, Generic[T], frozen=True):
    """One page of rows; `has_more` is `None` if the server does not say whether there are more."""

    rows: tuple[T, ...]
    has_more: bool | None = None
    next_cursor: str | None = None
    caveats: tuple[str, ...] = ()


class Step(msgspec.Struct, frozen=True):
    """The position of the next page, or `None` at the end, and what the listing cannot prove."""

    next: Position | None
    caveats: tuple[str, ...] = ()


class Walk(Protocol[T]):
    """A way through the pages of one listing."""

    def start(self) -> Position:
        """Return the position of the first page."""
        ...

    def feed(self, page: Page[T]) -> tuple[tuple[T, ...], Step]:
        """Return the new rows of `page`, and the next step."""
        ...


def last_unless_full(rows: int) -> bool:
    """Return whether a page of channels or bundles is the last: all full pages are multiples of 50 rows."""
    return rows % PAGE_ROWS != 0 and rows < ROW_CAP


def last_below_smallest(rows: int) -> bool:
    """Return whether a page is the last of a list whose pages have the requested size or 50 rows."""
    return rows < PAGE_ROWS


def never_last(_rows: int) -> bool:
    """Trust no short page, because the first page of devices of seed servers has 49 rows (contract C7)."""
    return False


class PageWalk(Generic[T]):
    """Walks a list by `page`, whatever page size the server really uses (contract C6, steps 1 to 4).

    `last` tells from the number of rows whether a page is the last. A page without new rows ends the walk in any case. `tie`
    returns the value that the server sorts by, to notice rows with an undefined order. `caveat` is reported for every list
    with several pages.
    """

    def __init__(
        self,
        key: Callable[[T], Hashable],
        *,
        last: Callable[[int], bool],
        tie: Callable[[T], str | None] | None = None,
        caveat: str | None = None,
    ) -> None:
        self._key = key
        self._last = last
        self._tie = tie
        self._caveat = caveat
        self._seen: set[Hashable] = set()
        self._page = 0
        self._small_pages = True
        self._border: tuple[str | None] | None = None

    def start(self) -> Position:
        """Return the first page."""
        return (("page", "0"),)

    def feed(self, page: Page[T]) -> tuple[tuple[T, ...], Step]:
        """Return the new rows; stop if there are none, or if this is the last page."""
        rows = len(page.rows)
        caveats = self._caveats(page)
        new = tuple(row for row in page.rows if self._is_new(row))
        if not new or self._last(rows):
            return new, Step(None, caveats)
        if self._page == 0 and rows > PAGE_ROWS:
            self._small_pages = False
        self._page += max(1, rows // PAGE_ROWS) if self._small_pages else 1
        return new, Step((("page", str(self._page)),), caveats)

    def _is_new(self, row: T) -> bool:
        key = self._key(row)
        if key in self._seen:
            return False
        self._seen.add(key)
        return True

    def _caveats(self, page: Page[T]) -> tuple[str, ...]:
        if not page.rows or self._page == 0:
            found: tuple[str, ...] = ()
        elif self._caveat is not None:
            found = (self._caveat,)
        else:
            found = (TIES,) if self._tie and self._border == (self._tie(page.rows[0]),) else ()
        if page.rows and self._tie:
            # The next page begins where this one would end if it had the right size.
            step = max(1, len(page.rows) // PAGE_ROWS) * PAGE_ROWS
            self._border = (self._tie(page.rows[min(step, len(page.rows)) - 1]),)
        return found


class CursorWalk(Generic[T]):
    """Walks a list by its cursor, with a guard for each known way in which that fails (contract C7).

    In the default order only consecutive pages can overlap, so one id of each page is enough to detect a loop. With
    `unordered` rows may move during the walk, so every id is kept.
    """

    def __init__(self, key: Callable[[T], Hashable], *, unordered: bool = False) -> None:
        self._key = key
        self._unordered = unordered
        self._seen: set[Hashable] = set()
        self._marks: set[Hashable] = set()
        self._cursors: set[int] = set()
        self._position: Position = ()
        self._asked_again = False

    def start(self) -> Position:
        """Return the first page."""
        return ()

    def feed(self, page: Page[T]) -> tuple[tuple[T, ...], Step]:
        """Return the new rows, and follow the cursor until the server says that there are no more."""
        if not page.rows:
            return (), self._at_empty_page(page)
        self._asked_again = False
        keys = list(map(self._key, page.rows))
        found = set(keys)
        new = page.rows
        if len(found) < len(keys) or not self._seen.isdisjoint(found):
            fresh: dict[Hashable, T] = {}
            for key, row in zip(keys, page.rows, strict=True):
                if key not in self._seen:
                    fresh.setdefault(key, row)
            keys, new = list(fresh), tuple(fresh.values())
        if not self._marks.isdisjoint(keys) or (page.has_more and not new):
            message = "the server sent the same page twice: the listing does not advance"
            raise ListingError(message)
        if not page.has_more:
            return new, Step(None)
        if self._unordered:
            self._seen.update(found)
        else:
            self._seen = found
            self._marks.add(keys[0])
        self._position = self._follow(page.next_cursor)
        return new, Step(self._position)

    def _at_empty_page(self, page: Page[T]) -> Step:
        if BAD_ROWS in page.caveats:
            # It has rows, of which none can be read.
            if not page.has_more:
                return Step(None)
            self._position = self._follow(page.next_cursor)
            return Step(self._position)
        first = not self._position
        if not self._asked_again:
            self._asked_again = True
            return Step(self._position)
        if first and not page.has_more:
            return Step(None, (MASKED_EMPTY,))
        message = "the server announced more rows but sent an empty page, twice: the listing is incomplete"
        raise ListingError(message)

    def _follow(self, cursor: str | None) -> Position:
        if not cursor:
            message = "the server announced more rows but sent no cursor: the listing is incomplete"
            raise ListingError(message)
        if hash(cursor) in self._cursors:
            message = "the server sent the same cursor twice: the listing does not advance"
            raise ListingError(message)
        self._cursors.add(hash(cursor))
        return (("cursor", cursor),)


class DeviceWalk(Generic[T]):
    """Walks a list of devices by cursor or by page, depending on the first response (contract C7).

    `expected` is the dialect that the user set; a response of the other dialect is then an error.
    """

    def __init__(self, key: Callable[[T], Hashable], *, unordered: bool = False, expected: Dialect = Dialect.AUTO) -> None:
        self._expected = expected
        self._key = key
        self._unordered = unordered
        self._walk: Walk[T] | None = None
        self._asked_again = False

    def start(self) -> Position:
        """Return the first page; both generations accept a request without parameters."""
        return ()

    def feed(self, page: Page[T]) -> tuple[tuple[T, ...], Step]:
        """Choose the walk by the first page, and follow it."""
        if self._walk is not None:
            if isinstance(self._walk, CursorWalk) is (page.has_more is None):
                message = "the server changed the form of its pages during the listing: the listing is incomplete"
                raise ListingError(message)
            return self._walk.feed(page)
        found = Dialect.SEED if page.has_more is None else Dialect.MODERN
        if self._expected not in {Dialect.AUTO, found}:
            message = f"the server lists devices in the dialect {found}, but {self._expected} was set"
            raise ListingError(message)
        if page.has_more is not None:
            self._walk = CursorWalk(self._key, unordered=self._unordered)
            return self._walk.feed(page)
        if not page.rows:
            return (), self._at_empty_page()
        self._walk = PageWalk(self._key, last=never_last, caveat=NO_ORDER)
        new, step = self._walk.feed(page)
        return new, Step(step.next, (SHORT_FIRST,) if len(page.rows) == PAGE_ROWS - 1 else step.caveats)

    def _at_empty_page(self) -> Step:
        # Seed servers also send an empty page if they cannot resolve the versions.
        if self._asked_again:
            return Step(None, (MASKED_EMPTY,))
        self._asked_again = True
        return Step(())


class WholeWalk(Generic[T]):
    """Reads a list that the server sends as one page (contract C2, C4)."""

    def start(self) -> Position:
        """Return the only page."""
        return ()

    def feed(self, page: Page[T]) -> tuple[tuple[T, ...], Step]:
        """Return all rows."""
        return page.rows, Step(None)


class CountedWalk(Generic[T]):
    """Walks a list, newest first, whose pages tell how many rows there are in total (contract C3).

    New rows push older ones to later pages; rows that appear twice are returned once.
    """

    def __init__(self, key: Callable[[T], Hashable]) -> None:
        self._key = key
        self._seen: set[Hashable] = set()
        self._page = 0

    def start(self) -> Position:
        """Return the first page."""
        return (("page", "0"),)

    def feed(self, page: Page[T]) -> tuple[tuple[T, ...], Step]:
        """Return the new rows, until the last page by the total."""
        new = {self._key(row): row for row in page.rows if self._key(row) not in self._seen}
        self._seen.update(new)
        if not page.has_more:
            return tuple(new.values()), Step(None)
        if not page.rows:
            message = "the server sent an empty page, but counts more rows: the listing is incomplete"
            raise ListingError(message)
        if not new:
            message = "the server sent the same page twice: the listing does not advance"
            raise ListingError(message)
        self._page += 1
        return tuple(new.values()), Step((("page", str(self._page)),))


class CompletedWalk(Generic[T]):
    """Reads a list of which the server sends one page; the rest is found elsewhere (contract D6).

    The position of the rest contains the keys that were `seen`.
    """

    def __init__(self, key: Callable[[T], str]) -> None:
        self._key = key
        self._seen: set[str] | None = None

    def start(self) -> Position:
        """Return the only page."""
        return ()

    def feed(self, page: Page[T]) -> tuple[tuple[T, ...], Step]:
        """Return the page, then the new rows of the rest."""
        if self._seen is None:
            self._seen = {self._key(row) for row in page.rows}
            full = len(page.rows) >= PAGE_ROWS
            rest = tuple(("seen", key) for key in self._seen)
            return page.rows, Step(rest, (TRUNCATED,)) if full else Step(None)
        seen = self._seen
        return tuple(row for row in page.rows if self._key(row) not in seen), Step(None, page.caveats)
