"""List the devices of one app, or take their inventory, once in this process; started by `scan`."""

import argparse
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.loopback import APP_ID
from benchmarks.loops import LOOPS, runner
from benchmarks.measuring import Spent, peak_bytes, spent
from capgo_async import CapgoClient
from capgo_async.bulk.inventory.columns import InventoryKind
from capgo_async.bulk.inventory.exporting import inventory


async def _scan(base_url: str, cursors: int) -> tuple[Spent, list[str], int]:
    async with CapgoClient(api_key="00000000-0000-4000-8000-00000000aaaa", base_url=base_url, rate="off") as capgo:
        before = spent()
        ids = [device.device_id async for device in capgo.devices.list(APP_ID, cursors=cursors)]
        return spent().since(before), ids, capgo.counters.requests


async def _take(base_url: str, cursors: int) -> tuple[Spent, list[str], int]:
    # The number of cursors is the client's concurrency, up to eight.
    key = "00000000-0000-4000-8000-00000000aaaa"
    async with CapgoClient(api_key=key, base_url=base_url, rate="off", concurrency=cursors) as capgo:
        before = spent()
        with TemporaryDirectory(prefix="scan-") as directory:
            async with inventory(Path(directory, "devices"), InventoryKind.DEVICES, client=capgo, apps=[APP_ID]) as (
                file,
                summary,
            ):
                took = spent().since(before)
                if not summary.complete:
                    message = f"the inventory cannot be proven complete: {summary.checks}"
                    raise RuntimeError(message)
                place = file.table.names.index("device_id")
                ids = [str(row[place]) async for rows in file.batches() for row in rows]
        return took, ids, capgo.counters.requests


def main(arguments: Sequence[str] | None = None) -> None:
    """Scan, and print the ids and the measurements as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base-url", required=True)
    parser.add_argument("--cursors", type=int, required=True)
    parser.add_argument("--loop", choices=LOOPS, required=True)
    parser.add_argument("--what", choices=("list", "inventory"), required=True)
    options = parser.parse_args(arguments)
    scan = _scan if options.what == "list" else _take
    with runner(options.loop) as loop:
        took, ids, requests = loop.run(scan(options.base_url, options.cursors))
    digest = hashlib.sha256("\n".join(sorted(ids)).encode()).hexdigest()
    told = {"devices": len(ids), "different": len(set(ids)), "digest": digest, "requests": requests}
    print(json.dumps({"cursors": options.cursors, **told, **took._asdict(), "peak_bytes": peak_bytes()}))


if __name__ == "__main__":
    main()
