import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import __main__ as everything
from benchmarks import relink
from benchmarks.__main__ import PROGRAMS, Program
from benchmarks.measuring import Benchmark, exit_code

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments: str) -> Any:
    ended = subprocess.run(
        [sys.executable, "-m", *arguments, "--json"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


CONTENDERS = {"engine", "client", "script", "tenacity", "httpx", "requests", "curl", "floor"}


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_relink_compares_all_contenders(loop: str) -> None:
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    found = run("benchmarks.relink", "--operations", "200", "--rounds", "1", "--loop", loop)
    (compared,) = found["loops"]
    present = CONTENDERS - found["missing"].keys()
    assert present >= CONTENDERS - {"curl"}
    assert compared["loop"] == loop
    assert compared["contenders"].keys() == compared["cpu_ratio"].keys() == compared["floor_ratio"].keys() == present
    assert (compared["cpu_ratio"]["script"], compared["floor_ratio"]["floor"]) == (1, 1)
    assert {numbers["operations"] for numbers in compared["contenders"].values()} <= {200, 20, 10, 1}
    if "curl" in present:
        # The processes that it starts count.
        assert compared["cpu_ratio"]["curl"] > 1


def test_what_is_not_installed_is_left_out_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    found = run("benchmarks.relink", "--operations", "20", "--rounds", "1", "--loop", "asyncio")
    assert found["missing"] == {"curl": "curl"}
    assert "curl" not in found["loops"][0]["contenders"]
    assert "left out: curl with xargs, a process each; there is no curl here\n" in relink.show(found)


def test_listing_compares_three_contenders() -> None:
    found = run("benchmarks.listing", "--devices", "700", "--rounds", "1", "--loop", "asyncio")
    (compared,) = found["loops"]
    assert compared["contenders"].keys() == compared["speed_ratio"].keys() == {"client", "pages", "script"}
    assert compared["speed_ratio"]["script"] == compared["cpu_ratio"]["script"] == 1


def test_scan_compares_cursors_and_ids() -> None:
    found = run("benchmarks.scan", "--devices", "3000", "--latency", "1", "--cursors", "2", "--cursors", "8")
    assert [entry["cursors"] for entry in found["runs"]] == [1, 2, 8]
    assert found["runs"][0]["requests"] == 15
    assert found["same_ids"]


def test_scan_compares_inventories_too() -> None:
    found = run("benchmarks.scan", "--inventory", "--devices", "3000", "--latency", "1")
    assert [entry["cursors"] for entry in found["runs"]] == [1, 8]
    assert found["runs"][0]["requests"] == 15 + 2
    assert found["same_ids"]


def test_memory_tells_the_peak_of_each_size() -> None:
    found = run("benchmarks.memory", "--operations", "3000", "--operations", "150")
    assert [entry["operations"] for entry in found["runs"]] == [150, 3000]
    assert all(entry["peak_bytes"] >= entry["peak_after_plan_bytes"] > 0 for entry in found["runs"])
    assert found["met"] is (found["growth"] <= 0.15)


def test_startup_compares_imports_and_the_command_with_typer() -> None:
    found = run("benchmarks.startup", "--rounds", "1")
    assert {"the client", "aiohttp and msgspec", "capgo-async --version", "typer"} <= set(found["programs"])
    assert all(ratio > 0 for ratio in found["wall_ratio"].values())
    assert not found["help_imports_aiohttp"]


def test_export_compares_every_format_with_the_sandbox() -> None:
    found = run("benchmarks.export", "--apps", "2", "--devices", "1800")
    assert [entry["format"] for entry in found["runs"]] == ["jsonl", "csv", "sqlite", "parquet"]
    for entry in found["runs"]:
        assert (entry["code"], entry["missing"], entry["equal"]) == (0, 0, True)
        assert entry["appeared"] > 0
        assert entry["peak_bytes"] > 0


def test_rehearsal_tells_what_it_took_and_what_it_foretells() -> None:
    found = run("benchmarks.rehearsal", "--operations", "3000", "--apps", "2", "--latency", "0.2")
    assert [(run["limits"], run["rate"]) for run in found["runs"]] == [("server", "auto"), ("100/min", "100/min")]
    for entry in found["runs"]:
        assert (entry["operations"], entry["requests"], entry["rate_limited"]) == (3000, 3000, 0)
        assert abs(entry["forecast"] / entry["makespan"] - 1) < 0.02
        assert entry["peak_bytes"] > 0
    assert found["runs"][1]["makespan"] == pytest.approx(30 * 60, rel=0.05)
    assert (found["met"], found["full"]) == (True, False)


def test_the_rehearsed_limits_and_rate_can_be_chosen() -> None:
    found = run("benchmarks.rehearsal", "--operations", "300", "--apps", "1", "--limits", "50/min", "--rate", "40/min")
    (entry,) = found["runs"]
    assert (entry["limits"], entry["rate"], entry["rate_limited"]) == ("50/min", "40/min", 0)
    assert entry["makespan"] > 6 * 60


def test_planning_compares_with_an_import() -> None:
    found = run("benchmarks.planning", "--rows", "600", "--rounds", "1")
    for compared, apps in zip(found["runs"], (1, 12), strict=True):
        assert compared["apps"] == apps
        assert (compared["planned"] + compared["skipped"], compared["unknown"]) == (600, 0)
        assert compared["skipped"] > 0
        assert compared["taken"].keys() == {"plan", "import"}
        assert compared["ratio"]["seconds"] > 0
        assert compared["peak_bytes"] > 0


def test_the_job_file_is_compared_with_a_plain_table() -> None:
    found = run("benchmarks.jobfile", "--operations", "3000", "--outcomes", "1500", "--rounds", "1")
    assert found["outcomes"] == 1500
    assert found["recording"].keys() == {"record", "record-plainly"}
    assert all(taken["outcomes_per_second"] > 0 for taken in found["recording"].values())
    assert found["opening_ms"].keys() == {"planned", "begun"}
    assert all(taken.keys() == {"open", "report", "count"} for taken in found["opening_ms"].values())


def test_one_command_runs_them_all_and_each_shows_what_it_found() -> None:
    every = {
        "startup",
        "relink",
        "listing",
        "scan",
        "inventory",
        "memory",
        "planning",
        "jobfile",
        "export",
        "rehearsal",
        "pacing",
    }
    found = run("benchmarks", "--quick")
    assert found.keys() == PROGRAMS.keys() == every
    assert (found["scan"]["what"], found["inventory"]["what"]) == ("list", "inventory")
    for name, program in PROGRAMS.items():
        shown = program.benchmark.show(found[name])
        assert len(shown.splitlines()) > 2
        if name not in {"jobfile", "pacing"}:
            assert shown.count("the aim at full size, ") == 1
            assert shown.endswith(": met" if found[name]["met"] else ": MISSED")
        assert ("met" in found[name]) is (name != "jobfile")


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
