"""The nightly job that removes old overrides (contract C7)."""

import math
from typing import Final

from .settings import Settings
from .state.world import World
from .timestamps import micros

_DAY: Final = 86_400.0
_HOUR: Final = 2.5 * 3600
"""The time of day, in UTC, at which the job runs."""
_DEVICE_SET: Final = 90 * _DAY
"""Age at which an override that a device has set is removed, where the others stay for ever."""


class Expiry:
    """Removes the overrides of one server that are too old, in the first request after each night.

    An override that was there before the first request counts as written with it. So a seeded world does not lose its overrides
    because it was made for another day.
    """

    def __init__(self, settings: Settings) -> None:
        self._lifetime = settings.override_lifetime
        self._begun = math.inf
        self._tonight = -math.inf

    def pass_time(self, world: World, now: float) -> None:
        """Do what the job did until `now`, in epoch seconds."""
        if now < self._tonight:
            return
        self._begun = min(self._begun, now)
        last_night = (now - _HOUR) // _DAY * _DAY + _HOUR
        self._tonight = last_night + _DAY
        own = math.isinf(self._lifetime)
        oldest = last_night - (_DEVICE_SET if own else self._lifetime)
        if oldest > self._begun:
            for app in world.apps.values():
                app.expire(micros(oldest), own=own)
