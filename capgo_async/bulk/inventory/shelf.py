"""The working file of an inventory: an SQLite database, so that an interrupted inventory can resume."""

import os
import sqlite3
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, Final, Self

import msgspec

from ...errors import JobError
from ...listing.split_walk import Stretch
from ..clock import wall_clock
from ..storage.database import Database, Mode, transaction
from ..storage.exported import APPLICATION_ID
from .columns import TABLES, ColumnType, InventoryKind, Table

BATCH: Final = 2000
"""Rows that are read back at a time."""

_FORMAT: Final = 2
_OF_APP: Final = f"FROM {TABLES[InventoryKind.DEVICES].name} WHERE app_id = :app_id"
_TYPES: Final = {ColumnType.JSON: "TEXT"}
_TABLES: Final = (
    "CREATE TABLE binding (format INTEGER, base_url TEXT, kind TEXT, apps TEXT)",
    "CREATE TABLE scans (app_id TEXT PRIMARY KEY, began_at TEXT, progress TEXT)",
    """
    CREATE TABLE export (
        app_id TEXT PRIMARY KEY, base_url TEXT, began_at TEXT, ended_at TEXT, rows INTEGER,
        scanned BOOLEAN, changes_passed BOOLEAN, end_checked BOOLEAN, passes INTEGER, caveats TEXT
    )
    """,
)


class InventoryBinding(msgspec.Struct, frozen=True, kw_only=True):
    """Identity of an inventory. Only an export with the same binding may resume it.

    An empty `apps` means all apps that the keys can see.
    """

    base_url: str
    kind: InventoryKind
    apps: tuple[str, ...] = ()


class ScanProgress(msgspec.Struct, frozen=True):
    """Progress of the scan of an app's devices, from which it can resume.

    `since` is the time from which changes may have been missed, or `None` if unknown. `walked` are the stretches of device ids
    that have been read. Adjacent stretches are merged. `left_out` names the rows that could not be read.
    """

    since: str | None = None
    walked: tuple[Stretch, ...] = ()
    left_out: tuple[str, ...] = ()

    @property
    def ends(self) -> tuple[str | None, ...]:
        """Return the ids after which to list again, to check the end.

        Each listing shows the last known device again: an empty page would prove nothing.
        """
        return tuple(each.before_last or None for each in self.walked if each.at_end) or (None,)


class AppChecks(msgspec.Struct, frozen=True, kw_only=True):
    """What was checked after the scan of an app, and what the responses cannot prove.

    `passes` is how often the app was read. `rows` is given if the rows are not stored.
    """

    app_id: str
    changes_passed: bool
    end_checked: bool
    passes: int
    caveats: tuple[str, ...] = ()
    rows: int | None = None


