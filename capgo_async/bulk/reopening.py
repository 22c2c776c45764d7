"""Failed operations become open again: functions of a connection, as in `records`."""

import sqlite3
from collections.abc import Callable
from typing import Final

from .operations import Operation
from .records import failed_in_doubt
from .runner import AMBIGUOUS
from .schema import TAKEN, Outcome, Which

_CHUNK: Final = 1000
_REOPEN: Final = f"""
    UPDATE operations SET outcome = {Outcome.PENDING}, cause = NULL, status = NULL, message = NULL, request_id = NULL
    WHERE outcome = {Outcome.FAILED}
"""


def count_open(connection: sqlite3.Connection, which: Which) -> int:
    """Return how many operations a run would send; what failed counts where it is to be sent again."""
    settled = Outcome.FAILED if which is Which.FAILED else None
    (count,) = connection.execute(
        f"SELECT count(*) FROM operations WHERE outcome <= ? {TAKEN[which]} OR outcome IS ?", (Outcome.SENT, settled)
    ).fetchone()
    return int(count)


def reopen_failed(connection: sqlite3.Connection, may_run_again: Callable[[Operation], bool]) -> None:
    """Make failed operations open again; one that may have happened stays failed unless it `may_run_again`.

    They keep the number of the run that they failed in: by it a run finds them among all that is open.
    """
    connection.execute(f"{_REOPEN} AND cause IS NOT ?", (AMBIGUOUS,))
    last = 0
    while chunk := failed_in_doubt(connection, last, _CHUNK):
        last = chunk[-1].id
        connection.executemany(
            f"{_REOPEN} AND id = ?", [(planned.id,) for planned in chunk if may_run_again(planned.operation)]
        )
