"""Collects the timeline of a run."""

from collections import Counter
from typing import Final

from ...events import AttemptEnded, ConcurrencyChanged, Event, KeyRefused, LimitMet, RestEnded, ServerVersionChanged
from ..timeline import WIDTH, Bucket, Moment, histogram, merged

_OFTEN: Final = frozenset({ConcurrencyChanged, KeyRefused, LimitMet, ServerVersionChanged})
"""Of these, the first of each limit, app, key or version in a span of `WIDTH` is kept."""
_MOST_OPEN: Final = 10_000
"""Most buckets that wait to be stored; while planning, nothing is stored for hours."""
_MOST_ATTEMPTS: Final = 4096
"""Most attempts that wait to be counted."""


class _Tally:
    """A bucket that still grows. `times` are its response times."""

    __slots__ = ("done", "failed", "most_in_flight", "refused", "requests", "rested", "retries", "times")

    def __init__(self) -> None:
        self.done = self.failed = self.requests = self.retries = self.most_in_flight = 0
        self.refused: dict[str, int] = {}
        self.rested: dict[str, float] = {}
        self.times: list[float] = []

    def bucket(self, start: int, app: str) -> Bucket:
        """Return it as a bucket."""
        counts = self.done, self.failed, self.requests, self.retries, self.most_in_flight
        return Bucket(start, app, *counts, sum(self.times), self.refused, self.rested, histogram(self.times))


class Collector:
    """Collects what happens into buckets and moments, until they are taken to be stored.

    Times are in seconds since the epoch, but attempts tell theirs by the clock of the event loop, whose zero is at `epoch`.
    `requests`, `retries` and `refused` are totals from the beginning on, of what was taken so far.
    """

    def __init__(self, epoch: float = 0.0) -> None:
        self.epoch = epoch
        self.requests = 0
        self.retries = 0
        self.refused: Counter[str] = Counter()
        self._attempts: list[AttemptEnded] = []
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

    def ended(self, event: AttemptEnded) -> None:
        """Count an attempt, later: every request waits for this function."""
        self._attempts.append(event)
        if len(self._attempts) >= _MOST_ATTEMPTS:
            self._count()

    def settled(self, at: float, app: str, *, done: int, failed: int) -> None:
        """Count operations of an app that are settled."""
        tally = self._tally(int(at) // WIDTH, app)
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
        self._count()
        self._close()
        buckets, self._buckets, self._width = self._buckets, [], WIDTH
        moments, self._moments = self._moments, []
        return buckets, moments

    def _count(self) -> None:
        """Count the attempts that have ended."""
        attempts, self._attempts = self._attempts, []
        tally, its_step, its_app = _Tally(), -1, ""
        for event in attempts:
            step, app = int(event.ended_at + self.epoch) // WIDTH, event.app
            if step != its_step or app != its_app:
                tally, its_step, its_app = self._tally(step, app), step, app
            if event.sent:
                tally.requests += 1
                self.requests += 1
                if event.number > 1:
                    tally.retries += 1
                    self.retries += 1
            if event.status is not None:
                tally.times.append(event.seconds)
            if event.in_flight >= tally.most_in_flight:
                tally.most_in_flight = event.in_flight + 1
            if event.refused:
                tally.refused[event.refused] = tally.refused.get(event.refused, 0) + 1
                self.refused[event.refused] += 1

    def _tally(self, step: int, app: str) -> _Tally:
        key = step, app
        tally = self._tallies.get(key)
        if tally is None:
            if len(self._tallies) >= _MOST_OPEN:
                self._close()
            tally = self._tallies[key] = _Tally()
        return tally

    def _close(self) -> None:
        """Turn what is counted so far into buckets, and make them coarser if they are too many."""
        for (step, app), tally in self._tallies.items():
            self._buckets.append(tally.bucket(step * WIDTH, app))
        self._tallies = {}
        while len(self._buckets) > _MOST_OPEN and len({bucket.start for bucket in self._buckets}) > 1:
            self._width *= 2
            self._buckets = merged(self._buckets, self._width)

    def _rested(self, began_at: float, ended_at: float, rest: RestEnded) -> None:
        at = began_at
        while at < ended_at:
            until = min(ended_at, (at // WIDTH + 1) * WIDTH)
            rested = self._tally(int(at) // WIDTH, rest.app).rested
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
