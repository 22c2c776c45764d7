"""What events and timeline cost: the CPU of a relink with and without them, and the bytes in the job file.

Both run in processes of their own, in turns, on a loopback server without limits. Figures are medians. Without them means that
nobody listens: no event is made, and no bucket is stored. If instructions can be counted, they are compared as well, without
those of start and planning. `perf` counts them if the machine lets it; `valgrind` does everywhere, but takes minutes.
"""

import argparse
import re
import shutil
import subprocess
import sys
from statistics import median
from typing import Any, Final

from benchmarks.loopback import serving
from benchmarks.measuring import LONGEST_RUN, ROOT, Benchmark, Spent, child, environment, exit_code, table, verdict

_CPU: Final = 0.05
_INSTRUCTIONS: Final = 0.02
_BYTES: Final = 2_000_000
_APPS: Final = (1, 12, 300)
_ONCE: Final = "benchmarks.timeline_once"
_COUNTERS: Final = {
    "perf": ("perf", "stat", "--field-separator=;", "--event=instructions:u"),
    "valgrind": ("valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"),
}
_COUNT: Final = re.compile(r"^(\d+)(?:\.\d+)?;.*instructions|I +refs: +([\d,]+)", re.MULTILINE)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Return the costs, and whether all are within the aims."""
    load = {"operations": options.operations, "concurrency": options.concurrency}
    taken: dict[str, list[float]] = {"with": [], "without": []}
    with serving() as base_url:
        for number in range(options.rounds):
            # Each goes first in every other round.
            for name in sorted(taken, reverse=bool(number % 2)):
                spent = Spent(**child(_ONCE, do=name, base_url=base_url, **load))
                taken[name].append(spent.cpu / options.operations * 1e6)
        counted = {name: instructions(options.counter, name, base_url=base_url, **load) for name in ("with", "without", "plan")}
    cpu = {name: median(each) for name, each in taken.items()}
    sizes = [child(_ONCE, do="size", operations=options.stored, apps=apps) for apps in _APPS]
    more = cpu["with"] / cpu["without"] - 1
    executed = _share(counted)
    return {
        "benchmark": "timeline",
        **load,
        "rounds": options.rounds,
        "cpu_us_per_operation": {name: round(each, 2) for name, each in cpu.items()},
        "cpu_more": round(more, 4),
        "instructions_more": executed,
        "stored": options.stored,
        "sizes": sizes,
        "met": more <= _CPU
        and (executed is None or executed <= _INSTRUCTIONS)
        and all(each["bytes"] <= _BYTES and each["done"] == options.stored for each in sizes),
    }


def instructions(counter: str, name: str, **load: object) -> int | None:
    """Return how many instructions a contender executes in user space, or `None` if they cannot be counted."""
    if shutil.which(counter) is None:
        return None
    words = [word for key, value in load.items() for word in (f"--{key.replace('_', '-')}", str(value))]
    command = [*_COUNTERS[counter], sys.executable, "-m", _ONCE, "--do", name, *words]
    ended = subprocess.run(
        command, cwd=ROOT, env=environment(), capture_output=True, timeout=4 * LONGEST_RUN, check=False, text=True
    )
    return None if ended.returncode else number_told(ended.stderr)


def number_told(text: str) -> int | None:
    """Return the number of instructions in what a counter prints, or `None` if it could not count."""
    found = _COUNT.search(text)
    return None if found is None else int((found[1] or found[2]).replace(",", ""))


def _share(counted: dict[str, int | None]) -> float | None:
    given, without, planned = counted["with"], counted["without"], counted["plan"]
    if given is None or without is None or planned is None:
        return None
    return round((given - without) / (without - planned), 4)


def show(found: dict[str, Any]) -> str:
    """Return the results as tables."""
    cpu = found["cpu_us_per_operation"]
    more = found["instructions_more"]
    costs = [
        ("without", f"{cpu['without']:,.1f}", ""),
        ("with events and timeline", f"{cpu['with']:,.1f}", f"{found['cpu_more']:+.1%}"),
        ("instructions", "" if more is not None else "cannot be counted here", "" if more is None else f"{more:+.1%}"),
    ]
    sizes = [(f"{each['apps']}", f"{each['bytes']:,}", f"{each['bucket_seconds']}") for each in found["sizes"]]
    return "\n\n".join(
        (
            f"{found['operations']:,} relinks, {found['concurrency']} in flight, medians of {found['rounds']} rounds",
            table(("", "CPU us/operation", "more"), costs),
            table((f"apps, {found['stored']:,} operations", "bytes", "seconds a bucket"), sizes),
            verdict(f"at most {_CPU:.0%} of CPU, {_INSTRUCTIONS:.0%} of instructions, {_BYTES:,} bytes", met=found["met"]),
        )
    )


def arguments() -> argparse.ArgumentParser:
    """Return the options of this benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.timeline", description=__doc__)
    parser.add_argument("--operations", type=int, default=20_000, help="relinks in each run (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=15, help="runs of each contender (default: %(default)s)")
    parser.add_argument("--concurrency", type=int, default=15, help="requests in flight (default: %(default)s)")
    parser.add_argument("--counter", choices=_COUNTERS, default="perf", help="what counts instructions (default: %(default)s)")
    parser.add_argument("--stored", type=int, default=400_000, help="operations of the stored timeline (default: %(default)s)")
    return parser


BENCHMARK: Final = Benchmark(arguments, measure, show, full=("operations", "rounds", "stored"))

if __name__ == "__main__":
    sys.exit(exit_code(BENCHMARK.run()))
