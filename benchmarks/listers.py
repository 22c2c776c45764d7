"""The contenders of `listing`: the client, by devices and by pages, and a hand-written script.

Each runs in its own process.
"""

import argparse
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NamedTuple

import aiohttp

from benchmarks.loopback import APP_ID
from benchmarks.loops import LOOPS, runner
from benchmarks.measuring import Spent, peak_bytes, spent
from capgo_async import CapgoClient, DeviceFilter

_KEY: Final = "00000000-0000-4000-8000-00000000aaaa"


class Load(NamedTuple):
    """The work of a contender."""

    base_url: str
    devices: int
    limit: int


class Listed(NamedTuple):
    """The rows that a contender returned, and what they took."""

    rows: Sequence[object]
    spent: Spent


async def client(load: Load) -> Listed:
    """Iterate over `client.devices.list`: typed and de-duplicated."""
    async with CapgoClient(api_key=_KEY, base_url=load.base_url, rate="off") as capgo:
        before = spent()
        rows = [device async for device in capgo.devices.list(APP_ID, DeviceFilter(limit=load.limit))]
        return Listed(rows, spent().since(before))


async def pages(load: Load) -> Listed:
    """Iterate over its pages."""
    async with CapgoClient(api_key=_KEY, base_url=load.base_url, rate="off") as capgo:
        before = spent()
        rows: list[object] = []
        async for page in capgo.devices.list(APP_ID, DeviceFilter(limit=load.limit)).pages():
            rows += page
        return Listed(rows, spent().since(before))


async def script(load: Load) -> Listed:
    """List with a script that takes an hour to write: no limits, retries or guards.

    It has a session, a loop over the cursor, and dictionaries.
    """
    before = spent()
    rows: list[object] = []
    query = {"app_id": APP_ID, "limit": str(load.limit)}
    async with aiohttp.ClientSession(headers={"authorization": _KEY}) as session:
        while True:
            async with session.get(f"{load.base_url}/device", params=query) as response:
                response.raise_for_status()
                page = json.loads(await response.read())
            rows += page["data"]
            if not page["hasMore"]:
                break
            query["cursor"] = page["nextCursor"]
    return Listed(rows, spent().since(before))


CONTENDERS: Final[dict[str, Callable[[Load], Awaitable[Listed]]]] = {"client": client, "pages": pages, "script": script}


async def _compete(name: str, load: Load) -> Listed:
    return await CONTENDERS[name](load)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one contender and print what it spent as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", choices=CONTENDERS, required=True)
    parser.add_argument("--base-url", required=True)
    parser.add_argument("--devices", type=int, required=True)
    parser.add_argument("--limit", type=int, required=True)
    parser.add_argument("--loop", choices=LOOPS, required=True)
    options = parser.parse_args(arguments)
    with runner(options.loop) as loop:
        listed = loop.run(_compete(options.name, Load(options.base_url, options.devices, options.limit)))
    if len(listed.rows) != options.devices:
        message = f"{len(listed.rows)} of {options.devices} devices were listed"
        raise RuntimeError(message)
    print(json.dumps({**listed.spent._asdict(), "peak_bytes": peak_bytes()}))


if __name__ == "__main__":
    main()
