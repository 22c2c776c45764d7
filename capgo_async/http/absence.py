"""Waits for a server that is away: probes it with backoff until it responds again."""

import math
from collections.abc import Awaitable, Callable
from typing import Final

import anyio

from ..errors import TransportError
from ..events import ServerAway, ServerBack
from ..listeners import Listeners

FIRST_PAUSE: Final = 5.0
"""Seconds until the first probe; each later pause is twice as long, up to a minute."""
_LONGEST_PAUSE: Final = 60.0


async def _nothing() -> None:
    pass


class Absence:
    """Waits while a server is away, for up to `longest` seconds each time; 0 for not at all.

    All clients of the server share it, so that one request at a time probes for all of them. `probe` sends that request, which
    counts against no limit, and returns whether the server responded as it should.
    """

    def __init__(self, longest: float, listeners: Listeners, probe: Callable[[], Awaitable[bool]] | None = None) -> None:
        self.longest = longest
        self.probe = probe
        self.looks_again_at: float | None = None
        """Time of the next probe, by `anyio.current_time()`, while the server is away."""
        self._listeners = listeners
        self._turn = anyio.Lock()
        self._back_at = -math.inf

    async def outlast(
        self, error: TransportError, since: float, before_pause: Callable[[], Awaitable[object]] = _nothing
    ) -> None:
        """Wait until the server responds again.

        Raises `error` once it has been away for too long, counted from `since`. `before_pause` is awaited whenever it was told
        that the server is away.
        """
        failed_at = anyio.current_time()
        async with self._turn:
            if self._back_at > failed_at:
                return
            pause = FIRST_PAUSE
            try:
                while self.probe is not None and (left := since + self.longest - anyio.current_time()) > 0:
                    pause = min(pause, left)
                    self.looks_again_at = anyio.current_time() + pause
                    self._listeners.announce(ServerAway(seconds=pause, so_far=self.longest - left))
                    await before_pause()
                    await anyio.sleep_until(self.looks_again_at)
                    if await self.probe():
                        self._back_at = anyio.current_time()
                        self._listeners.announce(ServerBack(seconds=self._back_at - since))
                        return
                    pause = min(2 * pause, _LONGEST_PAUSE)
            finally:
                self.looks_again_at = None
        raise error
