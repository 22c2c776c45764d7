"""The timeline of a job: buckets of what was sent and settled when, and moments.

Buckets are as long as the timeline's `width`, which is the same for all of them. It begins with 5 s and is doubled whenever the
timeline has grown too large. Bounds lie at multiples of the width from the epoch on, so buckets of a coarser timeline are sums
of finer ones, and totals stay what they are.
"""

import math
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from typing import Final, TypeVar

import msgspec

from ..events import (
    ApprovalAnswered,
    ApprovalAsked,
    BakeBegan,
    BakeEnded,
    ConcurrencyChanged,
    Event,
    ForecastMade,
    KeyRefused,
    LimitInForce,
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
        LimitInForce,
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
_BINS_PER_DOUBLING: Final = 4
"""A percentile is known to about 9 %."""
_SHORTEST: Final = 0.001
"""Latencies below this many seconds are in the first bin."""


class Bucket(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What happened to one app in one span of time. `start` is in seconds since the epoch.

    `app` is empty for requests that belong to no single app, and for rests that concern all. `done` and `failed` are
    operations, as runs count them. `requests` are the attempts that ended, `retries` those after the first of their call.
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


def histogram(times: list[float]) -> dict[int, int]:
    """Return how many response times, in seconds, are in each bin. Sorts them."""
    times.sort()
    found: dict[int, int] = {}
    at = 0
    while at < len(times):
        bin_ = bin_of(times[at])
        # At least this one, whatever floating-point numbers make of the bound.
        after = max(at + 1, bisect_right(times, _SHORTEST * 2.0 ** (bin_ / _BINS_PER_DOUBLING)))
        found[bin_] = found.get(bin_, 0) + after - at
        at = after
    return found


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
