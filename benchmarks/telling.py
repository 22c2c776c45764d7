"""What it costs to tell what happens: the CPU of a relink with and without logs, a hook and OpenTelemetry.

Each runs in a process of its own, in turns, on a loopback server without limits. Figures are medians. With `--before`, the
checkout of another commit takes its turns, too: there as here, logging is off and there is no hook.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any, Final

from benchmarks.loopback import serving
from benchmarks.measuring import ROOT, Benchmark, Spent, child, exit_code, table, verdict
from benchmarks.telling_once import WAYS, WHAT

_AIM: Final = 1.05
_QUIET: Final = "quiet"
_BEFORE: Final = "before"
_MEANINGS: Final = {
    _BEFORE: "the other checkout",
    _QUIET: "logging off and no hook",
    **{name: way.meaning for name, way in WAYS.items()},
}


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Return the CPU of each way to tell, for the engine and for the plain client."""
    ways = [name for name in options.way or WAYS if not WAYS[name].missing]
    names = [*([_BEFORE] if options.before else []), _QUIET, *ways]
    taken: dict[tuple[str, str], list[float]] = {(what, name): [] for what in options.what or WHAT for name in names}
    with serving() as base_url:
        load = {"base_url": base_url, "operations": options.operations, "concurrency": options.concurrency}
        for number in range(options.rounds):
            # Each goes first in every other round.
            for what, name in sorted(taken, reverse=bool(number % 2)):
                spent = Spent(**_run(what, name, options.before, load))
                taken[what, name].append(spent.cpu / options.operations * 1e6)
    found = {what: {name: round(median(each), 2) for (did, name), each in taken.items() if did == what} for what, _ in taken}
    return {
        "benchmark": "telling",
        "operations": options.operations,
        "concurrency": options.concurrency,
        "rounds": options.rounds,
        "cpu_us_per_operation": found,
        **({"met": all(each[_QUIET] <= _AIM * each[_BEFORE] for each in found.values())} if options.before else {}),
    }


def _run(what: str, name: str, before: Path | None, load: dict[str, Any]) -> dict[str, float]:
    if name in WAYS:
        return dict(child("benchmarks.telling_once", name=what, way=name, **load))
    root = before if name == _BEFORE and before else ROOT
    return dict(child("benchmarks.contenders", root=root, name=what, loop="asyncio", **load))


def show(found: dict[str, Any]) -> str:
    """Return the results as tables."""
    texts = [f"{found['operations']:,} relinks, {found['concurrency']} in flight, medians of {found['rounds']} rounds"]
    texts += [
        table((what, "CPU us/operation", "more"), list(_rows(each))) for what, each in found["cpu_us_per_operation"].items()
    ]
    if "met" in found:
        texts.append(verdict(f"{_MEANINGS[_QUIET]}: at most {_AIM:g} times the CPU of the other checkout", met=found["met"]))
    return "\n\n".join(texts)


def _rows(taken: dict[str, float]) -> Iterator[tuple[str, str, str]]:
    base = taken.get(_BEFORE, taken[_QUIET])
    for name, cpu in taken.items():
        yield _MEANINGS[name], f"{cpu:,.1f}", f"{cpu / base - 1:+.1%}" if cpu != base else ""


def arguments() -> argparse.ArgumentParser:
    """Return the options of this benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.telling", description=__doc__)
    parser.add_argument("--operations", type=int, default=20_000, help="relinks in each run (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=15, help="runs of each way to tell (default: %(default)s)")
    parser.add_argument("--concurrency", type=int, default=15, help="requests in flight (default: %(default)s)")
    parser.add_argument("--what", choices=WHAT, action="append", help="what relinks (repeatable; default: both)")
    parser.add_argument("--way", choices=WAYS, action="append", help="a way to tell (repeatable; default: all installed)")
    parser.add_argument("--before", type=Path, metavar="DIR", help="the checkout of another commit to compare with")
    return parser


BENCHMARK: Final = Benchmark(arguments, measure, show, full=("operations", "rounds"))

if __name__ == "__main__":
    sys.exit(exit_code(BENCHMARK.run()))
