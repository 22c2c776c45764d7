"""Rehearse a large job under the server's limits, and a week-long one at 100/min.

It is measured how long the run would take, and what the rehearsal costs. The job is planned in this process, from a CSV file
and the listings of a sandbox. Each rehearsal runs in its own process.
"""

import argparse
import sys
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from benchmarks.measuring import Benchmark, child, exit_code, table, verdict
from capgo_async import CapgoClient
from capgo_async.bulk import Job, read_operations
from capgo_async.sandbox import Sandbox, Settings, fleet
from capgo_async.sandbox.inprocess import InProcessTransport
from capgo_async.sandbox.seeding import SUPER_ADMIN_KEY
from capgo_async.sandbox.virtual_time import run_in_virtual_time

_AIM_SECONDS: Final = 360.0
_AIM_BYTES: Final = 600_000_000
_RUNS: Final = (("server", "auto"), ("100/min", "100/min"))
"""Limits and rates: a day under the server's limits, and a week at 100 requests per minute."""


async def plan(path: Path, operations: int, apps: int) -> None:
    """Plan a job at `path` that links devices to a channel that none is linked to."""
    world = fleet(apps, operations, channels=4)
    source = path.with_suffix(".csv")
    with source.open("w", encoding="utf-8") as file:
        file.write("app_id,device_id\n")
        file.writelines(f"{app.app_id},{device}\n" for app in world.apps.values() for device in app.devices)
    transport = InProcessTransport(Sandbox(world, Settings(log_size=1)))
    async with CapgoClient(api_key=SUPER_ADMIN_KEY, base_url="http://127.0.0.1", rate="off", transport=transport) as client:
        await (await Job.create(path, read_operations(source, channel="ch04"), client=client)).aclose()


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Return the cost of each rehearsal and what it predicts."""
    asked = options.limits is not None or options.rate is not None
    chosen = ((options.limits or "server", options.rate or "auto"),) if asked else _RUNS
    with tempfile.TemporaryDirectory(prefix="rehearsal-") as directory:
        path = Path(directory) / "relink.capgo-job"
        run_in_virtual_time(plan(path, options.operations, options.apps))
        runs = [_rehearsed(path, options.latency, limits, rate) for limits, rate in chosen]
    return {
        "benchmark": "rehearsal",
        "operations": options.operations,
        "apps": options.apps,
        "latency": options.latency,
        "aim": {"seconds": _AIM_SECONDS, "peak_bytes": _AIM_BYTES},
        "runs": runs,
        "met": all(run["met"] for run in runs),
    }


def _rehearsed(job: Path, latency: float, limits: str, rate: str) -> dict[str, Any]:
    run = child("benchmarks.rehearsed_once", job=job, latency=latency, limits=limits, rate=rate)
    return {**run, "met": run["seconds"] <= _AIM_SECONDS and run["peak_bytes"] <= _AIM_BYTES}


def show(found: dict[str, Any]) -> str:
    """Return the results as a table."""
    rows = [
        (
            run["limits"],
            run["rate"],
            str(timedelta(seconds=round(run["makespan"]))),
            str(timedelta(seconds=round(run["forecast"]))),
            f"{run['requests']:,}",
            f"{run['rate_limited']:,}",
            f"{run['seconds']:,.1f}",
            f"{run['cpu_us_per_operation']:,.1f}",
            f"{run['peak_bytes'] / 1e6:,.0f}",
        )
        for run in found["runs"]
    ]
    heads = ("limits", "rate", "would run for", "forecast", "requests", "429s", "took, s", "CPU us/operation", "peak, MB")
    what = f"{found['operations']:,} relinks, {found['apps']} apps, {found['latency'] * 1e3:g} ms"
    aim = f"at most {_AIM_SECONDS:g} s and {_AIM_BYTES / 1e6:g} MB each"
    return f"{what}\n{table(heads, rows)}\n{verdict(aim, met=found['met'])}"


def arguments() -> argparse.ArgumentParser:
    """Return the options of this benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rehearsal", description=__doc__)
    parser.add_argument("--operations", type=int, default=1_000_000, help="relinks in the job (default: %(default)s)")
    parser.add_argument("--apps", type=int, default=12, help="apps with the devices (default: %(default)s)")
    parser.add_argument("--latency", type=float, default=0.1, help="latency in seconds (default: %(default)s)")
    parser.add_argument(
        "--limits", help="limits of the server, as for job rehearse (default: the server's, and a week at 100/min)"
    )
    parser.add_argument("--rate", help="rate of the run, as for job rehearse")
    return parser


BENCHMARK: Final = Benchmark(arguments, measure, show, full=("operations", "apps", "latency"))

if __name__ == "__main__":
    sys.exit(exit_code(BENCHMARK.run()))
