"""Staging of a new job: rows are compared with each other and the inventory, then planned, in SQL.

Longer than 300 lines because rows arrive both as columns and one by one, and all methods share the same counts of rows.
"""

import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import count, repeat
from operator import itemgetter
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

import msgspec

from ..operations.kinds import KINDS
from ..operations.operations import (
    Change,
    Former,
    FormerState,
    Operation,
    Row,
    change_of,
    no_way_back,
    operation_of,
    why_no_way_back,
)
from ..operations.reasons import Cause, Reason
from ..report import Ended
from ..sources.blocks import Block, Columns
from ..spreading import PAGE
from ..storage.database import Database, Mode, transaction
from ..storage.exported import Exported, devices_exported
from . import schema, staging_sql
from .facts import JobFacts, Pair, Survey, write_facts
from .records import Measures, note_run

Place = tuple[int, int, int, int, str | None]
"""What rows are counted by: app, change, whether a state is expected, whether shown, and the channel.

The app and the change are numbers in the file. The inventory shows the device or not, and with its channel.
"""


_UUID_LENGTH: Final = 36


class Staged(NamedTuple):
    """One row that is still to be planned."""

    line: int
    operation: Operation
    expected: Operation | None


class Assessment(NamedTuple):
    """The result of looking at a row's target.

    An empty `fate` plans `operation`, which may have more fields filled in than the row's.
    """

    line: int
    fate: str
    reason: Reason | None
    operation: Operation
    former: FormerState


class Moved(NamedTuple):
    """A channel whose linked devices, `devices` in number, all move to the channel `goal`."""

    app_id: str
    channel: str
    goal: str
    devices: int


class Found(NamedTuple):
    """How many custom ids were looked for, how many of them one device has, and some of these devices."""

    asked: int
    found: int
    named: list[tuple[str, str]]


class Doubt(NamedTuple):
    """The links that an app has shown, and the devices to change that may have one that was not shown."""

    links: int
    devices: int


