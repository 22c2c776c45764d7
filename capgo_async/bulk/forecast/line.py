"""The simulation behind a forecast: requests that leave in rounds, and the windows that they count in."""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from ...limits.gates import ScopeUsage
from ...limits.models import Limit, Scope, ScopeKind
from ...limits.timing import Timing, mean
from ...limits.windows import FEW, Sliding, Window, seen_from, silence_of, window_of
from ..schedule.keys import first_to_send
from ..schedule.resting import levelled
from ..schedule.share import Share, calls_of
from .lanes import CountedKey, CountedLane, opens_at

_GRAIN: Final = 128
"""A burst is remembered in at most this many parts."""
_UNREPEATED: Final = 24
"""Periods before the end that are not skipped: they show whether resting early is worth it."""

_Known = dict[tuple[object, ...], tuple[float, list[float], tuple[float, float]]]
"""The last occurrence of each state: time, requests left, seconds and requests since the one before."""


class Outlook(NamedTuple):
    """What the requests of a job will meet.

    `latency` is in seconds, for requests of a kind that `timings` does not have. `keys` names the key of each app; apps
    without one share a key. `windows` holds the windows of each scope at the start, with times relative to it; other scopes
    start with empty windows of `limits`. `used` is what an earlier process counted. Some operations wait `held_up_for` seconds,
    for their own targets or after a refusal. `resting` keys send nothing for that many seconds, whatever their limits allow.
    """

    limits: Sequence[Limit]
    concurrency: int
    latency: float
    keys: Mapping[str, str] = {}
    windows: Mapping[Scope, Sequence[Window]] = {}
    used: Sequence[ScopeUsage] = ()
    held_up_for: float = -math.inf
    resting: Mapping[str, float] = {}
    timings: Mapping[str, Timing] = {}


