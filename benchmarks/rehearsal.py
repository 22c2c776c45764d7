"""Rehearse a large job under the server's limits: how long it would run, and what it takes to know that.

The job is planned here, from a CSV file and the listings of a sandbox; the rehearsal has a process of its own.
"""

import argparse
import json
import tempfile
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from benchmarks.measuring import child, table
from capgo_async import CapgoClient
from capgo_async.bulk import Job, read_operations
from capgo_async.sandbox import Sandbox, Settings, fleet
from capgo_async.sandbox.inprocess import InProcessTransport
from capgo_async.sandbox.seeding import SUPER_ADMIN_KEY
from capgo_async.sandbox.virtual_time import run_in_virtual_time


async def plan(path: Path, operations: int, apps: int) -> None:
    """Plan, in a new job file at `path`, to link so many devices to a channel that none is linked to."""
    world = fleet(apps, operations, channels=4)
    source = path.with_suffix(".csv")
    with source.open("w", encoding="utf-8") as file:
        file.write("app_id,device_id\n")
        file.writelines(f"{app.app_id},{device}\n" for app in world.apps.values() for device in app.devices)
    transport = InProcessTransport(Sandbox(world, Settings(log_size=1)))
    async with CapgoClient(api_key=SUPER_ADMIN_KEY, base_url="http://127.0.0.1", rate="off", transport=transport) as client:
        await (await Job.create(path, read_operations(source, channel="ch04"), client=client)).aclose()


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Return what the rehearsal took, and what it foretells."""
    with tempfile.TemporaryDirectory(prefix="rehearsal-") as directory:
        path = Path(directory) / "relink.capgo-job"
        run_in_virtual_time(plan(path, options.operations, options.apps))
        run = child("benchmarks.rehearsed_once", job=path, latency=options.latency)
    return {"benchmark": "rehearsal", "apps": options.apps, "latency": options.latency, **run}


def show(found: dict[str, Any]) -> str:
    """Return it for people."""
    makespan, forecast = (timedelta(seconds=round(found[name])) for name in ("makespan", "forecast"))
    rows = [
        ("it would run for", str(makespan)),
        ("the forecast before it", str(forecast)),
        ("requests", f"{found['requests']:,}"),
        ("refused by a limit", f"{found['rate_limited']:,}"),
        ("rehearsed in, s", f"{found['seconds']:,.1f}"),
        ("CPU, us/operation", f"{found['cpu_us_per_operation']:,.1f}"),
        ("peak of memory, MB", f"{found['peak_bytes'] / 1e6:,.0f}"),
    ]
    what = f"{found['operations']:,} relinks, {found['apps']} apps, {found['latency'] * 1e3:g} ms, the server's limits"
    return table((what, ""), rows)


def arguments() -> argparse.ArgumentParser:
    """Return the options of this benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rehearsal", description=__doc__)
    parser.add_argument("--operations", type=int, default=1_000_000, help="relinks of the job (default: %(default)s)")
    parser.add_argument("--apps", type=int, default=12, help="apps that they are in (default: %(default)s)")
    parser.add_argument("--latency", type=float, default=0.1, help="seconds from request to answer (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def main(given: Sequence[str] | None = None) -> None:
    """Measure, and print it."""
    options = arguments().parse_args(given)
    found = measure(options)
    print(json.dumps(found) if options.json else show(found))


if __name__ == "__main__":
    main()
