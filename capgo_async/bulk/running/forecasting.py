"""Tells the forecast of a run, and tells it again when it has changed."""

import math
from collections.abc import Callable
from typing import Final

import anyio

from ...events import ForecastMade
from ...listeners import Listeners
from ..forecast.forecast import Foreseen

EVERY: Final = 60.0
"""Seconds between two forecasts; more while more is left, because a long forecast takes longer."""
_SECONDS: Final = 5.0
_SHARE: Final = 0.05
"""A change of the end by fewer seconds, or by a smaller share of the time that is left, is not told."""


class Forecasts:
    """The forecasts of a run, made when it is asked to `look`.

    `foresee` returns how many operations are left, and a forecast for them.
    """

    def __init__(self, listeners: Listeners, foresee: Callable[[], tuple[int, Foreseen]]) -> None:
        self._listeners = listeners
        self._foresee = foresee
        self._due_at = -math.inf
        self._ends_at = -math.inf

    def look(self) -> None:
        """Make a forecast if it is time, and tell it if the run ends earlier or later than was told."""
        now = anyio.current_time()
        if now < self._due_at:
            return
        left, found = self._foresee()
        self._due_at = now + max(EVERY, _SHARE * found.seconds)
        ends_at = now + found.seconds
        if abs(ends_at - self._ends_at) > max(_SECONDS, _SHARE * found.seconds):
            self._ends_at = ends_at
            self._listeners.announce(ForecastMade(operations=left, seconds=found.seconds, more=found.more))
