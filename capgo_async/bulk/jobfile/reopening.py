"""Failed operations become open again: functions of a connection, as in `records`."""

import sqlite3

from ..runner import AMBIGUOUS, CHANGED_SINCE, HALF_DONE
from .schema import TAKEN, Outcome, Which


def count_open(connection: sqlite3.Connection, which: Which) -> int:
    """Return how many operations a run would send; what failed counts where it is to be sent again."""
    settled = Outcome.FAILED if which is Which.FAILED else None
    (count,) = connection.execute(
        f"SELECT count(*) FROM operations WHERE outcome <= ? {TAKEN[which]} OR outcome IS ?", (Outcome.SENT, settled)
    ).fetchone()
    return int(count)


def reopen_failed(connection: sqlite3.Connection) -> None:
    """Make failed operations open again; one that may have happened, or met what others did, is in doubt then.

    They keep the number of the run that they failed in: by it a run finds them among all that is open.
    """
    connection.execute(
        f"""
        UPDATE operations SET
            outcome = CASE WHEN cause IN (?, ?, ?) THEN {Outcome.SENT} ELSE {Outcome.PENDING} END,
            cause = NULL, status = NULL, message = NULL, request_id = NULL
        WHERE outcome = {Outcome.FAILED}
        """,
        (AMBIGUOUS, CHANGED_SINCE, HALF_DONE),
    )
