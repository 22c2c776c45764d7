"""The timeline of a job: buckets of what was sent and settled when, and moments.

Buckets are as long as the timeline's `width`, which is the same for all of them. It begins with 5 s and is doubled whenever the
timeline has grown too large. Bounds lie at multiples of the width from the epoch on, so buckets of a coarser timeline are sums
of finer ones, and totals stay what they are.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final, TypeVar

import msgspec

from ..events import (
    ApprovalAnswered,
    ApprovalAsked,
    AttemptBegan,
    AttemptEnded,
    BakeBegan,
    BakeEnded,
    ConcurrencyChanged,
    Event,
    ForecastMade,
    KeyRefused,
    LimitLearned,
    LimitMet,
    OtherUsersNoticed,
    RestBegan,
    RestEnded,
    ServerAway,
    ServerBack,
    ServerVersionChanged,
    WaveBegan,
    WaveEnded,
)

K = TypeVar("K")
N = TypeVar("N", int, float)

WIDTH: Final = 5
"""Seconds of the finest buckets."""
KEPT: Final[frozenset[type[Event]]] = frozenset(
    {
        ApprovalAnswered,
        ApprovalAsked,
        BakeBegan,
        BakeEnded,
        ConcurrencyChanged,
        ForecastMade,
        KeyRefused,
        LimitLearned,
        LimitMet,
        OtherUsersNoticed,
        RestBegan,
        RestEnded,
        ServerAway,
        ServerBack,
        ServerVersionChanged,
        WaveBegan,
        WaveEnded,
    }
)
"""Events that a job file keeps as moments. The begin and the end of a run stand in its record."""
_OFTEN: Final = frozenset({ConcurrencyChanged, KeyRefused, LimitMet, ServerVersionChanged})
"""Of these, the first of each limit, app, key or version in a span of `WIDTH` is kept."""
_MOST_OPEN: Final = 10_000
"""Most buckets that wait to be stored; while planning, nothing is stored for hours."""
_BINS_PER_DOUBLING: Final = 4
"""A percentile is known to about 9 %."""
_SHORTEST: Final = 0.001
"""Latencies below this many seconds are in the first bin."""


class Bucket(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What happened to one app in one span of time. `start` is in seconds since the epoch.

    `app` is empty for requests that belong to no single app, and for rests that concern all. `done` and `failed` are
    operations, as runs count them. `requests` are the attempts that began, `retries` those after the first of their call.
    `refused` counts those that a limit refused, by its code. `most_in_flight` is the greatest number of requests under way.
    `seconds` is the sum of the response times, `latencies` their histogram, see `percentile`. `rested` is how many seconds
    nothing was sent, by the code of the limit.
    """

    start: int
    app: str
    done: int = 0
    failed: int = 0
    requests: int = 0
    retries: int = 0
    most_in_flight: int = 0
    seconds: float = 0.0
    refused: Mapping[str, int] = {}
    rested: Mapping[str, float] = {}
    latencies: Mapping[int, int] = {}

    def percentile(self, share: float) -> float | None:
        """Return the seconds within which a `share` of the requests ended, or `None` without any requests."""
        left = share * sum(self.latencies.values())
        for bin_, count in sorted(self.latencies.items()):
            left -= count
            if left <= 0:
                return float(_SHORTEST * 2.0 ** ((bin_ - 0.5) / _BINS_PER_DOUBLING))
        return None

    @property
    def p50(self) -> float | None:
        """The median response time in seconds."""
        return self.percentile(0.5)

    @property
    def p95(self) -> float | None:
        """The response time in seconds that 95 % of the requests did not exceed."""
        return self.percentile(0.95)


class Moment(msgspec.Struct, frozen=True, gc=False):
    """An event of a job, and when it happened, in seconds since the epoch. `run` is the number of the run."""

    at: float
    run: int
    event: Event


class Timeline(msgspec.Struct, frozen=True):
    """The buckets of a job by time and app, each `width` seconds long, and its moments, oldest first."""

    width: int = WIDTH
    buckets: tuple[Bucket, ...] = ()
    moments: tuple[Moment, ...] = ()


def bin_of(seconds: float) -> int:
    """Return the bin of a histogram that counts a response time."""
    return max(0, math.ceil(math.log2(seconds / _SHORTEST) * _BINS_PER_DOUBLING)) if seconds > _SHORTEST else 0


def merged(buckets: Iterable[Bucket], width: int) -> list[Bucket]:
    """Return `buckets` added up to buckets of `width` seconds, sorted by start and app."""
    found: dict[tuple[int, str], Bucket] = {}
    for bucket in buckets:
        start = bucket.start - bucket.start % width
        before = found.get((start, bucket.app))
        found[start, bucket.app] = _sum(before or Bucket(start, bucket.app), bucket)
    return [found[key] for key in sorted(found)]


