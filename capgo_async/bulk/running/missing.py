"""Places that the plan saw, and in which a call is refused: channels, and apps.

A channel that is not found is gone, or hidden because the key has lost access. A change that is refused may be allowed a moment
later, because older servers refuse it while their database is away. So a look tells (contract A7). If the server shows the
place and still refuses changes there, the key has no right to make them.
"""

import math
from typing import Final, NamedTuple

import anyio

from ...errors import ApiError, CapgoError, ChannelNotFound, PermissionDenied
from ...key_ring import KeyRing

LOOK_AFTER_SECONDS: Final = 5.0
"""Seconds until a place is looked at: a server without its database finds nothing (contract A7)."""


class Place(NamedTuple):
    """A channel of an app, or the app itself if `channel` is `None`."""

    app_id: str
    channel: str | None = None

    def __str__(self) -> str:
        return f"app {self.app_id}" if self.channel is None else f"channel {self.channel} of {self.app_id}"


class Look(NamedTuple):
    """What a look at a place found.

    `error` is why the place is not shown, or `None` if it is there. `refused` is whether it was there before, too, and calls
    were refused in between.
    """

    at: float
    error: ApiError | None
    refused: bool = False

    @property
    def final(self) -> bool:
        """Return whether another look would show nothing new."""
        return self.refused or self.error is not None


class Looks:
    """Looks at places where calls were refused, once for all operations of a place."""

    def __init__(self, ring: KeyRing) -> None:
        self._ring = ring
        self._locks: dict[Place, anyio.Lock] = {}
        self._looks: dict[Place, Look] = {}
        self._due: dict[Place, float] = {}

    def passed(self, place: Place) -> None:
        """Note that a call passed in this place."""
        self._looks.pop(place, None)
        self._due.pop(place, None)

    def due_at(self, place: Place) -> float | None:
        """Return when the place is looked at, or `None` if it is not.

        Until then nothing should be sent there.
        """
        due = self._due.get(place)
        return due if due is not None and anyio.current_time() < due else None

    async def look_at(self, place: Place, refused_at: float) -> Look | float:
        """Return what was found after a refusal at `refused_at`, or the time at which to ask again.

        Until a call passes, a final look is not repeated. Raises what reading the place raises, except that it was not found or
        may not be read.
        """
        if (look := self._known(place, refused_at)) is not None:
            return look
        if self._due.get(place, -math.inf) < refused_at:
            self._due[place] = refused_at + LOOK_AFTER_SECONDS
        if (due := self.due_at(place)) is not None:
            return due
        async with self._locks.setdefault(place, anyio.Lock()):
            if (look := self._known(place, refused_at)) is not None:
                return look
            if (due := self.due_at(place)) is not None:
                return due
            self._put_off(place)
            try:
                error = await self._error_of(place)
            except CapgoError:
                self._put_off(place)
                raise
            look = Look(anyio.current_time(), error, refused=error is None and place in self._looks)
            self._looks[place] = look
            self._due.pop(place, None)
            return look

    def _put_off(self, place: Place) -> None:
        self._due[place] = anyio.current_time() + LOOK_AFTER_SECONDS

    def _known(self, place: Place, refused_at: float) -> Look | None:
        look = self._looks.get(place)
        return look if look is not None and (look.final or look.at >= refused_at) else None

    async def _error_of(self, place: Place) -> ApiError | None:
        client = self._ring.client_of(place.app_id)
        try:
            if place.channel is None:
                await client.apps.get(place.app_id)
            else:
                await client.channels.get(place.app_id, place.channel)
        except (ChannelNotFound, PermissionDenied) as error:
            return error
        return None
