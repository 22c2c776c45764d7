"""`Listing`: a list that is fetched while it is read (contract G3)."""

import math
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Generic, NamedTuple, TypeVar

from ..errors import ConfigurationError, EmptyListing
from .walks import BAD_ROWS, Page, Position, Walk

T = TypeVar("T")
Doubt = Callable[[], Awaitable[str | None]]
"""Returns why an empty list cannot be the truth, or `None` if nothing contradicts it."""


class Choice(NamedTuple, Generic[T]):
    """Which rows a listing yields, and the caveat if the server sends others, too."""

    fits: Callable[[T], bool]
    caveat: str


class Listing(Generic[T]):
    """A list that is fetched page by page: iterate it or its `pages()`, or await `all()`.

    Nothing is sent before. Every iteration starts from the beginning, yields each row once, and either returns the complete
    list or raises `ListingError`. Afterwards `caveats` states what could not be proven. A list without any row ends with
    `EmptyListing` if `doubt` gives a reason.
    """

    def __init__(
        self,
        walk: Callable[[], Walk[T]],
        fetch: Callable[[Position], Awaitable[Page[T]]],
        choice: Choice[T] | None = None,
        doubt: Doubt | None = None,
    ) -> None:
        self._walk = walk
        self._fetch = fetch
        self._choice = choice
        self._doubt = doubt
        self.complete = False
        self.caveats: tuple[str, ...] = ()

    async def pages(self, max_pages: float = math.inf) -> AsyncGenerator[tuple[T, ...], None]:
        """Yield the new rows of each page; stop after `max_pages` requests, even before it is `complete`.

        Raises as `all` does. Repeating it starts from the beginning.
        """
        self.complete, self.caveats = False, ()
        walk = self._walk()
        position: Position | None = walk.start()
        asked = 0
        empty = True
        while position is not None and asked < max_pages:
            asked += 1
            page = await self._fetch(position)
            rows, step = walk.feed(page)
            self._state((*page.caveats, *step.caveats))
            position = step.next
            empty = empty and not rows
            if position is None:
                if empty:
                    await self._believe_empty()
                self.complete = True
            if self._choice is not None:
                rows = self._chosen(rows, self._choice)
            if rows:
                yield rows

    async def __aiter__(self) -> AsyncIterator[T]:
        """Yield every row once."""
        async for rows in self.pages():
            for row in rows:
                yield row

    async def first(self, n: int) -> list[T]:
        """Return the first `n` rows, or all if there are fewer, and read no more pages than that takes.

        A listing by several cursors returns any `n` rows, and may read four pages with each cursor. Raises as `all` does, and
        `ConfigurationError` for a negative `n`. Repeating it reads again.
        """
        if n < 0:
            message = f"cannot return the first {n} rows"
            raise ConfigurationError(message)
        found: list[T] = []
        async with aclosing(self.pages()) as pages:
            while len(found) < n and (rows := await anext(pages, None)) is not None:
                found += rows
        return found[:n]

    async def count(self) -> int:
        """Return the number of rows, without keeping them. The server counts nothing, so all pages are read.

        Raises as `all` does. Repeating it reads again.
        """
        return sum([len(rows) async for rows in self.pages()])

    async def all(self) -> list[T]:
        """Return all rows; this holds the whole list in memory.

        Raises what the method that made the listing names, and `ListingError` if the list cannot be completed. Repeating it
        reads again.
        """
        return [row async for row in self]

    def _chosen(self, rows: tuple[T, ...], choice: Choice[T]) -> tuple[T, ...]:
        """Return the rows that fit; the walk has seen them all."""
        chosen = tuple(filter(choice.fits, rows))
        if len(chosen) < len(rows):
            self._state((choice.caveat,))
        return chosen

    async def _believe_empty(self) -> None:
        if BAD_ROWS in self.caveats:
            return
        if self._doubt is not None and (reason := await self._doubt()) is not None:
            raise EmptyListing(reason)

    def _state(self, caveats: tuple[str, ...]) -> None:
        self.caveats = tuple(dict.fromkeys((*self.caveats, *caveats)))
