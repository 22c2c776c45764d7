"""Rotate an API key, write the new secret to a file, and check that it works.

    CAPGO_API_KEY=<a key that may manage keys> python examples/rotate_key.py 42 new-key.txt

Only the owner can read the file.
"""

import asyncio
import os
import sys

from capgo_async import CapgoClient


async def main(key_id: str, target: str) -> int:
    """Rotate, store, check, and return 0."""
    # The file is opened first: a secret that cannot be stored would be lost, and the old one no longer works.
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    async with CapgoClient() as capgo:
        with os.fdopen(descriptor, "w") as file:
            rotated = await capgo.api_keys.regenerate(int(key_id))
            file.write(f"{rotated.key}\n")
        if rotated.key is None:
            print(f"the server did not show the new secret of key {key_id}: rotate it again", file=sys.stderr)
            return 1
        fresh = capgo.with_key(rotated.key)
        count = len(await fresh.apps.list().all())
    print(f"key {rotated.name!r} has a new secret, in {target}; it can see {count} apps")
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(*sys.argv[1:3])))
