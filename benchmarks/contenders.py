"""The contenders of `relink`: the engine, the plain client, and what others would write.

Each runs in its own process.
"""

import argparse
import asyncio
import json
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, NamedTuple

import aiohttp

from benchmarks.floor import prepared, write_all
from benchmarks.loopback import APP_ID, CHANNEL
from benchmarks.loops import LOOPS, has_uvloop, runner
from benchmarks.measuring import LONGEST_RUN, Spent, spent
from capgo_async import CapgoClient
from capgo_async.bulk import Job, LinkDevice, from_operations
from capgo_async.events import Event

_KEY: Final = "00000000-0000-4000-8000-00000000aaaa"


class Load(NamedTuple):
    """The work of a contender. Clients get the hook `on_event`."""

    base_url: str
    operations: int
    concurrency: int
    on_event: Callable[[Event], object] | None = None

    def devices(self) -> Iterator[str]:
        """Yield the ids of the devices to link."""
        return (f"00000000-0000-4000-8000-{number:012x}" for number in range(self.operations))

    def client(self) -> CapgoClient:
        """Return a client without limits."""
        return CapgoClient(
            api_key=_KEY, base_url=self.base_url, rate="off", concurrency=self.concurrency, on_event=self.on_event
        )


async def engine(load: Load) -> Spent:
    """Run a job from its file. Planning is not measured."""
    operations = (LinkDevice(app_id=APP_ID, device_id=device, channel=CHANNEL) for device in load.devices())
    with tempfile.TemporaryDirectory(prefix="relink-") as directory:
        async with load.client() as client:
            job = await Job.create(Path(directory) / "relink.capgo-job", from_operations(operations), client=client)
            async with job:
                before = spent()
                report = await job.run(client)
                taken = spent().since(before)
    if report.done != load.operations:
        message = f"only {report.done} of {load.operations} operations are done"
        raise RuntimeError(message)
    return taken


async def client(load: Load) -> Spent:
    """Call `client.devices.link` in a loop, with one task per request in flight."""
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


Link = Callable[[aiohttp.ClientSession, str], Awaitable[None]]


async def script(load: Load, improved: Callable[[Link], Link] | None = None) -> Spent:
    """Run a script that takes an hour to write: no limits, retries or records.

    It has a session, a semaphore, and a task per device.
    """
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

    linking = improved(link) if improved else link
    before = spent()
    async with aiohttp.ClientSession(headers={"authorization": _KEY}) as session:
        await asyncio.gather(*(linking(session, device) for device in devices))
    return spent().since(before)


async def script_with_retries(load: Load) -> Spent:
    """Run `script` with the retries that tenacity's manual shows."""
    from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_random_exponential  # noqa: PLC0415 - one's own

    retrying = retry(
        stop=stop_after_attempt(5),
        wait=wait_random_exponential(max=60),
        retry=retry_if_exception_type(aiohttp.ClientError),
        reraise=True,
    )
    return await script(load, retrying)


async def with_httpx(load: Load) -> Spent:
    """Do the same as `script` with httpx."""
    import httpx  # noqa: PLC0415 - an extra

    devices = list(load.devices())
    semaphore = asyncio.Semaphore(load.concurrency)

    async def link(client: httpx.AsyncClient, device: str) -> None:
        async with semaphore:
            response = await client.post("/device", json={"app_id": APP_ID, "device_id": device, "channel": CHANNEL})
        response.raise_for_status()
        response.json()

    before = spent()
    async with httpx.AsyncClient(base_url=load.base_url, headers={"authorization": _KEY}) as client:
        await asyncio.gather(*(link(client, device) for device in devices))
    return spent().since(before)


async def raw(load: Load) -> Spent:
    """Write prepared bytes and count the responses."""
    bodies = (f'{{"app_id":"{APP_ID}","device_id":"{device}","channel":"{CHANNEL}"}}'.encode() for device in load.devices())
    requests = prepared(load.base_url, bodies)
    before = spent()
    await write_all(load.base_url, requests, connections=load.concurrency)
    return spent().since(before)


def with_requests(load: Load) -> Spent:
    """Link from threads, one per request in flight, each with a session of its own."""
    import requests  # noqa: PLC0415 - an extra

    own = threading.local()

    def link(device: str) -> None:
        if not hasattr(own, "session"):
            own.session = requests.Session()
            own.session.headers["authorization"] = _KEY
        response = own.session.post(
            f"{load.base_url}/device", json={"app_id": APP_ID, "device_id": device, "channel": CHANNEL}, timeout=30
        )
        response.raise_for_status()
        response.json()

    before = spent()
    with ThreadPoolExecutor(load.concurrency) as pool:
        for _ in pool.map(link, load.devices()):
            pass
    return spent().since(before)


def with_curl(load: Load) -> Spent:
    """Start one curl process per device with xargs."""
    body = f'{{"app_id":"{APP_ID}","device_id":"{{}}","channel":"{CHANNEL}"}}'
    curl = ["curl", "-sSf", "-o", "/dev/null", "-H", f"authorization: {_KEY}", "-H", "content-type: application/json"]
    command = ["xargs", "-P", str(load.concurrency), "-I{}", *curl, "-d", body, f"{load.base_url}/device"]
    before = spent()
    subprocess.run(command, input="\n".join(load.devices()), text=True, check=True, timeout=LONGEST_RUN)
    return spent().since(before)


class Contender(NamedTuple):
    """One way to relink.

    A slow contender does one operation in `one_in`. `loop` is set if it always runs on the same event loop.
    """

    meaning: str
    compete: Callable[[Load], Spent | Coroutine[Any, Any, Spent]]
    one_in: int = 1
    needs: str | None = None
    loop: str | None = None

    @property
    def missing(self) -> str | None:
        """Return the package that is not installed, if any."""
        found = self.needs is None or find_spec(self.needs) is not None or shutil.which(self.needs) is not None
        return None if found else self.needs


CONTENDERS: Final = {
    "engine": Contender("the engine, with its job file on disk", engine),
    "client": Contender("the plain client in a loop", client),
    "script": Contender("a script with aiohttp and a semaphore", script),
    "tenacity": Contender("the same with tenacity", script_with_retries),
    "httpx": Contender("a script with httpx and a semaphore", with_httpx, one_in=20, needs="httpx"),
    "requests": Contender("requests in threads", with_requests, one_in=10, needs="requests"),
    "curl": Contender("curl with xargs, one process each", with_curl, one_in=200, needs="curl"),
    "floor": Contender("the floor: prepared bytes, no client", raw, loop="uvloop" if has_uvloop() else None),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one contender and print what it spent as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", choices=CONTENDERS, required=True)
    parser.add_argument("--base-url", required=True)
    parser.add_argument("--operations", type=int, required=True)
    parser.add_argument("--concurrency", type=int, required=True)
    parser.add_argument("--loop", choices=LOOPS, required=True)
    options = parser.parse_args(arguments)
    compete = CONTENDERS[options.name].compete
    load = Load(options.base_url, options.operations, options.concurrency)
    taken = compete(load)
    if not isinstance(taken, Spent):
        with runner(options.loop) as loop:
            taken = loop.run(taken)
    print(json.dumps(taken._asdict()))


if __name__ == "__main__":
    main()
