"""Exports: an inventory is collected in a working file, and written to the output when it is complete."""

import contextlib
import os
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from ...api.endpoints.arguments import checked_app_id
from ...client import CapgoClient
from ...errors import EmptyListing, InputError
from ...key_ring import KeyRing, ring_of
from ..report import counted, storable
from ..storage.exported import Exported, devices_exported, exported_of
from ..storage.lock import give_name, locked
from .columns import InventoryKind
from .formats import Format, ParquetWriter, TextWriter, check_format, format_of, lines_of, refused_by_disk
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
        if hidden := len(self.contradicted):
            told.append(f"cannot tell. Something contradicts {counted(hidden, 'empty list')}.")
        if lost := sum(not check.held for check in self.checks) - hidden:
            told.append(f"possibly incomplete. All pages were read, but {counted(lost, 'list')} cannot be proven complete.")
        return " ".join(told)

    @property
    def contradicted(self) -> tuple[Exported, ...]:
        """Return the lists that are empty although something shows that they cannot be."""
        return tuple(check for check in self.checks if check.contradicted)


@contextlib.asynccontextmanager
async def inventory(
    building: Path, kind: InventoryKind, *, client: CapgoClient | KeyRing, apps: Sequence[str] = (), tally: Tally | None = None
) -> AsyncIterator[tuple[InventoryFile, Summary]]:
    """Take an inventory into the working file `building`, or resume it, and provide it within the block.

    An empty `apps` means all apps that the keys can see. Raises `ListingError` if a list cannot be completed, and `JobError` if
    another process uses the file.
    """
    binding = InventoryBinding(
        base_url=client.base_url, kind=kind, apps=tuple(sorted({checked_app_id(app_id) for app_id in apps}))
    )
    with locked(building):
        file = await InventoryFile.open(building, binding)
        async with contextlib.aclosing(file.database):
            await take_inventory(file, ring_of(client), kind, binding.apps, tally or Tally())
            yield file, await _summed_up(file, binding)


async def export(  # noqa: PLR0913 - keyword-only options
    output: str | Path,
    kind: InventoryKind,
    *,
    client: CapgoClient | KeyRing,
    apps: Sequence[str] = (),
    chosen: Format | None = None,
    tally: Tally | None = None,
) -> Summary:
    """Write everything of `kind` to the file `output`, and return what was proven.

    An empty `apps` means all apps that the keys can see. The format follows from the file name unless one is `chosen`. The
    output appears only when it is complete. Until then the rows are in a working file next to it, from which the same call
    resumes. Raises as `inventory` does, and `EmptyListing` if apps are without devices now that have some in the SQLite export
    at `output`, which is kept.
    """
    output = Path(output)
    chosen = chosen or format_of(output)
    check_format(chosen)
    building = output.with_name(output.name + BUILDING)
    async with inventory(building, kind, client=client, apps=apps, tally=tally) as (file, found):
        if kind is InventoryKind.DEVICES and chosen is Format.SQLITE:
            await _keep_if_emptied(output, file, found)
        summary = msgspec.structs.replace(found, output=storable(str(output)), format=chosen)
        writing = output.with_name(output.name + _WRITING)
        try:
            writing.unlink(missing_ok=True)
            await _write(file, writing, chosen, summary)
            # The working file is deleted first, so that no later export resumes from it. At worst, everything is read again.
            await file.database.aclose()
            _make_durable(writing)
            building.unlink()
            give_name(writing, output)
        except OSError as error:
            raise refused_by_disk(output, error) from error
        finally:
            writing.unlink(missing_ok=True)
    return summary


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


def _make_durable(path: Path) -> None:
    with path.open("rb") as written:
        os.fsync(written.fileno())
