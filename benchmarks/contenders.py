"""The contenders of `relink`, one a process: the engine with its job file, the plain client, and a hand-written script."""

import argparse
import asyncio
import json
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import aiohttp

from benchmarks.loopback import APP_ID, CHANNEL
from benchmarks.loops import LOOPS, runner
from benchmarks.measuring import Spent, spent
from capgo_async import CapgoClient
from capgo_async.bulk import Job, LinkDevice, from_operations

_KEY: Final = "00000000-0000-4000-8000-00000000aaaa"


class Load(NamedTuple):
    """What a contender has to do."""

    base_url: str
    operations: int
    concurrency: int

    def devices(self) -> Iterator[str]:
        """Yield the ids of the devices to link."""
        return (f"00000000-0000-4000-8000-{number:012x}" for number in range(self.operations))

    def client(self) -> CapgoClient:
        """Return a client without limits."""
        return CapgoClient(api_key=_KEY, base_url=self.base_url, rate="off", concurrency=self.concurrency)


async def engine(load: Load) -> Spent:
    """Run a job from its file; planning it is not measured."""
    operations = (LinkDevice(app_id=APP_ID, device_id=device, channel=CHANNEL) for device in load.devices())
    with tempfile.TemporaryDirectory(prefix="relink-") as directory:
        async with load.client() as client:
            job = await Job.create(Path(directory) / "relink.capgo-job", from_operations(operations), client=client)
            async with job:
                before = spent()
                report = await job.run(client)
                taken = spent().since(before)
    if report.done != load.operations:
        message = f"{report.done} of {load.operations} operations are done"
        raise RuntimeError(message)
    return taken


async def client(load: Load) -> Spent:
    """Call `client.devices.link` in a loop, in as many tasks as requests may be in flight."""
    devices = load.devices()

    async def work(capgo: CapgoClient) -> None:
        for device in devices:
            await capgo.devices.link(APP_ID, device, channel=CHANNEL)

    async with load.client() as capgo:
        before = spent()
        async with asyncio.TaskGroup() as group:
            for _ in range(load.concurrency):
                group.create_task(work(capgo))
        return spent().since(before)


async def script(load: Load) -> Spent:
    """Do what is written in an hour: a session, a semaphore, a task for each device; no limits, retries or records."""
    devices = list(load.devices())
    semaphore = asyncio.Semaphore(load.concurrency)

    async def link(session: aiohttp.ClientSession, device: str) -> None:
        async with (
            semaphore,
            session.post(
                f"{load.base_url}/device", json={"app_id": APP_ID, "device_id": device, "channel": CHANNEL}
            ) as response,
        ):
            response.raise_for_status()
            await response.json()

    before = spent()
    async with aiohttp.ClientSession(headers={"authorization": _KEY}) as session:
        await asyncio.gather(*(link(session, device) for device in devices))
    return spent().since(before)


CONTENDERS: Final[dict[str, Callable[[Load], Awaitable[Spent]]]] = {"engine": engine, "client": client, "script": script}


async def _compete(name: str, load: Load) -> Spent:
    return await CONTENDERS[name](load)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one contender and print what it spent as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", choices=CONTENDERS, required=True)
    parser.add_argument("--base-url", required=True)
    parser.add_argument("--operations", type=int, required=True)
    parser.add_argument("--concurrency", type=int, required=True)
    parser.add_argument("--loop", choices=LOOPS, required=True)
    options = parser.parse_args(arguments)
    with runner(options.loop) as loop:
        taken = loop.run(_compete(options.name, Load(options.base_url, options.operations, options.concurrency)))
    print(json.dumps(taken._asdict()))


if __name__ == "__main__":
    main()
