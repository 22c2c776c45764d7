"""The records that an export keeps of each app, and reading them from its database."""

import sqlite3
from pathlib import Path
from typing import Final

import anyio
import msgspec

from ...errors import InputError, JobError, Problem
from .database import Database, Mode

APPLICATION_ID: Final = 0x43704976
"""SQLite application id of inventories: "CpIv"."""
WORKING_TABLE: Final = "binding"
"""A table that only the working file of an export has."""

_CALLED: Final = "SQLite export of devices"


class Exported(msgspec.Struct, frozen=True, kw_only=True):
    """The rows and checks of one app: a row of the table `export`.

    `app_id` is empty for the list of apps.
    """

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
        """Return whether all three checks passed."""
        return self.scanned and self.changes_passed and self.end_checked

    @property
    def contradicted(self) -> bool:
        """Return whether the list is empty although something shows that it cannot be."""
        return not self.rows and not self.held


def exported_of(connection: sqlite3.Connection) -> list[Exported]:
    names = Exported.__struct_fields__
    rows = connection.execute(f"SELECT {', '.join(names)} FROM export ORDER BY app_id")
    told = (dict(zip(names, row, strict=True)) for row in rows)
    return [msgspec.convert({**row, "caveats": msgspec.json.decode(row["caveats"])}, Exported, strict=False) for row in told]


async def devices_exported(path: Path, base_url: str) -> list[Exported]:
    """Return the records of all apps in the devices export at `path`.

    Raises `InputError` if the file is not a complete export of devices from `base_url`.
    """
    database = Database(path, Mode.READ_ONLY, called=_CALLED)
    try:
        found = await database.run(_devices_exported, path)
    except JobError as error:
        problem = None if await anyio.Path(path).exists() else Problem.INVENTORY_MISSING
        raise InputError(str(error), problem=problem) from error
    finally:
        await database.aclose()
    elsewhere = next((app.base_url for app in found if app.base_url != base_url), None)
    if elsewhere is not None:
        message = f"{path} is an export from {elsewhere}, but this plan is for {base_url}"
        raise InputError(message)
    return found


def _devices_exported(connection: sqlite3.Connection, path: Path) -> list[Exported]:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    if application != APPLICATION_ID or "export" not in tables:
        message = f"{path} is not a {_CALLED}"
        raise InputError(message)
    if WORKING_TABLE in tables:
        message = f"{path} is the working file of an unfinished export: run the same export again to finish it"
        raise InputError(message)
    if "devices" not in tables:
        message = f"{path} is an export of {', '.join(sorted(tables - {'export'}))}, not of devices"
        raise InputError(message)
    return exported_of(connection)
