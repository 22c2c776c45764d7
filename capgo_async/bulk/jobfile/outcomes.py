"""Every operation of a job with its outcome, for tables and spreadsheets.

Each function takes a connection and is part of a transaction, as in `records`.
"""

import sqlite3
from collections.abc import Mapping
from typing import Final

import msgspec

from ..operations.kinds import describe
from ..operations.operations import Change, Former, FormerState, restoring
from .schema import Outcome, Verdict

_OUTCOMES: Final[Mapping[int, str]] = {
    Outcome.PENDING: "pending",
    Outcome.SENT: "pending",
    Outcome.DONE: "done",
    Outcome.FAILED: "failed",
}


class OperationRow(msgspec.Struct, frozen=True, kw_only=True):
    """One planned operation and what came of it.

    `outcome` is `pending`, `done` or `failed`. `run` is the number of the run that settled the operation. Only done operations
    have a `verdict`. `custom_id` is the one by which the row names its device. Fields without a value are `None`.
    """

    line: int
    app_id: str
    target: str
    what: str
    outcome: str
    cause: str | None
    status: int | None
    message: str | None
    request_id: str | None
    run: int | None
    verdict: str | None
    former: str
    custom_id: str | None


def operations_of(connection: sqlite3.Connection, after: int, most: int) -> list[tuple[int, OperationRow]]:
    """Return up to `most` operations with ids above `after`, each with its id."""
    rows = connection.execute(
        """
        SELECT operations.id, line, app_id, name, kind, argument, outcome, cause, status, message, request_id, run, verdict,
            custom_id, former, former_value
        FROM operations JOIN apps ON apps.id = app JOIN changes ON changes.id = change LEFT JOIN custom_ids USING (line)
        WHERE operations.id > ? ORDER BY operations.id LIMIT ?
        """,
        (after, most),
    )
    return [
        (
            number,
            OperationRow(
                line=line,
                app_id=app_id,
                target=name,
                what=describe(Change(kind, argument)),
                outcome=_OUTCOMES[outcome],
                cause=cause,
                status=status,
                message=message,
                request_id=request,
                # A reopened operation still has the number of the run that it failed in.
                run=run if outcome >= Outcome.DONE else None,
                verdict=Verdict(verdict).name.lower() if outcome == Outcome.DONE else None,
                former=_former(*more[1:]),
                custom_id=more[0],
            ),
        )
        for number, line, app_id, name, kind, argument, outcome, cause, status, message, request, run, verdict, *more in rows
    ]


def _former(known: str, value: str | None) -> str:
    former = FormerState(Former(known), value)
    match former.known:
        case Former.CHANNEL:
            return f"linked to {value}"
        case Former.NONE:
            return "no link"
        case Former.SHOWN_UNLINKED:
            return "no link shown"
        case Former.STATE:
            return f"undone by: {describe(restoring(former))}"
        case _:
            return "unknown"
