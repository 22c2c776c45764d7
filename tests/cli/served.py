"""A sandbox on a real socket, in a thread of its own, and the command run against it."""

import contextlib
import os
import socket
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperGroup

from benchmarks.forked import Forked
from capgo_async.cli.program import program
from capgo_async.sandbox import Arrival, Binding, Incoming, Sandbox, Settings, fleet
from capgo_async.sandbox.faults import Chance
from capgo_async.sandbox.seeding import EPOCH, ORG_ID, USER_ID, device_id
from capgo_async.sandbox.server import serve_from_thread

APP = "com.example.app01"
KEY = "5ec2e7aa-dead-4bee-8bad-c0ffee5ec2e7"
"""A key that is easy to find where it must not be."""


class Watched(Sandbox):
    """A sandbox that calls `on_change` before each change that is asked of a device, with its number from 1.

    `on_listing` is called before each listing of devices, likewise; `on_bundles` before each of bundles.
    """

    on_change: Callable[[int], None] | None = None
    on_listing: Callable[[int], None] | None = None
    on_bundles: Callable[[], object] | None = None
    changes = 0
    listings = 0

    def arrive(self, request: Incoming, now: float, chance: Chance | None = None) -> Arrival:
        arrival = super().arrive(request, now, chance)
        if request.path == "/device" and request.method in {"POST", "DELETE"}:
            self.changes += 1
            if self.on_change is not None:
                self.on_change(self.changes)
        if request.path == "/device" and request.method == "GET":
            self.listings += 1
            if self.on_listing is not None:
                self.on_listing(self.listings)
        if request.path == "/bundle" and self.on_bundles is not None:
            self.on_bundles()
        return arrival


class Served:
    """Where a sandbox is served."""

    def __init__(self, base_url: str, sandbox: Watched) -> None:
        self.base_url = base_url
        self.sandbox = sandbox

    @property
    def environment(self) -> dict[str, str]:
        return {"CAPGO_BASE_URL": self.base_url, "CAPGO_API_KEY": KEY}

    def requests(self) -> int:
        return len(self.sandbox.log)

    def sent(self) -> Counter[str]:
        """Return how often each device was changed."""
        return Counter(line.target for line in self.sandbox.log if line.path == "/device" and line.method != "GET")

    def channel_of(self, device: str, app_id: str = APP) -> str | None:
        override = self.sandbox.world.apps[app_id].overrides.get(device)
        return override.channel.name if override else None


@contextlib.contextmanager
def served(settings: Settings | None = None, *, apps: int = 1, devices: int = 30) -> Iterator[Served]:
    world = fleet(apps, devices, now=EPOCH)
    world.add_key(KEY, Binding(role="org_super_admin", org_id=ORG_ID), user_id=USER_ID)
    sandbox = Watched(world, settings)
    with serve_from_thread(sandbox) as serving:
        yield Served(serving.base_url, sandbox)


@contextlib.contextmanager
def held_run(server: Served, job: str, at: int) -> Iterator[tuple[Forked, Callable[[], None]]]:
    """Run a job in a process of its own until it asks for its change number `at`, and yield what lets it go on."""
    under_way, released = threading.Event(), threading.Event()

    def hold(number: int) -> None:
        if number == at:
            under_way.set()
            released.wait()

    server.sandbox.on_change = hold
    with Forked("job", "run", job, "--yes", env={**os.environ, **server.environment}, cwd=Path.cwd()) as process:
        try:
            under_way.wait()
            yield process, released.set
        finally:
            released.set()


def nowhere() -> str:
    """Return the URL of a port on which nothing listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}"


def csv_of(path: Path, devices: int = 30, *, more: tuple[str, ...] = ()) -> Path:
    """Write the first devices of the fleet, and others."""
    path.write_text("\n".join(["device_id", *(device_id(APP, index) for index in range(devices)), *more]) + "\n")
    return path


def subcommands(group: Any = None, *names: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield every command of the program, or below `group`, with the words that call it."""
    group = group or typer.main.get_command(program)
    for name in group.list_commands(None):
        found = group.get_command(None, name)
        yield (*names, name), found
        if is_group(found):
            yield from subcommands(found, *names, name)


def is_group(command: Any) -> bool:
    return isinstance(command, TyperGroup)


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "capgo_async", *map(str, arguments)]


def environment(server: Served | None = None) -> dict[str, str]:
    """Return the environment of a subprocess: this package can be imported, and nothing else says which server to take."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CAPGO_")}
    root = str(Path(__file__).parent.parent.parent)
    paths = os.pathsep.join(filter(None, (root, kept.get("PYTHONPATH"))))
    return {**kept, "CAPGO_CACHE": "", "PYTHONPATH": paths, **(server.environment if server else {})}
