"""Exports: an inventory is collected in a working file, and written to the output when it is complete."""

import contextlib
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from ...api.endpoints.arguments import checked_app_id
from ...api.resources.devices import OnUnreadable
from ...api.words import member
from ...client import CapgoClient
from ...errors import ConfigurationError, EmptyListing, InputError, JobError
from ...key_ring import KeyRing, ring_of
from ..report import counted, storable
from ..storage.database import Database
from ..storage.exported import Exported, devices_exported, exported_of
from ..storage.lock import give_name, locked
from ..storage.places import for_temporary_files, is_stream, make_durable, new, real, refused, remove
from .columns import InventoryKind
from .formats import Format, ParquetWriter, TextWriter, check_format, format_of, lines_of
from .shelf import BATCH, InventoryBinding, InventoryFile
from .taking import LIST_OF_APPS, Tally, take_inventory

BUILDING: Final = ".building"
"""Suffix of the working file of an unfinished export."""
_WRITING: Final = ".writing"
_GROUP: Final = 20_000
"""Rows in a group of a Parquet file. Larger groups take more memory, and smaller ones more disk space."""


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """The result of an export. `complete` means that all checks passed in all apps."""

    kind: InventoryKind
    base_url: str
    began_at: str
    ended_at: str
    rows: int
    apps: int
    complete: bool
    checks: tuple[Exported, ...]
    output: str | None = None
    format: Format | None = None

    def __str__(self) -> str:
        apps = counted(self.apps, "app")
        found = f"{self.rows:,} {self.kind}" if self.kind is InventoryKind.APPS else f"{self.rows:,} {self.kind} of {apps}"
        return f"{found}: {self._checks()}" + (f" Written to {self.output}." if self.output is not None else "")

    def _checks(self) -> str:
        if self.complete:
            if self.kind is InventoryKind.DEVICES and not self.rows:
                return "nothing is listed. A server that cannot read its devices responds in the same way."
            more = ", and the changes and the end were checked again" if self.kind is InventoryKind.DEVICES else ""
            return f"complete. All pages were read{more}."
        told: list[str] = []
        if hidden := self.contradicted:
            more = f"; {counted(len(hidden) - 1, 'more list')} in the same way" if len(hidden) > 1 else ""
            told.append(f"cannot tell. {hidden[0].app_id}: {', '.join(hidden[0].caveats)}{more}.")
        if lost := sum(not check.held for check in self.checks) - len(hidden):
            told.append(f"possibly incomplete. All pages were read, but {counted(lost, 'list')} cannot be proven complete.")
        return " ".join(told)

    @property
    def contradicted(self) -> tuple[Exported, ...]:
        """Return the lists that are empty although something shows that they cannot be."""
        return tuple(check for check in self.checks if check.contradicted)


@contextlib.asynccontextmanager
async def inventory(  # noqa: PLR0913 - keyword-only options
    building: Path,
    kind: InventoryKind,
    *,
    client: CapgoClient | KeyRing,
    apps: Sequence[str] = (),
    tally: Tally | None = None,
    on_unreadable: OnUnreadable | None = None,
    only: Mapping[str, Sequence[str]] = {},
) -> AsyncIterator[tuple[InventoryFile, Summary]]:
    """Take an inventory into the working file `building`, or resume it, and provide it within the block.

    Options are as in `take_inventory`. Raises `ListingError` if a list stays incomplete, and `JobError` if the file is in use.
    """
    binding = InventoryBinding(
        base_url=client.base_url, kind=kind, apps=tuple(sorted({checked_app_id(app_id) for app_id in apps}))
    )
    with locked(building):
        file = await InventoryFile.open(building, binding)
        async with contextlib.aclosing(file.database):
            await take_inventory(
                file, ring_of(client), kind, binding.apps, tally or Tally(), on_unreadable=on_unreadable, only=only
            )
            yield file, await _summed_up(file, binding)


