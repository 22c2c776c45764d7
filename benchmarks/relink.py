"""Measure what the engine itself costs: relink devices on a loopback server, without limits.

Each contender runs in its own process. They take turns, so that noise on the machine affects all alike. Figures are medians.
"""

import argparse
import sys
from statistics import median
from typing import Any, Final

from benchmarks.contenders import CONTENDERS
from benchmarks.loopback import serving
from benchmarks.loops import LOOPS, has_uvloop
from benchmarks.measuring import Benchmark, Spent, child, exit_code, table, verdict

_AIM: Final = 1.0


def compare(loop: str, *, operations: int, rounds: int, concurrency: int) -> dict[str, Any]:
    """Run the contenders in turns on one event loop, and return the medians and their ratios."""
    taken: dict[str, list[Spent]] = {name: [] for name, contender in CONTENDERS.items() if not contender.missing}
    done = {name: max(1, operations // CONTENDERS[name].one_in) for name in taken}
    with serving() as base_url:
        for _ in range(rounds):
            for name, spent in taken.items():
                measured = child(
                    "benchmarks.contenders",
                    name=name,
                    base_url=base_url,
                    operations=done[name],
                    concurrency=concurrency,
                    loop=CONTENDERS[name].loop or loop,
                )
                spent.append(Spent(**measured))
    contenders = {
        name: {
            "operations": done[name],
            "operations_per_second": round(done[name] / median(one.wall for one in spent), 1),
            "cpu_us_per_operation": round(median(one.cpu for one in spent) / done[name] * 1e6, 2),
        }
        for name, spent in taken.items()
    }
    return {
        "loop": loop,
        "contenders": contenders,
        "cpu_ratio": _ratios(contenders, "script"),
        "floor_ratio": _ratios(contenders, "floor"),
    }


def _ratios(contenders: dict[str, dict[str, float]], to: str) -> dict[str, float]:
    one = contenders[to]["cpu_us_per_operation"]
    return {name: round(numbers["cpu_us_per_operation"] / one, 3) for name, numbers in contenders.items()}


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Return the comparison on each requested event loop."""
    loops = options.loop or [loop for loop in LOOPS if loop != "uvloop" or has_uvloop()]
    compared = [
        compare(loop, operations=options.operations, rounds=options.rounds, concurrency=options.concurrency) for loop in loops
    ]
    return {
        "benchmark": "relink",
        "operations": options.operations,
        "rounds": options.rounds,
        "concurrency": options.concurrency,
        "aim": _AIM,
        "missing": {name: missing for name, contender in CONTENDERS.items() if (missing := contender.missing)},
        "loops": compared,
        "met": all(each["cpu_ratio"]["engine"] <= _AIM for each in compared),
    }


def show(found: dict[str, Any]) -> str:
    """Return the results as tables."""
    heads = ("operations/s", "CPU us/operation", "CPU, script = 1", "CPU, floor = 1")
    texts = [f"{found['operations']:,} relinks, {found['concurrency']} in flight, medians of {found['rounds']} rounds"]
    for compared in found["loops"]:
        rows = [
            (
                _called(name, found["operations"], numbers["operations"]),
                f"{numbers['operations_per_second']:,.0f}",
                f"{numbers['cpu_us_per_operation']:,.1f}",
                f"{compared['cpu_ratio'][name]:.2f}",
                f"{compared['floor_ratio'][name]:.1f}",
            )
            for name, numbers in compared["contenders"].items()
        ]
        texts.append(table((compared["loop"], *heads), rows))
    texts.extend(
        f"left out: {CONTENDERS[name].meaning} ({needed} is not installed)" for name, needed in found["missing"].items()
    )
    texts.append(verdict(f"{CONTENDERS['engine'].meaning}: at most {_AIM:g} times the script's CPU", met=found["met"]))
    return "\n\n".join(texts)


def _called(name: str, asked: int, done: int) -> str:
    """Return the name of a contender, with its number of operations if it did fewer."""
    contender = CONTENDERS[name]
    loop = f", {contender.loop}" if contender.loop else ""
    return contender.meaning + loop + ("" if done == asked else f" ({done:,})")


def arguments() -> argparse.ArgumentParser:
    """Return the options of this benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.relink", description=__doc__)
    parser.add_argument("--operations", type=int, default=20_000, help="relinks in each run (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each contender (default: %(default)s)")
    parser.add_argument("--concurrency", type=int, default=15, help="requests in flight (default: %(default)s)")
    parser.add_argument("--loop", choices=LOOPS, action="append", help="event loop (repeatable; default: all installed)")
    return parser


BENCHMARK: Final = Benchmark(arguments, measure, show, full=("operations",))

if __name__ == "__main__":
    sys.exit(exit_code(BENCHMARK.run()))
