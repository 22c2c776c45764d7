"""Building a job file: rows are staged, compared with each other and with the inventory, and then planned, all in SQL."""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Self

from . import schema
from .database import Database, Mode
from .operations import LinkDevice, Row
from .records import Measures, begin_run, end_run, write_facts


class Pair(NamedTuple):
    """One app and one channel that rows ask for, how many they are, and the first line that does; no channel: unlink."""

    app_id: str
    channel: str | None
    rows: int
    first_line: int


class Staging:
    """The rows of a job that is not planned yet, in the job's own file under its temporary name.

    Nothing of it needs to survive a crash: a job exists once the file has its name.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._apps: dict[str, int] = {}
        self._channels: dict[str, int] = {}

    @classmethod
    async def create(cls, path: Path) -> Self:
        """Begin a new file at `path`."""
        database = Database(path, Mode.CREATE)
        try:
            await database.configure(
                "PRAGMA journal_mode = OFF",
                "PRAGMA synchronous = OFF",
                f"PRAGMA application_id = {schema.APPLICATION_ID}",
                f"PRAGMA user_version = {schema.FORMAT}",
            )
            await database.run(_create)
        except BaseException:
            await database.aclose()
            raise
        return cls(database)

    async def add(self, rows: Sequence[Row]) -> None:
        """Stage `rows`, the bad ones with their reasons."""
        await self._database.run(self._add, rows)

    async def compare_rows(self) -> None:
        """Reject rows that contradict each other, and skip those that repeat another."""
        await self._database.run(_execute, schema.BY_TARGET, schema.CONTRADICTIONS, schema.DUPLICATES)

    async def pairs(self) -> list[Pair]:
        """Return the apps and channels that the staged rows ask for."""
        return await self._database.run(_pairs)

    async def reject(self, app_id: str, channel: str | None, reason: str) -> None:
        """Reject all rows of one app, or of one channel of it."""
        await self._database.run(_reject, app_id, channel, reason)

    async def observe(self, app_id: str, devices: Sequence[tuple[str, str | None]]) -> None:
        """Note devices of the inventory, each with its channel."""
        await self._database.run(_observe, self._apps[app_id], devices)

    async def close_scan(self, app_id: str, *, complete: bool, saw_override: bool) -> None:
        """Note how far the listing of an app went."""
        await self._database.run(
            _execute_with, "INSERT INTO scans VALUES (?, ?, ?)", (self._apps[app_id], complete, saw_override)
        )

    async def compare_with_inventory(self) -> None:
        """Skip what the inventory shows to be so already."""
        await self._database.run(_execute, *schema.ALREADY)

    async def unknown(self) -> int:
        """Return how many staged devices a complete listing did not show."""
        return await self._database.run(_count, f"SELECT count(*) FROM staged WHERE {schema.UNKNOWN}")

    async def skip_unknown(self) -> None:
        """Skip the devices that a complete listing did not show."""
        statement = f"UPDATE staged SET fate = 'skipped', reason = 'not in the inventory' WHERE {schema.UNKNOWN}"
        await self._database.run(_execute, statement)

    async def rejected(self, after: int, most: int) -> list[tuple[int, str]]:
        """Return up to `most` rejected rows behind the line `after`, as line and reason."""
        return await self._database.run(_rejected, after, most)

    async def finish(self, facts: dict[str, object], measures: Measures) -> None:
        """Plan what is left, write the job's `facts` and what planning it took, and close the file, durable."""
        await self._database.run(_finish, facts, measures)
        # Durable, and in the mode in which it will be run.
        await self._database.configure("VACUUM", "PRAGMA synchronous = FULL", "PRAGMA journal_mode = WAL")
        await self._database.aclose()

    async def aclose(self) -> None:
        """Close the file."""
        await self._database.aclose()

    def _add(self, connection: sqlite3.Connection, rows: Iterable[Row]) -> None:
        bad = [(row.line, "rejected", row.reason) for row in rows if row.operation is None]
        connection.executemany("INSERT INTO others (line, fate, reason) VALUES (?, ?, ?)", bad)
        connection.executemany(
            "INSERT INTO staged (line, app, device, channel) VALUES (?, ?, ?, ?)", self._staged(connection, rows)
        )

    def _staged(self, connection: sqlite3.Connection, rows: Iterable[Row]) -> Iterator[tuple[int, int, str, int | None]]:
        for row in rows:
            operation = row.operation
            if operation is None:
                continue
            app = self._number(connection, "apps", "app_id", operation.app_id, self._apps)
            channel = None
            if isinstance(operation, LinkDevice):
                channel = self._number(connection, "channels", "name", operation.channel, self._channels)
            yield row.line, app, operation.device_id, channel

    def _number(self, connection: sqlite3.Connection, table: str, column: str, name: str, known: dict[str, int]) -> int:
        number = known.get(name)
        if number is None:
            number = known[name] = len(known) + 1
            connection.execute(f"INSERT INTO {table} (id, {column}) VALUES (?, ?)", (number, name))
        return number


def _create(connection: sqlite3.Connection) -> None:
    _execute(connection, *schema.TABLES, *schema.STAGING)


def _execute(connection: sqlite3.Connection, *statements: str) -> None:
    for statement in statements:
        connection.execute(statement)


def _execute_with(connection: sqlite3.Connection, statement: str, values: tuple[object, ...]) -> None:
    connection.execute(statement, values)


def _count(connection: sqlite3.Connection, statement: str) -> int:
    (count,) = connection.execute(statement).fetchone()
    return int(count)


def _pairs(connection: sqlite3.Connection) -> list[Pair]:
    found = connection.execute("""
        SELECT apps.app_id, channels.name, count(*), min(line)
        FROM staged JOIN apps ON apps.id = app LEFT JOIN channels ON channels.id = channel
        WHERE fate = '' GROUP BY app, channel ORDER BY min(line)
    """)
    return [Pair(*row) for row in found]


def _reject(connection: sqlite3.Connection, app_id: str, channel: str | None, reason: str) -> None:
    connection.execute(
        """
        UPDATE staged SET fate = 'rejected', reason = ?
        WHERE fate = '' AND app = (SELECT id FROM apps WHERE app_id = ?)
            AND (?3 IS NULL OR channel = (SELECT id FROM channels WHERE name = ?3))
        """,
        (reason, app_id, channel),
    )


def _observe(connection: sqlite3.Connection, app: int, devices: Iterable[tuple[str, str | None]]) -> None:
    connection.executemany(
        "INSERT OR REPLACE INTO inventory VALUES (?, ?, ?)", ((app, device, channel) for device, channel in devices)
    )


def _rejected(connection: sqlite3.Connection, after: int, most: int) -> list[tuple[int, str]]:
    rows = connection.execute(
        """
        SELECT line, reason FROM staged WHERE fate = 'rejected' AND line > ?1 UNION ALL
        SELECT line, reason FROM others WHERE fate = 'rejected' AND line > ?1
        ORDER BY line LIMIT ?2
        """,
        (after, most),
    )
    return rows.fetchall()


def _finish(connection: sqlite3.Connection, facts: dict[str, object], measures: Measures) -> None:
    facts = {**facts, "unknown": _count(connection, f"SELECT count(*) FROM staged WHERE {schema.UNKNOWN}")}
    _execute(connection, schema.OTHERS, schema.PLAN, "DROP TABLE staged", "DROP TABLE inventory", "DROP TABLE scans")
    write_facts(connection, facts)
    end_run(connection, begin_run(connection, measures), "planned", measures)
