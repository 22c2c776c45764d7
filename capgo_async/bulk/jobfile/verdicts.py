"""Verdicts of fresh listings on operations that are done.

Each function takes a connection and is part of a transaction.
"""

import sqlite3
from collections.abc import Sequence
from typing import Final

from ..operations.operations import Change, Planned, operation_of
from . import schema
from .schema import Outcome, Verdict

_OF_APP: Final = f"outcome = {Outcome.DONE} AND app = (SELECT id FROM apps WHERE app_id = ?)"


def done_by_app(connection: sqlite3.Connection, *, contradicted: bool) -> list[tuple[str, str, int]]:
    """Return how many operations of each app and kind are done, or only the contradicted ones."""
    return connection.execute(
        f"""
        SELECT app_id, kind, count(*) FROM operations JOIN apps ON apps.id = app JOIN changes ON changes.id = change
        WHERE outcome = {Outcome.DONE} AND (NOT ? OR verdict = {Verdict.CONTRADICTED}) GROUP BY app, kind ORDER BY app_id
        """,
        (contradicted,),
    ).fetchall()


def begin(connection: sqlite3.Connection, app_id: str) -> None:
    """Reset the verdicts of an app, and create the index that finds its operations by name."""
    connection.execute(schema.BY_NAME)
    connection.execute(f"UPDATE operations SET verdict = {Verdict.UNCHECKED} WHERE {_OF_APP}", (app_id,))


def judge(connection: sqlite3.Connection, app_id: str, shown: Sequence[tuple[str, str | None]]) -> None:
    """Compare done operations of an app with listed devices, each given with its channel."""
    connection.executemany(
        f"""
        UPDATE operations
        SET verdict = CASE
            WHEN ?1 IS NULL THEN {Verdict.SHOWN_UNLINKED}
            WHEN (SELECT iif(kind = 'unlink_device', NULL, argument) FROM changes WHERE changes.id = change) IS ?1
                THEN {Verdict.VERIFIED}
            ELSE {Verdict.CONTRADICTED} END
        WHERE outcome = {Outcome.DONE} AND app = (SELECT id FROM apps WHERE app_id = ?2) AND name = ?3
        """,
        ((channel, app_id, device) for device, channel in shown),
    )


def close(connection: sqlite3.Connection, app_id: str, *, saw_override: bool) -> None:
    """Settle the verdict of devices that were listed without a link.

    A listing that shows no link at all proves nothing about them (contract C7).
    """
    unlinked = "SELECT id FROM changes WHERE kind = 'unlink_device'"
    meaning = str(int(Verdict.CANNOT_TELL))
    if saw_override:
        meaning = f"iif(change IN ({unlinked}), {Verdict.VERIFIED}, {Verdict.CONTRADICTED})"
    connection.execute(
        f"UPDATE operations SET verdict = {meaning} WHERE {_OF_APP} AND verdict = {Verdict.SHOWN_UNLINKED}", (app_id,)
    )


def with_verdict(connection: sqlite3.Connection, app_id: str, verdict: Verdict, after: int, most: int) -> list[Planned]:
    """Return up to `most` done operations of an app with this verdict and ids above `after`."""
    found = connection.execute(
        f"""
        SELECT operations.id, name, kind, argument FROM operations JOIN changes ON changes.id = change
        WHERE {_OF_APP} AND verdict = ? AND operations.id > ? ORDER BY operations.id LIMIT ?
        """,
        (app_id, verdict, after, most),
    )
    return [Planned(number, operation_of(Change(kind, argument), app_id, name)) for number, name, kind, argument in found]


def settle(connection: sqlite3.Connection, verdicts: Sequence[tuple[int, Verdict]]) -> None:
    """Record verdicts, each for the operation with that id."""
    connection.executemany("UPDATE operations SET verdict = ?2 WHERE id = ?1", verdicts)


def end(connection: sqlite3.Connection, app_id: str) -> None:
    """Set the verdict of operations that are still unchecked to "cannot tell"."""
    connection.execute(
        f"UPDATE operations SET verdict = {Verdict.CANNOT_TELL} WHERE {_OF_APP} AND verdict = {Verdict.UNCHECKED}", (app_id,)
    )
