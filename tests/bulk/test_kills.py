"""A few of the kills that `python -m benchmarks.kills` gives to every kind of operation."""

import pytest

from benchmarks import kills
from capgo_async.bulk.operations.kinds import KINDS

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("generation", ["2026-07", "2026-11"])
def test_every_kind_of_operation_survives_being_killed_at_a_random_moment(generation: str) -> None:
    options = ("--points", str(len(KINDS)), "--each", "6", "--seed", "7", "--generation", generation)
    found = kills.measure(kills.arguments().parse_args(options))
    assert (found["problems"], found["passed"]) == ([], True)
    assert {kind["kind"] for kind in found["kinds"] if kind["kills"] >= 1} == set(KINDS)
    assert found["generation"] == generation
    assert found["done"] + found["ambiguous"] == found["operations"] >= 6 * 3 * len(KINDS)
    assert sum(kind["repeated"] for kind in found["kinds"]) > 0, "answers are lost, and a kill leaves some in doubt"
