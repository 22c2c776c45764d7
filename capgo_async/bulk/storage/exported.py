"""What a database of an export says of itself: what was found and done in each app; and using one that is on disk."""

import sqlite3
from pathlib import Path
from typing import Final

import msgspec

from ...errors import InputError, JobError
from .database import Database, Mode

APPLICATION_ID: Final = 0x43704976
"""What tells an inventory from other SQLite files: "CpIv"."""
WORKING_TABLE: Final = "binding"
"""What only the working file of an export has, not its output."""

_CALLED: Final = "database that an export of devices wrote"


class Exported(msgspec.Struct, frozen=True, kw_only=True):
    """What was found and done in one app: a line of the table `export`; that of the list of apps has an empty `app_id`."""

    app_id: str
    base_url: str
    began_at: str
    ended_at: str
    rows: int
    scanned: bool
    changes_passed: bool
    end_checked: bool
    passes: int
    caveats: tuple[str, ...]

    @property
    def held(self) -> bool:
        """Tell whether all three checks held."""
        return self.scanned and self.changes_passed and self.end_checked


def exported_of(connection: sqlite3.Connection) -> list[Exported]:
    """Return what was done, app by app."""
    names = Exported.__struct_fields__
    rows = connection.execute(f"SELECT {', '.join(names)} FROM export ORDER BY app_id")
    told = (dict(zip(names, row, strict=True)) for row in rows)
    return [msgspec.convert({**row, "caveats": msgspec.json.decode(row["caveats"])}, Exported, strict=False) for row in told]


async def devices_exported(path: Path, base_url: str) -> list[Exported]:
    """Return what the inventory of devices at `path` holds, app by app.

    Raises `InputError` for what is no such inventory, is not complete, or is of another server than `base_url`.
    """
    _refuse_directory(path)
    database = Database(path, Mode.READ_ONLY, called=_CALLED)
    try:
        found = await database.run(_devices_exported, path)
    except JobError as error:
        raise InputError(str(error)) from error
    finally:
        await database.aclose()
    elsewhere = next((app.base_url for app in found if app.base_url != base_url), None)
    if elsewhere is not None:
        message = f"{path} is an inventory of {elsewhere}, and this plan is for {base_url}"
        raise InputError(message)
    return found


def _refuse_directory(path: Path) -> None:
    if path.is_dir():
        message = f"{path} is a directory, not a {_CALLED}"
        raise InputError(message)


def _devices_exported(connection: sqlite3.Connection, path: Path) -> list[Exported]:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    if application != APPLICATION_ID or "export" not in tables:
        message = f"{path} is not a {_CALLED}"
        raise InputError(message)
    if WORKING_TABLE in tables:
        message = f"{path} is the working file of an export that did not end: run the same export again"
        raise InputError(message)
    if "devices" not in tables:
        message = f"{path} is an inventory of {', '.join(sorted(tables - {'export'}))}, not of devices"
        raise InputError(message)
    return exported_of(connection)
