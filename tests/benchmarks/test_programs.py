import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks import __main__ as everything, pacing, rehearsal, relink, scan, timeline
from benchmarks.__main__ import PROGRAMS, Program
from benchmarks.contenders import CONTENDERS as RELINKERS
from benchmarks.measuring import Benchmark, exit_code
from benchmarks.pacers import CONTENDERS as PACERS
from benchmarks.pacing_scenarios import SCENARIOS

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]


CONTENDERS = {"engine", "client", "script", "tenacity", "httpx", "requests", "curl", "floor"}


def test_one_command_runs_them_all_and_each_shows_what_it_found() -> None:
    command = [sys.executable, "-m", "benchmarks", "--quick", "--json"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert found.keys() == PROGRAMS.keys() == SOUND.keys()
    for name, program in PROGRAMS.items():
        SOUND[name](found[name])
        shown = program.benchmark.show(found[name])
        assert len(shown.splitlines()) > 2
        if name not in {"jobfile", "pacing", "telling"}:
            assert shown.count("the aim at full size, ") == 1
            assert shown.endswith(": met" if found[name]["met"] else ": MISSED")
        assert ("met" in found[name]) is (name not in {"jobfile", "telling"})


def startup_compares_imports_and_the_command_with_typer(found: Any) -> None:
    assert {"the client", "aiohttp and msgspec", "capgo-async --version", "typer"} <= set(found["programs"])
    assert all(ratio > 0 for ratio in found["wall_ratio"].values())
    assert not found["help_imports_aiohttp"]


def relink_compares_all_contenders(found: Any) -> None:
    (compared,) = found["loops"]
    present = CONTENDERS - found["missing"].keys()
    assert present >= CONTENDERS - {"curl"}
    assert compared["contenders"].keys() == compared["cpu_ratio"].keys() == compared["floor_ratio"].keys() == present
    assert (compared["cpu_ratio"]["script"], compared["floor_ratio"]["floor"]) == (1, 1)
    assert {numbers["operations"] for numbers in compared["contenders"].values()} <= {50, 5, 2, 1}
    if "curl" in present:
        # The processes that it starts count.
        assert compared["cpu_ratio"]["curl"] > 1


def listing_compares_three_contenders(found: Any) -> None:
    (compared,) = found["loops"]
    assert compared["contenders"].keys() == compared["speed_ratio"].keys() == {"client", "pages", "script"}
    assert compared["speed_ratio"]["script"] == compared["cpu_ratio"]["script"] == 1


def scan_compares_cursors(found: Any) -> None:
    assert [entry["cursors"] for entry in found["runs"]] == [1, 8]
    assert found["runs"][0]["requests"] == 10 + 2 * (found["what"] == "inventory")
    assert found["same_ids"]


def memory_tells_the_peak_of_each_size(found: Any) -> None:
    assert [entry["operations"] for entry in found["runs"]] == [200, 400]
    assert found["generation"] == "2026-11"
    assert all(entry["peak_bytes"] >= entry["peak_after_plan_bytes"] > 0 for entry in found["runs"])
    assert found["met"] is (found["growth"] <= 0.15)


def planning_compares_with_an_import(found: Any) -> None:
    for compared, apps in zip(found["runs"], (1, 12), strict=True):
        assert compared["apps"] == apps
        assert (compared["planned"] + compared["skipped"], compared["unknown"]) == (500, 0)
        assert compared["skipped"] > 0
        assert compared["taken"].keys() == {"plan", "import"}
        assert compared["ratio"]["seconds"] > 0
        assert compared["peak_bytes"] > 0


def the_job_file_is_compared_with_a_plain_table(found: Any) -> None:
    assert found["outcomes"] == 200
    assert found["recording"].keys() == {"record", "record-plainly"}
    assert all(taken["outcomes_per_second"] > 0 for taken in found["recording"].values())
    assert found["opening_ms"].keys() == {"planned", "begun"}
    assert all(taken.keys() == {"open", "report", "count"} for taken in found["opening_ms"].values())


def exports_in_every_format_have_the_devices_of_the_sandbox(found: Any) -> None:
    assert found["generation"] == "2026-11"
    assert [entry["format"] for entry in found["runs"]] == ["jsonl", "csv", "sqlite", "parquet"]
    for entry in found["runs"]:
        assert (entry["code"], entry["missing"], entry["equal"]) == (0, 0, True)
        assert entry["appeared"] > 0
        assert entry["peak_bytes"] > 0


def rehearsal_tells_what_it_took(found: Any) -> None:
    assert [(run["limits"], run["rate"]) for run in found["runs"]] == [("server", "auto"), ("100/min", "100/min")]
    for entry in found["runs"]:
        assert (entry["operations"], entry["requests"], entry["rate_limited"]) == (300, 300, 0)
        assert entry["peak_bytes"] > 0
    assert (found["met"], found["full"]) == (True, False)


def pacing_has_every_scenario(found: Any) -> None:
    assert [entry["scenario"] for entry in found["runs"]] == [scenario.name for scenario in SCENARIOS]
    assert found["generation"] == "2026-11"
    assert all(entry["contenders"].keys() == PACERS.keys() for entry in found["runs"])
    assert all(entry["ratio"] >= 1 for entry in found["runs"])
    assert found["met"] == all(entry["met"] for entry in found["runs"])
    assert all(scenario.name in pacing.show(found) for scenario in SCENARIOS)


def the_timeline_is_compared_with_none(found: Any) -> None:
    assert found["cpu_us_per_operation"].keys() == {"with", "without"}
    assert [each["apps"] for each in found["sizes"]] == [1, 12, 300]
    assert all(each["done"] == found["stored"] and each["bytes"] <= 2_000_000 for each in found["sizes"])
    assert found["sizes"][-1]["bytes"] > 0, "a few buckets need no page of their own, many do"


def telling_tells_what_a_hook_costs(found: Any) -> None:
    assert found["cpu_us_per_operation"].keys() == {"client"}
    assert found["cpu_us_per_operation"]["client"].keys() == {"quiet", "hooked"}


def the_page_of_a_small_job_is_small(found: Any) -> None:
    assert found["failed"] == found["messages"]
    assert 0 < found["bytes_without_charts"] < found["bytes"] <= 400_000
    assert 0 < found["without_charts"]["cpu"] < found["with_charts"]["cpu"]


def a_watcher_reads_a_job_again_and_again(found: Any) -> None:
    assert 2 < found["readings"] <= 15
    assert 1 <= found["drawings"] <= 2
    assert found["share"] > 0


def cancellations_lose_nothing(found: Any) -> None:
    assert (found["cancelled"], found["cancelled_over_sockets"]) == (150, 30)
    assert found["made"] > 150
    assert found["made_over_sockets"] > 30
    assert set(found["lost"].values()) == {0}


SOUND: dict[str, Callable[[Any], None]] = {
    "startup": startup_compares_imports_and_the_command_with_typer,
    "relink": relink_compares_all_contenders,
    "listing": listing_compares_three_contenders,
    "scan": scan_compares_cursors,
    "inventory": scan_compares_cursors,
    "memory": memory_tells_the_peak_of_each_size,
    "planning": planning_compares_with_an_import,
    "jobfile": the_job_file_is_compared_with_a_plain_table,
    "timeline": the_timeline_is_compared_with_none,
    "telling": telling_tells_what_a_hook_costs,
    "page": the_page_of_a_small_job_is_small,
    "watch": a_watcher_reads_a_job_again_and_again,
    "export": exports_in_every_format_have_the_devices_of_the_sandbox,
    "rehearsal": rehearsal_tells_what_it_took,
    "pacing": pacing_has_every_scenario,
    "cancellations": cancellations_lose_nothing,
}
"""What holds of the results of each, also of tiny ones."""


def measured(benchmark: Benchmark, *words: str) -> Any:
    return benchmark.measure(benchmark.arguments().parse_args(words))


def test_relink_leaves_out_and_names_what_is_not_installed_on_either_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("uvloop")
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(relink, "CONTENDERS", {name: RELINKERS[name] for name in ("engine", "script", "curl", "floor")})
    found = measured(relink.BENCHMARK, "--operations", "20", "--rounds", "1", "--loop", "uvloop")
    assert [compared["loop"] for compared in found["loops"]] == ["uvloop"]
    assert found["missing"] == {"curl": "curl"}
    assert "curl" not in found["loops"][0]["contenders"]
    assert "left out: curl with xargs, one process each (curl is not installed)\n" in relink.show(found)


def test_the_cursors_of_a_scan_can_be_chosen() -> None:
    found = measured(scan.BENCHMARK, "--devices", "1000", "--latency", "1", "--cursors", "2", "--cursors", "4")
    assert [entry["cursors"] for entry in found["runs"]] == [1, 2, 4]
    assert found["same_ids"]


def test_the_rehearsed_limits_and_rate_can_be_chosen_and_the_forecast_is_close() -> None:
    found = measured(rehearsal.BENCHMARK, "--operations", "600", "--apps", "1", "--limits", "50/min", "--rate", "40/min")
    (entry,) = found["runs"]
    assert (entry["limits"], entry["rate"], entry["rate_limited"]) == ("50/min", "40/min", 0)
    assert entry["makespan"] == pytest.approx(14 * 61, rel=0.02)
    assert entry["forecast"] == pytest.approx(entry["makespan"], rel=0.02)


def test_instructions_are_read_from_what_either_counter_prints() -> None:
    told = {
        "2958456394;;instructions:u;1000;100.00;;": 2_958_456_394,
        "<not supported>;;instructions:u;0;100.00;;": None,
        "==9944== warning: L3 cache found\n==9944== \n==9944== I   refs:      2,943,100,388\n": 2_943_100_388,
    }
    assert {text: timeline.number_told(text) for text in told} == told


def a_benchmark(*, met: bool) -> Benchmark:
    def arguments() -> argparse.ArgumentParser:
        parser = argparse.ArgumentParser()
        parser.add_argument("--size", type=int, default=10)
        return parser

    return Benchmark(arguments, lambda _: {"met": met}, lambda found: f"met: {found['met']}", full=("size",))


@pytest.mark.parametrize(
    ("met", "given", "code"), [(True, (), 0), (False, (), 1), (False, ("--size=3",), 0), (False, ("--size=10", "--json"), 1)]
)
def test_a_missed_aim_counts_at_full_size(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], given: tuple[str, ...], code: int, *, met: bool
) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmark", *given])
    assert exit_code(a_benchmark(met=met).run()) == code
    printed = capsys.readouterr().out
    assert json.loads(printed)["met"] is met if "--json" in given else printed == f"met: {met}\n"


@pytest.mark.parametrize(("given", "code"), [((), 1), (("--json",), 1), (("--quick",), 0)])
def test_one_missed_aim_of_all_counts_unless_it_was_quick(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], given: tuple[str, ...], code: int
) -> None:
    programs = {str(met): Program(a_benchmark(met=met), ("--size=1",), ("--size=5",)) for met in (True, False)}
    monkeypatch.setattr(everything, "PROGRAMS", programs)
    monkeypatch.setattr(sys, "argv", ["benchmarks", *given])
    assert everything.main() == code
    printed = capsys.readouterr().out
    assert ("True\n\nmet: True\n\nFalse\n\nmet: False\n" in printed) is ("--json" not in given)
