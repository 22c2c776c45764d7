"""Listings: given this page, what comes next (contract C6, C7, G3), and the `Listing` that walks them.

A walk is pure: it is fed pages and says what to ask for next, or that the listing is complete, or raises `ListingError`.
Past 300 lines because every generation of listing has a walk of its own, and all their guards are read side by side.
"""

from collections.abc import Callable, Hashable
from typing import Final, Generic, Protocol, TypeVar

import msgspec

from ..errors import ListingError
from ..http.dialect import Dialect

T = TypeVar("T")
Position = tuple[tuple[str, str], ...]
"""The query parameters that name a page: `cursor`, or `page`, or none for the first."""

PAGE_ROWS: Final = 50
"""Rows of a page that the server decides on (contract F)."""
ROW_CAP: Final = 1000
"""Rows that a backend gives at most (contract C6, F)."""

# In this order they rest on contract C7, C6, C7, D6, D6 and G3.
MASKED_EMPTY: Final = "the first page was empty twice; a server that cannot read its devices answers the same"
TIES: Final = "rows of one creation time stand on both sides of a page border, where their order is not defined"
SHORT_FIRST: Final = "the first page had 49 rows: servers that cut it there never show the row after it"
UNREADABLE: Final = "the key sees apps of organizations that it may not read: these are left out"
TRUNCATED: Final = "the server shows 50 organizations at most; others are here if the key sees an app of theirs"
NO_ORDER: Final = "the server names no order for this list: a row may be missed when it has several pages"


class Page(msgspec.Struct, Generic[T], frozen=True):
    """Rows as they came, and what the server says of those to come; `has_more` is `None` where it says nothing."""

    rows: tuple[T, ...]
    has_more: bool | None = None
    next_cursor: str | None = None
    caveats: tuple[str, ...] = ()


class Step(msgspec.Struct, frozen=True):
    """What a walk says to a page: the position of the next one, `None` at the end; what the listing cannot prove."""

    next: Position | None
    caveats: tuple[str, ...] = ()


class Walk(Protocol[T]):
    """A way through the pages of one listing."""

    def start(self) -> Position:
        """Return where the first page is."""
        ...

    def feed(self, page: Page[T]) -> tuple[tuple[T, ...], Step]:
        """Return the rows of `page` that are new, and where to go next."""
        ...


def last_unless_full(rows: int) -> bool:
    """Tell that a page of channels or bundles ends the list: right and buggy pages and the row cap are multiples of 50."""
    return rows % PAGE_ROWS != 0 and rows < ROW_CAP


def last_below_smallest(rows: int) -> bool:
    """Tell that a page ends a list whose page size may be the asked one or the server's own 50."""
    return rows < PAGE_ROWS


def never_last(_rows: int) -> bool:
    """Trust no short page: the seed era's first page of devices had 49 rows (contract C7)."""
    return False


class PageWalk(Generic[T]):
    """Walk a list by `page`, exact whatever the page size that the server really uses (contract C6, steps 1 to 4).

    `last` tells from the number of rows that no page follows; a page without new rows ends the walk in any case. `tie` returns
    what the server orders by, to notice rows whose order is not defined; `caveat` is stated of every list of several pages.
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
        """Take the rows not seen yet; stop when there are none, or when the page says that it is the last."""
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
            # The next page begins where this one would end if it had the size that it should have.
            step = max(1, len(page.rows) // PAGE_ROWS) * PAGE_ROWS
            self._border = (self._tie(page.rows[min(step, len(page.rows)) - 1]),)
        return found


class CursorWalk(Generic[T]):
    """Walk a list by its cursor, with a guard for each way in which that goes wrong (contract C7).

    In the default order only neighbouring pages can overlap, so that one id of each page is enough to notice a walk in
    circles; with `unordered` rows may move while the walk goes on, so that every id is remembered.
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
        """Take the rows not seen yet and follow the cursor until the server says that there is no more."""
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
            message = "the server sent a page again that it had sent before: the listing does not advance"
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
        first = not self._position
        if not self._asked_again:
            self._asked_again = True
            return Step(self._position)
        if first and not page.has_more:
            return Step(None, (MASKED_EMPTY,))
        message = "the server announced more rows and then sent an empty page, twice: the listing is not complete"
        raise ListingError(message)

    def _follow(self, cursor: str | None) -> Position:
        if not cursor:
            message = "the server says that there are more rows, but not where: the listing is not complete"
            raise ListingError(message)
        if hash(cursor) in self._cursors:
            message = "the server sent a cursor again that it had sent before: the listing does not advance"
            raise ListingError(message)
        self._cursors.add(hash(cursor))
        return (("cursor", cursor),)


