"""The part of a job that is left, in the order in which it will be sent, for a forecast.

Each function takes a connection and is part of a transaction, as in `records`.
"""

import sqlite3
from datetime import datetime

from ...api.endpoints.devices import PAGE_OF_DEVICES
from ...limits.models import ScopeKind
from ...limits.timing import mean, usual
from ..forecast.forecast import Leg
from ..operations.kinds import KINDS
from ..operations.operations import TargetKind
from ..schedule.share import Share, calls_of, share_of
from .facts import JobFacts, Survey
from .reaches import reaches
from .records import was_begun
from .schema import Which
from .waves import StoredWave, stored_waves


def latency_of(facts: JobFacts) -> float:
    """Return how many seconds a request of the job takes, as far as its plan or its last run could tell."""
    calls = calls_of(share_of(pair.app_id, pair.change.kind, pair.rows) for pair in facts.survey.planned)
    return mean(calls, facts.timings, usual(facts.timings))


def course_of(connection: sqlite3.Connection, facts: JobFacts, now: datetime, which: Which, page: int) -> list[Leg]:
    """Return the legs that a run of `which` operations has ahead of it.

    A bake under way at `now` counts with its remaining time. Waves are verified by listings of `page` devices a page.
    """
    waves = stored_waves(connection)
    if not waves:
        # Before the first run nothing is settled, so the counts taken while planning still hold.
        if which is Which.OPEN and not was_begun(connection):
            return [Leg([share_of(pair.app_id, pair.change.kind, pair.rows) for pair in facts.survey.planned])]
        return [Leg(_shares(connection, 0, None, which))]
    bake = facts.options.bake_seconds
    legs: list[Leg] = []
    for wave in waves:
        shares = _shares(connection, wave.after, wave.last, which)
        if shares:
            legs.append(Leg(shares, _looks(connection, wave, facts.survey, page), bake))
        elif wave.bake_until is not None and (left := (datetime.fromisoformat(wave.bake_until) - now).total_seconds()) > 0:
            legs.append(Leg((), (), min(left, bake)))
    # The last wave has no bake: nothing follows it.
    return [*legs[:-1], *(leg._replace(rest=0.0) for leg in legs[-1:] if leg.shares)]


def _shares(connection: sqlite3.Connection, after: int, last: int | None, which: Which) -> list[Share]:
    return [share_of(app_id, kind, operations) for app_id, kind, operations, _ in reaches(connection, after, last, which)]


def _looks(connection: sqlite3.Connection, wave: StoredWave, survey: Survey, page: int) -> list[Share]:
    """Return the requests that verify a wave: pages of listings, or single look-ups where these are fewer."""
    found = connection.execute(
        """
        SELECT app_id, min(kind), count(*) FROM operations JOIN apps ON apps.id = app JOIN changes ON changes.id = change
        WHERE operations.id <= ?2 AND app IN (SELECT app FROM operations WHERE id > ?1 AND id <= ?2) GROUP BY app
        """,
        (wave.after, wave.last),
    )
    return [_look(app_id, kind, operations, survey, page) for app_id, kind, operations in found]


def _look(app_id: str, kind: str, done: int, survey: Survey, page: int) -> Share:
    if KINDS[kind].target is not TargetKind.DEVICE:
        also_bundles = KINDS[kind].target is TargetKind.BUNDLE or kind == "promote_bundle"
        return Share(app_id, 1 + also_bundles, calls=("GET /channel",))
    part = survey.listed_in_part.get(app_id)
    devices = survey.listed.get(app_id, 1) if part is None else part + page + 1
    pages = -(-devices // page)
    one_by_one = done - done * done * page // devices if pages > done else 0
    limits = (ScopeKind.KEY, ScopeKind.APP_ADDRESS)
    return Share(app_id, min(pages, done) + one_by_one, limits=limits, calls=(PAGE_OF_DEVICES,))
