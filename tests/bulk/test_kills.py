"""A few of the kills that `python -m benchmarks.kills` gives to every kind of operation."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from capgo_async.bulk.operations.kinds import KINDS

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("generation", ["2026-07", "2026-11"])
def test_every_kind_of_operation_survives_being_killed_at_a_random_moment(generation: str) -> None:
    options = ("--points", str(len(KINDS)), "--each", "6", "--seed", "7", "--generation", generation)
    command = [sys.executable, "-m", "benchmarks.kills", *options, "--json"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.stdout, ended.stderr
    found = json.loads(ended.stdout)
    assert (ended.returncode, found["problems"], found["passed"]) == (0, [], True)
    assert {kind["kind"] for kind in found["kinds"] if kind["kills"] >= 1} == set(KINDS)
    assert found["generation"] == generation
    assert found["done"] + found["ambiguous"] == found["operations"] >= 6 * 3 * len(KINDS)
    assert sum(kind["repeated"] for kind in found["kinds"]) > 0, "answers are lost, and a kill leaves some in doubt"
