"""Plan one relink from a CSV file with an inventory on disk, in this process; started by `planning`."""

import argparse
import asyncio
import json
from collections.abc import Sequence
from pathlib import Path

from benchmarks.measuring import peak_bytes
from capgo_async import CapgoClient
from capgo_async.bulk import Job, Options, read_operations


async def plan(options: argparse.Namespace) -> dict[str, int]:
    """Plan the relink and return the number of rows by fate."""
    source = read_operations(options.source, app_id=options.app or None, channel=options.channel)
    async with CapgoClient(api_key="benchmark", base_url=options.base_url, rate="off") as capgo:
        job = await Job.create(options.job, source, client=capgo, options=Options(inventory=options.inventory))
        async with job:
            told = job.plan
            return {"planned": told.planned, "skipped": told.skipped, "unknown": told.unknown}


def main(arguments: Sequence[str] | None = None) -> None:
    """Plan once, and print the number of rows by fate and the peak memory as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base-url", required=True)
    parser.add_argument("--source", required=True)
    parser.add_argument("--inventory", required=True)
    parser.add_argument("--job", type=Path, required=True)
    parser.add_argument("--app", default="", help="the app of all rows that name none")
    parser.add_argument("--channel", required=True)
    options = parser.parse_args(arguments)
    found = asyncio.run(plan(options))
    print(json.dumps({**found, "peak_bytes": peak_bytes()}))


if __name__ == "__main__":
    main()
