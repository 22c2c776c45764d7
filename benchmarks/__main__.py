"""Run all benchmarks, one after the other: some minutes, and nothing leaves this machine."""

import argparse
import json
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from benchmarks import export, jobfile, listing, memory, pacing, planning, rehearsal, relink, scan, startup


class _Benchmark(NamedTuple):
    arguments: Callable[[], argparse.ArgumentParser]
    measure: Callable[[argparse.Namespace], dict[str, Any]]
    show: Callable[[dict[str, Any]], str]


_ALL: Final = {
    "startup": _Benchmark(startup.arguments, startup.measure, startup.show),
    "relink": _Benchmark(relink.arguments, relink.measure, relink.show),
    "listing": _Benchmark(listing.arguments, listing.measure, listing.show),
    "scan": _Benchmark(scan.arguments, scan.measure, scan.show),
    "memory": _Benchmark(memory.arguments, memory.measure, memory.show),
    "planning": _Benchmark(planning.arguments, planning.measure, planning.show),
    "jobfile": _Benchmark(jobfile.arguments, jobfile.measure, jobfile.show),
    "export": _Benchmark(export.arguments, export.measure, export.show),
    "rehearsal": _Benchmark(rehearsal.arguments, rehearsal.measure, rehearsal.show),
    "pacing": _Benchmark(pacing.arguments, pacing.measure, pacing.show),
}


def main(given: Sequence[str] | None = None) -> None:
    """Measure everything, and print each result when it is there; with `--json` all of them as one object."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="tiny numbers: shows that all of it works, measures nothing")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(given)
    tiny = {
        "startup": ("--rounds=1",),
        "relink": ("--operations=50", "--rounds=1", "--loop=asyncio"),
        "listing": ("--devices=1000", "--rounds=1", "--loop=asyncio"),
        "scan": ("--devices=2000", "--latency=1"),
        "memory": ("--operations=200", "--operations=400"),
        "planning": ("--rows=500", "--rounds=1"),
        "jobfile": ("--operations=500", "--outcomes=200", "--rounds=1"),
        "export": ("--apps=2", "--devices=900", "--format=jsonl"),
        "rehearsal": ("--operations=300", "--apps=2"),
        "pacing": ("--quick", "--latency=0.2"),
    }
    found = {}
    for name, benchmark in _ALL.items():
        chosen = benchmark.arguments().parse_args(tiny[name] if options.quick else ())
        found[name] = benchmark.measure(chosen)
        if not options.json:
            print(f"{name}\n\n{benchmark.show(found[name])}\n", flush=True)
    if options.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
