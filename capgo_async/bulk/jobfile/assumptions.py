"""What the plan saw of the targets of pending operations.

Each function takes a connection and is part of a transaction, as in `records`.
"""

import sqlite3
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from ..operations.operations import Change, Former, FormerState, Operation, operation_of
from ..report import Ended
from . import schema
from .records import Measures, begin_run, end_run
from .schema import Outcome, Which


class Assumed(NamedTuple):
    """A pending operation, its id, and what the plan saw of its target."""

    id: int
    operation: Operation
    former: FormerState


def assumed_of(connection: sqlite3.Connection, app_id: str, after: int, most: int) -> list[Assumed]:
    """Return up to `most` pending operations of an app with ids above `after`."""
    found = connection.execute(
        """
        SELECT operations.id, kind, argument, name, former, former_value
        FROM operations JOIN changes ON changes.id = change
        WHERE app = (SELECT id FROM apps WHERE app_id = ?) AND operations.id > ? AND outcome <= ?
        ORDER BY operations.id LIMIT ?
        """,
        (app_id, after, Outcome.SENT, most),
    )
    return [_assumed(app_id, *row) for row in found]


def find_by_name(connection: sqlite3.Connection) -> None:
    """Create the index that finds operations by the name of their target."""
    connection.execute(schema.BY_NAME)


def assumed_among(connection: sqlite3.Connection, app_id: str, names: Sequence[str]) -> list[Assumed]:
    """Return the pending operations on these targets of an app."""
    found = connection.execute(
        """
        SELECT operations.id, kind, argument, name, former, former_value
        FROM json_each(?) AS shown
        JOIN operations ON app = (SELECT id FROM apps WHERE app_id = ?) AND name = shown.value
        JOIN changes ON changes.id = change
        WHERE outcome <= ? ORDER BY operations.id
        """,
        (msgspec.json.encode(names).decode(), app_id, Outcome.SENT),
    )
    return [_assumed(app_id, *row) for row in found]


def still_protected(connection: sqlite3.Connection, channels: Sequence[str], which: Which) -> list[tuple[str, str]]:
    """Return those of `channels` that unsent operations change or link devices to, each as app and name."""
    also = Outcome.FAILED if which is Which.FAILED else Outcome.PENDING
    return connection.execute(schema.STILL_PROTECTED, (Outcome.SENT, msgspec.json.encode(channels).decode(), also)).fetchall()


def note_look(connection: sqlite3.Connection, measures: Measures) -> None:
    """Record a finished drift check as a run. A check that was cut off leaves no record."""
    end_run(connection, begin_run(connection, measures), Ended.COMPARED, measures)


def _assumed(app_id: str, number: int, kind: str, argument: str, name: str, *former: str) -> Assumed:
    known, value = former
    return Assumed(number, operation_of(Change(kind, argument), app_id, name), FormerState(Former(known), value))
