"""Channels that the plan saw and a call no longer finds.

They are gone, or hidden because the key has lost access (contract A7).
"""

from typing import Final, NamedTuple

import anyio

from ...errors import ApiError, ChannelNotFound, PermissionDenied
from ...http.effort import Abandoned, Wait
from ...key_ring import KeyRing

LOOK_AFTER_SECONDS: Final = 5.0
"""Seconds until a channel is looked for: a server without its database finds nothing (contract A7)."""


class _Look(NamedTuple):
    at: float
    error: ApiError | None


class MissingChannels:
    """Looks for missing channels, once for all operations that miss the same one."""

    def __init__(self, ring: KeyRing) -> None:
        self._ring = ring
        self._drained = anyio.Event()
        self._locks: dict[tuple[str, str], anyio.Lock] = {}
        self._looks: dict[tuple[str, str], _Look] = {}

    def drain(self) -> None:
        """Look for nothing any more: whoever waits gets `Abandoned`."""
        self._drained.set()

    async def look_for(self, app_id: str, channel: str) -> ApiError | None:
        """Look for a channel after a pause. Return why it was not found, or `None` if it is there.

        A channel that was not found is not looked for again. Raises what reading a channel raises, except that it was not
        found or may not be read.
        """
        asked_at, place = anyio.current_time(), (app_id, channel)
        async with self._locks.setdefault(place, anyio.Lock()):
            look = self._looks.get(place)
            if look is None or (look.error is None and look.at < asked_at):
                with anyio.move_on_after(LOOK_AFTER_SECONDS):
                    await self._drained.wait()
                if self._drained.is_set():
                    raise Abandoned(Wait(anyio.current_time()))
                look = self._looks[place] = _Look(anyio.current_time(), await self._error_of(app_id, channel))
            return look.error

    async def _error_of(self, app_id: str, channel: str) -> ApiError | None:
        try:
            await self._ring.client_of(app_id).channels.get(app_id, channel)
        except (ChannelNotFound, PermissionDenied) as error:
            return error
        return None
