"""A fleet in a sandbox, and source files for jobs on it: the common start of engine tests."""

import csv
import random
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from capgo_async import CapgoClient
from capgo_async.bulk import Job, from_operations
from capgo_async.bulk.operations.operations import Operation
from capgo_async.bulk.storage.database import Database, Mode
from capgo_async.events import Event
from capgo_async.limits.models import TARGET_KINDS, FixedWindow, Limit, ScopeKind, SilenceWindow, server_limits
from capgo_async.limits.windows import Window
from capgo_async.sandbox import Sandbox, Settings, fleet, parse_faults, thresholds
from capgo_async.sandbox.inprocess import InProcessTransport
from capgo_async.sandbox.seeding import SUPER_ADMIN_KEY

APP = "com.example.app01"
OTHER = "com.example.app02"
T = TypeVar("T")

A_TENTH = {"RATE_LIMIT_API_KEY": 200, "RATE_LIMIT_CHANNEL_SELF_IP": 100}
"""Variables of a server with a tenth of the limits: with a tenth of the devices and workers, a job has the same course."""
LIMITS_OF_A_TENTH = (
    Limit(ScopeKind.KEY, SilenceWindow(requests=199)),
    Limit(ScopeKind.APP_ADDRESS, FixedWindow(requests=100)),
    *(limit for limit in server_limits() if limit.scope in TARGET_KINDS),
)


def sandbox_of(
    *,
    apps: int = 1,
    devices: int = 100,
    limits: str = "off",
    variables: dict[str, int] | None = None,
    faults: str = "",
    speed: float = 1.0,
    **settings: Any,
) -> Sandbox:
    """Return a sandbox with a seeded fleet; `settings` are those of the sandbox."""
    chosen = Settings(limits=thresholds(limits, variables), faults=parse_faults(faults), speed=speed, **settings)
    return Sandbox(fleet(apps=apps, devices=devices), chosen)


def client_of(
    sandbox: Sandbox,
    *,
    rate: str = "auto",
    limits: Iterable[Limit] | None = None,
    concurrency: int = 16,
    delay: float = 0.02,
    seed: int = 1,
    api_key: str = SUPER_ADMIN_KEY,
    headroom: float = 0.0,
    on_event: Callable[[Event], object] | None = None,
    wait_for_server: float = 0.0,
    timeout: float = 3600.0,
) -> CapgoClient:
    """Return a client of a sandbox without sockets, and a patient one; requests and replies take `delay` seconds each."""
    transport = InProcessTransport(sandbox, request_delay=delay, reply_delay=delay, chance=random.Random(seed))
    return CapgoClient(
        api_key=api_key,
        transport=transport,
        rate=rate,
        limits=None if limits is None else tuple(limits),
        headroom=headroom,
        concurrency=concurrency,
        on_event=on_event,
        wait_for_server=wait_for_server,
        timeout=timeout,
    )


def lose_counts(sandbox: Sandbox) -> None:
    """Let a server count half of the requests of a key, at random (contract B2)."""
    chance, count = random.Random(1), sandbox.limiters.count_request

    def lose(key_id: int, now: int) -> None:
        if chance.random() < 0.5:
            count(key_id, now)

    sandbox.limiters.count_request = lose  # type: ignore[method-assign]  # a double


def limits_in(windows: Iterable[Window]) -> tuple[int, ...]:
    """Return how many requests each window allows, learned limits included."""
    return tuple(window.limit for window in windows)


def ids_of(sandbox: Sandbox, app_id: str = APP) -> list[str]:
    """Return the ids of an app's devices."""
    return sorted(sandbox.world.apps[app_id].devices)


def links_of(sandbox: Sandbox, app_id: str = APP) -> dict[str, str]:
    """Return the channel of each linked device of an app."""
    return {device: override.channel.name for device, override in sandbox.world.apps[app_id].overrides.items()}


def write_csv(path: Path, rows: Iterable[tuple[str, ...]], header: tuple[str, ...] = ("device_id",)) -> Path:
    """Write a source file."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
    return path


def relink_everything(path: Path, sandbox: Sandbox, channel: str = "beta") -> Path:
    """Write a source that links every device of every app to `channel`."""
    rows = [(app_id, device, channel) for app_id in sandbox.world.apps for device in ids_of(sandbox, app_id)]
    return write_csv(path, rows, ("app_id", "device_id", "channel"))


def statuses(sandbox: Sandbox) -> Counter[int]:
    """Count the statuses in the access log."""
    return Counter(line.status for line in sandbox.log)


async def planned(path: Path, capgo: CapgoClient, operations: Sequence[Operation]) -> Job:
    """Plan operations into a new job file."""
    return await Job.create(path, from_operations(operations), client=capgo)


async def looked_up(path: Path, question: Callable[[sqlite3.Connection], T]) -> T:
    """Ask a job file, beside whoever has it open."""
    database = Database(path, Mode.READ_ONLY)
    try:
        return await database.run(question)
    finally:
        await database.aclose()


def copy_job(path: Path, to: Path) -> Path:
    """Copy a job file as a kill would leave it, including its write-ahead log."""
    for suffix in ("", "-wal"):
        part = path.with_name(path.name + suffix)
        if part.exists():
            shutil.copy(part, to.with_name(to.name + suffix))
    return to
