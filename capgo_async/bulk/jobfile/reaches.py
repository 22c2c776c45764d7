"""The operations that a run takes from a job file, app by app.

Each function takes a connection and is part of a transaction, as in `records`.
"""

import sqlite3
from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from ..operations.operations import Change, Planned, operation_of
from ..operations.results import AMBIGUOUS, CHANGED_SINCE, HALF_DONE
from .schema import REOPENED, STILL_PROTECTED, TAKEN, Outcome, Verdict, Which

_ROWS: Final = msgspec.json.Decoder(list[tuple[int, str, str, str, str, int]])
_MOST_PARTS: Final = 100
"""Number of apps that one statement takes operations of. SQLite allows a few more."""


class Reach(NamedTuple):
    """The operations of one app that a run has yet to take: ids above `after`, up to `last`.

    `app` is the number of the app in the file.
    """

    app: int
    after: int
    last: int


def reaches(connection: sqlite3.Connection, after: int, last: int | None, which: Which) -> list[tuple[str, str, int, Reach]]:
    """Count the unsettled operations of each app and kind in a range of the file, and return their ids."""
    found = connection.execute(
        f"""
        SELECT app_id, kind, operations, app, first, last
        FROM (
            SELECT app, change, count(*) AS operations, min(id) AS first, max(id) AS last FROM operations
            WHERE id > ?1 AND id <= coalesce(?2, 9223372036854775807) AND outcome <= ?3 {TAKEN[which]}
            GROUP BY app, change
        ) JOIN apps ON apps.id = app JOIN changes ON changes.id = change
        ORDER BY first
        """,
        (after, last, Outcome.SENT),
    )
    return [(app_id, kind, operations, Reach(app, first - 1, last)) for app_id, kind, operations, app, first, last in found]


class Taken(NamedTuple):
    """The operations that a run takes.

    `sent_before` are the ids of those that an earlier process marked as sent and did not settle.
    """

    planned: list[Planned]
    sent_before: list[int]


def take(connection: sqlite3.Connection, wanted: Sequence[tuple[Reach, int]], which: Which) -> Taken:
    """Mark the next unsettled operations of each reach as sent, up to its number, and return them.

    Operations that an earlier process marked as sent are returned again. The caller decides what to do with them.
    """
    taken = Taken([], [])
    # One statement reads and one writes, because each statement costs a switch to the thread of the event loop.
    part = f"""
        SELECT * FROM (
            SELECT operations.id AS id, apps.app_id AS app_id, name, kind, argument, outcome
            FROM operations JOIN apps ON apps.id = app JOIN changes ON changes.id = change
            WHERE app = ? AND operations.id > ? AND operations.id <= ? AND outcome <= {Outcome.SENT} {TAKEN[which]}
            ORDER BY operations.id LIMIT ?
        )
    """
    for some in (wanted[first : first + _MOST_PARTS] for first in range(0, len(wanted), _MOST_PARTS)):
        found = " UNION ALL ".join([part] * len(some))
        (rows,) = connection.execute(
            f"SELECT json_group_array(json_array(id, app_id, name, kind, argument, outcome)) FROM ({found})",
            [value for reach, most in some for value in (*reach, most)],
        ).fetchone()
        for number, app_id, name, kind, argument, outcome in sorted(_ROWS.decode(rows)):
            taken.planned.append(Planned(number, operation_of(Change(kind, argument), app_id, name)))
            if outcome == Outcome.SENT:
                taken.sent_before.append(number)
    numbers = msgspec.json.encode([each.id for each in taken.planned]).decode()
    connection.execute(
        "UPDATE operations SET outcome = ? WHERE id IN (SELECT value FROM json_each(?)) AND outcome = ?",
        (Outcome.SENT, numbers, Outcome.PENDING),
    )
    return taken


def count_open(connection: sqlite3.Connection, which: Which) -> int:
    """Return how many operations a run would send, with the finished ones that it would send again."""
    (count,) = connection.execute(
        f"SELECT count(*) FROM operations WHERE outcome <= {Outcome.SENT} {TAKEN[which]} OR ({REOPENED[which]})"
    ).fetchone()
    return int(count)


def reopen(connection: sqlite3.Connection, which: Which) -> None:
    """Mark as open the finished operations that a run sends again.

    Failed ones become pending. Those that may have happened, or whose target others have changed, become in doubt instead, as
    do all that a listing contradicts. All keep the number of the run that settled them, which distinguishes them from other
    open operations.
    """
    connection.execute(
        f"""
        UPDATE operations SET
            outcome = CASE WHEN outcome = {Outcome.DONE} OR cause IN (?, ?, ?) THEN {Outcome.SENT} ELSE {Outcome.PENDING} END,
            verdict = {Verdict.UNCHECKED}, cause = NULL, status = NULL, message = NULL, request_id = NULL
        WHERE {REOPENED[which]}
        """,
        (AMBIGUOUS, CHANGED_SINCE, HALF_DONE),
    )


def still_protected(connection: sqlite3.Connection, channels: Sequence[str], which: Which) -> list[tuple[str, str]]:
    """Return those of `channels` that unsent operations change or link devices to, each as app and name."""
    return connection.execute(STILL_PROTECTED[which], (msgspec.json.encode(channels).decode(),)).fetchall()