class Line:
    """Requests that leave in rounds, and the windows that they count in."""

    def __init__(self, outlook: Outlook) -> None:
        self._outlook = outlook
        self._latency = outlook.latency
        self._windows: dict[Scope, list[Window]] = {}
        self._began = 0.0
        self._sent = 0
        self._places = outlook.concurrency

    @property
    def now(self) -> float:
        """Time at which all that was sent is answered."""
        return self._began + math.ceil(self._sent / self._places) * self._latency

    def rest(self, seconds: float) -> None:
        """Send nothing for that many seconds."""
        self._began += seconds

    def outlast(self, seconds: float) -> None:
        """Wait for requests that can only leave that many seconds after the start."""
        self._began = max(self._began, seconds + self._latency)

    def send(self, shares: Sequence[Share], places: int) -> None:
        """Send the requests of `shares`, at most `places` at a time, and wait for all responses."""
        self._places = places
        self._latency = mean(calls_of(shares), self._outlook.timings, self._outlook.latency)
        keys = every = self._keys_of(shares)
        began = self._began
        first: CountedKey | None = None
        known: _Known = {}
        while keys := [key for key in keys if key.requests > FEW]:
            now = self._began + self._sent // places * self._latency
            groups = [(key, group) for key in keys if (group := key.group(now)) is not None]
            first = self._first(keys, [key for key, _ in groups], first, now)
            if first is None:
                until = min(self._goes_on(key, now) for key in keys)
                # Responses that are still out then stay out.
                self._sent = self._sent % places if self.now > until + FEW else 0
                self._began = until
                self._skip(known, keys)
            else:
                self._burst(first, *next(group for key, group in groups if key is first), now)
        for lane in (lane for key in every for lane in key.aside):
            self._count(lane, began)
        self._began, self._sent = self.now, 0

    def _count(self, lane: CountedLane, began: float) -> None:
        """Count what an app sent since `began` without meeting its limit. Later requests may meet it."""
        ends = self.now
        for window in lane.windows:
            # Of a longer time only the last window counts.
            since = max(began, ends - window.held) if isinstance(window, Sliding) else began
            requests = lane.requests * (ends - since) / (ends - began) if ends > began else lane.requests
            window.burst(since, requests, [(since + self._latency, requests)])

    def _first(
        self, keys: Sequence[CountedKey], free: Sequence[CountedKey], before: CountedKey | None, now: float
    ) -> CountedKey | None:
        """Return which of the free keys sends: the same as before, unless another became free."""
        came = any(not key.free for key in free)
        for key in keys:
            key.free = key in free
        if not free:
            return None
        return before if before in free and not came else first_to_send(free, (key.ahead(now, self._pace) for key in free))

    @property
    def _pace(self) -> float:
        return self._latency / self._places

    def _burst(self, key: CountedKey, group: Sequence[CountedLane], floor: float, now: float) -> None:
        """Simulate one burst, spread evenly over the lanes of `group`.

        It brings them down to `floor` requests each, or ends earlier when a limit is full. It has at least one request.
        """
        count = len(group)
        level = min(lane.requests for lane in group)
        # All lanes are brought down equally, also past one that its own window holds back. No request is a fraction.
        most = min(key.room(now), key.quota, count * min(lane.room(now) for lane in group), max(1.0, (level - floor) * count))
        burst = max(1, min(int(most + FEW), math.ceil(key.requests - FEW)))
        parts = self._parts(burst)
        for window in key.windows:
            window.burst(now, burst, parts)
        of_each = [(at, responses / count) for at, responses in parts]
        for lane in group:
            for window in lane.windows:
                window.burst(now, burst / count, of_each)
            lane.requests = max(0.0, lane.requests - burst / count)
        self._sent += burst
        key.quota -= burst
        if key.quota < 1 - FEW and (silence := silence_of(key.windows)) is not None:
            key.rests_until(silence.fresh_at)

    def _goes_on(self, key: CountedKey, now: float) -> float:
        """Choose between waiting and a silence for a blocked key. Return when it may send again."""
        if now < key.resting_until - FEW:
            return key.resting_until
        if (at := opens_at(key.windows, 1, now)) > now:
            return at
        at = min(opens_at(lane.windows, lane.each, now) for lane in key.lanes if lane.requests > FEW)
        if at > max(key.decided, self.now) + FEW:
            silence = silence_of(key.windows)
            period = None if silence is None else silence.period(now)
            if key.rests_early(at, self.now, period, key.rules(self._pace)):
                return key.resting_until
        return at

    def _skip(self, known: _Known, keys: Sequence[CountedKey]) -> None:
        """Skip repetitions: the windows are in a known state, and each lane has sent the same since."""
        windows = dict.fromkeys(window for key in keys for window in key.all_windows())
        for window in windows:
            # Drop what no longer counts: it must not make two states differ.
            window.used(self._began + FEW)
        state = (self._sent, len(keys), *(window.signature(self._began) for window in windows))
        left = [lane.requests for key in keys for lane in key.lanes]
        began, before, last = known.get(state, (self._began, left, (0.0, 0.0)))
        sent = [earlier - now for earlier, now in zip(before, left, strict=True)] if len(before) == len(left) else []
        took = round(self._began - began, 3), round(sum(sent), 3)
        # An early rest may happen only once, because of what is left. What happened twice repeats.
        again = min(_repeats(left, sent)) if any(sent) and took == last else 0
        if again < 1:
            known[state] = self._began, left, took
            return
        later = again * (self._began - began)
        for window in windows:
            window.shift(later)
        for lane, gone in zip((lane for key in keys for lane in key.lanes), sent, strict=True):
            lane.requests -= again * gone
        for key in keys:
            key.resting_until += later
            key.decided += later
        self._began += later
        known.clear()

    def _parts(self, burst: int) -> list[tuple[float, int]]:
        """Return the times of the responses to a burst, each with its number of responses."""
        first = self._sent // self._places
        last = (self._sent + burst - 1) // self._places
        step = math.ceil((last - first + 1) / _GRAIN)
        parts = []
        done = self._sent
        for round_ in range(first + step - 1, last + step, step):
            until = min(self._sent + burst, (round_ + 1) * self._places)
            at = self._began + (min(round_, last) + 1) * self._latency
            parts.append((at, until - done))
            done = until
        return parts

    def _keys_of(self, shares: Sequence[Share]) -> list[CountedKey]:
        """Return the keys of `shares`, with a lane for each app.

        If no limit of an app slows it down, all apps of a key are one lane.
        """
        of_keys: dict[str, dict[str, float]] = {}
        windowed: set[str] = set()
        each: dict[str, int] = {}
        for share in shares:
            each[share.app_id] = max(share.each, each.get(share.app_id, 1))
            apps = of_keys.setdefault(self._outlook.keys.get(share.app_id, ""), {})
            apps[share.app_id] = apps.get(share.app_id, 0.0) + share.requests
            windowed |= {share.app_id} if ScopeKind.APP_ADDRESS in share.limits else set()
        found = []
        for name, apps in of_keys.items():
            windows = self._of((ScopeKind.KEY, name))
            lanes = [
                CountedLane(left, self._of((ScopeKind.APP_ADDRESS, app)) if app in windowed else (), each[app])
                for app, left in apps.items()
            ]
            resting_until = self._outlook.resting.get(name, -math.inf)
            if self._matter(lanes, windows):
                found.append(CountedKey(windows, lanes, resting_until))
            else:
                found.append(CountedKey(windows, [CountedLane(sum(apps.values()), ())], resting_until, lanes))
        return found

    def _matter(self, lanes: Sequence[CountedLane], of_key: Sequence[Window]) -> bool:
        """Return whether an app can meet a limit of its own: at first, when few apps have most left."""
        most = 0.0
        for window in (window for lane in lanes for window in lane.windows if isinstance(window, Sliding)):
            fastest = self._places * (window.held / self._latency + 2) if self._latency else math.inf
            most = max(most, min([fastest, *(each.limit * math.ceil(window.held / each.held) for each in of_key)]))
        after = levelled([lane.requests for lane in lanes], most)
        return any(lane.requests - level > lane.room(self.now) for lane, level in zip(lanes, after, strict=True))

    def _of(self, scope: Scope) -> list[Window]:
        """Return the windows of a scope, with what was used before."""
        found = self._windows.get(scope)
        if found is None:
            now = self._outlook.windows.get(scope)
            limiters = [limit.limiter for limit in self._outlook.limits if limit.scope == scope[0]]
            found = [window_of(limiter) for limiter in limiters] if now is None else [seen_from(window, 0.0) for window in now]
            self._windows[scope] = found
            for window, used in itertools.product(found, (used for used in self._outlook.used if used.scope == scope)):
                window.seed(used.used, -used.age)
        return found


def _repeats(left: Sequence[float], sent: Sequence[float]) -> Iterator[int]:
    """Yield bounds on how often the same may be sent again, before a lane is empty or two lanes are level."""
    lanes = sorted(zip(left, sent, strict=True), reverse=True)
    for each, gone in lanes:
        if gone > FEW:
            yield int(each / gone) - _UNREPEATED
    for (more, faster), (less, slower) in itertools.pairwise(lanes):
        if faster > slower + FEW and more > less + 1:
            yield int((more - less) / (faster - slower)) - 2
