"""Planned operations, each with what the plan saw of its target.

Each function takes a connection and is part of a transaction, as in `records`.
"""

import sqlite3
from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from ..operations.kinds import KINDS, InDoubt
from ..operations.operations import Change, Former, FormerState, Operation, Target, change_of, operation_of
from ..operations.results import AMBIGUOUS, HALF_DONE, NOT_APPLIED
from .schema import Outcome, Verdict

OF_APP: Final = "app = (SELECT id FROM apps WHERE app_id = ?)"


class Seen(NamedTuple):
    """A planned operation, what the plan saw of its target, and whether it is done.

    `id` is its number in the job file, `line` the line of its row in the source.
    """

    id: int
    line: int
    operation: Operation
    former: FormerState
    done: bool


def seen_of(connection: sqlite3.Connection, after: int, most: int) -> list[Seen]:
    """Return up to `most` operations with ids above `after`."""
    return _seen(connection, "operations.id > ?", after, most=most)


def pending_of(connection: sqlite3.Connection, app_id: str, after: int, most: int) -> list[Seen]:
    return _seen(connection, f"{OF_APP} AND operations.id > ? AND outcome <= ?", app_id, after, Outcome.SENT, most=most)


def index_names(connection: sqlite3.Connection) -> None:
    """Create the index that finds operations by the name of their target. A run does without it."""
    connection.execute("CREATE INDEX IF NOT EXISTS operations_name ON operations (app, name)")


def pending_among(connection: sqlite3.Connection, app_id: str, names: Sequence[str]) -> list[Seen]:
    shown = "json_each(?) AS shown JOIN operations ON name = shown.value"
    values = (msgspec.json.encode(names).decode(), app_id, Outcome.SENT)
    return _seen(connection, f"{OF_APP} AND outcome <= ?", *values, operations=shown)


# A change that the server dropped may have taken effect in part; a deletion cannot.
_TOUCHED: Final = f"""(
    outcome IN ({Outcome.SENT}, {Outcome.DONE}) OR outcome = {Outcome.FAILED} AND (
        cause IN ('{AMBIGUOUS}', '{HALF_DONE}') OR cause = '{NOT_APPLIED}' AND kind <> 'delete_channel'
    )
)"""


def touched(connection: sqlite3.Connection, after: int, most: int) -> list[Seen]:
    """Return up to `most` operations with ids above `after` that may have changed their targets."""
    return _seen(connection, f"{_TOUCHED} AND operations.id > ?", after, most=most)


def newly_linked(connection: sqlite3.Connection) -> list[tuple[str, int]]:
    """Return the apps where the plan may have missed links, and how many links the job may have added.

    Devices that the plan saw with a link do not count.
    """
    return connection.execute(
        f"""
        SELECT app_id, sum({_TOUCHED} AND former <> ?1)
        FROM operations JOIN apps ON apps.id = app JOIN changes ON changes.id = change
        WHERE kind = 'link_device' GROUP BY app HAVING sum(former = ?2) > 0 ORDER BY app_id
        """,
        (Former.CHANNEL, Former.SHOWN_UNLINKED),
    ).fetchall()


def with_verdict(connection: sqlite3.Connection, app_id: str, verdict: Verdict, after: int, most: int) -> list[Seen]:
    """Return up to `most` operations of an app with this verdict of the look, and ids above `after`."""
    condition = f"{OF_APP} AND looked.verdict = ? AND operations.id > ?"
    return _seen(connection, condition, app_id, verdict, after, operations="operations JOIN looked USING (id)", most=most)


def sent(connection: sqlite3.Connection) -> list[Seen]:
    """Return the operations that are in doubt: marked as sent, and not settled."""
    return _seen(connection, "outcome = ?", Outcome.SENT)


def in_doubt(connection: sqlite3.Connection) -> dict[Target, FormerState]:
    """Return what the plan saw of the targets of operations that are in doubt and not simply repeated."""
    return {
        each.operation.target: each.former
        for each in sent(connection)
        if KINDS[change_of(each.operation).kind].in_doubt is not InDoubt.REPEAT
    }


def _seen(
    connection: sqlite3.Connection, condition: str, *values: object, operations: str = "operations", most: int = -1
) -> list[Seen]:
    found = connection.execute(
        f"""
        SELECT operations.id, line, app_id, name, kind, argument, former, former_value, outcome
        FROM {operations} JOIN apps ON apps.id = app JOIN changes ON changes.id = change
        WHERE {condition} ORDER BY operations.id LIMIT ?
        """,
        (*values, most),
    )
    return [
        Seen(
            number,
            line,
            operation_of(Change(kind, argument), app_id, name),
            FormerState(Former(known), value),
            outcome == Outcome.DONE,
        )
        for number, line, app_id, name, kind, argument, known, value, outcome in found
    ]
