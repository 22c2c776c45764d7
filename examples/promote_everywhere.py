"""Promote a bundle to a channel in every app that has both.

    CAPGO_API_KEY=... python examples/promote_everywhere.py 1.4.0 beta

Eight apps are changed concurrently. The pacer keeps the limits.
"""

import asyncio
import sys

import anyio

from capgo_async import CapgoClient, CapgoError


async def promote(capgo: CapgoClient, app_id: str, bundle: str, channel: str) -> str:
    """Promote the bundle in one app and return what happened."""
    found = await capgo.bundles.find(app_id, bundle)
    if found is None:
        return f"no bundle {bundle}"
    target = await capgo.channels.get(app_id, channel)
    if target.bundle_name == bundle:
        return "already has it"
    await capgo.bundles.promote(app_id, channel, bundle_id=found.id)
    return "promoted"


async def main(bundle: str, channel: str) -> int:
    """Promote the bundle in all apps. Return 1 if it failed in any."""
    failed: list[str] = []
    async with CapgoClient() as capgo:
        apps = iter(await capgo.apps.list().all())

        async def work() -> None:
            for app in apps:
                try:
                    print(f"{app.app_id}: {await promote(capgo, app.app_id, bundle, channel)}")
                except CapgoError as error:
                    failed.append(app.app_id)
                    print(f"{app.app_id}: {error}", file=sys.stderr)

        async with anyio.create_task_group() as workers:
            for _ in range(8):
                workers.start_soon(work)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(*sys.argv[1:3])))
