"""List the devices of one app once, in this process, and tell what it took: the load of `scan`."""

import argparse
import hashlib
import json
from collections.abc import Sequence

from benchmarks.loopback import APP_ID
from benchmarks.loops import LOOPS, runner
from benchmarks.measuring import Spent, peak_bytes, spent
from capgo_async import CapgoClient


async def _scan(base_url: str, cursors: int) -> tuple[Spent, list[str], int]:
    async with CapgoClient(api_key="00000000-0000-4000-8000-00000000aaaa", base_url=base_url, rate="off") as capgo:
        before = spent()
        ids = [device.device_id async for device in capgo.devices.list(APP_ID, cursors=cursors)]
        return spent().since(before), ids, capgo.counters.requests


def main(arguments: Sequence[str] | None = None) -> None:
    """Do it, and print what was listed and what it took as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base-url", required=True)
    parser.add_argument("--cursors", type=int, required=True)
    parser.add_argument("--loop", choices=LOOPS, required=True)
    options = parser.parse_args(arguments)
    with runner(options.loop) as loop:
        took, ids, requests = loop.run(_scan(options.base_url, options.cursors))
    digest = hashlib.sha256("\n".join(sorted(ids)).encode()).hexdigest()
    told = {"devices": len(ids), "different": len(set(ids)), "digest": digest, "requests": requests}
    print(json.dumps({"cursors": options.cursors, **told, **took._asdict(), "peak_bytes": peak_bytes()}))


if __name__ == "__main__":
    main()
