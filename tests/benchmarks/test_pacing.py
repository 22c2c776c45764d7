"""The engine against the optimum, and contenders that end and that never do, all in virtual time."""

import argparse
import ast
from pathlib import Path
from typing import Any

import pytest

from benchmarks import optimum, pacing
from benchmarks.optimum import Pipe
from benchmarks.pacers import CONTENDERS, IN_VAIN, Ended, compete
from benchmarks.pacing_scenarios import CONCURRENCY, KEYS, SCENARIOS, Ran, Scenario, optimum_of, plan, run
from capgo_async.sandbox.virtual_time import run_in_virtual_time

pytestmark = pytest.mark.slow


def scenario_of(name: str) -> Scenario:
    return next(scenario for scenario in SCENARIOS if scenario.name == name)


def measured(*arguments: str) -> dict[str, Any]:
    return pacing.measure(pacing.arguments().parse_args(arguments))


def raced(contender: str, scenario: Scenario, latency: float = 0.2) -> Ended:
    bound = optimum_of(scenario, latency).sure
    return run_in_virtual_time(compete(CONTENDERS[contender], scenario, latency, bound))


def test_the_optimum_knows_nothing_of_the_client() -> None:
    tree = ast.parse(Path(optimum.__file__).read_text())
    named = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    named += [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    assert not [name for name in named if name.startswith(("capgo_async", "benchmarks"))]


@pytest.mark.parametrize(
    ("name", "share"), [("100/min", "0.5"), ("key alone", "0.3"), ("server, 3 apps", "0.2"), ("1 % faults", "0.2")]
)
def test_the_engine_comes_close_to_the_optimum(name: str, share: str) -> None:
    found = measured("--scenario", name, "--share", share, "--latency", "0.2", "--contender", "retry-after")
    (entry,) = found["runs"]
    assert found["met"]
    assert 1.0 <= entry["ratio"] <= 1.02
    assert entry["clairvoyant_ratio"] >= entry["ratio"]
    assert entry["rate_limited"] == 0
    assert entry["makespan"] > 61.0, "long enough to have waited for a limit"


@pytest.mark.parametrize(
    ("name", "share", "latency"),
    [
        ("1000/min", 0.1, 0.02),
        ("1000/min", 0.1, 2.0),
        ("server, 1 app, 2500", 1.0, 2.0),
        ("server, 12 apps", 0.2, 0.2),
        ("two keys", 0.22, 0.02),
        # Where a key in the middle of its period must not go before the longest.
        ("two keys, 2:1", 0.6, 2.0),
    ],
)
def test_the_other_scenarios_do_too(tmp_path: Path, name: str, share: float, latency: float) -> None:
    scenario, path = scenario_of(name).scaled(share), tmp_path / "x.capgo-job"
    run_in_virtual_time(plan(path, scenario))
    ran = run_in_virtual_time(run(path, scenario, latency))
    assert ran.refused == 0
    assert 1.0 <= ran.makespan / optimum_of(scenario, latency).sure <= 1.02
    assert ran.makespan > 61.0


@pytest.mark.parametrize("name", ["key learned", "app learned"])
def test_a_limit_that_is_smaller_than_modelled_costs_few_refusals(name: str) -> None:
    found = measured("--scenario", name, "--share", "0.45", "--latency", "0.2", "--contender", "constant")
    (entry,) = found["runs"]
    assert 0 < entry["rate_limited_by_scope"] <= entry["rate_limited_allowed"] == CONCURRENCY + 1
    assert entry["met"]


@pytest.mark.parametrize("contender", ["backoff", "uneven", "constant", "bucket"])
def test_who_knocks_at_the_limit_of_a_key_never_ends(contender: str) -> None:
    # With uneven latencies, all may come back from their waits together once, and not the next time.
    scenario = scenario_of("key alone").scaled(0.5)
    ended = raced(contender, scenario)
    assert ended.makespan is None
    assert ended.done in ({1999, 3998} if contender == "uneven" else {1999})
    assert ended.refused > IN_VAIN / 60, "it kept knocking"


@pytest.mark.parametrize("contender", [*CONTENDERS])
def test_a_sliding_window_lets_everybody_through_in_the_end(contender: str) -> None:
    scenario = scenario_of("100/min").scaled(0.5)
    ended = raced(contender, scenario)
    assert ended.makespan is not None
    assert ended.done == sum(scenario.operations)
    assert 0.97 < ended.makespan / optimum_of(scenario, 0.2).sure < 1.25


def test_who_obeys_retry_after_gets_past_the_limit_of_a_key_when_all_wait_alike() -> None:
    scenario = scenario_of("key alone").scaled(0.21)
    ended = raced("retry-after", scenario)
    assert ended.makespan is not None
    assert 0 < ended.refused <= CONCURRENCY


def test_faults_do_not_lose_operations_of_a_contender() -> None:
    scenario = scenario_of("1 % faults").scaled(0.05)
    ended = raced("retry-after", scenario)
    assert ended.done == sum(scenario.operations)
    assert ended.requests > ended.done


def test_two_keys_share_the_apps() -> None:
    scenario = scenario_of("two keys, 2:1")
    assert [sum(apps) for apps in scenario.loads()] == [10_000, 5_000]
    assert {key for _, _, key in scenario.devices()} == set(KEYS)
    assert optimum_of(scenario, 0.2).clairvoyant < optimum_of(scenario, 0.2).sure


def test_a_failure_near_the_end_is_part_of_the_optimum() -> None:
    scenario = scenario_of("1 % faults").scaled(0.1)
    operations = sum(scenario.operations)
    undisturbed = optimum_of(scenario, 0.2).sure
    assert optimum_of(scenario, 0.2, (operations,)).sure == pytest.approx(undisturbed + 61.2)
    assert Pipe(16, 0.2, 61.0).clairvoyant.held == pytest.approx(60.8)


def test_what_misses_its_aim_and_what_never_ends_is_marked() -> None:
    entry = pacing.entry_of(scenario_of("key alone").scaled(0.01), 0.2, Ran(100.0, 100, 3, 3, ()), ())
    assert not entry["met"]
    never = {"ends": False, "ratio": None}
    shown = pacing.show({"runs": [{**entry, "contenders": {"backoff": never, "bucket": {"ends": True, "ratio": 1.054}}}]})
    assert "never" in shown
    assert "1.05" in shown
    assert shown.endswith("1 of 1 miss their aim (!)")


def test_options_that_mean_nothing_are_refused() -> None:
    with pytest.raises((SystemExit, argparse.ArgumentError)):
        pacing.arguments().parse_args(["--scenario", "nonsense"])