class Staging:
    """The rows of a job that is not planned yet, in the job's file under a temporary name.

    Nothing here needs to survive a crash: the job exists once the file has its final name.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        self._apps: dict[str, int] = {}
        self._changes: dict[Change, int] = {}
        self._knows = False
        self._places: Counter[Place] = Counter()
        self._counted_at = 0
        self._other_lengths = False
        """Whether any name is longer or shorter than a UUID."""

    @classmethod
    async def create(cls, path: Path) -> Self:
        database = Database(path, Mode.CREATE)
        try:
            await database.configure(
                "PRAGMA journal_mode = OFF",
                "PRAGMA synchronous = OFF",
                "PRAGMA temp.journal_mode = OFF",
                f"PRAGMA application_id = {schema.APPLICATION_ID}",
                f"PRAGMA user_version = {schema.FORMAT}",
            )
            await database.run(_execute, *schema.TABLES, *staging_sql.TABLES)
        except BaseException:
            await database.aclose()
            raise
        return cls(database)

    @transaction
    def add(self, connection: sqlite3.Connection, block: Block) -> None:
        """Stage rows. Bad rows carry their reasons."""
        places: Counter[Place] = Counter()
        for columns in block.columns:
            self._add_columns(connection, columns, places)
        bad = [(row.line, "rejected", *schema.columns_of(row.reason)) for row in block.rows if row.operation is None]
        connection.executemany("INSERT INTO others (line, fate, cause, details, places) VALUES (?, ?, ?, ?, ?)", bad)
        connection.executemany(staging_sql.ADD_ROW, self._staged(connection, block.rows, places))
        self._places += places
        self._counted_at = connection.total_changes

    @transaction
    def wanted(self, connection: sqlite3.Connection) -> dict[str, int]:
        """Return how many custom ids the rows of each app name."""
        connection.execute(staging_sql.WANTED_BY_ID)
        counting = "SELECT app_id, count(DISTINCT custom_id) FROM wanted JOIN apps ON apps.id = app GROUP BY app"
        return dict(connection.execute(counting).fetchall())

    @transaction
    def wanted_of(self, connection: sqlite3.Connection, app_id: str, after: str, most: int) -> list[str]:
        """Return up to `most` custom ids after `after` that rows of an app name."""
        statement = "SELECT DISTINCT custom_id FROM wanted WHERE app = ? AND custom_id > ? ORDER BY custom_id LIMIT ?"
        return [custom_id for (custom_id,) in connection.execute(statement, (self._apps[app_id], after, most))]

    @transaction
    def add_bearers(self, connection: sqlite3.Connection, app_id: str, devices: Iterable[tuple[str, str]]) -> None:
        """Record devices of an app, each as custom id and device id. Those that no row wants are ignored."""
        app = self._apps[app_id]
        connection.executemany(staging_sql.ADD_BEARER, ((app, *device) for device in devices))

    @transaction
    def add_known_bearers(self, connection: sqlite3.Connection, app_id: str) -> None:
        """Record the devices in the attached inventory that have a wanted custom id."""
        connection.execute(staging_sql.ADD_KNOWN_BEARERS, (self._apps[app_id], app_id))

    @transaction
    def reject_wanted(self, connection: sqlite3.Connection, app_id: str, reason: Reason) -> None:
        """Reject all rows of an app that name their device by its custom id."""
        connection.execute(staging_sql.REJECT_WANTED, (*schema.columns_of(reason), self._apps[app_id]))
        connection.execute(staging_sql.FORGET_WANTED, (self._apps[app_id],))

    @transaction
    def stage_wanted(self, connection: sqlite3.Connection, most: int) -> Found:
        """Stage the rows whose custom id one device has, and reject the others. Name up to `most` devices."""
        _execute(connection, *staging_sql.STAGE_WANTED)
        asked, found = connection.execute(staging_sql.FOUND).fetchone()
        return Found(asked, found or 0, connection.execute(staging_sql.NAMED_FOUND, (most,)).fetchall())

    @transaction
    def odd_names(self, connection: sqlite3.Connection, most: int) -> tuple[int, list[tuple[int, str]]]:
        """Return how many device ids to plan are not UUIDs, and up to `most` of them, each with its line."""
        if not self._other_lengths:
            return 0, []
        (number,) = connection.execute(f"SELECT count(*) {staging_sql.ODD_NAMES}").fetchone()
        shown = connection.execute(f"SELECT line, name {staging_sql.ODD_NAMES} ORDER BY line LIMIT ?", (most,))
        return number, shown.fetchall()

    @transaction
    def scanned(self, connection: sqlite3.Connection) -> dict[str, bool]:
        """Return the apps whose listing was closed, each with whether it showed a link."""
        return {app_id: bool(linked) for app_id, linked in connection.execute(staging_sql.SCANNED)}

    @transaction
    def compare_rows(self, connection: sqlite3.Connection) -> None:
        """Reject rows that contradict each other, and skip duplicates."""
        found = connection.execute("SELECT kind FROM staged JOIN changes ON changes.id = change LIMIT 1").fetchone()
        target = KINDS[found[0]].target if found else "target"
        _execute(connection, staging_sql.BY_TARGET, staging_sql.REPEATED)
        connection.execute(staging_sql.CONTRADICTIONS, (target,))
        connection.execute(staging_sql.DUPLICATES)

    @transaction
    def protect(self, connection: sqlite3.Connection, channels: Sequence[str], by: str) -> None:
        """Reject rows that change a protected channel or link devices to it.

        Each of `channels` is `NAME` or `APP/NAME`; `by` is where they are set.
        """
        connection.execute(schema.PROTECTED, (msgspec.json.encode(channels).decode(), by))

    @transaction
    def pairs(self, connection: sqlite3.Connection) -> list[Pair]:
        """Return every combination of an app and a change that staged rows ask for."""
        apps, changes = self._app_ids(), _changes(connection)
        counts: Counter[tuple[int, int, bool]] = Counter()
        for (app, change, expecting, *_), rows in self._counted(connection).items():
            counts[app, change, bool(expecting)] += rows
        return [Pair(apps[app], changes[change], rows, expecting=expects) for (app, change, expects), rows in counts.items()]

    @transaction
    def reject(self, connection: sqlite3.Connection, app_id: str, change: Change | None, reason: Reason) -> None:
        """Reject all rows of an app, or only those that ask for `change`."""
        number = None if change is None else self._changes[change]
        connection.execute(staging_sql.REJECT, (*schema.columns_of(reason), self._apps[app_id], number))

    @transaction
    def observe(self, connection: sqlite3.Connection, app_id: str, devices: Sequence[tuple[str, str | None]]) -> None:
        """Record the devices that one response of the app shows, each with its channel."""
        app, proven = self._apps[app_id], any(channel is not None for _, channel in devices)
        connection.executemany(staging_sql.OBSERVE, ((app, *device, proven) for device in devices))

    @transaction
    def not_reached(self, connection: sqlite3.Connection, app_id: str, most: int) -> list[str]:
        """Return up to `most` devices to change that no response has shown."""
        return [name for (name,) in connection.execute(staging_sql.NOT_REACHED, (self._apps[app_id], most))]

    @transaction
    def close_scan(
        self, connection: sqlite3.Connection, app_id: str, *, complete: bool, saw_override: bool, hidden: bool = False
    ) -> None:
        """Record how far an app's last listing went, and whether it showed links or hid all devices."""
        statement = "INSERT OR REPLACE INTO scans (app, complete, unlinked, saw_override, hidden) VALUES (?, ?, ?, ?, ?)"
        connection.execute(statement, (self._apps[app_id], complete, Former.UNKNOWN, saw_override, hidden))

    async def know(self, inventory: str, base_url: str) -> Mapping[str, Exported]:
        """Attach an inventory of devices on disk, and return its record of each app.

        Raises `InputError` if the file is not an inventory, or is one of another server.
        """
        path = Path(inventory)
        found = await devices_exported(path, base_url)
        await self.database.attach(path, "known")
        self._knows = True
        return {app.app_id: app for app in found}

    @transaction
    def known_with_links(self, connection: sqlite3.Connection) -> frozenset[str]:
        """Return the apps of which the attached inventory shows a link."""
        return frozenset(app_id for (app_id,) in connection.execute(staging_sql.KNOWN_WITH_LINKS))

    @transaction
    def use_known(self, connection: sqlite3.Connection, app_id: str, *, complete: bool, hidden: bool) -> None:
        """Use the attached inventory as the listing of this app. `compare_with_inventory` compares."""
        connection.execute(staging_sql.SCAN_OF_KNOWN, (app_id, complete, hidden))

    @transaction
    def find_shown(self, connection: sqlite3.Connection) -> dict[str, Doubt]:
        """Find the rows whose device the inventory shows, and return the apps that may have hidden links."""
        if connection.execute("SELECT 1 FROM inventory LIMIT 1").fetchone():
            connection.execute(staging_sql.SHOWN_LISTED)
        if self._knows:
            connection.execute(staging_sql.SHOWN_KNOWN)
        rows = Counter(connection.execute(staging_sql.DOUBTFUL))
        used = {app for (app,) in connection.execute("SELECT app FROM scans WHERE known IS NOT NULL")}
        doubts: dict[str, Doubt] = {}
        for app, app_id in sorted(self._app_ids().items(), key=itemgetter(1)):
            if rows[app, True] or rows[app, False]:
                (links,) = connection.execute(staging_sql.LINKS_SHOWN, (app,)).fetchone()
                doubts[app_id] = Doubt(links, 0 if app in used else rows[app, True])
        return doubts

    @transaction
    def shows_links(self, connection: sqlite3.Connection) -> bool:
        """Return whether a page of any app showed a link. Look-ups of single devices do not count."""
        return connection.execute("SELECT 1 FROM scans WHERE saw_override LIMIT 1").fetchone() is not None

    @transaction
    def settle_unlinked(self, connection: sqlite3.Connection, app_id: str, former: Former, *, linkless: bool) -> None:
        """Record the former state of devices in doubt, and whether all links of the app were shown."""
        connection.execute(staging_sql.SET_UNLINKED, (app_id, former, linkless))

    @transaction
    def compare_with_inventory(self, connection: sqlite3.Connection) -> None:
        """Skip rows whose device already is as wanted, or was changed by others, as the inventory shows."""
        kinds = {kind for (kind,) in connection.execute("SELECT DISTINCT kind FROM changes")}
        if "link_device" in kinds:
            connection.execute(staging_sql.ALREADY_LINKED)
        if "unlink_device" in kinds:
            connection.execute(staging_sql.ALREADY_UNLINKED)
        if "renew_device" in kinds:
            _execute(connection, *staging_sql.RENEWALS)
        if connection.execute("SELECT 1 FROM staged WHERE expected IS NOT NULL LIMIT 1").fetchone():
            _execute(connection, *staging_sql.CHANGED_SINCE)

    @transaction
    def staged(self, connection: sqlite3.Connection, app_id: str, after: int, most: int) -> list[Staged]:
        """Return up to `most` rows of an app after the line `after` that are still to be planned."""
        found = connection.execute(
            """
            SELECT line, name, asked.kind, asked.argument, expected.kind, expected.argument
            FROM staged JOIN changes AS asked ON asked.id = change LEFT JOIN changes AS expected ON expected.id = expected
            WHERE fate = '' AND app = ? AND line > ? ORDER BY line LIMIT ?
            """,
            (self._apps[app_id], after, most),
        )
        return [
            Staged(
                line,
                operation_of(Change(kind, argument), app_id, name),
                None if expected is None else operation_of(Change(expected, text), app_id, name),
            )
            for line, name, kind, argument, expected, text in found
        ]

    @transaction
    def settle(self, connection: sqlite3.Connection, assessments: Sequence[Assessment]) -> None:
        """Record the results of looking at the targets of rows."""
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
                    found.former.known,
                    found.former.value,
                    found.line,
                )
                for found in assessments
            ),
        )

    @transaction
    def moved_together(self, connection: sqlite3.Connection, most: int) -> list[Moved]:
        """Return up to `most` channels whose devices all move to one other channel, the largest first.

        Rows of an undo do not count.
        """
        apps, changes = self._app_ids(), _changes(connection)
        goals: dict[tuple[int, str], Counter[str]] = {}
        for (app, change, expecting, _, channel), rows in self._counted(connection).items():
            if channel is not None and changes[change].kind == "link_device" and not expecting:
                goals.setdefault((app, channel), Counter())[changes[change].argument] += rows
        known: dict[int, str | None] = dict(connection.execute("SELECT app, known FROM scans WHERE complete").fetchall())
        moved: list[Moved] = []
        for (app, channel), wanted in sorted(goals.items(), key=lambda goal: (-goal[1].total(), apps[goal[0][0]], goal[0][1])):
            devices = wanted.total()
            if app not in known or len(wanted) > 1 or devices == 1:
                continue
            statement = staging_sql.LINKED if known[app] is None else staging_sql.LINKED_KNOWN
            if connection.execute(statement, (app, channel)).fetchone() == (devices,):
                (goal,) = wanted
                moved.append(Moved(apps[app], channel, goal, devices))
                if len(moved) == most:
                    break
        return moved

    @transaction
    def unknown(self, connection: sqlite3.Connection) -> int:
        """Return how many staged devices no complete inventory shows."""
        complete = {app for (app,) in connection.execute("SELECT app FROM scans WHERE complete")}
        places = self._counted(connection).items()
        return sum(rows for (app, _, _, shown, _), rows in places if app in complete and not shown)

    @transaction
    def skip_unknown(self, connection: sqlite3.Connection) -> None:
        connection.execute(staging_sql.UNKNOWN_DEVICES)

    @transaction
    def skip_renewals(self, connection: sqlite3.Connection) -> None:
        """Skip all rows that renew a link."""
        connection.execute(staging_sql.NEEDLESS_RENEWALS)

    @transaction
    def rejected(self, connection: sqlite3.Connection, after: int, most: int) -> list[tuple[int, Reason]]:
        """Return up to `most` rejected rows after the line `after`, each as line and reason."""
        rows = connection.execute(
            """
            SELECT line, cause, details, places FROM staged WHERE fate = 'rejected' AND line > ?1 UNION ALL
            SELECT line, cause, details, places FROM others WHERE fate = 'rejected' AND line > ?1
            ORDER BY line LIMIT ?2
            """,
            (after, most),
        )
        return [(line, schema.reason_of(*columns)) for line, *columns in rows]

    async def survey(self) -> Survey:
        """Return what planning saw, and what is left to plan."""
        seen = await self._seen()
        planned = await self.pairs()
        rows: Counter[str] = Counter()
        for pair in planned:
            rows[pair.app_id] += pair.rows
        return Survey(
            unknown=await self.unknown(),
            listed={app_id: devices for app_id, complete, devices, _ in seen if complete},
            listed_in_part={app_id: max(devices, rows[app_id] * PAGE) for app_id, complete, devices, _ in seen if not complete},
            linked={app_id: linked for app_id, _, _, linked in seen},
            planned=tuple(planned),
        )

    async def finish(self, facts: JobFacts, measures: Measures) -> None:
        """Plan the rows that are left, store `facts` and `measures`, and close the file."""
        await self.database.run(_plan, facts, measures)
        # Make the file durable, and set the journal mode that runs use.
        await self.database.configure("PRAGMA main.synchronous = FULL")
        await self.database.log_ahead()
        await self.database.aclose()

    @transaction
    def _seen(self, connection: sqlite3.Connection) -> list[tuple[str, int, int, int]]:
        statements = (staging_sql.SEEN, staging_sql.SEEN_KNOWN) if self._knows else (staging_sql.SEEN,)
        return [row for statement in statements for row in connection.execute(statement)]

    def _add_columns(self, connection: sqlite3.Connection, columns: Columns, places: Counter[Place]) -> None:
        form, lines, names, app_ids, arguments = columns
        self._other_lengths |= set(map(len, names)) != {_UUID_LENGTH}
        # Numbered in the order of their first rows, which is also the order of sending.
        apps = {app_id: self._app(connection, app_id) for app_id in dict.fromkeys(app_ids)}
        # A change is the same for every target.
        changes = {text: self._change(connection, form.make("", "", text)) for text in dict.fromkeys(arguments)}
        if form.by_custom_id:
            wanted = zip(lines, names, map(apps.__getitem__, app_ids), map(changes.__getitem__, arguments), strict=True)
            connection.executemany(staging_sql.ADD_WANTED, wanted)
        elif isinstance(lines, range) and len(changes) == 1 and len(self._apps) < staging_sql.MOST_AT_ONCE:
            # One statement for all rows: each row of an `executemany` is a switch between threads.
            (change,) = changes.values()
            told = msgspec.json.encode(names).decode()
            if len(apps) == 1:
                connection.execute(staging_sql.ADD_ALIKE, (lines[0], *apps.values(), change, told))
            else:
                characters = {app_id: chr(staging_sql.FIRST_CHARACTER + number) for app_id, number in apps.items()}
                of_apps = "".join(map(characters.__getitem__, app_ids)).encode()
                connection.execute(staging_sql.ADD_OF_APPS, (lines[0], of_apps, change, told))
            places.update({(apps[app_id], change, 0, 0, None): rows for app_id, rows in Counter(app_ids).items()})
        else:
            numbers = [apps[app_id] for app_id in app_ids], [changes[text] for text in arguments]
            connection.executemany(staging_sql.ADD, zip(lines, names, *numbers, strict=True))
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
            if row.custom_id is not None:
                connection.execute(staging_sql.ADD_WANTED, (row.line, row.custom_id, app, change))
                continue
            self._other_lengths |= len(target.name) != _UUID_LENGTH
            if not row.skipped:
                places[app, change, int(expected is not None), 0, None] += 1
            yield row.line, app, target.name, change, expected, fate, *schema.columns_of(row.reason)

    def _counted(self, connection: sqlite3.Connection) -> Counter[Place]:
        """Return the number of rows to plan for each place, in the order of its first line.

        They are counted again only after the file has changed. SQLite would sort all rows for a GROUP BY; counting the rows
        of one pass in Python takes a third of that time.
        """
        if self._counted_at != connection.total_changes:
            self._places = Counter(connection.execute(staging_sql.PLACES))
            self._counted_at = connection.total_changes
        return self._places

    def _app_ids(self) -> dict[int, str]:
        return {number: app_id for app_id, number in self._apps.items()}

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


