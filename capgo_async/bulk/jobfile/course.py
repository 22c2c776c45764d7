"""What is left of a job, in the order in which it will be sent, for a forecast: functions of a connection."""

import itertools
import sqlite3
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from ...limits import ScopeKind
from ..forecast import Leg, Share, merged, share_of
from ..kinds import KINDS
from ..operations import TargetKind
from .schema import TAKEN, Outcome, Which
from .shares import Span, spans_of

_STRETCHES: Final = 100
"""How finely the order of a job is looked at: what stands in one part of so many counts as evenly mixed."""
_SHORTEST: Final = 50
_PAGE: Final = 200
"""Devices a page, when a wave is verified."""


def course_of(connection: sqlite3.Connection, facts: Mapping[str, Any], now: datetime, which: Which) -> list[Leg]:
    """Return the legs that a run of `which` operations has before it; a bake under way ends at its time, and `now` it is."""
    spans = spans_of(connection)
    if not spans:
        (last,) = connection.execute("SELECT coalesce(max(id), 0) FROM operations").fetchone()
        return [Leg(_stretches(connection, 0, last, which))]
    bake = facts["options"].get("bake_seconds", 0.0)
    legs: list[Leg] = []
    for span in spans:
        stretches = _stretches(connection, span.after, span.last, which)
        if stretches:
            legs.append(Leg(stretches, _looks(connection, span, facts), bake))
        elif span.bake_until is not None and (left := (datetime.fromisoformat(span.bake_until) - now).total_seconds()) > 0:
            legs.append(Leg((), (), min(left, bake)))
    # Nothing is behind the last wave that a bake could wait for.
    return [*legs[:-1], *(leg._replace(rest=0.0) for leg in legs[-1:] if leg.stretches)]


def _stretches(connection: sqlite3.Connection, after: int, last: int, which: Which) -> list[list[Share]]:
    parts = max(1, min(_STRETCHES, (last - after) // _SHORTEST))
    found = connection.execute(
        f"""
        SELECT part, app_id, kind, sum(operations)
        FROM (
            SELECT (id - ?1 - 1) * ?3 / (?2 - ?1) AS part, app, change, count(*) AS operations FROM operations
            WHERE id > ?1 AND id <= ?2 AND outcome <= ?4 {TAKEN[which]} GROUP BY part, app, change
        ) JOIN apps ON apps.id = app JOIN changes ON changes.id = change
        GROUP BY part, app_id, kind ORDER BY part
        """,
        (after, last, parts, Outcome.SENT),
    )
    return merged([share_of(*columns) for _, *columns in rows] for _, rows in itertools.groupby(found, lambda row: row[0]))


def _looks(connection: sqlite3.Connection, span: Span, facts: Mapping[str, Any]) -> list[Share]:
    """Return the requests that verify a wave: pages of listings, one by one where a listing would take more."""
    found = connection.execute(
        """
        SELECT app_id, min(kind), count(*) FROM operations JOIN apps ON apps.id = app JOIN changes ON changes.id = change
        WHERE operations.id <= ?2 AND app IN (SELECT app FROM operations WHERE id > ?1 AND id <= ?2) GROUP BY app
        """,
        (span.after, span.last),
    )
    return [_look(app_id, kind, operations, facts) for app_id, kind, operations in found]


def _look(app_id: str, kind: str, done: int, facts: Mapping[str, Any]) -> Share:
    if KINDS[kind].target is not TargetKind.DEVICE:
        also_bundles = KINDS[kind].target is TargetKind.BUNDLE or kind == "promote_bundle"
        return Share(app_id, 1 + also_bundles)
    part = facts.get("listed_in_part", {}).get(app_id)
    devices = facts.get("listed", {}).get(app_id, 1) if part is None else part + _PAGE + 1
    pages = -(-devices // _PAGE)
    one_by_one = done - done * done * _PAGE // devices if pages > done else 0
    return Share(app_id, min(pages, done) + one_by_one, limits=(ScopeKind.KEY, ScopeKind.APP_ADDRESS))
