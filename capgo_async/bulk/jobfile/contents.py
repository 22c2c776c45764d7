"""The plan of a job and its rows by fate, for display.

Each function takes a connection and is part of a transaction, as in `records`.
"""

import enum
import sqlite3
from collections.abc import Sequence
from typing import Final

import msgspec

from ..forecast.forecast import Leg
from ..operations.kinds import KINDS, describe, object_of
from ..operations.operations import Change
from ..operations.reasons import ALREADY_SO, NO_WAY_BACK, Reason
from ..plan import Part, Plan, ReasonCount, reach
from ..report import Ended
from .facts import JobFacts
from .reports import left_by_undo
from .schema import Outcome, Verdict, reason_of
from .waves import report_waves

_NAMED_REASONS: Final = 5


class Rows(enum.StrEnum):
    """Which rows of a job to list: rows by fate, or operations by outcome or verdict."""

    REJECTED = "rejected"
    SKIPPED = "skipped"
    PENDING = "pending"
    FAILED = "failed"
    CONTRADICTED = "contradicted"
    CANNOT_TELL = "cannot_tell"


class JobRow(msgspec.Struct, frozen=True, kw_only=True):
    """One row of a job and what came of it.

    `target` is a device id, an email address, or the name of a channel or bundle. `what` is the change, such as "link to beta".
    For a member, `app_id` is the organization. `cause` is a code: a `Cause` for a rejected or skipped row, and often the
    server's code for a failure. `reason` is a sentence. `custom_id` is the one by which the row names its device. Fields that a
    bad row lacks, or that no response gave, are `None`.
    """

    line: int
    app_id: str | None
    target: str | None
    what: str | None
    reason: str | None
    cause: str | None = None
    status: int | None = None
    request_id: str | None = None
    custom_id: str | None = None


def plan_of(connection: sqlite3.Connection, facts: JobFacts, course: Sequence[Leg]) -> Plan:
    """Return the plan of a job without its duration. `course` is what is left of the job."""
    changes = tuple(
        Part(
            kind=pair.change.kind,
            what=describe(pair.change),
            object=object_of(pair.change),
            app_id=pair.app_id,
            targets=pair.rows,
        )
        for pair in facts.survey.planned
    )
    planned = sum(part.targets for part in changes)
    fates: dict[str, int] = dict(connection.execute("SELECT fate, count(*) FROM others GROUP BY fate"))
    skipped, rejected = fates.get("skipped", 0), fates.get("rejected", 0)
    (planning_requests,) = connection.execute(
        "SELECT coalesce(sum(requests), 0) FROM runs WHERE ended = ?", (Ended.PLANNED,)
    ).fetchone()
    requests: dict[str, int] = {}
    for share in (share for leg in course for share in leg.shares):
        requests[share.app_id] = requests.get(share.app_id, 0) + share.requests
    return Plan(
        rows=planned + skipped + rejected,
        planned=planned,
        skipped=skipped,
        rejected=rejected,
        unknown=facts.survey.unknown,
        apps=tuple(requests.items()),
        requests=sum(requests.values()),
        remarks=facts.remarks,
        changes=changes,
        displaced=facts.survey.displaced,
        reasons=(*_reasons(connection, Rows.SKIPPED, skipped), *_reasons(connection, Rows.REJECTED, rejected)),
        no_way_back=_no_way_back(facts.no_way_back),
        left=left_by_undo(connection),
        waves=report_waves(connection),
        bake_seconds=facts.options.bake_seconds,
        planning_requests=planning_requests,
        saved=_saved(connection),
        needs_confirmation=reach(changes, facts.survey.listed, facts.options.thresholds),
        links_are_kept=facts.options.links_are_kept,
    )


def _saved(connection: sqlite3.Connection) -> int:
    """Return how many requests are saved by skipping rows whose target already is as wanted."""
    found = connection.execute(
        """
        SELECT kind, count(*) FROM others JOIN changes ON changes.id = change
        WHERE fate = 'skipped' AND cause IN (SELECT value FROM json_each(?)) GROUP BY kind
        """,
        (msgspec.json.encode(sorted(ALREADY_SO)).decode(),),
    )
    return sum(rows * len(KINDS[kind].requests) for kind, rows in found)


_REASONS = """
    SELECT cause, details, count(*) AS rows FROM others WHERE fate = ?
    GROUP BY cause, details ORDER BY rows DESC, min(line) LIMIT ?
"""


def _reasons(connection: sqlite3.Connection, fate: Rows, rows: int) -> list[ReasonCount]:
    found = connection.execute(_REASONS, (fate, _NAMED_REASONS)) if rows else ()
    reasons = [(reason_of(cause, details), count) for cause, details, count in found]
    named = [ReasonCount(fate=fate, cause=reason.cause, reason=str(reason), rows=count) for reason, count in reasons]
    rest = rows - sum(reason.rows for reason in named)
    return [*named, ReasonCount(fate=fate, cause=None, reason="other reasons", rows=rest)] if rest else named


def _no_way_back(found: Sequence[tuple[Reason, int]]) -> tuple[ReasonCount, ...]:
    named = [
        ReasonCount(fate="planned", cause=reason.cause, reason=NO_WAY_BACK[reason.cause].format(*reason.details), rows=rows)
        for reason, rows in found[:_NAMED_REASONS]
    ]
    rest = sum(rows for _, rows in found[_NAMED_REASONS:])
    return (*named, *([ReasonCount(fate="planned", cause=None, reason="of other reasons", rows=rest)] if rest else ()))


_CONDITIONS: Final = {
    Rows.PENDING: f"outcome <= {Outcome.SENT}",
    Rows.FAILED: f"outcome = {Outcome.FAILED}",
    Rows.CONTRADICTED: f"outcome = {Outcome.DONE} AND verdict = {Verdict.CONTRADICTED}",
    Rows.CANNOT_TELL: f"outcome = {Outcome.DONE} AND verdict IN ({Verdict.CANNOT_TELL}, {Verdict.MISSING})",
}


_OPERATIONS: Final = """
    SELECT operations.id, line, app_id, name, custom_id, kind, argument, cause, status, request_id, message, NULL, NULL
    FROM operations JOIN apps ON apps.id = app JOIN changes ON changes.id = change LEFT JOIN custom_ids USING (line)
    WHERE operations.id > ?2 AND {condition} ORDER BY operations.id LIMIT ?3
"""
_OTHERS: Final = """
    SELECT line, line, app_id, name, custom_id, kind, argument, cause, NULL, NULL, NULL, details, places
    FROM others LEFT JOIN changes ON changes.id = change LEFT JOIN custom_ids USING (line)
    WHERE line > ?2 AND fate = ?1 ORDER BY line LIMIT ?3
"""


def rows_of(connection: sqlite3.Connection, wanted: Rows, after: int, most: int) -> list[tuple[int, JobRow]]:
    """Return up to `most` rows whose place is above `after`, each with its place."""
    condition = _CONDITIONS.get(wanted)
    statement = _OPERATIONS.format(condition=condition) if condition else _OTHERS
    found = connection.execute(statement, (wanted, after, most))
    return [
        (
            place,
            JobRow(
                line=line,
                app_id=app_id,
                target=name,
                custom_id=custom_id,
                what=None if kind is None else describe(Change(kind, argument)),
                reason=message if condition else str(reason_of(cause, details, places)),
                cause=cause,
                status=status,
                request_id=request_id,
            ),
        )
        for place, line, app_id, name, custom_id, kind, argument, cause, status, request_id, message, details, places in found
    ]
