"""A sandbox for `export`, with the server's limits and a fleet that changes during each listing."""

import argparse
import asyncio
import contextlib
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Final

import msgspec

from benchmarks.measuring import LONGEST_RUN, ROOT, choose_generation, environment
from capgo_async.sandbox import Arrival, Device, Incoming, Sandbox, Settings, Traits, fleet, thresholds
from capgo_async.sandbox.exchange import Generation
from capgo_async.sandbox.faults import Chance
from capgo_async.sandbox.server import serve

_MOVING: Final = 5
"""Devices of an app that check in, and that are relinked, with each listing."""
_PAGE: Final = 200


class LivingSandbox(Sandbox):
    """A sandbox whose devices change while they are listed.

    With each page of a scan, two devices appear in the app: one before all others and one after them.
    """

    def __init__(self, apps: int, devices: int, generation: Generation) -> None:
        settings = Settings(generation=generation, limits=thresholds("server"), log_size=10)
        super().__init__(fleet(apps, devices, now=time.time()), settings)
        self._ids = {app_id: list(app.devices) for app_id, app in self.world.apps.items()}
        self._appearing = devices // apps // _PAGE
        self._chance = random.Random(1)
        self._listings: Counter[str] = Counter()

    def arrive(self, request: Incoming, now: float, chance: Chance | None = None) -> Arrival:
        """Receive a request, and change the app that it lists."""
        query = dict(request.query)
        if request.path == "/device" and "cursor" in query:
            self._live(query["app_id"], round(now * 1_000_000))
        return super().arrive(request, now, chance)

    def _live(self, app_id: str, moment: int) -> None:
        app = self.world.apps[app_id]
        self._listings[app_id] += 1
        number = self._listings[app_id]
        for name in (f"00000000-{9999 - number}", f"ffffffff-{number:04d}") if number < self._appearing else ():
            app.put_device(Device(device_id=name, updated_at=moment, traits=Traits(platform="ios")))
        for device_id in self._chance.sample(self._ids[app_id], _MOVING):
            app.put_device(msgspec.structs.replace(app.devices[device_id], updated_at=moment))
        for device_id in self._chance.sample(self._ids[app_id], _MOVING):
            app.link(device_id, app.channels["alpha"], moment / 1_000_000)

    def write_ids(self, path: Path) -> None:
        """Write the ids of all present devices to a file."""
        with path.open("w", encoding="utf-8") as file:
            for app_id, app in self.world.apps.items():
                file.writelines(f"{app_id} {device_id}\n" for device_id in app.devices)


class Living:
    """The process of a living sandbox."""

    def __init__(self, process: "Popen[str]", base_url: str) -> None:
        self.base_url = base_url
        self._process = process

    def ids(self, path: Path) -> set[str]:
        """Return the present devices, as `app device`."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{path}\n")
        self._process.stdin.flush()
        self._process.stdout.readline()
        return set(path.read_text(encoding="utf-8").splitlines())


@contextlib.contextmanager
def living(apps: int, devices: int, generation: Generation) -> Iterator[Living]:
    """Run the sandbox in its own process."""
    options = ("--apps", str(apps), "--devices", str(devices), "--generation", generation)
    command = [sys.executable, "-m", "benchmarks.living", *options]
    with Popen(command, cwd=ROOT, env=environment(), stdin=PIPE, stdout=PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            base_url = process.stdout.readline().strip()
            if not base_url:
                message = "the sandbox did not start"
                raise RuntimeError(message)
            yield Living(process, base_url)
        finally:
            process.terminate()


async def _serve(sandbox: LivingSandbox) -> None:
    loop = asyncio.get_running_loop()
    async with serve(sandbox) as address:
        print(address.base_url, flush=True)
        # The process ends with the benchmark, which holds the other end of this pipe.
        with contextlib.suppress(TimeoutError):
            while path := await asyncio.wait_for(loop.run_in_executor(None, sys.stdin.readline), LONGEST_RUN):
                sandbox.write_ids(Path(path.strip()))
                print("written", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the base URL, then write the ids of present devices to each path read from standard input."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--apps", type=int, required=True)
    parser.add_argument("--devices", type=int, required=True)
    choose_generation(parser)
    options = parser.parse_args(arguments)
    asyncio.run(_serve(LivingSandbox(options.apps, options.devices, options.generation)))


if __name__ == "__main__":
    main()
