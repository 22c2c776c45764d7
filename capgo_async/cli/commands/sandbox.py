"""The command `capgo-async sandbox`."""

import enum
import math
import os
import sys
import time
from pathlib import Path
from typing import Annotated

import anyio
import msgspec
import typer

from ...concurrency import alongside
from ...errors import ConfigurationError
from ...sandbox import Sandbox, Settings, fleet, parse_faults, thresholds
from ...sandbox.exchange import Generation
from ...sandbox.seeding import SUPER_ADMIN_KEY
from ...sandbox.settings import FLAGS, flagged
from ..framework import Invocation, command
from ..options.group import Group
from ..options.options import Output
from ..output.exit_codes import ExitCode
from ..output.speech import is_terminal

commands = typer.Typer()


class SandboxAddress(msgspec.Struct, frozen=True, kw_only=True):
    """The address of a sandbox, and an API key that it accepts."""

    base_url: str
    api_key: str


class Preset(enum.StrEnum):
    """The rate limits of the sandbox."""

    SERVER = "server"
    PUBLISHED = "published"
    OFF = "off"


class Serving(Group, frozen=True, kw_only=True):
    """The sandbox to serve, and its port."""

    port: Annotated[int, typer.Option("--port", metavar="N", help="The port; 0 chooses a free one.", min=0, max=65535)] = 0
    apps: Annotated[int, typer.Option("--apps", metavar="N", help="Number of apps: com.example.app01 and so on.", min=1)] = 3
    devices: Annotated[
        int, typer.Option("--devices", metavar="N", help="Number of devices, divided evenly among the apps.", min=0)
    ] = 1000
    channels: Annotated[
        int, typer.Option("--channels", metavar="N", help="Number of channels of each app; the first is public.", min=1)
    ] = 3
    limits: Annotated[
        Preset, typer.Option("--limits", help="The rate limits: those of the server, those published, or none.")
    ] = Preset.SERVER
    speed: Annotated[
        float, typer.Option("--speed", metavar="K", help="Make the time windows of the limits K times shorter.")
    ] = 1.0
    faults: Annotated[
        str,
        typer.Option(
            "--faults",
            metavar="SPEC",
            help='Faults to inject, such as "*:502=1%;POST /device:latency=20ms..80ms".',
        ),
    ] = ""
    generation: Annotated[Generation, typer.Option("--generation", help="The generation of the server to imitate.")] = "2026-07"
    flags: Annotated[
        list[str] | None,
        typer.Option(
            "--flag",
            metavar="NAME=VALUE",
            help=f"Change one feature of that generation, such as bundle_target=true. The others: {', '.join(FLAGS[1:])}.",
        ),
    ] = None
    log: Annotated[
        Path | None, typer.Option("--log", metavar="FILE", help="Append each request to this file, as a line of JSON.")
    ] = None
    lifeline: Annotated[
        int | None, typer.Option("--lifeline", metavar="FD", help="Stop when this pipe is closed.", hidden=True)
    ] = None

    def settings(self) -> Settings:
        """Return the settings of the sandbox; raises `ConfigurationError`."""
        if not 0 < self.speed < math.inf:
            message = f"--speed {self.speed:g} is not a number above 0"
            raise ConfigurationError(message)
        try:
            settings = Settings(
                generation=self.generation,
                limits=thresholds(self.limits),
                speed=self.speed,
                faults=parse_faults(self.faults),
                log_size=1000,
            )
            return flagged(settings, self.flags or ())
        except ValueError as error:
            raise ConfigurationError(str(error)) from error

    def check_log(self) -> None:
        """Raise `ConfigurationError` if the log cannot be written."""
        if self.log is None:
            return
        try:
            self.log.open("a", encoding="utf-8").close()
        except OSError as error:
            message = f"cannot write --log {self.log}: {error.strerror}"
            raise ConfigurationError(message) from error


@command(commands, "sandbox", SandboxAddress)
async def run_sandbox(serving: Serving, output: Output, invocation: Invocation) -> int:
    """Serve the API on this machine, with made-up apps and devices, until interrupted."""
    from ...sandbox.server import serve  # noqa: PLC0415 - brings aiohttp

    settings = serving.settings()
    serving.check_log()
    world = fleet(serving.apps, serving.devices, serving.channels, now=time.time())
    stopped = anyio.Event()
    try:
        with invocation.interruption.steps(stopped.set):
            async with serve(Sandbox(world, settings), port=serving.port, log_file=serving.log) as address:
                _announce(address.base_url, output, invocation)
                await alongside(lambda: _hold(serving.lifeline, stopped), stopped.wait)
    except OSError as error:
        message = f"cannot serve on 127.0.0.1:{serving.port}: {error.strerror or error}; choose another --port"
        raise ConfigurationError(message) from error
    return ExitCode.OK


def _announce(base_url: str, output: Output, invocation: Invocation) -> None:
    speech = invocation.speech
    if output.json:
        speech.emit(SandboxAddress(base_url=base_url, api_key=SUPER_ADMIN_KEY))
        return
    speech.show(f"listening on {base_url}, with the API key {SUPER_ADMIN_KEY}")
    speech.show(f"to use it: export CAPGO_BASE_URL={base_url} CAPGO_API_KEY={SUPER_ADMIN_KEY}")
    if is_terminal(sys.stderr):
        speech.note("press Ctrl-C to stop")


async def _hold(lifeline: int | None, stopped: anyio.Event) -> None:
    """Wait until the other end of the pipe is closed."""
    while lifeline is not None:
        await anyio.wait_readable(lifeline)
        if not os.read(lifeline, 4096):
            stopped.set()
            return
