"""Run all benchmarks except `kills`, one after the other.

This takes a quarter of an hour or more. No request leaves this machine.
"""

import argparse
import json
import sys
from typing import Any, Final, NamedTuple

from benchmarks import (
    cancellations,
    export,
    jobfile,
    listing,
    memory,
    pacing,
    page,
    planning,
    rehearsal,
    relink,
    scan,
    startup,
    telling,
    timeline,
    watch,
)
from benchmarks.measuring import Benchmark, exit_code, fork_children


class Program(NamedTuple):
    """One benchmark, with its options for a tiny and for a full run."""

    benchmark: Benchmark
    tiny: tuple[str, ...]
    full: tuple[str, ...] = ()


PROGRAMS: Final = {
    "startup": Program(startup.BENCHMARK, ("--rounds=1",)),
    "relink": Program(relink.BENCHMARK, ("--operations=50", "--rounds=1", "--loop=asyncio")),
    "listing": Program(listing.BENCHMARK, ("--devices=1000", "--rounds=1", "--loop=asyncio")),
    "scan": Program(scan.BENCHMARK, ("--devices=2000", "--latency=1")),
    "inventory": Program(
        scan.BENCHMARK, ("--inventory", "--devices=2000", "--latency=1"), full=("--inventory", "--devices=200000")
    ),
    "memory": Program(memory.BENCHMARK, ("--operations=200", "--operations=400", "--generation=2026-11")),
    "planning": Program(planning.BENCHMARK, ("--rows=500", "--rounds=1")),
    "jobfile": Program(jobfile.BENCHMARK, ("--operations=500", "--outcomes=200", "--rounds=1")),
    "timeline": Program(timeline.BENCHMARK, ("--operations=50", "--rounds=1", "--stored=2000")),
    "telling": Program(
        telling.BENCHMARK, ("--operations=50", "--rounds=1", "--what=client", "--way=hooked"), full=("--rounds=5",)
    ),
    "page": Program(page.BENCHMARK, ("--operations=60", "--messages=15")),
    "watch": Program(watch.BENCHMARK, ("--operations=100", "--seconds=70")),
    "export": Program(export.BENCHMARK, ("--apps=2", "--devices=900", "--generation=2026-11")),
    "rehearsal": Program(rehearsal.BENCHMARK, ("--operations=300", "--apps=2")),
    "cancellations": Program(cancellations.BENCHMARK, ("--cancellations=150", "--sockets=30")),
    "pacing": Program(pacing.BENCHMARK, ("--quick", "--latency=0.2", "--generation=2026-11")),
}


def main() -> int:
    """Run all benchmarks and print each result as it arrives, or all as one object with `--json`.

    Returns 1 if an aim is missed.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="tiny loads: checks that everything works, measures nothing")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    if options.quick:
        fork_children()
    found: dict[str, dict[str, Any]] = {}
    for name, program in PROGRAMS.items():
        chosen = program.benchmark.arguments().parse_args(program.tiny if options.quick else program.full)
        found[name] = {**program.benchmark.measure(chosen), "full": not options.quick}
        if not options.json:
            print(f"{name}\n\n{program.benchmark.show(found[name])}\n", flush=True)
    if options.json:
        print(json.dumps(found))
    return exit_code(*found.values())


if __name__ == "__main__":
    sys.exit(main())
