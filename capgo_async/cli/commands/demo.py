"""The command `capgo-async demo`: a bulk change from start to finish, on a sandbox in its own process."""

import contextlib
import csv
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Final

import anyio
import msgspec
import typer
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream

from ...bulk import Job, Picture, Report, read_operations
from ...client import CapgoClient
from ...errors import CapgoError
from ...key_ring import ring_of
from ...limits.models import server_limits
from ...sandbox.seeding import device_id
from ..framework import Invocation, command
from ..job.drawing import write_page
from ..job.reporting import print_report
from ..job.running import followed
from ..options.group import Group
from ..options.options import Output
from ..output.charts import missing_packages
from .sandbox import SandboxAddress

commands = typer.Typer()

_CHANNEL: Final = "beta"
"""A third of the devices of a sandbox are already linked to this channel."""
_FAULTS: Final = "*:500=0.5%,502=0.5%,drop-before=0.5%,drop-after=0.5%"
_UNKNOWN_DEVICE: Final = "00000000-0000-4000-9000-{:012d}"
"""Devices that the server does not list."""
_LONGEST_LINE: Final = 4096
PATIENCE: Final = 5.0
"""Seconds that the sandbox has to stop before it is killed."""


class SandboxFailed(CapgoError):
    """Raised when the sandbox does not start."""


class Size(Group, frozen=True, kw_only=True):
    """The size of the demonstration."""

    apps: Annotated[int, typer.Option("--apps", metavar="N", help="Number of apps.", min=1, max=99)] = 12
    devices: Annotated[
        int, typer.Option("--devices", metavar="N", help="Number of devices, divided evenly among the apps.", min=1)
    ] = 20_000
    unknown: Annotated[
        int, typer.Option("--unknown", metavar="N", help="Number of device ids that the server does not list.", min=0)
    ] = 12
    speed: Annotated[
        float, typer.Option("--speed", metavar="K", help="Make the time windows of the limits K times shorter.", min=0.1)
    ] = 60.0
    concurrency: Annotated[
        int, typer.Option("--concurrency", metavar="N", help="Maximum number of requests in flight.", min=1)
    ] = 32


@command(commands, "demo", Report)
async def run_demo(size: Size, output: Output, invocation: Invocation) -> int:
    """Link made-up devices to a channel: a CSV file, a plan, a run, and a check of every device.

    The server is a sandbox on this machine. It has the rate limits of the real one. 2 % of its responses are errors, which are
    retried.
    """
    del output
    note = invocation.speech.note
    arguments = {"apps": size.apps, "devices": size.devices, "speed": size.speed, "limits": "server", "faults": _FAULTS}
    started = anyio.current_time()
    with tempfile.TemporaryDirectory(prefix="capgo-demo-") as directory:
        source = Path(directory, "devices.csv")
        rows = await anyio.to_thread.run_sync(_write, source, size)
        note(f"source: {rows:,} devices in {source}, to link to channel {_CHANNEL}")
        async with embedded(arguments) as address:
            note(f"sandbox: {address.base_url}, rate limits {size.speed:g} times as fast")
            note("2 % of the responses are errors, which are retried")
            picture = await _relink(source, address, size, invocation)
    code = print_report(picture.report, invocation.speech)
    note(f"the demo took {anyio.current_time() - started:.1f} s")
    if not (picture.report.pending or missing_packages() or invocation.speech.json):
        descriptor, page = tempfile.mkstemp(prefix="capgo-demo-", suffix=".html")
        os.close(descriptor)
        await write_page(picture, page, invocation.speech)
    return code


async def _relink(source: Path, address: SandboxAddress, size: Size, invocation: Invocation) -> Picture:
    note = invocation.speech.note
    async with CapgoClient(
        api_key=address.api_key,
        base_url=address.base_url,
        limits=server_limits(speed=size.speed),
        concurrency=size.concurrency,
    ) as client:
        path = source.with_name("demo.capgo-job")
        async with await Job.create(path, read_operations(str(source), channel=_CHANNEL), client=client) as job:
            note(f"plan:\n{job.plan}")
            report = await followed(job, ring_of(client), invocation)
            if not report.pending:
                note("verify: listing all devices again to check every link")
                await job.verify(client)
        # The forecast of what is left rests on what is open when a job is opened.
        async with await Job.open(path, read_only=True) as job:
            return await job.picture()


def _write(source: Path, size: Size) -> int:
    """Write the devices that a sandbox of this size has, and some that it does not know."""
    rows = [*_fleet(size)]
    apps = sorted({app_id for _, app_id in rows})
    rows += [(_UNKNOWN_DEVICE.format(number), apps[number % len(apps)]) for number in range(size.unknown)]
    with source.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("device_id", "app_id"))
        writer.writerows(rows)
    return len(rows)


def _fleet(size: Size) -> Iterator[tuple[str, str]]:
    for app in range(size.apps):
        app_id = f"com.example.app{app + 1:02d}"
        for index in range(size.devices // size.apps + (app < size.devices % size.apps)):
            yield device_id(app_id, index), app_id


@contextlib.asynccontextmanager
async def embedded(options: Mapping[str, object]) -> AsyncIterator[SandboxAddress]:
    """Run `python -m capgo_async sandbox` with `options` in a process of its own until the block ends.

    It listens on a free port. Its stdin is a pipe of ours, so that it ends with this process, however that dies; signals from
    the keyboard do not reach it.
    """
    given = [f"--{name}={value}" for name, value in options.items()]
    process = await anyio.open_process(
        [sys.executable, "-m", "capgo_async", "sandbox", "--port=0", "--json", "--lifeline=0", *given],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=None,
        start_new_session=True,
    )
    try:
        yield await _address(process)
    finally:
        with anyio.CancelScope(shield=True):
            await _stop(process)


async def _address(process: Process) -> SandboxAddress:
    assert process.stdout is not None  # noqa: S101 - a pipe, as asked above
    try:
        line = await BufferedByteReceiveStream(process.stdout).receive_until(b"\n", _LONGEST_LINE)
        return msgspec.json.decode(line, type=SandboxAddress)
    except (anyio.IncompleteRead, msgspec.DecodeError) as error:
        message = "the sandbox did not start; run `capgo-async sandbox` to see why"
        raise SandboxFailed(message) from error


async def _stop(process: Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    with anyio.move_on_after(PATIENCE):
        await process.wait()
    if process.returncode is None:
        process.kill()
    await process.aclose()
