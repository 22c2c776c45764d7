"""Staging of a new job: rows are compared with each other and the inventory, then planned, in SQL.

Past 300 lines because rows arrive both as columns and one by one, and both share the census.
"""

import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import count, repeat
from pathlib import Path
from typing import Any, Self

import msgspec

from ..operations.kinds import KINDS
from ..operations.operations import Change, FormerState, Operation, Row, change_of, operation_of
from ..operations.reasons import Reason
from ..report import Ended
from ..sources.blocks import Block, Columns
from ..storage.database import Database, Mode
from ..storage.exported import devices_exported
from . import schema, staging_counts, staging_sql
from .facts import JobFacts, Survey, write_facts
from .records import Measures, begin_run, end_run
from .stage import Assessment, KnownApp, Moved, Pair, Staged
from .staging_counts import Census, Place


class Staging:
    """The rows of a job that is not planned yet, in the job's file under a temporary name.

    Nothing here needs to survive a crash: the job exists once the file has its final name.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._apps: dict[str, int] = {}
        self._changes: dict[Change, int] = {}
        self._knows = False
        self._census = Census()

    @classmethod
    async def create(cls, path: Path) -> Self:
        """Create the file at `path`."""
        database = Database(path, Mode.CREATE)
        try:
            await database.configure(
                "PRAGMA journal_mode = OFF",
                "PRAGMA synchronous = OFF",
                "PRAGMA temp.journal_mode = OFF",
                f"PRAGMA application_id = {schema.APPLICATION_ID}",
                f"PRAGMA user_version = {schema.FORMAT}",
            )
            await database.run(_create)
        except BaseException:
            await database.aclose()
            raise
        return cls(database)

    async def add(self, block: Block) -> None:
        """Stage rows. Bad rows carry their reasons."""
        await self._database.run(self._add, block)

    async def compare_rows(self) -> None:
        """Reject rows that contradict each other, and skip duplicates."""
        await self._database.run(_compare_rows)

    async def protect(self, channels: Sequence[str], by: str) -> None:
        """Reject rows that change a protected channel or link devices to it.

        Each of `channels` is `NAME` or `APP/NAME`; `by` is where they are set.
        """
        names = msgspec.json.encode(channels).decode()
        await self._database.run(_execute_with, schema.PROTECTED, (names, by))

    async def pairs(self) -> list[Pair]:
        """Return every combination of an app and a change that staged rows ask for."""
        return await self._database.run(staging_counts.pairs, self._census)

    async def reject(self, app_id: str, change: Change | None, reason: Reason) -> None:
        """Reject all rows of an app, or only those that ask for `change`."""
        number = None if change is None else self._changes[change]
        await self._database.run(_execute_with, _REJECT, (*schema.columns_of(reason), self._apps[app_id], number))

    async def observe(self, app_id: str, devices: Sequence[tuple[str, str | None]]) -> None:
        """Record devices that a listing of the app shows, each with its channel."""
        await self._database.run(_observe, self._apps[app_id], devices)

    async def close_scan(self, app_id: str, *, complete: bool, saw_override: bool) -> None:
        """Record how far the listing of an app went."""
        statement = "INSERT INTO scans (app, complete, saw_override) VALUES (?, ?, ?)"
        await self._database.run(_execute_with, statement, (self._apps[app_id], complete, saw_override))

    async def know(self, inventory: str, base_url: str) -> Mapping[str, KnownApp]:
        """Attach an inventory of devices on disk, and return what it holds for each app.

        Raises `InputError` if the file is not an inventory, or is one of another server.
        """
        path = Path(inventory)
        found = await devices_exported(path, base_url)
        await self._database.attach(path, "known")
        self._knows = True
        return {app.app_id: KnownApp(app.began_at, app.rows, app.held, app.caveats) for app in found}

    async def use_known(self, app_id: str, *, complete: bool) -> None:
        """Compare the rows of an app with the attached inventory."""
        await self._database.run(_execute_with, staging_sql.SCAN_OF_KNOWN, (app_id, complete))

    async def compare_with_inventory(self) -> None:
        """Skip rows whose device already is as wanted, or was changed by others, as the inventory shows."""
        await self._database.run(self._compare_with_inventory)

    async def staged(self, app_id: str, after: int, most: int) -> list[Staged]:
        """Return up to `most` rows of an app after the line `after` that are still to be planned."""
        return await self._database.run(_staged, app_id, after, most)

    async def settle(self, assessments: Sequence[Assessment]) -> None:
        """Record what looking at the targets of rows found."""
        await self._database.run(self._settle, assessments)

    async def moved_together(self, most: int) -> list[Moved]:
        """Return up to `most` channels whose devices all move to one other channel, the largest first."""
        return await self._database.run(staging_counts.moved_together, self._census, most)

    async def unknown(self) -> int:
        """Return how many staged devices no complete inventory shows."""
        return await self._database.run(staging_counts.unknown, self._census)

    async def skip_unknown(self) -> None:
        """Skip the devices that a complete inventory does not show."""
        await self._database.run(_execute, staging_sql.UNKNOWN_DEVICES)

    async def rejected(self, after: int, most: int) -> list[tuple[int, Reason]]:
        """Return up to `most` rejected rows after the line `after`, each as line and reason."""
        return await self._database.run(_rejected, after, most)

    async def survey(self) -> Survey:
        """Return what planning saw, and what is left to plan."""
        return await self._database.run(self._survey)

    async def finish(self, facts: JobFacts, measures: Measures) -> None:
        """Plan the rows that are left, store `facts` and `measures`, and close the file."""
        await self._database.run(_finish, facts, measures)
        # Make the file durable, and set the journal mode that runs use.
        await self._database.configure("PRAGMA main.synchronous = FULL", "PRAGMA main.journal_mode = WAL")
        await self._database.aclose()

    async def aclose(self) -> None:
        """Close the file."""
        await self._database.aclose()

    def _add(self, connection: sqlite3.Connection, block: Block) -> None:
        places: Counter[Place] = Counter()
        for columns in block.columns:
            self._add_columns(connection, columns, places)
        bad = [(row.line, "rejected", *schema.columns_of(row.reason)) for row in block.rows if row.operation is None]
        connection.executemany("INSERT INTO others (line, fate, cause, details, places) VALUES (?, ?, ?, ?, ?)", bad)
        connection.executemany(_ADD_ROW, self._staged(connection, block.rows, places))
        self._census.add(connection, places)

    def _add_columns(self, connection: sqlite3.Connection, columns: Columns, places: Counter[Place]) -> None:
        form, lines, names, app_ids, arguments = columns
        # Numbered in the order of their first rows, which is also the order of sending.
        apps = {app_id: self._app(connection, app_id) for app_id in dict.fromkeys(app_ids)}
        # A change is the same for every target.
        changes = {text: self._change(connection, form.make("", "", text)) for text in dict.fromkeys(arguments)}
        if isinstance(lines, range) and len(changes) == 1 and len(self._apps) < _MOST_AT_ONCE:
            # One statement for all rows: each row of an `executemany` is a switch between threads.
            (change,) = changes.values()
            told = msgspec.json.encode(names).decode()
            if len(apps) == 1:
                connection.execute(_ADD_ALIKE, (lines[0], *apps.values(), change, told))
            else:
                characters = {app_id: chr(_FIRST_CHARACTER + number) for app_id, number in apps.items()}
                of_apps = "".join(map(characters.__getitem__, app_ids)).encode()
                connection.execute(_ADD_OF_APPS, (lines[0], of_apps, change, told))
            places.update({(apps[app_id], change, 0, 0, None): rows for app_id, rows in Counter(app_ids).items()})
        else:
            numbers = [apps[app_id] for app_id in app_ids], [changes[text] for text in arguments]
            connection.executemany(_ADD, zip(lines, names, *numbers, strict=True))
            places.update(zip(*numbers, repeat(0), repeat(0), repeat(None)))

    def _staged(self, connection: sqlite3.Connection, rows: Iterable[Row], places: Counter[Place]) -> Iterator[tuple[Any, ...]]:
        for row in rows:
            operation = row.operation
            if operation is None:
                continue
            target = operation.target
            expected = None if row.expected is None else self._change(connection, row.expected)
            fate = "skipped" if row.skipped else ""
            app, change = self._app(connection, target.app_id), self._change(connection, operation)
            if not row.skipped:
                places[app, change, int(expected is not None), 0, None] += 1
            yield row.line, app, target.name, change, expected, fate, *schema.columns_of(row.reason)

    def _compare_with_inventory(self, connection: sqlite3.Connection) -> None:
        kinds = {kind for (kind,) in connection.execute("SELECT DISTINCT kind FROM changes")}
        if connection.execute("SELECT 1 FROM inventory LIMIT 1").fetchone():
            connection.execute(staging_sql.SHOWN_LISTED)
        if self._knows:
            connection.execute(staging_sql.SHOWN_KNOWN)
        if "link_device" in kinds:
            connection.execute(staging_sql.ALREADY_LINKED)
        if "unlink_device" in kinds:
            connection.execute(staging_sql.ALREADY_UNLINKED)
        if "renew_device" in kinds:
            _execute(connection, *staging_sql.RENEWALS)
        if connection.execute("SELECT 1 FROM staged WHERE expected IS NOT NULL LIMIT 1").fetchone():
            _execute(connection, *staging_sql.CHANGED_SINCE)

    def _settle(self, connection: sqlite3.Connection, assessments: Sequence[Assessment]) -> None:
        connection.executemany(
            """
            UPDATE staged SET fate = ?, cause = ?, details = ?, places = ?, change = ?, former = ?, former_value = ?
            WHERE line = ?
            """,
            (
                (
                    found.fate,
                    *schema.columns_of(found.reason),
                    self._change(connection, found.operation),
                    *_columns(found.former),
                    found.line,
                )
                for found in assessments
            ),
        )

    def _survey(self, connection: sqlite3.Connection) -> Survey:
        listed = (staging_sql.LISTED, staging_sql.LISTED_KNOWN) if self._knows else (staging_sql.LISTED,)
        linked = (staging_sql.WITH_A_LINK, staging_sql.WITH_A_LINK_KNOWN) if self._knows else (staging_sql.WITH_A_LINK,)
        return Survey(
            unknown=staging_counts.unknown(connection, self._census),
            listed=_by_app(connection, listed, (True,)),
            listed_in_part=_by_app(connection, listed, (False,)),
            linked=_by_app(connection, linked, ()),
            planned=tuple(staging_counts.pairs(connection, self._census)),
        )

    def _app(self, connection: sqlite3.Connection, app_id: str) -> int:
        number = self._apps.get(app_id)
        if number is None:
            number = self._apps[app_id] = len(self._apps) + 1
            connection.execute("INSERT INTO apps (id, app_id) VALUES (?, ?)", (number, app_id))
        return number

    def _change(self, connection: sqlite3.Connection, operation: Operation) -> int:
        change = change_of(operation)
        number = self._changes.get(change)
        if number is None:
            row = (change.kind, change.argument)
            connection.execute("INSERT OR IGNORE INTO changes (kind, argument) VALUES (?, ?)", row)
            found = connection.execute("SELECT id FROM changes WHERE kind = ? AND argument = ?", row).fetchone()
            number = self._changes[change] = int(found[0])
        return number


def _create(connection: sqlite3.Connection) -> None:
    _execute(connection, *schema.TABLES, *staging_sql.TABLES)


def _execute(connection: sqlite3.Connection, *statements: str) -> None:
    for statement in statements:
        connection.execute(statement)


def _execute_with(connection: sqlite3.Connection, statement: str, values: tuple[object, ...]) -> None:
    connection.execute(statement, values)


def _compare_rows(connection: sqlite3.Connection) -> None:
    found = connection.execute("SELECT kind FROM staged JOIN changes ON changes.id = change LIMIT 1").fetchone()
    target = KINDS[found[0]].target if found else "target"
    _execute(connection, staging_sql.BY_TARGET, staging_sql.REPEATED)
    connection.execute(staging_sql.CONTRADICTIONS, (target,))
    connection.execute(staging_sql.DUPLICATES)


def _staged(connection: sqlite3.Connection, app_id: str, after: int, most: int) -> list[Staged]:
    found = connection.execute(
        """
        SELECT line, name, asked.kind, asked.argument, expected.kind, expected.argument
        FROM staged JOIN changes AS asked ON asked.id = change LEFT JOIN changes AS expected ON expected.id = expected
        WHERE fate = '' AND app = (SELECT id FROM apps WHERE app_id = ?) AND line > ? ORDER BY line LIMIT ?
        """,
        (app_id, after, most),
    )
    return [
        Staged(
            line,
            operation_of(Change(kind, argument), app_id, name),
            None if expected is None else operation_of(Change(expected, text), app_id, name),
        )
        for line, name, kind, argument, expected, text in found
    ]


def _finish(connection: sqlite3.Connection, facts: JobFacts, measures: Measures) -> None:
    waves = facts.options.waves
    connection.executemany(
        "INSERT INTO waves (number, numerator, denominator) VALUES (?, ?, ?)",
        ((number, share.numerator, share.denominator) for number, share in enumerate(waves, 1)),
    )
    turns: defaultdict[int, Iterator[int]] = defaultdict(partial(count, 1))
    connection.create_function("turn_of", 1, lambda app: next(turns[app]))
    _execute(connection, *(staging_sql.QUEUE_IN_WAVES if waves else staging_sql.QUEUE))
    _execute(connection, schema.OTHERS, schema.PLAN_IN_WAVES if waves else schema.PLAN, schema.LAST_OF_WAVES)
    write_facts(connection, facts)
    end_run(connection, begin_run(connection, measures), Ended.PLANNED, measures)


def _columns(former: FormerState) -> tuple[str, str | None]:
    return former.known, former.value


_ADD = "INSERT INTO staged (line, name, app, change) VALUES (?, ?, ?, ?)"
_ADD_ROW = """
    INSERT INTO staged (line, app, name, change, expected, fate, cause, details, places) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_ADD_ALIKE = "INSERT INTO staged (line, name, app, change) SELECT ?1 + key, value, ?2, ?3 FROM json_each(?4)"
