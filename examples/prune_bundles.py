"""Delete old bundles in all apps that the key can see.

    CAPGO_API_KEY=... python examples/prune_bundles.py 10

The newest bundles are kept, and those that a channel or a rollout uses.
"""

import asyncio
import sys

from capgo_async import BundleLinked, BundleNotFound, CapgoClient


async def prune(capgo: CapgoClient, app_id: str, keep: int) -> int:
    """List everything first, then delete: rows deleted during a listing would hide others."""
    used = set()
    async for channel in capgo.channels.list(app_id):
        used |= {bundle.name for bundle in (channel.version, channel.rollout_version_info) if bundle}
    bundles = await capgo.bundles.list(app_id).all()
    deleted = 0
    for bundle in bundles[keep:]:
        if bundle.name in used:
            continue
        try:
            await capgo.bundles.delete(app_id, bundle.name)
        except (BundleLinked, BundleNotFound) as error:
            print(error, file=sys.stderr)  # deleted or put to use by somebody else
        else:
            deleted += 1
    return deleted


async def main(keep: str) -> int:
    """Prune one app after the other and return 0."""
    async with CapgoClient() as capgo:
        for app in await capgo.apps.list().all():
            print(f"{app.app_id}: {await prune(capgo, app.app_id, int(keep))} bundles deleted")
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(*sys.argv[1:2])))
