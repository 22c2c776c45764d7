"""How long each kind of request takes: learned from the first responses, and corrected by later ones."""

import math
from collections.abc import Mapping
from typing import Final

import msgspec

from .models import Fate

ANY: Final = ""
"""The kind that stands for all requests together, and for one that belongs to no other."""
_UNSEEN: Final = 0.1
"""Seconds that are assumed before the first response."""
_MEMORY: Final = 256
"""A mean follows the last responses, about this many, so that a server that slows down is noticed."""
_RECALLED: Final = 8
"""Weight of what an earlier process measured, in responses."""
_TELLING: Final = frozenset({Fate.PASSED, Fate.FAILED, Fate.LOST})
_SIGMAS: Final = 2
"""A mean is within this many standard errors of the truth 19 times out of 20."""


class Timing(msgspec.Struct, frozen=True):
    """How many seconds a request occupies a place in flight: mean and standard deviation over `responses`."""

    seconds: float
    deviation: float = 0.0
    responses: int = 1

    def error(self) -> float:
        """Return by how many seconds the mean may be wrong."""
        return _SIGMAS * self.deviation / math.sqrt(min(self.responses, 2 * _MEMORY))


class Timings:
    """The timing of each kind of request, such as `POST /device`.

    The time of an attempt that failed, or got no response, is added to that of the next response of its kind. So the mean is
    what one success costs, retries included.
    """

    def __init__(self) -> None:
        self._found: dict[str, Timing] = {}
        self._lost: dict[str, float] = {}
        self.measured = False
        """Whether anything was measured, and not only recalled."""

    def note(self, kind: str, seconds: float, fate: Fate) -> None:
        """Take the end of an attempt that took `seconds`.

        One that a limit refused, or that never left, tells nothing.
        """
        if fate in _TELLING:
            self._note(ANY, seconds, fate)
            if kind:
                self._note(kind, seconds, fate)

    def recall(self, known: Mapping[str, Timing]) -> None:
        """Start with what an earlier process measured, for kinds that this one has not seen."""
        for kind, timing in known.items():
            few = msgspec.structs.replace(timing, responses=min(timing.responses, _RECALLED))
            self._found.setdefault(kind, few)

    def known(self) -> dict[str, Timing]:
        """Return the timing of each kind, and that of any request as `ANY`."""
        return dict(self._found)

    def _note(self, kind: str, seconds: float, fate: Fate) -> None:
        if fate is not Fate.PASSED:
            self._lost[kind] = self._lost.get(kind, 0.0) + seconds
            return
        if self._lost:
            seconds += self._lost.pop(kind, 0.0)
        self.measured = True
        before = self._found.get(kind)
        if before is None:
            self._found[kind] = Timing(seconds)
            return
        responses = before.responses + 1
        share = 1 / min(responses, _MEMORY)
        off = seconds - before.seconds
        variance = (1 - share) * (before.deviation * before.deviation + share * off * off)
        self._found[kind] = Timing(before.seconds + share * off, math.sqrt(variance), responses)


def usual(timings: Mapping[str, Timing]) -> float:
    """Return how many seconds any request takes."""
    return timings[ANY].seconds if ANY in timings else _UNSEEN


def mean(calls: Mapping[str, int], timings: Mapping[str, Timing], otherwise: float) -> float:
    """Return how many seconds an average request takes, given how many of each kind there are.

    Kinds that were never measured take `otherwise`.
    """
    total = sum(calls.values())
    if not total:
        return otherwise
    return sum(count * (timings[kind].seconds if kind in timings else otherwise) for kind, count in calls.items()) / total
