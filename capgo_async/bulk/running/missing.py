"""Channels that the plan saw and a call no longer finds.

They are gone, or hidden because the key has lost access. If the server shows one and still does not find it for a change, the
key has lost the right to make that change (contract A7).
"""

from typing import Final, NamedTuple

import anyio

from ...errors import ApiError, ChannelNotFound, PermissionDenied
from ...http.effort import Abandoned, Wait
from ...key_ring import KeyRing

LOOK_AFTER_SECONDS: Final = 5.0
"""Seconds until a channel is looked for: a server without its database finds nothing (contract A7)."""


class Look(NamedTuple):
    """What a look for a channel found.

    `error` is why the channel was not found, or `None` if it is there. `refused` is whether it was there before, too, and calls
    missed it in between.
    """

    at: float
    error: ApiError | None
    refused: bool = False

    @property
    def final(self) -> bool:
        """Return whether another look would show nothing new."""
        return self.refused or self.error is not None


class MissingChannels:
    """Looks for missing channels, once for all operations that miss the same one."""

    def __init__(self, ring: KeyRing) -> None:
        self._ring = ring
        self._drained = anyio.Event()
        self._locks: dict[tuple[str, str], anyio.Lock] = {}
        self._looks: dict[tuple[str, str], Look] = {}

    def drain(self) -> None:
        """Stop looking. Operations that wait for a look get `Abandoned`."""
        self._drained.set()

    def found(self, app_id: str, channel: str) -> None:
        """Note that a call found the channel."""
        self._looks.pop((app_id, channel), None)

    async def look_for(self, app_id: str, channel: str) -> Look:
        """Look for a channel after a pause.

        Until a call finds the channel, a final look is not repeated. Raises what reading a channel raises, except that
        it was not found or may not be read.
        """
        asked_at, place = anyio.current_time(), (app_id, channel)
        async with self._locks.setdefault(place, anyio.Lock()):
            look = self._looks.get(place)
            if look is None or (not look.final and look.at < asked_at):
                with anyio.move_on_after(LOOK_AFTER_SECONDS):
                    await self._drained.wait()
                if self._drained.is_set():
                    raise Abandoned(Wait(anyio.current_time()))
                error = await self._error_of(app_id, channel)
                look = Look(anyio.current_time(), error, refused=error is None and place in self._looks)
                self._looks[place] = look
            return look

    async def _error_of(self, app_id: str, channel: str) -> ApiError | None:
        try:
            await self._ring.client_of(app_id).channels.get(app_id, channel)
        except (ChannelNotFound, PermissionDenied) as error:
            return error
        return None