@contextlib.asynccontextmanager
async def devices_at_hand(
    client: CapgoClient | KeyRing,
    apps: Sequence[str],
    exported: Path | None,
    tally: Tally | None = None,
    only: Mapping[str, Sequence[str]] = {},
) -> AsyncIterator[tuple[Path, Sequence[Exported], Summary | None]]:
    """Provide the devices of `apps` as a database: the inventory `exported`, or a new one if it is `None`.

    Yields its path, its record of each app, and the summary of a new one. An empty `apps` means all. Raises as `inventory`
    does, and `InputError` if the inventory on disk is not one of this server and these apps.
    """
    if exported is not None:
        found = {app.app_id: app for app in await devices_exported(exported, client.base_url) if app.app_id != LIST_OF_APPS}
        if missing := [app_id for app_id in apps if app_id not in found]:
            message = f"{exported} has no devices of {', '.join(missing)}: export these apps, too"
            raise InputError(message)
        yield exported, [found[app_id] for app_id in apps or found], None
        return
    with tempfile.TemporaryDirectory(prefix="capgo-devices-", dir=for_temporary_files()) as directory:
        path = Path(directory, "inventory")
        async with inventory(path, InventoryKind.DEVICES, client=client, apps=apps, tally=tally, only=only) as (_, summary):
            yield path, [check for check in summary.checks if check.app_id != LIST_OF_APPS], summary


async def export(  # noqa: PLR0913 - keyword-only options
    output: str | Path,
    kind: InventoryKind,
    *,
    client: CapgoClient | KeyRing,
    apps: Sequence[str] = (),
    format: Format | None = None,  # noqa: A002 - as users expect it to be called
    tally: Tally | None = None,
    on_unreadable: OnUnreadable | None = None,
) -> Summary:
    """Write everything of `kind` to the file `output`, and return what was proven.

    An empty `apps` means all apps that the keys can see. The format follows from the file name unless `format` names one. The
    output appears only when it is complete. Until then the rows are in a working file next to it, from which the same call
    resumes. A pipe or a device is written to when all rows are read; `SQLITE` and `PARQUET` need a file. With `on_unreadable`,
    devices whose rows cannot be read are left out, and it is called with the error of each; the summary is not `complete` then.

    A file at `output` is kept, with `EmptyListing`, if a list is empty although something contradicts that, or if apps are
    without devices now that have some in the SQLite export at `output`. Raises as `inventory` does, too, and `JobError` if the
    output cannot be written. In all cases, what was read is kept. Repeating it after a success reads everything again.
    """
    output, kind = Path(output), member(InventoryKind, kind, "kind")
    chosen = format_of(output) if format is None else member(Format, format, "format")
    check_format(chosen)
    if is_stream(output):
        if chosen in {Format.SQLITE, Format.PARQUET}:
            message = f"cannot write {chosen} to {output}: it needs a file"
            raise ConfigurationError(message)
        with without_file(kind, chosen) as named:
            async with inventory(
                working_file(named), kind, client=client, apps=apps, tally=tally, on_unreadable=on_unreadable
            ) as (file, found):
                summary = msgspec.structs.replace(found, output=storable(str(output)), format=chosen)
                await _pour(file, output, chosen, summary)
        return summary
    place = new(output, "file")
    building = working_file(output)
    await _start_over_if_delivered(building, place)
    async with inventory(building, kind, client=client, apps=apps, tally=tally, on_unreadable=on_unreadable) as (file, found):
        if place.exists():
            await _keep_if_hidden(output, file, found)
        if kind is InventoryKind.DEVICES and chosen is Format.SQLITE:
            await _keep_if_emptied(output, file, found)
        summary = msgspec.structs.replace(found, output=storable(str(output)), format=chosen)
        writing = place.with_name(place.name + _WRITING)
        remove(writing)
        try:
            await _write(file, writing, chosen, summary)
            make_durable(writing)
            await file.database.configure(f"PRAGMA user_version = {_mark_of(writing)}")
            give_name(writing, place)
        except OSError as error:
            raise refused(output, error) from error
        finally:
            remove(writing)
        # What was read is deleted last, so that it survives everything that can fail.
        await file.database.aclose()
        remove(building)
    return summary


def working_file(output: Path) -> Path:
    """Return the working file of an export to `output`, which is beside the file that a link means."""
    place = real(output) if output.is_symlink() else output
    return place.with_name(place.name + BUILDING)


