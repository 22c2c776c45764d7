"""Exports: an inventory is taken into a file beside the output, and becomes the output when it is complete."""

import contextlib
import os
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from ...api.endpoints.arguments import checked_app_id
from ...client import CapgoClient
from ...key_ring import KeyRing, ring_of
from ..report import counted, storable
from ..storage.exported import Exported
from ..storage.lock import give_name, locked
from .columns import InventoryKind
from .formats import Format, ParquetWriter, TextWriter, Writer, check_format, format_of, lines_of, refused_by_disk
from .shelf import BATCH, InventoryBinding, InventoryFile
from .taking import LIST_OF_APPS, Tally, take_inventory

BUILDING: Final = ".building"
"""What the name of an unfinished export has more than that of the output."""
_WRITING: Final = ".writing"
_GROUP: Final = 20_000
"""Rows of a group of a Parquet file: larger ones take more memory, smaller ones more room."""


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """What an export came to; `complete` tells whether all checks held in all apps."""

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
        return f"{found}: {self._checks()}"

    def _checks(self) -> str:
        if self.complete:
            return "scanned, what changed meanwhile passed over, the end looked at again: complete"
        lost = sum(not check.held for check in self.checks)
        return f"scanned, but {counted(lost, 'list')} cannot be proven complete"


@contextlib.asynccontextmanager
async def inventory(
    building: Path, kind: InventoryKind, *, client: CapgoClient | KeyRing, apps: Sequence[str] = (), tally: Tally | None = None
) -> AsyncIterator[tuple[InventoryFile, Summary]]:
    """Take an inventory into the file `building`, or go on with the one that is there, and have it in this block.

    No `apps` are all that the keys can see. Raises `ListingError` for a list that cannot be completed, `JobError` where another
    process is at it.
    """
    binding = InventoryBinding(
        base_url=client.base_url, kind=kind, apps=tuple(sorted({checked_app_id(app_id) for app_id in apps}))
    )
    with locked(building):
        file = await InventoryFile.open(building, binding)
        try:
            await take_inventory(file, ring_of(client), kind, binding.apps, tally or Tally())
            yield file, await _summed_up(file, binding)
        finally:
            await file.aclose()


async def export(  # noqa: PLR0913 - what, from where, to where and as what
    output: str | Path,
    kind: InventoryKind,
    *,
    client: CapgoClient | KeyRing,
    apps: Sequence[str] = (),
    chosen: Format | None = None,
    tally: Tally | None = None,
) -> Summary:
    """Write everything of `kind` in `apps`, or in all that the keys can see, to the file `output`, and say what was proven.

    The format is that of the file's name unless one is `chosen`. The output is there complete or not at all; what was read
    until then is in a file beside it, from which the same call goes on. Raises as `inventory` does.
    """
    output = Path(output)
    chosen = chosen or format_of(output)
    check_format(chosen)
    building = output.with_name(output.name + BUILDING)
    async with inventory(building, kind, client=client, apps=apps, tally=tally) as (file, found):
        summary = msgspec.structs.replace(found, output=storable(str(output)), format=chosen)
        writing = output.with_name(output.name + _WRITING)
        try:
            writing.unlink(missing_ok=True)
            await _write(file, writing, chosen, summary)
            # First, lest a later export go on with it: the worst that can come of it is to read all once more.
            await file.aclose()
            _make_durable(writing)
            building.unlink()
            give_name(writing, output)
        except OSError as error:
            raise refused_by_disk(output, error) from error
        finally:
            writing.unlink(missing_ok=True)
    return summary


async def _summed_up(file: InventoryFile, binding: InventoryBinding) -> Summary:
    checks = await file.exported()
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


async def _write(file: InventoryFile, writing: Path, chosen: Format, summary: Summary) -> None:
    if chosen is Format.SQLITE:
        await file.copy_to(writing)
    else:
        writer = _writer(writing, file, chosen, summary)
        try:
            async for rows in file.batches(_GROUP if chosen is Format.PARQUET else BATCH):
                writer.write(rows)
        finally:
            writer.close()


def _writer(path: Path, file: InventoryFile, chosen: Format, summary: Summary) -> Writer:
    if chosen is Format.PARQUET:
        return ParquetWriter(path, file.table, msgspec.json.encode(summary))
    return TextWriter(path, lines_of(chosen, file.table))


def _make_durable(path: Path) -> None:
    with path.open("rb") as written:
        os.fsync(written.fileno())
