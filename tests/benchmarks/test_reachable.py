"""The optimum of each scenario is not only never too high: a schedule that is written down here comes within one per cent."""

import heapq
import math
from collections.abc import Iterator, Sequence
from itertools import chain, pairwise, zip_longest
from typing import NamedTuple

import pytest

from benchmarks.optimum import Bounds, Pipe, least
from benchmarks.pacing_scenarios import CONCURRENCY, SCENARIOS, Scenario

pytestmark = pytest.mark.slow


class Burst(NamedTuple):
    """What a key sends between two silences: how many requests of each of its apps."""

    key: int
    apps: Sequence[int]


def carried_out(bursts: Sequence[Burst], bounds: Bounds, pipe: Pipe) -> float:
    """Send the bursts in this order, each request as early as places, silences and windows let it; return the makespan."""
    places = [0.0] * pipe.places
    silent: dict[int, float] = {}
    windows: dict[tuple[int, int], tuple[float, int]] = {}
    for burst in bursts:
        assert bounds.key is None or sum(burst.apps) <= bounds.key
        ready = silent.get(burst.key, -math.inf)
        for app in spread(burst.apps):
            at = max(heapq.heappop(places), ready)
            opened, used = windows.get((burst.key, app), (-math.inf, 0))
            at = max(at, opened + pipe.step if used == bounds.app else opened)
            windows[burst.key, app] = (at, 1) if at >= opened + pipe.step else (opened, used + 1)
            heapq.heappush(places, at + pipe.latency)
            silent[burst.key] = max(silent.get(burst.key, 0.0), at + pipe.latency + pipe.held)
    return max(places)


def spread(apps: Sequence[int]) -> list[int]:
    """Return the apps of the requests, each app's evenly among the others'."""
    placed = [((index + 0.5) / load, app) for app, load in enumerate(apps) for index in range(load)]
    return [app for _, app in sorted(placed)]


def even(loads: Sequence[int], periods: int) -> list[list[int]]:
    """Share the requests of each app out evenly."""
    shares = [[load * (period + 1) // periods - load * period // periods for load in loads] for period in range(periods)]
    return [share for share in shares if any(share)]


def in_full_rounds(loads: Sequence[int], periods: int, places: int) -> list[list[int]]:
    """Share the largest app out evenly, and the others so that each period but the last ends with all places in use."""
    largest = max(range(len(loads)), key=loads.__getitem__)
    others = spread([0 if app == largest else load for app, load in enumerate(loads)])
    ends = [-(-sum(loads) * period // (periods * places)) * places for period in range(periods)]
    mine = [loads[largest] * period // periods for period in range(periods + 1)]
    cuts = [*(max(0, end - before) for end, before in zip(ends, mine, strict=False)), len(others)]
    return [
        [last - first if app == largest else others[start:end].count(app) for app in range(len(loads))]
        for (first, last), (start, end) in zip(pairwise(mine), pairwise(cuts), strict=True)
    ]


def full(loads: Sequence[int], most: int) -> list[list[int]]:
    """Fill one period after the other, from all apps alike."""
    left = spread(loads)
    parts = [left[start : start + most] for start in range(0, len(left), most)]
    return [[part.count(app) for app in range(len(loads))] for part in parts]


def by_windows(loads: Sequence[int], window: int, most: int) -> Iterator[list[list[int]]]:
    """Fill one window of each app in each period, and leave to the last period what it can take."""
    before = [[min(window, max(0, load - window * number)) for load in loads] for number in range(max(loads) // window + 1)]
    for periods in range(len(before)):
        last = [max(0, load - window * periods) for load in loads]
        if any(last) and max(map(sum, (*before[:periods], last))) <= most:
            yield [*before[:periods], last]


def plans(scenario: Scenario) -> Iterator[list[Burst]]:
    """Yield plans of which one should be good: even periods, with full rounds or without; full ones; full windows."""
    loads, most = scenario.loads(), scenario.bounds.key or sum(scenario.operations)
    fewest = max(math.ceil(sum(apps) / most) for apps in loads)
    by_window = max(math.ceil(max(apps) / (scenario.bounds.app or most)) for apps in loads)
    for periods in sorted({fewest, max(fewest, by_window)}):
        yield merged([even(apps, periods) for apps in loads])
        rounds = [in_full_rounds(apps, periods, CONCURRENCY) for apps in loads]
        if max(sum(part) for parts in rounds for part in parts) <= most:
            yield merged(rounds)
    if len(loads) == 1 and scenario.bounds.app:
        yield from (merged([periods]) for periods in by_windows(loads[0], scenario.bounds.app, most))
    yield merged([full(apps, most)[:: -1 if key == 0 and len(loads) > 1 else 1] for key, apps in enumerate(loads)])


def merged(periods: Sequence[Sequence[Sequence[int]]]) -> list[Burst]:
    """Take a burst of each key in turn."""
    turns = zip_longest(*([Burst(key, apps) for apps in bursts] for key, bursts in enumerate(periods)))
    return [burst for burst in chain.from_iterable(turns) if burst is not None]


@pytest.mark.parametrize("latency", [0.02, 0.2, 2.0])
@pytest.mark.parametrize(
    "scenario", [each for each in SCENARIOS if each.bounds.key and not each.faults], ids=lambda each: each.name
)
def test_a_schedule_comes_within_a_hundredth_of_the_optimum(scenario: Scenario, latency: float) -> None:
    pipe = Pipe(CONCURRENCY, latency, 61.0)
    bound = least(scenario.loads(), scenario.bounds, pipe)
    reached = min(carried_out(plan, scenario.bounds, pipe) for plan in plans(scenario))
    assert bound <= reached + 1e-6
    assert reached <= 1.01 * bound
