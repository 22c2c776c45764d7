"""Counts of the staged rows that are still to be planned.

Each function takes a connection to the staging tables, as in `records`. SQLite sorts all rows for a GROUP BY; counting the rows
of one pass in Python takes a third of that time.
"""

import sqlite3
from collections import Counter

from ..operations.operations import Change
from . import staging_sql
from .stage import Moved, Pair

Place = tuple[int, int, int, int, str | None]
"""What rows are counted by: app, change, whether a state is expected, whether shown, and the channel.

The app and the change are numbers in the file. The inventory shows the device or not, and with its channel.
"""


class Census:
    """The number of rows to plan for each `Place`, recounted only after the staging tables have changed."""

    def __init__(self) -> None:
        self._rows: Counter[Place] = Counter()
        self._changes = 0

    def add(self, connection: sqlite3.Connection, rows: Counter[Place]) -> None:
        """Count rows that were just staged."""
        self._rows += rows
        self._changes = connection.total_changes

    def rows(self, connection: sqlite3.Connection) -> Counter[Place]:
        """Return the counts, in the order of the first line of each place."""
        if self._changes != connection.total_changes:
            self._rows = Counter(connection.execute(staging_sql.CENSUS))
            self._changes = connection.total_changes
        return self._rows


def pairs(connection: sqlite3.Connection, census: Census) -> list[Pair]:
    """Return every combination of an app and a change that rows ask for."""
    apps, changes = _apps(connection), _changes(connection)
    counts: Counter[tuple[int, int, bool]] = Counter()
    for (app, change, expecting, *_), rows in census.rows(connection).items():
        counts[app, change, bool(expecting)] += rows
    return [Pair(apps[app], changes[change], rows, expecting=expects) for (app, change, expects), rows in counts.items()]


def unknown(connection: sqlite3.Connection, census: Census) -> int:
    """Return how many rows name a device that a complete inventory does not show."""
    complete = {app for (app,) in connection.execute("SELECT app FROM scans WHERE complete")}
    return sum(rows for (app, _, _, shown, _), rows in census.rows(connection).items() if app in complete and not shown)


def moved_together(connection: sqlite3.Connection, census: Census, most: int) -> list[Moved]:
    """Return up to `most` channels whose devices all move to one other channel, the largest first."""
    apps, changes = _apps(connection), _changes(connection)
    goals: dict[tuple[int, str], Counter[str]] = {}
    for (app, change, _, _, channel), rows in census.rows(connection).items():
        if channel is not None and changes[change].kind == "link_device":
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


def _apps(connection: sqlite3.Connection) -> dict[int, str]:
    return dict(connection.execute("SELECT id, app_id FROM apps").fetchall())


def _changes(connection: sqlite3.Connection) -> dict[int, Change]:
    found = connection.execute("SELECT id, kind, argument FROM changes")
    return {number: Change(kind, argument) for number, kind, argument in found}
