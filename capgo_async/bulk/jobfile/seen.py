"""What the plan saw of every target, and what was done since, for a rehearsal.

Each function takes a connection and is part of a transaction, as in `records`.
"""

import contextlib
import sqlite3
from pathlib import Path
from typing import NamedTuple

from ..operations.operations import Change, Former, FormerState, Operation, operation_of
from .schema import Outcome


class Seen(NamedTuple):
    """A planned operation, its id, what the plan saw of its target, and whether it is done."""

    id: int
    operation: Operation
    former: FormerState
    done: bool


def seen_of(connection: sqlite3.Connection, after: int, most: int) -> list[Seen]:
    """Return up to `most` operations with ids above `after`."""
    found = connection.execute(
        """
        SELECT operations.id, app_id, name, kind, argument, former, former_value, outcome
        FROM operations JOIN apps ON apps.id = app JOIN changes ON changes.id = change
        WHERE operations.id > ? ORDER BY operations.id LIMIT ?
        """,
        (after, most),
    )
    return [
        Seen(
            number,
            operation_of(Change(kind, argument), app_id, name),
            FormerState(Former(known), value),
            outcome == Outcome.DONE,
        )
        for number, app_id, name, kind, argument, known, value, outcome in found
    ]


def copy(connection: sqlite3.Connection, path: Path) -> None:
    """Copy the file as it is now. Other processes may write to it meanwhile."""
    with contextlib.closing(sqlite3.connect(path)) as target:
        connection.backup(target)