def _execute(connection: sqlite3.Connection, *statements: str) -> None:
    for statement in statements:
        connection.execute(statement)


def _changes(connection: sqlite3.Connection) -> dict[int, Change]:
    found = connection.execute("SELECT id, kind, argument FROM changes")
    return {number: Change(kind, argument) for number, kind, argument in found}


def _plan(connection: sqlite3.Connection, facts: JobFacts, measures: Measures) -> None:
    waves = facts.options.waves
    connection.executemany(
        "INSERT INTO waves (number, numerator, denominator) VALUES (?, ?, ?)",
        ((number, share.numerator, share.denominator) for number, share in enumerate(waves, 1)),
    )
    turns: defaultdict[int, Iterator[int]] = defaultdict(partial(count, 1))
    connection.create_function("turn_of", 1, lambda app: next(turns[app]))
    _execute(connection, *(staging_sql.QUEUE_IN_WAVES if waves else staging_sql.QUEUE))
    _execute(connection, schema.OTHERS, schema.PLAN_IN_WAVES if waves else schema.PLAN, schema.TALLIED, schema.LAST_OF_WAVES)
    write_facts(connection, msgspec.structs.replace(facts, no_way_back=_without_way_back(connection)))
    note_run(connection, Ended.PLANNED, measures)


def _without_way_back(connection: sqlite3.Connection) -> tuple[tuple[Reason, int], ...]:
    """Count the planned operations that nothing can undo, for each reason, the most common one first."""
    found = connection.execute(
        """
        SELECT iif(kind = 'renew_device', ?, former_value) FROM operations JOIN changes ON changes.id = change
        WHERE former = 'unknown' OR kind = 'renew_device' ORDER BY operations.id
        """,
        (no_way_back(Cause.RENEWED).value,),
    )
    counts = Counter(why for (why,) in found)
    return tuple((why_no_way_back(FormerState(Former.UNKNOWN, why)), rows) for why, rows in counts.most_common())
