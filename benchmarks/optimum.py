"""The least makespan under limits, computed from the definitions of the limiters alone.

The engine's schedule is compared with it. Every function returns a lower bound that no schedule can beat, for the reasons given
there. The client has `places` for requests in flight. Each request takes `latency` seconds. A window ends `held` seconds after
a response.

`held` is the window plus its margin, 61 s, for a client that does not know when between departure and response the server
counts. A sliding slot is held from the departure until 61 s after the response. A silence lasts 61 s from the last response to
the next departure. An app's window opens with the first request after the previous window, and ends 61 s after the response to
that request.

A clairvoyant client knows that the server counts half the latency after the departure. For it, all of these run from one moment
of counting to the next, so `held` is shorter by the latency. In both cases, a request that has to wait departs at the earliest
`held + latency` after the former departure: the `step` below. A request in flight while a window ends counts in that window
only, although a client that is not clairvoyant must expect either. That makes the bound lower.
"""

import math
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate, count
from typing import NamedTuple


class Pipe(NamedTuple):
    """The most requests in flight, and the seconds that each takes and then still counts."""

    places: int
    latency: float
    held: float

    @property
    def step(self) -> float:
        """Return the time between two departures of which the second has to wait for the first."""
        return self.held + self.latency

    @property
    def clairvoyant(self) -> "Pipe":
        """Return the pipe of a client that knows the moment of counting."""
        return self._replace(held=self.held - self.latency)

    def time(self, requests: int, parts: int = 0) -> float:
        """Return the least time for `requests` requests in `parts` non-empty parts.

        Each place handles one request after the other.
        """
        return max(parts, math.ceil(requests / self.places)) * self.latency

    def departures(self, seconds: float) -> int:
        """Return the most departures in a half-open interval."""
        return self.places * math.ceil(seconds / self.latency)


class Bounds(NamedTuple):
    """The limits; `None` means no limit.

    They are those of a sliding window, of a key until it has been silent, and of an app in a fixed window.
    """

    sliding: int | None = None
    key: int | None = None
    app: int | None = None


Loads = Sequence[Sequence[int]]
"""The number of requests for each app of each key."""


def least(loads: Loads, bounds: Bounds, pipe: Pipe) -> float:
    """Return a lower bound of the makespan."""
    own = [sum(apps) for apps in loads]
    chains = (_chain(apps, sum(own) - sum(apps), len(loads) - 1, bounds, pipe) for apps in loads)
    slid = 0.0 if bounds.sliding is None else _sliding(max(own), bounds.sliding, pipe)
    return max(slid, pipe.time(sum(own)), *chains)


def least_with_repeats(loads: Loads, failed: Sequence[int], bounds: Bounds, pipe: Pipe) -> float:
    """Return the same if some requests fail and are repeated.

    `failed` are their numbers, counted from 1 in the order of departure. A repeat leaves a `step` after the request that it
    repeats, and counts like any other. Its app depends on the schedule, so repeats are an app of their own here.

    The end has to wait for the repeats of the last failures. Consider request number `i`, and the failures that it follows by
    less than a step. None of them can have been repeated when `i` leaves, so each needs a request of its own after `i`. If
    fewer requests are left than that, `i` must have left a step after one of these failures.
    """
    repeated = [(*apps, 0) for apps in loads]
    repeated[0] = (*loads[0], len(failed))
    total = sum(map(sum, repeated))
    leaves: dict[int, float] = {}
    before = 0.0
    for number in sorted({*range(max(1, total - len(failed)), total + 1), *failed}):
        open_ = bisect_right(failed, number) - (total - number)
        after = leaves[failed[open_ - 1]] + pipe.step if open_ > 0 else 0.0
        before = leaves[number] = max(before, after, _departure(number, len(loads), bounds, pipe))
    return max(least(repeated, bounds, pipe), before + pipe.latency)


def _departure(number: int, keys: int, bounds: Bounds, pipe: Pipe) -> float:
    """Return the earliest departure of the request with this number, whatever its app and key."""
    if keys > 1:
        return pipe.time(number) - pipe.latency
    return least([[number]], bounds._replace(app=None), pipe) - pipe.latency


