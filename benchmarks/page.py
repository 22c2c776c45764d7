"""The page about a large job with many different failure messages: its size, and the time without and with charts.

The time includes reading the job and importing the libraries. The job is made and measured in a process of its own.
"""

import argparse
import sys
from typing import Any, Final

from benchmarks.measuring import Benchmark, child, exit_code, table, verdict

_BYTES: Final = 400_000
_WITHOUT: Final = 1.0
_WITH: Final = 8.0


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Return the size of the page, what it takes, and whether all is within the aims."""
    found = child("benchmarks.page_once", operations=options.operations, messages=options.messages)
    met = found["bytes"] <= _BYTES and found["without_charts"]["wall"] <= _WITHOUT and found["with_charts"]["wall"] <= _WITH
    return {"benchmark": "page", "operations": options.operations, "messages": options.messages, **found, "met": met}


def show(found: dict[str, Any]) -> str:
    """Return the results as a table."""
    rows = [
        (name.replace("_", " "), f"{found[size]:,}", f"{found[name]['wall']:.2f}", f"{found[name]['cpu']:.2f}")
        for name, size in (("without_charts", "bytes_without_charts"), ("with_charts", "bytes"))
    ]
    return "\n\n".join(
        (
            table((f"{found['operations']:,} operations, {found['messages']:,} messages", "bytes", "seconds", "CPU"), rows),
            verdict(f"at most {_BYTES:,} bytes, {_WITHOUT:g} s without and {_WITH:g} s with charts", met=found["met"]),
        )
    )


def arguments() -> argparse.ArgumentParser:
    """Return the options of this benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.page", description=__doc__)
    parser.add_argument("--operations", type=int, default=400_000, help="operations of the job (default: %(default)s)")
    parser.add_argument(
        "--messages", type=int, default=100_000, help="operations that failed, each with its message (default: %(default)s)"
    )
    return parser


BENCHMARK: Final = Benchmark(arguments, measure, show, full=("operations", "messages"))

if __name__ == "__main__":
    sys.exit(exit_code(BENCHMARK.run()))
