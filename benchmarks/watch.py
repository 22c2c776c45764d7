"""The share of a processor core that `job watch` takes while a large job runs.

The job has half of its operations done, and nothing changes it, but each reading counts all of them as it would during a run.
It is watched in virtual time, for its CPU alone. The job is made and watched in a process of its own.
"""

import argparse
import sys
from typing import Any, Final

from benchmarks.measuring import Benchmark, child, exit_code, table, verdict

_SHARE: Final = 0.05


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Return the share of a core, how often numbers and charts are new, and whether the aim is met."""
    found = child("benchmarks.watch_once", operations=options.operations, seconds=options.seconds)
    return {"benchmark": "watch", "operations": options.operations, **found, "met": found["share"] <= _SHARE}


def show(found: dict[str, Any]) -> str:
    """Return the results as a table."""
    rows = [
        ("share of a core", f"{found['share']:.1%}"),
        ("seconds between two readings", f"{found['seconds'] / found['readings']:.1f}"),
        ("seconds between two drawings of the charts", f"{found['seconds'] / found['drawings']:.0f}"),
    ]
    return "\n\n".join(
        (
            table((f"{found['operations']:,} operations, {found['seconds']:,.0f} s", ""), rows),
            verdict(f"at most {_SHARE:.0%} of a core", met=found["met"]),
        )
    )


def arguments() -> argparse.ArgumentParser:
    """Return the options of this benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.watch", description=__doc__)
    parser.add_argument("--operations", type=int, default=400_000, help="operations of the job (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=900.0, help="how long it is watched (default: %(default)s)")
    return parser


BENCHMARK: Final = Benchmark(arguments, measure, show, full=("operations", "seconds"))

if __name__ == "__main__":
    sys.exit(exit_code(BENCHMARK.run()))