def _sliding(requests: int, limit: int, pipe: Pipe) -> float:
    """Return the last departure if each request leaves as soon as a place and a slot are free.

    No other order lets the n-th request leave earlier.
    """
    leaves: list[float] = []
    for number in range(requests):
        place = leaves[number - pipe.places] + pipe.latency if number >= pipe.places else 0.0
        slot = leaves[number - limit] + pipe.step if number >= limit else 0.0
        leaves.append(max(place, slot))
    return leaves[-1] + pipe.latency if leaves else 0.0


def _chain(apps: Sequence[int], others: int, other_keys: int, bounds: Bounds, pipe: Pipe) -> float:
    """Return the least time of one key besides `others` requests of other keys.

    It is that of the best number of periods and windows. A period lies between two silences of the key. It has at most `key`
    requests, and finds all windows closed. If its busiest app needs w windows, the last of them opens w - 1 steps after the
    period began, so `extra` windows in total cost a step each. Until then each app sends what fits into the earlier windows.
    The rest, the tail, follows. There must be time outside of silences and of these steps for all tails, and time outside of
    silences for all requests of the key. In both cases there must also be time for what other keys cannot send meanwhile.
    """
    own, key = sum(apps), bounds.key or math.inf
    best = math.inf
    for periods in count(max(1, math.ceil(own / key))):
        rests = (periods - 1) * pipe.held
        # Without silences, more periods gain nothing.
        if rests >= best or (bounds.key is None and periods > 1):
            return best
        most = 0 if bounds.app is None else periods * (math.ceil(min(key, own) / bounds.app) - 1)
        for extra in range(most + 1):
            waits = rests + extra * pipe.step
            if waits >= best:
                break
            if _fits(apps, bounds, periods, extra):
                silent = others - _meanwhile(other_keys, periods - 1, 0, bounds, pipe)
                elsewhere = others - _meanwhile(other_keys, periods - 1, extra, bounds, pipe)
                outside = waits + pipe.time(_tails(apps, extra, bounds, pipe) + max(0, elsewhere), periods)
                best = min(best, max(outside, rests + pipe.time(own + max(0, silent), periods)))
    raise AssertionError  # count never ends


def _fits(apps: Sequence[int], bounds: Bounds, periods: int, extra: int) -> bool:
    """Return whether the busiest app, the two busiest and so on fit into the periods and extra windows."""
    if bounds.app is None:
        return True
    sums = accumulate(sorted(apps, reverse=True))
    return all(total <= _capacity(number * bounds.app, bounds.key, periods, extra) for number, total in enumerate(sums, 1))


def _capacity(window: int, key: int | None, periods: int, extra: int) -> int:
    """Return the most requests that periods carry of apps that send `window` per window.

    No period carries more than `key`.
    """
    if key is None:
        return window * (periods + extra)
    carried = periods * min(key, window)
    for windows in count(1):
        gain = min(key, window * (windows + 1)) - min(key, window * windows)
        if not gain or not extra:
            return carried
        taken = min(extra, periods)
        carried += taken * gain
        extra -= taken
    raise AssertionError  # count never ends


def _tails(apps: Sequence[int], extra: int, bounds: Bounds, pipe: Pipe) -> int:
    """Return the number of requests that do not fit into the steps before extra windows.

    Two things limit what fits: the window of each app, and the departures within a step.
    """
    by_app = sum(max(0, load - extra * bounds.app) for load in apps) if bounds.app is not None else sum(apps)
    within = pipe.departures(pipe.step)
    if bounds.key is not None:
        # The awaited window has at least one request.
        within = min(within, bounds.key - 1)
    return max(by_app, sum(apps) - extra * within)


def _meanwhile(keys: int, silences: int, extra: int, bounds: Bounds, pipe: Pipe) -> int:
    """Return the most requests of other keys in flight during the silences and steps of one key.

    Two periods of a key are a step apart. So the requests that touch a silence belong to one period of each key, and those that
    touch a step to two.
    """
    if not keys:
        return 0
    key = bounds.key or math.inf
    during_silence = min(keys * key, pipe.departures(pipe.held + pipe.latency))
    during_step = min(2 * keys * key, pipe.departures(pipe.step + pipe.latency))
    return int(silences * during_silence + extra * during_step)
