"""Compare listing one large app with one cursor and with several, on a loopback server with latency.

Times and ids are compared. The page size is the client's default. With `--inventory`, an inventory is taken instead, as for an
export. Each scan runs in its own process, in turns. Figures are medians.
"""

import argparse
import sys
from statistics import median
from typing import Any, Final

from benchmarks.loopback import serving
from benchmarks.loops import LOOPS
from benchmarks.measuring import Benchmark, child, exit_code, table, verdict

_AIM: Final = 6.0
_CURSORS: Final = 8
"""Number of cursors that the aim is for."""


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Return the time for each number of cursors, and the speed-up over one."""
    what = "inventory" if options.inventory else "list"
    runs: dict[int, list[dict[str, Any]]] = {1: [], **{cursors: [] for cursors in options.cursors or (_CURSORS,)}}
    with serving("--devices", str(options.devices), "--latency", str(options.latency / 1000)) as base_url:
        for _ in range(options.rounds):
            for cursors, taken in runs.items():
                taken.append(child("benchmarks.scan_once", base_url=base_url, cursors=cursors, loop=options.loop, what=what))
    digests = {run["digest"] for taken in runs.values() for run in taken}
    alone = median(run["wall"] for run in runs[1])
    same = len(digests) == 1 and all(run["different"] == run["devices"] for taken in runs.values() for run in taken)
    told = [
        {
            "cursors": cursors,
            "seconds": round(wall := median(run["wall"] for run in taken), 2),
            "times_as_fast": round(alone / wall, 2),
            "requests": round(median(run["requests"] for run in taken)),
            "peak_bytes": max(run["peak_bytes"] for run in taken),
        }
        for cursors, taken in runs.items()
    ]
    return {
        "benchmark": "scan",
        "what": what,
        "devices": options.devices,
        "latency_ms": options.latency,
        "rounds": options.rounds,
        "aim": _AIM,
        "same_ids": same,
        "runs": told,
        "met": same and all(run["times_as_fast"] >= _AIM for run in told if run["cursors"] >= _CURSORS),
    }


def show(found: dict[str, Any]) -> str:
    """Return the results as a table."""
    rows = [
        (str(run["cursors"]), f"{run['seconds']:,.1f}", f"{run['times_as_fast']:.2f}", f"{run['requests']:,}")
        for run in found["runs"]
    ]
    same = "the same ids" if found["same_ids"] else "NOT the same ids"
    head = f"{found['what']} of {found['devices']:,} devices, {found['latency_ms']:g} ms latency: {same}"
    aim = f"the same ids, and {_CURSORS} cursors at least {_AIM:g} times as fast as one"
    return "\n".join((head, table(("cursors", "s", "times as fast", "requests"), rows), verdict(aim, met=found["met"])))


def arguments() -> argparse.ArgumentParser:
    """Return the options of this benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scan", description=__doc__)
    parser.add_argument("--devices", type=int, default=500_000)
    parser.add_argument("--latency", type=float, default=100.0, help="latency in milliseconds (default: %(default)g)")
    parser.add_argument(
        "--cursors", type=int, action="append", help="number of cursors to compare with one (repeatable; default: 8)"
    )
    parser.add_argument("--inventory", action="store_true", help="take an inventory into a file instead of listing")
    parser.add_argument("--loop", choices=LOOPS, default="asyncio")
    parser.add_argument("--rounds", type=int, default=1)
    return parser


BENCHMARK: Final = Benchmark(arguments, measure, show, full=("devices", "latency", "cursors"))

if __name__ == "__main__":
    sys.exit(exit_code(BENCHMARK.run()))
