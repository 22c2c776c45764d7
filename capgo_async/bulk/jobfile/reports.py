"""The report of a job, from its file.

Each function takes a connection and is part of a transaction, as in `records`.
"""

import sqlite3
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

import msgspec

from ..operations.advice import advice_on
from ..operations.reasons import LEFT_BY_UNDO
from ..plan import EARLIEST_EXPIRY, EXPIRING
from ..report import Failures, Report, Run, counted, server_changes
from .facts import read_adoption, read_facts
from .overview import Tally, tallies_of
from .records import runs_of
from .schema import Outcome, Verdict
from .waves import report_waves

_FAILED: Final = f"outcome = {Outcome.FAILED}"
"""As a literal, so that the index of failures is used."""
_NAMED_TARGETS: Final = 5
"""Targets that are named for each cause of failure."""


def report_of(connection: sqlite3.Connection, name: str, now: datetime | None = None) -> Report:
    """Return the report of a job. `now` is the time if a process runs it."""
    tallies = tallies_of(connection)
    fates: dict[str, int] = dict(connection.execute("SELECT fate, count(*) FROM others GROUP BY fate"))
    outcomes: Counter[int] = Counter()
    verdicts: Counter[int] = Counter()
    for tally in tallies:
        outcomes[tally.outcome] += tally.operations
        if tally.outcome == Outcome.DONE:
            verdicts[tally.verdict] += tally.operations
    runs = runs_of(connection, now)
    rejected, skipped = fates.get("rejected", 0), fates.get("skipped", 0)
    planned = outcomes.total()
    return Report(
        job=name,
        rows=rejected + skipped + planned,
        rejected=rejected,
        skipped=skipped,
        planned=planned,
        done=outcomes[Outcome.DONE],
        failed=outcomes[Outcome.FAILED],
        pending=outcomes[Outcome.PENDING],
        unchecked=verdicts[Verdict.UNCHECKED] + verdicts[Verdict.SHOWN_UNLINKED],
        verified=verdicts[Verdict.VERIFIED],
        contradicted=verdicts[Verdict.CONTRADICTED],
        cannot_tell=verdicts[Verdict.CANNOT_TELL] + verdicts[Verdict.MISSING],
        missing=verdicts[Verdict.MISSING],
        requests=sum(run.requests for run in runs),
        retries=sum(run.retries for run in runs),
        rate_limited=sum(run.rate_limited for run in runs),
        elapsed_seconds=runs[-1].elapsed_seconds if runs else 0.0,
        consistent=not verdicts[Verdict.CONTRADICTED],
        left=left_by_undo(connection),
        failures=_failures(connection),
        waves=report_waves(connection),
        runs=runs,
        warnings=(*server_changes(runs), *_missing(tallies)),
        links_may_expire_from=_first_expiry(connection, runs),
        adoption=read_adoption(connection),
    )


def left_by_undo(connection: sqlite3.Connection) -> int:
    """Return how many targets an undo leaves that may not be as they were; 0 for other jobs."""
    causes = msgspec.json.encode(sorted(LEFT_BY_UNDO)).decode()
    statement = "SELECT count(*) FROM others WHERE fate = 'skipped' AND cause IN (SELECT value FROM json_each(?))"
    (left,) = connection.execute(statement, (causes,)).fetchone()
    return int(left)


def _first_expiry(connection: sqlite3.Connection, runs: Sequence[Run]) -> str | None:
    """Return when the first links that a run has set may expire (contract G4, K7)."""
    setting = [run.started_at for run in runs if run.done]
    if not setting:
        return None
    facts = read_facts(connection)
    if facts.options.links_are_kept or not EXPIRING & {pair.change.kind for pair in facts.survey.planned}:
        return None
    return (datetime.fromisoformat(setting[0]) + EARLIEST_EXPIRY).isoformat()


def _missing(tallies: Iterable[Tally]) -> list[str]:
    """Return a sentence for each app that hides devices or links that it must show (contract C7)."""
    found = sorted(
        (tally.app_id, tally.operations)
        for tally in tallies
        if (tally.outcome, tally.verdict) == (Outcome.DONE, Verdict.MISSING)
    )
    return [
        f"cannot tell whether {counted(count, 'change')} in {app_id} took effect: the server shows nothing of these devices,"
        " although it must; it may be unable to read its data"
        for app_id, count in found
    ]


def _failures(connection: sqlite3.Connection) -> tuple[Failures, ...]:
    """Return the failures by cause, the most common one first, each with its first message and targets."""
    groups = connection.execute(
        f"SELECT cause, count(*), min(status) FROM operations WHERE {_FAILED} GROUP BY cause ORDER BY 2 DESC, min(id)"
    ).fetchall()
    # One query for the targets of each cause would read the file once for each.
    messages: dict[str, str] = {}
    first: dict[str, list[str]] = {cause: [] for cause, _, _ in groups}
    wanted = sum(min(_NAMED_TARGETS, count) for _, count, _ in groups)
    rows = connection.execute(
        f"""
        SELECT cause, coalesce(message, ''), app_id || '/' || name FROM operations JOIN apps ON apps.id = app
        WHERE {_FAILED} ORDER BY operations.id
        """
    )
    for cause, message, target in rows if wanted else ():
        messages.setdefault(cause, message)
        if len(first[cause]) < _NAMED_TARGETS:
            first[cause].append(target)
            wanted -= 1
            if not wanted:
                break
    return tuple(
        Failures(cause, count, messages[cause], tuple(first[cause]), advice.text, advice.remedy)
        for cause, count, advice in ((cause, count, advice_on(cause, status)) for cause, count, status in groups)
    )
