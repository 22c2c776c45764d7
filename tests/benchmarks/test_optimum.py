"""The formulas of the optimum against every schedule of tiny instances."""

import random
from collections.abc import Callable

import pytest
from schedules import NEVER, Instance, least_of, least_with_failures

from benchmarks.optimum import Bounds, Pipe, least, least_with_repeats

pytestmark = pytest.mark.slow

Draw = Callable[[random.Random], Instance]


def one_app(chance: random.Random) -> Instance:
    return drawn(chance, ((0, chance.randint(1, 12)),), key=chance.randint(2, 6), app=chance.randint(1, 4))


def two_apps(chance: random.Random) -> Instance:
    apps = ((0, chance.randint(1, 5)), (0, chance.randint(1, 4)))
    return drawn(chance, apps, key=chance.randint(2, 5), app=chance.randint(1, 3))


def the_key_alone(chance: random.Random) -> Instance:
    return drawn(chance, ((0, chance.randint(1, 14)),), key=chance.randint(1, 5))


def two_keys(chance: random.Random) -> Instance:
    apps = ((0, chance.randint(1, 5)), (1, chance.randint(1, 4)))
    return drawn(chance, apps, key=chance.randint(2, 4))


def two_keys_and_apps(chance: random.Random) -> Instance:
    apps = ((0, chance.randint(1, 4)), (1, chance.randint(1, 4)))
    return drawn(chance, apps, key=chance.randint(2, 5), app=chance.randint(1, 3))


def a_sliding_window(chance: random.Random) -> Instance:
    return drawn(chance, ((0, chance.randint(1, 12)),), sliding=chance.randint(1, 5))


def drawn(
    chance: random.Random, apps: tuple[tuple[int, int], ...], *, key: int = NEVER, app: int = NEVER, sliding: int = NEVER
) -> Instance:
    latency = chance.choice((1, 1, 2))
    step = latency + chance.randint(1, 4 if len(apps) == 1 else 3)
    return Instance(apps, chance.randint(1, 4), latency, step, key, app, sliding)


def formula(instance: Instance) -> float:
    keys = 1 + max(key for key, _ in instance.apps)
    loads = [[requests for key, requests in instance.apps if key == number] for number in range(keys)]
    sliding, key, app = (None if limit == NEVER else limit for limit in (instance.sliding, instance.key, instance.app))
    return least(loads, Bounds(sliding=sliding, key=key, app=app), pipe_of(instance))


def pipe_of(instance: Instance) -> Pipe:
    return Pipe(instance.places, instance.latency, instance.step - instance.latency)


@pytest.mark.parametrize("draw", [one_app, two_apps, the_key_alone, two_keys, two_keys_and_apps])
def test_no_schedule_beats_the_formula_and_one_comes_within_a_round_trip(draw: Draw) -> None:
    chance = random.Random(draw.__name__)
    exact = 0
    for _ in range(20):
        instance = draw(chance)
        truth, bound = least_of(instance), formula(instance)
        assert bound <= truth <= bound + instance.latency, instance
        exact += truth == bound
    assert exact >= 17


def test_a_sliding_window_is_exact() -> None:
    chance = random.Random(1)
    for _ in range(30):
        instance = a_sliding_window(chance)
        assert least_of(instance) == formula(instance)


def test_no_schedule_beats_the_formula_for_repeats() -> None:
    chance = random.Random(2)
    exact = 0
    for _ in range(150):
        instance = drawn(chance, ((0, chance.randint(2, 7)),), key=chance.randint(2, 6))
        operations = instance.apps[0][1]
        failed = failures_among(chance, operations)
        truth = least_with_failures(operations, failed, instance)
        bound = least_with_repeats([[operations]], failed, Bounds(key=instance.key), pipe_of(instance))
        assert bound <= truth, (instance, failed)
        exact += truth == bound
    assert exact >= 125


def failures_among(chance: random.Random, operations: int) -> list[int]:
    failed: list[int] = []
    number = done = 0
    while done < operations:
        number += 1
        if chance.random() < 0.3 and len(failed) < 4:
            failed.append(number)
        else:
            done += 1
    return failed


def test_round_sizes_are_hard_for_limits_that_are_not_round() -> None:
    """Twice 1999 is not 4000: ten single windows of 1000 beat five periods of 1999, which leave five requests over."""
    pipe, bounds = Pipe(16, 0.1, 61.0), Bounds(key=1999, app=1000)
    assert least([[10_000]], bounds, pipe) == pytest.approx(9 * 61 + 625 * 0.1)
    assert least([[10_000]], bounds._replace(app=None), pipe) == pytest.approx(5 * 61 + 625 * 0.1)
    assert least([[1999]], bounds, pipe) == pytest.approx(61.1 + 63 * 0.1)
    assert least([[2000]], bounds, pipe) == pytest.approx(61 + 125 * 0.1)


def test_two_keys_use_each_others_silences() -> None:
    pipe, bounds = Pipe(16, 0.2, 61.0), Bounds(key=1999)
    alone = least([[3998]], bounds, pipe)
    assert least([[3998], [1999]], bounds, pipe) == pytest.approx(alone)
    assert least([[3998], [3998]], bounds, pipe) == pytest.approx(alone + 125 * 0.2)
    assert least([[100_000], [100_000]], bounds, Pipe(16, 2.0, 61.0)) == pytest.approx(200_000 / 16 * 2.0)


def test_who_knows_the_moment_of_counting_waits_a_latency_less() -> None:
    pipe = Pipe(16, 2.0, 61.0)
    bounds = Bounds(key=1999)
    assert least([[3998]], bounds, pipe) - least([[3998]], bounds, pipe.clairvoyant) == pytest.approx(2.0)


def test_the_end_waits_for_what_failed_last() -> None:
    pipe = Pipe(16, 0.2, 61.0)
    bounds = Bounds(key=1999)
    undisturbed = least([[1600]], bounds, pipe)
    assert least_with_repeats([[1600]], [], bounds, pipe) == pytest.approx(undisturbed)
    assert least_with_repeats([[1600]], [1], bounds, pipe) == pytest.approx(0.2 + 61.0 + 0.2)
    assert least_with_repeats([[1600]], [1600], bounds, pipe) == pytest.approx(undisturbed + 61.0 + 0.2)
    assert least_with_repeats([[1600]], [1600, 1601], bounds, pipe) == pytest.approx(undisturbed + 2 * 61.2)
