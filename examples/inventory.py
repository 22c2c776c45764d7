"""Write the devices of all apps that the key can see to a file, one JSON object per line.

    CAPGO_API_KEY=... python examples/inventory.py inventory.jsonl

The file gets its name only when it is complete. An incomplete listing raises an error.
"""

import asyncio
import sys

import anyio
import msgspec

from capgo_async import CapgoClient


async def main(target: str) -> int:
    """List everything with one page in memory at a time, and return 0."""
    building = anyio.Path(f"{target}.part")
    count = 0
    async with CapgoClient() as capgo, await building.open("wb") as file:
        for app in await capgo.apps.list().all():
            listing = capgo.devices.list(app.app_id)
            async for page in listing.pages():
                await file.writelines(msgspec.json.encode(device) + b"\n" for device in page)
                count += len(page)
            for caveat in listing.caveats:
                print(f"{app.app_id}: {caveat}", file=sys.stderr)
    await building.replace(target)
    print(f"{count} devices in {target}")
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(*sys.argv[1:2])))
