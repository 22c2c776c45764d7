"""The commands of `capgo-async export`, which write everything of one kind to one file."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import anyio
import typer

from ...api.resources.devices import OnUnreadable
from ...bulk.inventory.columns import InventoryKind
from ...bulk.inventory.exporting import Summary, export, inventory, without_file, working_file
from ...bulk.inventory.formats import Format, check_format, format_of, lines_of
from ...bulk.inventory.taking import Tally
from ...bulk.storage.places import is_stream, new
from ...concurrency import alongside
from ...errors import ConfigurationError, SafetyStop, UnreadableAnswer
from ...key_ring import KeyRing
from ..framework import Invocation, command
from ..job.progress import Reading
from ..job.reporting import tell_checks
from ..options.group import Group
from ..options.options import Connection
from ..output.exit_codes import ExitCode
from ..output.speech import Speech

commands = typer.Typer(name="export", no_args_is_help=True)

_Means = tuple[KeyRing, Tally, Speech, OnUnreadable | None]


class Exporting(Group, frozen=True, kw_only=True):
    """The apps to export, the file and its format."""

    app: Annotated[
        list[str] | None,
        typer.Option("--app", metavar="APP", help="Export only this app; can be repeated.  [default: every app of the key]"),
    ] = None
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="The file: .jsonl, .csv, .sqlite, .db or .parquet.  [default: stdout]"
        ),
    ] = None
    format: Annotated[
        Format | None,
        typer.Option(
            "--format",
            help="The format; spreadsheet is CSV in which no cell is a formula.  [default: by the name of the file]",
        ),
    ] = None

    @property
    def skips_unreadable(self) -> bool:
        """Return whether rows that cannot be read are left out."""
        return False

    def chosen(self) -> Format:
        """Return the format; raises `ConfigurationError` if it cannot be written."""
        chosen = self.format or (format_of(self.output) if self.output else Format.JSONL)
        check_format(chosen)
        if self.output is None and chosen in {Format.SQLITE, Format.PARQUET}:
            message = f"{chosen} cannot be written to stdout: name a file with --output"
            raise ConfigurationError(message)
        if self.output is not None and not is_stream(self.output):
            new(self.output, "file")
        return chosen


class ExportingDevices(Exporting, frozen=True, kw_only=True):
    """The apps to export, the file and its format, and what to do with bad rows."""

    skip_unreadable: Annotated[
        bool,
        typer.Option("--skip-unreadable", help="Leave out devices whose rows cannot be read; the export then ends with 3."),
    ] = False

    @property
    def skips_unreadable(self) -> bool:
        """Return whether rows that cannot be read are left out."""
        return self.skip_unreadable


@command(commands, "devices", Summary, short="Export the devices of apps.")
async def export_devices(exporting: ExportingDevices, connection: Connection, invocation: Invocation) -> int:
    """Export the devices of apps that were seen in the last 90 days.

    The file is complete, or the command fails. After an interruption, the same command continues where it stopped.
    """
    return await _export(InventoryKind.DEVICES, exporting, connection, invocation)


@command(commands, "channels", Summary, short="Export the channels of apps.")
async def export_channels(exporting: Exporting, connection: Connection, invocation: Invocation) -> int:
    """Export the channels of apps.

    The file is complete, or the command fails. After an interruption, the same command continues where it stopped.
    """
    return await _export(InventoryKind.CHANNELS, exporting, connection, invocation)


@command(commands, "bundles", Summary, short="Export the bundles of apps.")
async def export_bundles(exporting: Exporting, connection: Connection, invocation: Invocation) -> int:
    """Export the bundles of apps that are not deleted.

    The file is complete, or the command fails. After an interruption, the same command continues where it stopped.
    """
    return await _export(InventoryKind.BUNDLES, exporting, connection, invocation)


@command(commands, "apps", Summary, short="Export the apps of the key.")
async def export_apps(exporting: Exporting, connection: Connection, invocation: Invocation) -> int:
    """Export the apps of the key.

    The file is complete, or the command fails. After an interruption, the same command continues where it stopped.
    """
    return await _export(InventoryKind.APPS, exporting, connection, invocation)


async def _export(kind: InventoryKind, exporting: Exporting, connection: Connection, invocation: Invocation) -> int:
    chosen = exporting.chosen()
    speech = invocation.speech
    tally = Tally()
    on_unreadable = _telling(speech) if exporting.skips_unreadable else None
    async with connection.ring() as caller:
        reading = Reading(kind, tally, caller, speech)
        if exporting.output is None:
            return await alongside(
                reading.follow, lambda: _print(kind, exporting, chosen, (caller, tally, speech, on_unreadable))
            )
        output, apps = exporting.output, exporting.app or ()
        with _kept(output, speech):
            summary = await alongside(
                reading.follow,
                lambda: export(output, kind, client=caller, apps=apps, format=chosen, tally=tally, on_unreadable=on_unreadable),
            )
    if speech.json:
        speech.emit(summary)
    tell_checks(summary, speech)
    return ExitCode.STOPPED if speech.lost else _code(summary)


def _telling(speech: Speech) -> OnUnreadable:
    def tell(error: UnreadableAnswer) -> None:
        speech.say(f"left out: {error}")

    return tell


@contextlib.contextmanager
def _kept(output: Path, speech: Speech) -> Iterator[None]:
    """Print how to continue, whatever interrupts an export."""
    if is_stream(output):
        yield
        return
    building = working_file(output)
    if building.exists():
        speech.note(f"continuing with {building}; delete it to start over")
    try:
        yield
    except BaseException as error:
        if isinstance(error, Exception | anyio.get_cancelled_exc_class()) and building.exists():
            speech.say(f"not finished; to continue, run the same command again (its progress is in {building})")
        raise


async def _print(kind: InventoryKind, exporting: Exporting, chosen: Format, means: _Means) -> int:
    """Print an inventory once it is complete; until then it is in a temporary file."""
    client, tally, speech, on_unreadable = means
    with without_file(kind, chosen) as output:
        async with inventory(
            working_file(output), kind, client=client, apps=exporting.app or (), tally=tally, on_unreadable=on_unreadable
        ) as (file, summary):
            lines = lines_of(chosen, file.table)
            for line in lines.head:
                speech.show(line)
            async for rows in file.batches():
                for line in lines(rows):
                    speech.show(line)
                if not speech.heard:
                    break
            if speech.lost:
                message = "the rows were not written"
                raise SafetyStop(message)
    tell_checks(summary, speech)
    return _code(summary)


def _code(summary: Summary) -> int:
    return ExitCode.OK if summary.complete else ExitCode.INCOMPLETE
