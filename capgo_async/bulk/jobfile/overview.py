"""Counts for the picture of a job: operations by outcome, of each app, and from state to state.

Each function takes a connection and is part of a transaction, as in `records`.
"""

import sqlite3
from collections import Counter
from collections.abc import Iterable
from typing import Final, NamedTuple

from ..operations.kinds import describe, object_of
from ..operations.operations import Change, Former, FormerState, restoring
from ..picture import AppTotals, Flow, joined
from .schema import Outcome

_NAMED_STATES: Final = 8
"""States that a picture names on each side; the others are one."""


class Tally(NamedTuple):
    """Operations of one app with the same outcome and verdict. Those sent count as pending."""

    app_id: str
    outcome: int
    verdict: int
    operations: int


def tallies_of(connection: sqlite3.Connection) -> list[Tally]:
    """Return how many operations of each app have which outcome and verdict."""
    found = connection.execute(
        "SELECT app_id, outcome, verdict, operations FROM tallies JOIN apps ON apps.id = app WHERE operations ORDER BY 1, 2, 3"
    )
    return [*map(Tally._make, found)]


def apps_of(tallies: Iterable[Tally]) -> tuple[AppTotals, ...]:
    """Return the apps, those with most pending operations first."""
    sums: dict[str, Counter[int]] = {}
    for tally in tallies:
        sums.setdefault(tally.app_id, Counter())[tally.outcome] += tally.operations
    found = [
        AppTotals(
            app_id=app_id,
            planned=outcomes.total(),
            done=outcomes[Outcome.DONE],
            failed=outcomes[Outcome.FAILED],
            pending=outcomes[Outcome.PENDING],
        )
        for app_id, outcomes in sums.items()
    ]
    return tuple(sorted(found, key=lambda app: (-app.pending, -app.planned, app.app_id)))


def flows_of(connection: sqlite3.Connection) -> tuple[Flow, ...]:
    """Return the states before and after the job, and how many operations lead from one to another.

    This never changes.
    """
    changes = {number: Change(*change) for number, *change in connection.execute("SELECT id, kind, argument FROM changes")}
    found = connection.execute(
        "SELECT former_value, former, change, count(*) FROM operations GROUP BY former_value, former, change"
    )
    flows = [
        Flow(before=_before(FormerState(Former(known), value)), after=_after(changes[change]), operations=operations)
        for value, known, change, operations in found
    ]
    return joined(flows, _NAMED_STATES)


def _before(former: FormerState) -> str:
    match former.known:
        case Former.CHANNEL:
            return former.value or ""
        case Former.NONE | Former.SHOWN_UNLINKED:
            return "no link"
        case Former.STATE:
            return _after(restoring(former))
        case _:
            return "unknown"


def _after(change: Change) -> str:
    if change.kind in {"link_device", "renew_device"} and change.argument:
        return change.argument
    if change.kind == "unlink_device":
        return "no link"
    return object_of(change) or describe(change)
