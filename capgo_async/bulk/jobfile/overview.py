"""Counts for the picture of a job: outcomes of each app, and moves from channel to channel.

Each function takes a connection and is part of a transaction, as in `records`.
"""

import sqlite3
from typing import Final

from ..operations.kinds import describe, object_of
from ..operations.operations import Change, Former, FormerState, restoring
from ..picture import AppTotals, Flow, joined
from .schema import Outcome

_NAMED_STATES: Final = 8
"""States that a picture names on each side; the others are one."""


def apps_of(connection: sqlite3.Connection) -> tuple[AppTotals, ...]:
    """Return the apps, those with most pending operations first."""
    found = connection.execute(
        """
        SELECT app_id, count(*), sum(outcome = ?), sum(outcome = ?), sum(outcome <= ?) AS pending
        FROM operations JOIN apps ON apps.id = app GROUP BY app ORDER BY pending DESC, count(*) DESC, app_id
        """,
        (Outcome.DONE, Outcome.FAILED, Outcome.SENT),
    )
    return tuple(
        AppTotals(app_id=app_id, planned=planned, done=done, failed=failed, pending=pending)
        for app_id, planned, done, failed, pending in found
    )


def flows_of(connection: sqlite3.Connection) -> tuple[Flow, ...]:
    """Return the states before and after the job with the number of operations between them."""
    found = connection.execute(
        f"""
        SELECT former, iif(former = '{Former.UNKNOWN}', NULL, former_value) AS value, kind, argument, count(*)
        FROM operations JOIN changes ON changes.id = change GROUP BY former, value, change
        """
    )
    flows = [
        Flow(before=_before(FormerState(Former(known), value)), after=_after(Change(kind, argument)), operations=count)
        for known, value, kind, argument, count in found
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
