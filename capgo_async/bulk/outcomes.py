"""Every operation of a job with what came of it, for tables and spreadsheets: a function of a connection, as in `records`."""

import sqlite3
from collections.abc import Mapping
from typing import Final

import msgspec

from .operations import Former
from .schema import Outcome, Verdict

_OUTCOMES: Final[Mapping[int, str]] = {
    Outcome.PENDING: "pending",
    Outcome.SENT: "pending",
    Outcome.DONE: "done",
    Outcome.FAILED: "failed",
}


class OperationRow(msgspec.Struct, frozen=True, kw_only=True):
    """One planned operation and what came of it.

    `outcome` is `pending`, `done` or `failed`; `verdict` is of what is done; `run` is the number of the run that it came to its
    end in. What was not said is `None`.
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


def operations_of(connection: sqlite3.Connection, after: int, most: int) -> list[tuple[int, OperationRow]]:
    """Return up to `most` operations behind a number, each with its number."""
    rows = connection.execute(
        """
        SELECT operations.id, line, app_id, device, channels.name, outcome, cause, status, message, request_id, run, verdict,
            former, former_channel
        FROM operations JOIN apps ON apps.id = app LEFT JOIN channels ON channels.id = channel
        WHERE operations.id > ? ORDER BY operations.id LIMIT ?
        """,
        (after, most),
    )
    return [(row[0], _row(*row[1:])) for row in rows]


def _row(  # noqa: PLR0913, PLR0917 - a row of the table
    line: int,
    app_id: str,
    device: str,
    channel: str | None,
    outcome: int,
    cause: str | None,
    status: int | None,
    message: str | None,
    request_id: str | None,
    run: int | None,
    verdict: int,
    former: str,
    former_channel: str | None,
) -> OperationRow:
    return OperationRow(
        line=line,
        app_id=app_id,
        target=device,
        what="unlink" if channel is None else f"link to {channel}",
        outcome=_OUTCOMES[outcome],
        cause=cause,
        status=status,
        message=message,
        request_id=request_id,
        # What is open again keeps the number of the run that it failed in.
        run=run if outcome >= Outcome.DONE else None,
        verdict=Verdict(verdict).name.lower() if outcome == Outcome.DONE else None,
        former=_former(former, former_channel),
    )


def _former(known: str, channel: str | None) -> str:
    if known == Former.CHANNEL:
        return f"linked to {channel}"
    return "no link" if known == Former.NONE else "unknown"