class DeviceWalk(Generic[T]):
    """Let the first answer decide: a cursor where the server has one, else pages (contract C7).

    `expected` is the dialect that the user set: an answer of the other generation then is an error.
    """

    def __init__(self, key: Callable[[T], Hashable], *, unordered: bool = False, expected: Dialect = Dialect.AUTO) -> None:
        self._expected = expected
        self._key = key
        self._unordered = unordered
        self._walk: Walk[T] | None = None
        self._asked_again = False

    def start(self) -> Position:
        """Return the first page, in a way that both generations take."""
        return ()

    def feed(self, page: Page[T]) -> tuple[tuple[T, ...], Step]:
        """Choose the way with the first page, and follow it."""
        if self._walk is not None:
            if isinstance(self._walk, CursorWalk) is (page.has_more is None):
                message = "the server changed its way of listing between two pages: the listing is not complete"
                raise ListingError(message)
            return self._walk.feed(page)
        found = Dialect.SEED if page.has_more is None else Dialect.MODERN
        if self._expected not in {Dialect.AUTO, found}:
            message = f"the server lists devices as the dialect {found} does, but {self._expected} was set"
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
        # The seed era, too, answers like an empty app when it cannot resolve the versions.
        if self._asked_again:
            return Step(None, (MASKED_EMPTY,))
        self._asked_again = True
        return Step(())


class WholeWalk(Generic[T]):
    """Take a list that the server sends whole (contract C2, C4)."""

    def start(self) -> Position:
        """Return the only page."""
        return ()

    def feed(self, page: Page[T]) -> tuple[tuple[T, ...], Step]:
        """Take every row."""
        return page.rows, Step(None)


class CountedWalk(Generic[T]):
    """Walk a list whose pages tell how many rows there are in all, newest first (contract C3).

    New rows push old ones to later pages: they come twice and count once.
    """

    def __init__(self, key: Callable[[T], Hashable]) -> None:
        self._key = key
        self._seen: set[Hashable] = set()
        self._page = 0

    def start(self) -> Position:
        """Return the first page."""
        return (("page", "0"),)

    def feed(self, page: Page[T]) -> tuple[tuple[T, ...], Step]:
        """Take the rows not seen yet, until the count says that this was the last page, or it is empty."""
        new = {self._key(row): row for row in page.rows if self._key(row) not in self._seen}
        self._seen.update(new)
        if not page.has_more or not page.rows:
            return tuple(new.values()), Step(None)
        if not new:
            message = "the server sent a page again that it had sent before: the listing does not advance"
            raise ListingError(message)
        self._page += 1
        return tuple(new.values()), Step((("page", str(self._page)),))


class CompletedWalk(Generic[T]):
    """Walk a list of which the server shows one page only; where that is full, the rest is found elsewhere (contract D6).

    The position of the rest names all that was `seen`.
    """

    def __init__(self, key: Callable[[T], str]) -> None:
        self._key = key
        self._seen: set[str] | None = None

    def start(self) -> Position:
        """Return the only page."""
        return ()

    def feed(self, page: Page[T]) -> tuple[tuple[T, ...], Step]:
        """Take the page, then what is new in the rest."""
        if self._seen is None:
            self._seen = {self._key(row) for row in page.rows}
            full = len(page.rows) >= PAGE_ROWS
            rest = tuple(("seen", key) for key in self._seen)
            return page.rows, Step(rest, (TRUNCATED,)) if full else Step(None)
        seen = self._seen
        return tuple(row for row in page.rows if self._key(row) not in seen), Step(None, page.caveats)
