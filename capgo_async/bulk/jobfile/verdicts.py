"""Verdicts of fresh listings on operations that are done.

Each function takes a connection and is part of a transaction.
"""

import sqlite3
from collections.abc import Sequence
from typing import Final

from .schema import Outcome, Verdict
from .seen import OF_APP, index_names

_DONE_OF_APP: Final = f"outcome = {Outcome.DONE} AND {OF_APP}"


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
    index_names(connection)
    connection.execute(f"UPDATE operations SET verdict = {Verdict.UNCHECKED} WHERE {_DONE_OF_APP}", (app_id,))


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
        f"UPDATE operations SET verdict = {meaning} WHERE {_DONE_OF_APP} AND verdict = {Verdict.SHOWN_UNLINKED}", (app_id,)
    )


def settle(connection: sqlite3.Connection, verdicts: Sequence[tuple[int, Verdict]]) -> None:
    connection.executemany("UPDATE operations SET verdict = ?2 WHERE id = ?1", verdicts)


def end(connection: sqlite3.Connection, app_id: str) -> None:
    """Set the verdict of operations that are still unchecked to "cannot tell"."""
    left = f"{_DONE_OF_APP} AND verdict = {Verdict.UNCHECKED}"
    connection.execute(f"UPDATE operations SET verdict = {Verdict.CANNOT_TELL} WHERE {left}", (app_id,))
