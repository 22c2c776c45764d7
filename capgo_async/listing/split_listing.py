"""Listings that are read by several cursors at once."""

import math
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Final, TypeVar

from ..concurrency import fan_out
from ..errors import InvalidRequest, NotFound, ServerError, UnreadableAnswer
from .listing import Doubt, Listing
from .split_walk import Ask, SplitWalk, Stretch
from .walks import BAD_ROWS, Page, Position

T = TypeVar("T")

_PAGES_AT_ONCE: Final = 4
"""Pages of each cursor that are read before they are returned; this bounds memory."""
_UNWILLING: Final = (InvalidRequest, NotFound, ServerError, UnreadableAnswer)
"""Errors of servers that do not let a list begin at any id."""


class SplitListing(Listing[T]):
    """A listing that is read by up to `cursors` cursors at once, in no particular order.

    No request is in flight while a page is yielded, so the caller can stop at any page.
    """

    def __init__(
        self,
        split: Callable[[], SplitWalk[T]],
        fetch: Callable[[Position], Awaitable[Page[T]]],
        cursors: int,
        doubt: Doubt | None = None,
    ) -> None:
        self._split = split
        self._fetch = fetch
        self._doubt = doubt
        self._cursors = cursors
        self.complete = False
        self.caveats: tuple[str, ...] = ()

    async def pages(self, max_pages: float = math.inf) -> AsyncGenerator[tuple[T, ...], None]:
        """Yield the new rows of each page; stop after `max_pages` requests, even before it is `complete`.

        Raises as `all` does. Repeating it starts from the beginning.
        """
        self.complete, self.caveats = False, ()
        walk = self._split()
        shown: deque[tuple[T, ...]] = deque()

        async def keep(rows: tuple[T, ...]) -> None:
            shown.append(rows)

        while not walk.complete and max_pages > 0:
            max_pages -= await self._read(walk, min(max_pages, _PAGES_AT_ONCE * self._cursors), keep)
            while shown:
                rows = shown.popleft()
                self.complete = walk.complete and not shown
                yield rows
            self.complete = walk.complete

    async def hand_over(self, take: Callable[[tuple[T, ...], tuple[Stretch, ...]], Awaitable[object]]) -> tuple[Stretch, ...]:
        """Call `take` with the new rows of each page, and with what was walked so far.

        A caller that stores both in this order can continue from there later. Returns what was walked in the end.
        """
        self.complete, self.caveats = False, ()
        walk = self._split()

        async def tell(rows: tuple[T, ...]) -> None:
            await take(rows, walk.stretches())

        while not walk.complete:
            await self._read(walk, _PAGES_AT_ONCE * self._cursors, tell)
        self.complete = True
        return walk.stretches()

    async def _read(self, walk: SplitWalk[T], most: float, take: Callable[[tuple[T, ...]], Awaitable[None]]) -> int:
        """Read up to `most` pages of all ranges; return how many were requested."""
        asks: list[Ask[T]] = []
        while len(asks) < most and (ask := walk.take()):
            asks.append(ask)
        if len(asks) == 1:
            await self._answer(walk, asks[0], take)
            return 1
        asked = len(asks)

        async def follow(ask: Ask[T] | None) -> None:
            nonlocal asked
            while ask is not None:
                await self._answer(walk, ask, take)
                ask = walk.take() if asked < most else None
                asked += ask is not None

        await fan_out(asks, follow, len(asks))
        return asked

    async def _answer(self, walk: SplitWalk[T], ask: Ask[T], take: Callable[[tuple[T, ...]], Awaitable[None]]) -> None:
        try:
            page = await self._fetch(ask.position)
        except _UNWILLING:
            if not ask.trial:
                raise
            walk.refuse(ask)
            return
        rows, caveats = walk.feed(ask, page)
        self._state(caveats)
        if rows:
            await take(rows)
        elif walk.complete and not walk.stretches() and BAD_ROWS not in page.caveats:
            await self._believe_empty()