# The app of each row is passed as one character of four bytes. SQLite finds it by position, without counting characters.
_FIRST_CHARACTER = 0x10000
_MOST_AT_ONCE = 0x100000
_ADD_OF_APPS = f"""
    INSERT INTO staged (line, name, app, change)
    SELECT ?1 + key, value, unicode(substr(?2, 4 * key + 1, 4)) - {_FIRST_CHARACTER}, ?3 FROM json_each(?4)
"""
_REJECT = """
    UPDATE staged SET fate = 'rejected', cause = ?1, details = ?2, places = ?3
    WHERE fate = '' AND app = ?4 AND (?5 IS NULL OR change = ?5)
"""


def _observe(connection: sqlite3.Connection, app: int, devices: Iterable[tuple[str, str | None]]) -> None:
    connection.executemany(
        "INSERT OR REPLACE INTO inventory VALUES (?, ?, ?)", ((app, device, channel) for device, channel in devices)
    )


def _rejected(connection: sqlite3.Connection, after: int, most: int) -> list[tuple[int, Reason]]:
    rows = connection.execute(
        """
        SELECT line, cause, details, places FROM staged WHERE fate = 'rejected' AND line > ?1 UNION ALL
        SELECT line, cause, details, places FROM others WHERE fate = 'rejected' AND line > ?1
        ORDER BY line LIMIT ?2
        """,
        (after, most),
    )
    return [(line, schema.reason_of(*columns)) for line, *columns in rows]


def _by_app(connection: sqlite3.Connection, statements: Iterable[str], bound: tuple[bool, ...]) -> dict[str, int]:
    return {app_id: devices for statement in statements for app_id, devices in connection.execute(statement, bound)}
