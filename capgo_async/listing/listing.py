"""`Listing`: the pages of a list, or its items, as they are asked for (contract G3)."""

import math
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Generic, TypeVar

from .walks import Page, Position, Walk

T = TypeVar("T")


class Listing(Generic[T]):
    """A list that is fetched page by page, de-duplicated: iterate it, or its `pages()`, or take `all()`.

    Nothing is sent until then, and each iteration begins anew. It ends complete or raises `ListingError`; afterwards `caveats`
    names what the answers cannot prove.
    """

    def __init__(self, walk: Callable[[], Walk[T]], fetch: Callable[[Position], Awaitable[Page[T]]]) -> None:
        self._walk = walk
        self._fetch = fetch
        self.complete = False
        self.caveats: tuple[str, ...] = ()

    async def pages(self, most: float = math.inf) -> AsyncIterator[tuple[T, ...]]:
        """Yield the new rows of each page; stop after `most` requests, then perhaps not `complete`."""
        self.complete, self.caveats = False, ()
        walk = self._walk()
        position: Position | None = walk.start()
        asked = 0
        while position is not None and asked < most:
            asked += 1
            rows, step = walk.feed(await self._fetch(position))
            self._state(step.caveats)
            position = step.next
            if position is None:
                self.complete = True
            if rows:
                yield rows

    async def __aiter__(self) -> AsyncIterator[T]:
        """Yield each row once."""
        async for rows in self.pages():
            for row in rows:
                yield row

    async def all(self) -> list[T]:
        """Return every row; the whole list is in memory then."""
        return [row async for row in self]

    def _state(self, caveats: tuple[str, ...]) -> None:
        self.caveats = tuple(dict.fromkeys((*self.caveats, *caveats)))