class InventoryFile:
    """An inventory on disk. Each batch of rows is stored together with the progress of the scan."""

    def __init__(self, database: Database, binding: InventoryBinding) -> None:
        self.database = database
        self._binding = binding
        self.table: Table = TABLES[binding.kind]

    @classmethod
    async def open(cls, path: Path, binding: InventoryBinding) -> Self:
        """Create or resume an inventory at `path`. Raises `JobError` if it belongs to another export."""
        database = Database(path, Mode.CREATE, called="working file of an export")
        try:
            await database.log_ahead()
            await database.configure("PRAGMA synchronous = NORMAL")
            await database.run(_bind, path, TABLES[binding.kind], binding)
        except BaseException:
            await database.aclose()
            raise
        return cls(database, binding)

    @transaction
    def settled(self, connection: sqlite3.Connection) -> set[str]:
        return {app_id for (app_id,) in connection.execute("SELECT app_id FROM export")}

    @transaction
    def begin(self, connection: sqlite3.Connection, app_id: str) -> ScanProgress | None:
        """Record that an app has been begun, and return the progress of its scan if there is any."""
        connection.execute("INSERT OR IGNORE INTO scans VALUES (?, ?, NULL)", (app_id, _now()))
        (found,) = connection.execute("SELECT progress FROM scans WHERE app_id = ?", (app_id,)).fetchone()
        return None if found is None else msgspec.json.decode(found, type=ScanProgress)

    @transaction
    def add(
        self,
        connection: sqlite3.Connection,
        app_id: str,
        rows: Sequence[msgspec.Struct],
        progress: ScanProgress | None = None,
    ) -> int:
        """Store rows and the progress of the scan, and return how many rows are new.

        Rows replace stored ones with the same key.
        """
        values = [self.table.values(app_id, row) for row in rows]
        into = f"INTO {self.table.name} VALUES ({', '.join('?' * len(self.table.columns))})"
        unseen = connection.executemany(f"INSERT OR IGNORE {into}", values).rowcount
        if unseen < len(values):
            connection.executemany(f"INSERT OR REPLACE {into}", values)
        if progress is not None:
            told = msgspec.json.encode(progress).decode()
            connection.execute("UPDATE scans SET progress = ? WHERE app_id = ?", (told, app_id))
        return unseen

    @transaction
    def keep_only(self, connection: sqlite3.Connection, app_id: str, keys: set[Any]) -> None:
        """Delete the rows of an app whose keys are not in `keys`. An empty `app_id` means all apps."""
        key, name = self.table.key[-1], self.table.name
        stored = connection.execute(f"SELECT {key} FROM {name} WHERE ?1 IN ('', app_id)", (app_id,)).fetchall()
        gone = [(value, app_id) for (value,) in stored if value not in keys]
        connection.executemany(f"DELETE FROM {name} WHERE {key} = ?1 AND ?2 IN ('', app_id)", gone)

    @transaction
    def keep_apps(self, connection: sqlite3.Connection, apps: set[str]) -> None:
        """Delete everything about apps that are not in `apps`."""
        known = connection.execute("SELECT app_id FROM scans").fetchall()
        for name in (self.table.name, "scans", "export"):
            connection.executemany(f"DELETE FROM {name} WHERE app_id = ?", [app for app in known if app[0] not in apps])

    @transaction
    def settle(self, connection: sqlite3.Connection, checks: AppChecks) -> None:
        """Record that an app is finished."""
        found = connection.execute("SELECT began_at FROM scans WHERE app_id = ?", (checks.app_id,)).fetchone()
        now = _now()
        rows = checks.rows
        if rows is None:
            counting = f"SELECT count(*) FROM {self.table.name} WHERE ?1 IN ('', app_id)"
            (rows,) = connection.execute(counting, (checks.app_id,)).fetchone()
        passed = (True, checks.changes_passed, checks.end_checked, checks.passes)
        caveats = msgspec.json.encode(checks.caveats).decode()
        connection.execute(
            "INSERT OR REPLACE INTO export VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (checks.app_id, self._binding.base_url, found[0] if found else now, now, rows, *passed, caveats),
        )

    @transaction
    def lacks_links(self, connection: sqlite3.Connection, app_id: str) -> bool:
        """Return whether an app has devices here, and none of them a channel."""
        (devices, linked) = connection.execute(
            f"SELECT EXISTS (SELECT 1 {_OF_APP}), EXISTS (SELECT 1 {_OF_APP} AND channel IS NOT NULL)", {"app_id": app_id}
        ).fetchone()
        return bool(devices) and not linked

    @transaction
    def reopen(self, connection: sqlite3.Connection, apps: Sequence[str]) -> None:
        """Forget that apps are finished, so that they are read again."""
        for name in ("scans", "export"):
            connection.executemany(f"DELETE FROM {name} WHERE app_id = ?", [(app_id,) for app_id in apps])

    @transaction
    def count(self, connection: sqlite3.Connection) -> int:
        (count,) = connection.execute(f"SELECT count(*) FROM {self.table.name}").fetchone()
        return int(count)

    async def batches(self, size: int = BATCH) -> AsyncIterator[list[tuple[Any, ...]]]:
        """Yield all rows in the order of their keys, in batches."""
        last: tuple[Any, ...] = ()
        while rows := await self._rows(last, size):
            last = rows[-1][: len(self.table.key)]
            yield [self.table.restored(row) for row in rows]

    @transaction
    def _rows(self, connection: sqlite3.Connection, last: tuple[Any, ...], size: int) -> list[tuple[Any, ...]]:
        key = ", ".join(self.table.key)
        after = f"WHERE ({key}) > ({', '.join('?' * len(last))})" if last else ""
        return connection.execute(
            f"SELECT {', '.join(self.table.names)} FROM {self.table.name} {after} ORDER BY {key} LIMIT ?", (*last, size)
        ).fetchall()

    async def copy_to(self, path: Path) -> None:
        """Write the rows and the table `export` to a new database at `path`, without the working tables."""
        quoted = os.fspath(path).replace("'", "''")
        await self.database.configure(f"VACUUM INTO '{quoted}'")
        copy = Database(path)
        try:
            await copy.configure("DROP TABLE binding", "DROP TABLE scans", "PRAGMA journal_mode = DELETE")
        finally:
            await copy.aclose()


def _bind(connection: sqlite3.Connection, path: Path, table: Table, binding: InventoryBinding) -> None:
    (known,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    wanted = (_FORMAT, binding.base_url, str(binding.kind), msgspec.json.encode(binding.apps).decode())
    if not known:
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        columns = ", ".join(f"{column.name} {_TYPES.get(column.type, str(column.type))}" for column in table.columns)
        for statement in _TABLES:
            connection.execute(statement)
        connection.execute(f"CREATE TABLE {table.name} ({columns}, PRIMARY KEY ({', '.join(table.key)})) WITHOUT ROWID")
        connection.execute("INSERT INTO binding VALUES (?, ?, ?, ?)", wanted)
        return
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    if application != APPLICATION_ID or connection.execute("SELECT * FROM binding").fetchall() != [wanted]:
        message = f"{path} belongs to a different, unfinished export: delete it, or choose another output"
        raise JobError(message)


def _now() -> str:
    return wall_clock().isoformat(timespec="seconds")
