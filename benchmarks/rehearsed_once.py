"""Rehearse a job once in this process; started by `rehearsal`."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from benchmarks.measuring import peak_bytes, spent
from capgo_async.cli.job.rehearsing import Rehearsing
from capgo_async.cli.options.stopping import Limits
from capgo_async.rehearsal import Rehearsal


def main(given: Sequence[str] | None = None) -> None:
    """Rehearse, and print the result as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--job", type=Path, required=True)
    parser.add_argument("--latency", type=float, required=True)
    parser.add_argument("--limits", required=True)
    parser.add_argument("--rate", required=True)
    options = parser.parse_args(given)
    rehearsing = Rehearsing(limits=options.limits, rate=options.rate, latency=f"{options.latency}s")
    began = spent()
    found = Rehearsal(options.job, rehearsing.conditions(Limits())).run()
    took = spent().since(began)
    if found is None or found.report.pending or found.report.failed:
        message = "not all operations are done"
        raise RuntimeError(message)
    measured = {
        "limits": options.limits,
        "rate": options.rate,
        "operations": found.report.done,
        "makespan": round(found.makespan, 1),
        "forecast": found.forecast and round(found.forecast, 1),
        "requests": found.report.runs[-1].requests,
        "rate_limited": found.report.runs[-1].rate_limited,
        "seconds": round(took.wall, 1),
        "cpu_us_per_operation": round(took.cpu / found.report.done * 1e6, 1),
        "peak_bytes": peak_bytes(),
    }
    print(json.dumps(measured))


if __name__ == "__main__":
    main()
