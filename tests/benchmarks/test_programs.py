import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments: str) -> Any:
    ended = subprocess.run(
        [sys.executable, "-m", *arguments, "--json"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_relink_compares_three_contenders(loop: str) -> None:
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    found = run("benchmarks.relink", "--operations", "40", "--rounds", "1", "--loop", loop)
    (compared,) = found["loops"]
    assert compared["loop"] == loop
    assert compared["contenders"].keys() == compared["cpu_ratio"].keys() == {"engine", "client", "script"}
    assert compared["cpu_ratio"]["script"] == 1


def test_memory_tells_the_peak_of_each_size() -> None:
    found = run("benchmarks.memory", "--operations", "300", "--operations", "150")
    assert [entry["operations"] for entry in found["runs"]] == [150, 300]
    assert all(entry["peak_bytes"] >= entry["peak_after_plan_bytes"] > 0 for entry in found["runs"])
    assert isinstance(found["flat"], bool)


def test_startup_compares_imports() -> None:
    found = run("benchmarks.startup", "--rounds", "1")
    assert found["wall_ratio"]["aiohttp and msgspec"] == 1
    assert "capgo_async" in found["imports"]
    assert not found["help_imports_aiohttp"]


def test_export_compares_every_format_with_the_sandbox() -> None:
    found = run("benchmarks.export", "--apps", "2", "--devices", "1800")
    assert [entry["format"] for entry in found["runs"]] == ["jsonl", "csv", "sqlite", "parquet"]
    for entry in found["runs"]:
        assert (entry["code"], entry["missing"], entry["equal"]) == (0, 0, True)
        assert entry["appeared"] > 0
        assert entry["peak_bytes"] > 0


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


def test_one_command_runs_them_all() -> None:
    assert run("benchmarks", "--quick").keys() == {"startup", "relink", "memory", "planning", "jobfile", "export"}