@contextlib.contextmanager
def without_file(kind: InventoryKind, chosen: Format) -> Iterator[Path]:
    """Provide the name of an output in a temporary directory, for rows that go elsewhere.

    If a `JobError` is raised within the block, its working file is kept and the error says where.
    """
    directory = Path(tempfile.mkdtemp(prefix="capgo-export-", dir=for_temporary_files()))
    output = directory / f"{kind}.{'jsonl' if chosen is Format.JSONL else 'csv'}"
    kept = False
    try:
        yield output
    except JobError as error:
        kept = working_file(output).exists()
        if not kept:
            raise
        message = f"{error}; what was read is kept, and an export to {output} goes on with it"
        raise type(error)(message) from error
    finally:
        if not kept:
            shutil.rmtree(directory, ignore_errors=True)


async def _pour(file: InventoryFile, stream: Path, chosen: Format, summary: Summary) -> None:
    try:
        await _write(file, stream, chosen, summary)
    except OSError as error:
        raise refused(stream, error) from error


async def _start_over_if_delivered(building: Path, place: Path) -> None:
    """Remove the working file of an export that was killed when only this was left to do."""
    mark = _mark_of(place)
    if mark is None or _mark_of(building) is None:
        return
    database = Database(building, called="working file of an export")
    try:
        (delivered,) = await database.run(lambda connection: connection.execute("PRAGMA user_version").fetchone())
    finally:
        await database.aclose()
    if mark == delivered:
        remove(building)


def _mark_of(output: Path) -> int | None:
    """Return the number by which a working file knows its output, or `None` if there is none."""
    try:
        return output.stat().st_ino % 2**31 or 1
    except FileNotFoundError:
        return None


async def _summed_up(file: InventoryFile, binding: InventoryBinding) -> Summary:
    checks = await file.database.run(exported_of)
    return Summary(
        kind=binding.kind,
        base_url=binding.base_url,
        began_at=min(check.began_at for check in checks),
        ended_at=max(check.ended_at for check in checks),
        rows=await file.count(),
        apps=sum(check.app_id != LIST_OF_APPS for check in checks),
        complete=all(check.held for check in checks),
        checks=tuple(checks),
    )


async def _keep_if_hidden(output: Path, file: InventoryFile, found: Summary) -> None:
    """Raise `EmptyListing` if a list is empty and something contradicts that.

    The file at `output` may hold its rows.
    """
    if not found.contradicted:
        return
    await file.reopen([check.app_id for check in found.contradicted])
    told = "; ".join(f"{check.app_id}: {', '.join(check.caveats)}" for check in found.contradicted)
    message = f"cannot tell what is in {counted(len(found.contradicted), 'list')}: {told}. {output} is kept"
    raise EmptyListing(message)


async def _keep_if_emptied(output: Path, file: InventoryFile, found: Summary) -> None:
    """Raise `EmptyListing` if apps of the export at `output` have devices there and none now."""
    try:
        earlier = {check.app_id for check in await devices_exported(output, found.base_url) if check.rows}
    except InputError:
        return
    emptied = sorted(check.app_id for check in found.checks if not check.rows and check.app_id in earlier)
    if emptied:
        await file.reopen(emptied)
        named = ", ".join(emptied)
        message = (
            f"the server lists no device of {named}, but {output} has some: it may be unable to read its data. {output} is kept"
        )
        raise EmptyListing(message)


async def _write(file: InventoryFile, writing: Path, chosen: Format, summary: Summary) -> None:
    if chosen is Format.SQLITE:
        await file.copy_to(writing)
    else:
        with contextlib.closing(_writer(writing, file, chosen, summary)) as writer:
            async for rows in file.batches(_GROUP if chosen is Format.PARQUET else BATCH):
                writer.write(rows)


def _writer(path: Path, file: InventoryFile, chosen: Format, summary: Summary) -> TextWriter | ParquetWriter:
    if chosen is Format.PARQUET:
        return ParquetWriter(path, file.table, msgspec.json.encode(summary))
    return TextWriter(path, lines_of(chosen, file.table))
