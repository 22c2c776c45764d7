"""The job file alone, without a network: recording outcomes, opening a job, and reporting on it.

For comparison, the same rows in a plain table: each batch is taken, marked and recorded by hand, and one query counts. Each
contender runs in its own process on a copy of the file, in turns. Figures are medians.
"""

import argparse
import shutil
import tempfile
from pathlib import Path
from statistics import median
from typing import Any, Final

from benchmarks.measuring import Benchmark, Spent, child, table

_RECORDING: Final = {"record": "the journal", "record-plainly": "plain sqlite3, row by row"}
_OPENING: Final = {"open": "open the job", "report": "report on it", "count": "count with plain sqlite3"}


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Return the medians of both contenders."""
    outcomes = min(options.outcomes, options.operations)
    recorded: dict[str, list[Spent]] = {name: [] for name in _RECORDING}
    opened: dict[str, dict[str, list[Spent]]] = {state: {name: [] for name in _OPENING} for state in ("planned", "begun")}
    with tempfile.TemporaryDirectory(prefix="jobfile-") as directory:
        job = Path(directory, "relink.capgo-job")
        copies = {name: Path(directory, f"{name}.capgo-job") for name in _RECORDING}
        _do("make", job, options.operations)
        for _ in range(options.rounds):
            for name, copy in copies.items():
                for path in Path(directory).glob(f"{copy.name}*"):
                    path.unlink()
                shutil.copy(job, copy)
                recorded[name].append(_do(name, copy, outcomes))
            for state, path in (("planned", job), ("begun", copies["record"])):
                for name, taken in opened[state].items():
                    taken.append(_do(name, path, outcomes))
    return {
        "benchmark": "jobfile",
        "operations": options.operations,
        "outcomes": outcomes,
        "rounds": options.rounds,
        "recording": {
            name: {
                "outcomes_per_second": round(outcomes / median(one.wall for one in taken)),
                "cpu_us_per_outcome": round(median(one.cpu for one in taken) / outcomes * 1e6, 2),
            }
            for name, taken in recorded.items()
        },
        "opening_ms": {
            state: {name: round(median(one.wall for one in taken) * 1e3, 1) for name, taken in all_of.items()}
            for state, all_of in opened.items()
        },
    }


def _do(name: str, job: Path, operations: int) -> Spent:
    return Spent(**child("benchmarks.journal_once", do=name, job=job, operations=operations))


def show(found: dict[str, Any]) -> str:
    """Return the results as tables."""
    recording = [
        (_RECORDING[name], f"{taken['outcomes_per_second']:,}", f"{taken['cpu_us_per_outcome']:.1f}")
        for name, taken in found["recording"].items()
    ]
    opening = [
        (said, *(f"{found['opening_ms'][state][name]:,.1f}" for state in ("planned", "begun")))
        for name, said in _OPENING.items()
    ]
    return "\n\n".join(
        (
            f"a job of {found['operations']:,} operations, medians of {found['rounds']} rounds",
            table((f"{found['outcomes']:,} outcomes", "outcomes/s", "CPU us/outcome"), recording),
            table(("ms to", "before a run", "after one"), opening),
        )
    )


def arguments() -> argparse.ArgumentParser:
    """Return the options of this benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.jobfile", description=__doc__)
    parser.add_argument("--operations", type=int, default=1_000_000, help="operations of the job (default: 1,000,000)")
    parser.add_argument("--outcomes", type=int, default=200_000, help="outcomes recorded in a round (default: 200,000)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds (default: %(default)s)")
    return parser


BENCHMARK: Final = Benchmark(arguments, measure, show)

if __name__ == "__main__":
    BENCHMARK.run()
