"""Relink devices against a loopback server that answers at once, all limits off, to see what the engine itself costs.

Each contender runs in its own process, and they take turns, so that a noisy machine is unfair to all; numbers are medians.
"""

import argparse
import json
from collections.abc import Sequence
from statistics import median
from typing import Any, Final

from benchmarks.loopback import serving
from benchmarks.loops import LOOPS, has_uvloop
from benchmarks.measuring import Spent, child, table

_MEANINGS: Final = {
    "engine": "this engine, job file on disk",
    "client": "the plain client in a loop",
    "script": "a script with aiohttp and a semaphore",
}
_AIM: Final = 1.0


def compare(loop: str, *, operations: int, rounds: int, concurrency: int) -> dict[str, Any]:
    """Let the contenders take turns on one kind of event loop and return the medians, and ratios to the script."""
    taken: dict[str, list[Spent]] = {name: [] for name in _MEANINGS}
    with serving() as base_url:
        for _ in range(rounds):
            for name, spent in taken.items():
                measured = child(
                    "benchmarks.contenders",
                    name=name,
                    base_url=base_url,
                    operations=operations,
                    concurrency=concurrency,
                    loop=loop,
                )
                spent.append(Spent(**measured))
    contenders = {
        name: {
            "operations_per_second": round(operations / median(one.wall for one in spent), 1),
            "cpu_us_per_operation": round(median(one.cpu for one in spent) / operations * 1e6, 2),
        }
        for name, spent in taken.items()
    }
    script = contenders["script"]["cpu_us_per_operation"]
    return {
        "loop": loop,
        "contenders": contenders,
        "cpu_ratio": {name: round(numbers["cpu_us_per_operation"] / script, 3) for name, numbers in contenders.items()},
    }


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Return the comparison on each event loop that was asked for."""
    loops = options.loop or [loop for loop in LOOPS if loop != "uvloop" or has_uvloop()]
    return {
        "benchmark": "relink",
        "operations": options.operations,
        "rounds": options.rounds,
        "concurrency": options.concurrency,
        "aim": _AIM,
        "loops": [
            compare(loop, operations=options.operations, rounds=options.rounds, concurrency=options.concurrency)
            for loop in loops
        ],
    }


def show(found: dict[str, Any]) -> str:
    """Return the comparison for people."""
    heads = ("", "operations/s", "CPU us/operation", "CPU, script = 1")
    texts = [f"{found['operations']:,} relinks, {found['concurrency']} in flight, medians of {found['rounds']} rounds"]
    for compared in found["loops"]:
        rows = [
            (
                _MEANINGS[name],
                f"{numbers['operations_per_second']:,.0f}",
                f"{numbers['cpu_us_per_operation']:,.1f}",
                f"{compared['cpu_ratio'][name]:.2f}",
            )
            for name, numbers in compared["contenders"].items()
        ]
        texts.append(table((compared["loop"], *heads[1:]), rows))
    return "\n\n".join(texts)


def arguments() -> argparse.ArgumentParser:
    """Return the options of this benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.relink", description=__doc__)
    parser.add_argument("--operations", type=int, default=20_000, help="relinks of each run (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each contender (default: %(default)s)")
    parser.add_argument("--concurrency", type=int, default=16, help="requests in flight (default: %(default)s)")
    parser.add_argument("--loop", choices=LOOPS, action="append", help="event loop; may be repeated (default: all installed)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def main(given: Sequence[str] | None = None) -> None:
    """Measure, and print it."""
    options = arguments().parse_args(given)
    found = measure(options)
    print(json.dumps(found) if options.json else show(found))


if __name__ == "__main__":
    main()
