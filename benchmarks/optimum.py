"""The least makespan under limits, from the definitions of the limiters alone: what the engine's schedule is compared with.

Every function returns a lower bound that no schedule can beat, by the reasons given beside it. The client behind it has
`places` for requests in flight, each request takes `latency` seconds, and a window is over `held` seconds after an answer.

`held` is the window with its margin, 61 s, for a client that does not know when between departure and answer the server
counts: a sliding slot is held from the departure until 61 s after the answer, a silence lasts 61 s from the last answer to the
next departure, and an app's window, which the first request after the one before opens, is over 61 s after its first answer.
For the clairvoyant client, that knows the moment of counting to be half of the latency after the departure, all of these run
from that moment to that moment: `held` is shorter by the latency. In both cases the next departure of whatever has to wait
comes `held + latency` after the former departure at the earliest: the `step` below. A request that is under way while a window
ends counts in that one only, although a client that is not clairvoyant must reckon with either: that makes a bound lower.
"""

import math
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate, count
from typing import NamedTuple


class Pipe(NamedTuple):
    """How many requests fit in at once, how long each takes, and how long after its answer it counts, in seconds."""

    places: int
    latency: float
    held: float

    @property
    def step(self) -> float:
        """Return the time between the departures of two requests of which the second has to wait for the first."""
        return self.held + self.latency

    @property
    def clairvoyant(self) -> "Pipe":
        """Return the same for a client that knows the moment of counting."""
        return self._replace(held=self.held - self.latency)

    def time(self, requests: int, parts: int = 0) -> float:
        """Return how long so many take at least, in so many parts with something in each: a place takes one after the other."""
        return max(parts, math.ceil(requests / self.places)) * self.latency

    def departures(self, seconds: float) -> int:
        """Return how many leave at most in a half-open interval."""
        return self.places * math.ceil(seconds / self.latency)


class Bounds(NamedTuple):
    """The limits, `None` for none: of a sliding window, of a key until it was silent, of an app in a fixed window."""

    sliding: int | None = None
    key: int | None = None
    app: int | None = None


Loads = Sequence[Sequence[int]]
"""How many requests there are, for each key and each of its apps."""


def least(loads: Loads, bounds: Bounds, pipe: Pipe) -> float:
    """Return what the makespan is at least."""
    own = [sum(apps) for apps in loads]
    chains = (_chain(apps, sum(own) - sum(apps), len(loads) - 1, bounds, pipe) for apps in loads)
    slid = 0.0 if bounds.sliding is None else _sliding(max(own), bounds.sliding, pipe)
    return max(slid, pipe.time(sum(own)), *chains)


def least_with_repeats(loads: Loads, failed: Sequence[int], bounds: Bounds, pipe: Pipe) -> float:
    """Return the same where the requests of these numbers, counted from 1 as they leave, fail and are repeated.

    A repeat leaves a `step` after what it repeats, and counts like any request; which app's it is depends on the schedule, so
    repeats are an app of their own here.

    The end has to wait for the repeats of what failed last. Of the failures that request number `i` is not a step later than,
    none can have been repeated by then, so that each of them needs a request of its own after `i`. Where fewer are left than
    that, `i` must have left a step after one of these failures.
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
    """Return when the request of this number leaves at the earliest, whichever app and key it is of."""
    if keys > 1:
        return pipe.time(number) - pipe.latency
    return least([[number]], bounds._replace(app=None), pipe) - pipe.latency


def _sliding(requests: int, limit: int, pipe: Pipe) -> float:
    """Send each as soon as a place and a slot are free: no other order lets the n-th request leave earlier."""
    leaves: list[float] = []
    for number in range(requests):
        place = leaves[number - pipe.places] + pipe.latency if number >= pipe.places else 0.0
        slot = leaves[number - limit] + pipe.step if number >= limit else 0.0
        leaves.append(max(place, slot))
    return leaves[-1] + pipe.latency if leaves else 0.0


def _chain(apps: Sequence[int], others: int, other_keys: int, bounds: Bounds, pipe: Pipe) -> float:
    """Return what one key needs at least, beside `others` requests of other keys: the best number of periods and windows.

    A period is what lies between two silences of the key; it has at most `key` requests, and finds all windows closed. Where
    its busiest app needs w windows, the last of them opens w - 1 steps after the period began: so `extra` windows in all cost a
    step each. Until then each app sends what fits into the windows before; the rest, the tail, comes after. Outside of silences
    and of these steps there must be time for all tails, and outside of silences for all that the key sends; in both cases also
    for what other keys cannot send meanwhile.
    """
    own, key = sum(apps), bounds.key or math.inf
    best = math.inf
    for periods in count(max(1, math.ceil(own / key))):
        rests = (periods - 1) * pipe.held
        # Without silences there is nothing that more periods could be for.
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
    """Tell whether the busiest app, the two busiest and so on fit into so many periods with so many extra windows."""
    if bounds.app is None:
        return True
    sums = accumulate(sorted(apps, reverse=True))
    return all(total <= _capacity(number * bounds.app, bounds.key, periods, extra) for number, total in enumerate(sums, 1))


def _capacity(window: int, key: int | None, periods: int, extra: int) -> int:
    """Return what periods carry at most of apps that send `window` in each window: no period more than `key`."""
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
    """Return how many requests do not fit into the steps before extra windows: by app, and by what leaves in a step."""
    by_app = sum(max(0, load - extra * bounds.app) for load in apps) if bounds.app is not None else sum(apps)
    within = pipe.departures(pipe.step)
    if bounds.key is not None:
        # The window that is waited for has one request at least.
        within = min(within, bounds.key - 1)
    return max(by_app, sum(apps) - extra * within)


def _meanwhile(keys: int, silences: int, extra: int, bounds: Bounds, pipe: Pipe) -> int:
    """Return how many requests of other keys are under way at most during the silences and the steps of one.

    Two periods of a key are a step apart. So the requests that touch a silence are of one period of each key, those that touch
    a step of two.
    """
    if not keys:
        return 0
    key = bounds.key or math.inf
    during_silence = min(keys * key, pipe.departures(pipe.held + pipe.latency))
    during_step = min(2 * keys * key, pipe.departures(pipe.step + pipe.latency))
    return int(silences * during_silence + extra * during_step)
