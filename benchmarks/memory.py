"""Check that a job's memory does not depend on its size.

Jobs of two sizes are planned and run from a CSV file, each in its own process. The server is a double in the same process that
responds at once and lists every device. The job file is on disk.
"""

import argparse
import sys
from typing import Any, Final

from benchmarks.measuring import Benchmark, child, choose_generation, exit_code, table, verdict

_SIZES: Final = (100_000, 1_000_000)
_FLAT_WITHIN: Final = 0.15


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Return the peak memory of each size, and whether the largest is within 15 % of the smallest."""
    sizes = sorted(options.operations or _SIZES)
    runs = [
        {"operations": size, **child("benchmarks.job_of_size", operations=size, generation=options.generation)}
        for size in sizes
    ]
    growth = runs[-1]["peak_bytes"] / runs[0]["peak_bytes"] - 1
    return {
        "benchmark": "memory",
        "generation": options.generation,
        "runs": runs,
        "growth": round(growth, 3),
        "met": growth <= _FLAT_WITHIN,
    }


def show(found: dict[str, Any]) -> str:
    """Return the results as a table."""
    rows = [
        (
            f"{run['operations']:,}",
            f"{run['peak_after_plan_bytes'] / 1e6:,.1f}",
            f"{run['peak_bytes'] / 1e6:,.1f}",
            f"{run['plan_seconds']:,.1f}",
            f"{run['run_seconds']:,.1f}",
        )
        for run in found["runs"]
    ]
    heads = ("operations", "peak of planning, MB", "peak overall, MB", "plan, s", "run, s")
    aim = f"a peak that grows by at most {_FLAT_WITHIN:.0%}"
    return f"{table(heads, rows)}\nthe peak grows by {found['growth']:.1%}; {verdict(aim, met=found['met'])}"


def arguments() -> argparse.ArgumentParser:
    """Return the options of this benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__)
    parser.add_argument(
        "--operations", type=int, action="append", help="operations of a job (repeatable; default: 100,000 and 1,000,000)"
    )
    choose_generation(parser)
    return parser


BENCHMARK: Final = Benchmark(arguments, measure, show, full=("operations",))

if __name__ == "__main__":
    sys.exit(exit_code(BENCHMARK.run()))