def _sum(one: Bucket, other: Bucket) -> Bucket:
    return Bucket(
        one.start,
        one.app,
        one.done + other.done,
        one.failed + other.failed,
        one.requests + other.requests,
        one.retries + other.retries,
        max(one.most_in_flight, other.most_in_flight),
        one.seconds + other.seconds,
        _added(one.refused, other.refused),
        _added(one.rested, other.rested),
        _added(one.latencies, other.latencies),
    )


def _added(one: Mapping[K, N], other: Mapping[K, N]) -> Mapping[K, N]:
    if not one or not other:
        return one or other
    found = dict(one)
    for key, number in other.items():
        found[key] = found[key] + number if key in found else number
    return found


class _Tally:
    """A bucket that still grows."""

    __slots__ = Bucket.__struct_fields__[2:]

    def __init__(self) -> None:
        self.done = self.failed = self.requests = self.retries = self.most_in_flight = 0
        self.seconds = 0.0
        self.refused: dict[str, int] = {}
        self.rested: dict[str, float] = {}
        self.latencies: dict[int, int] = {}


class Collector:
    """Collects what happens into buckets and moments, until they are taken to be stored.

    All times are in seconds since the epoch. `requests`, `retries` and `refused` are totals from the beginning on.
    """

    def __init__(self) -> None:
        self.requests = 0
        self.retries = 0
        self.refused: Counter[str] = Counter()
        self._tallies: dict[tuple[int, str], _Tally] = {}
        self._buckets: list[Bucket] = []
        self._width = WIDTH
        self._moments: list[Moment] = []
        self._told: set[tuple[object, ...]] = set()
        self._told_in = 0

    @property
    def has_moments(self) -> bool:
        """Return whether moments wait to be stored."""
        return bool(self._moments)

    def began(self, at: float, event: AttemptBegan) -> None:
        """Count a request."""
        tally = self._tally(at, event.app)
        tally.requests += 1
        self.requests += 1
        if event.number > 1:
            tally.retries += 1
            self.retries += 1
        tally.most_in_flight = max(tally.most_in_flight, event.in_flight)

    def ended(self, at: float, event: AttemptEnded) -> None:
        """Count a response, or take back a request that never left."""
        tally = self._tally(at, event.app)
        if not event.sent:
            # It was counted when it began.
            tally.requests -= 1
            self.requests -= 1
            if event.number > 1:
                tally.retries -= 1
                self.retries -= 1
        if event.status is not None:
            tally.seconds += event.seconds
            place = bin_of(event.seconds)
            tally.latencies[place] = tally.latencies.get(place, 0) + 1
        if event.refused:
            tally.refused[event.refused] = tally.refused.get(event.refused, 0) + 1
            self.refused[event.refused] += 1

    def settled(self, at: float, app: str, *, done: int, failed: int) -> None:
        """Count operations of an app that are settled."""
        tally = self._tally(at, app)
        tally.done += done
        tally.failed += failed

    def happened(self, at: float, event: Event) -> None:
        """Keep a moment, and the seconds of a rest that is over."""
        if isinstance(event, RestEnded):
            self._rested(at - event.seconds, at, event)
        if type(event) in _OFTEN and not self._is_new(at, event):
            return
        self._moments.append(Moment(at, 0, event))

    def take(self) -> tuple[list[Bucket], list[Moment]]:
        """Return all that was collected since the last call."""
        self._close()
        buckets, self._buckets, self._width = self._buckets, [], WIDTH
        moments, self._moments = self._moments, []
        return buckets, moments

    def _tally(self, at: float, app: str) -> _Tally:
        key = int(at) // WIDTH, app
        tally = self._tallies.get(key)
        if tally is None:
            if len(self._tallies) >= _MOST_OPEN:
                self._close()
            tally = self._tallies[key] = _Tally()
        return tally

    def _close(self) -> None:
        """Turn what is counted so far into buckets, and make them coarser if they are too many."""
        for (step, app), tally in self._tallies.items():
            self._buckets.append(Bucket(step * WIDTH, app, *(getattr(tally, name) for name in Bucket.__struct_fields__[2:])))
        self._tallies = {}
        while len(self._buckets) > _MOST_OPEN and len({bucket.start for bucket in self._buckets}) > 1:
            self._width *= 2
            self._buckets = merged(self._buckets, self._width)

    def _rested(self, began_at: float, ended_at: float, rest: RestEnded) -> None:
        at = began_at
        while at < ended_at:
            until = min(ended_at, (at // WIDTH + 1) * WIDTH)
            rested = self._tally(at, rest.app).rested
            rested[rest.limit] = rested.get(rest.limit, 0.0) + until - at
            at = until

    def _is_new(self, at: float, event: Event) -> bool:
        """Return whether no event like this was kept in this span."""
        if (step := int(at) // WIDTH) != self._told_in:
            self._told_in = step
            self._told.clear()
        names = ("limit", "app", "key", "before", "version", "allowed")
        what = (type(event), *(getattr(event, name, None) for name in names))
        new = what not in self._told
        self._told.add(what)
        return new
