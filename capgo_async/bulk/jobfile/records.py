"""The records of a job file: outcomes, runs and totals.

Each function takes a connection and is part of a transaction.
"""

import contextlib
import sqlite3
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import msgspec

from ...errors import JobError
from ...limits.timing import Timing
from ...version import __version__
from ..operations.advice import advice_on
from ..operations.reasons import LEFT_BY_UNDO
from ..operations.results import Failed, Settled
from ..plan import EARLIEST_EXPIRY, EXPIRING
from ..report import Activity, Ended, Failures, Report, Run, counted, server_changes
from ..timeline import Bucket, Moment, Timeline
from . import schema, timelines
from .facts import LastUsage, read_adoption, read_facts, read_usage, write_usage
from .schema import Outcome, Verdict
from .seen import sent
from .waves import report_waves

_LIMITS = msgspec.json.Decoder(dict[str, int])
_SERVERS = msgspec.json.Decoder(tuple[str, ...])


class Measures(msgspec.Struct, frozen=True):
    """What a run has used so far, stored with each commit.

    `at` is the time in UTC, ISO 8601. `timings` is how long each kind of request takes. `buckets` and `moments` are what
    happened since the measures before these.
    """

    at: str
    elapsed_seconds: float
    requests: int
    retries: int
    rate_limited: int
    last: LastUsage
    timings: Mapping[str, Timing] = {}
    limits_met: dict[str, int] = {}
    servers: tuple[str, ...] = ()
    buckets: tuple[Bucket, ...] = ()
    moments: tuple[Moment, ...] = ()


def check_format(connection: sqlite3.Connection, path: Path) -> None:
    """Raise `JobError` for a file that is not a job, or a job of another format."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (found,) = connection.execute("PRAGMA user_version").fetchone()
    if application != schema.APPLICATION_ID:
        message = f"{path} is not a job file"
        raise JobError(message)
    if found != schema.FORMAT:
        message = f"{path} is a job file of format {found}; this version of capgo_async reads format {schema.FORMAT}"
        raise JobError(message)


def record(connection: sqlite3.Connection, settled: Sequence[Settled], run: int) -> None:
    # Nearly all are done, and one statement writes these: each statement costs a switch to the thread of the event loop.
    done = {entry.id: entry.result.request_id for entry in settled if not isinstance(entry.result, Failed)}
    connection.execute(_DONE, (Outcome.DONE, run, msgspec.json.encode(done).decode()))
    connection.executemany(
        "UPDATE operations SET outcome = ?, cause = ?, status = ?, message = ?, request_id = ?, run = ? WHERE id = ?",
        (
            (Outcome.FAILED, result.cause, result.status, result.message, result.request_id, run, entry.id)
            for entry in settled
            if isinstance(result := entry.result, Failed)
        ),
    )
    connection.execute(
        "UPDATE runs SET done = done + ?, failed = failed + ? WHERE id = ?", (len(done), len(settled) - len(done), run)
    )


_DONE = """
    UPDATE operations SET outcome = ?, cause = NULL, status = NULL, message = NULL, run = ?, request_id = done.value
    FROM json_each(?) AS done WHERE operations.id = CAST(done.key AS INTEGER)
"""


def note_run(connection: sqlite3.Connection, how: Ended, measures: Measures) -> None:
    """Record a run that sent no operation, once it has ended. If it is killed before, it leaves no record."""
    began_at = datetime.fromisoformat(measures.at) - timedelta(seconds=measures.elapsed_seconds)
    begun = msgspec.structs.replace(measures, at=began_at.isoformat(), buckets=(), moments=())
    end_run(connection, begin_run(connection, begun), how, measures)


def begin_run(connection: sqlite3.Connection, measures: Measures, operations: int | None = None) -> int:
    """Insert the record of a run of that many operations, `None` if it only reads, and return its number."""
    statement = "INSERT INTO runs (started_at, program, sends, operations) VALUES (?, ?, ?, ?)"
    cursor = connection.execute(statement, (measures.at, __version__, operations is not None, operations or 0))
    run = cursor.lastrowid or 0
    write_measures(connection, run, measures)
    return run


def write_measures(connection: sqlite3.Connection, run: int, measures: Measures) -> None:
    connection.execute(
        "UPDATE runs SET elapsed = ?, requests = ?, retries = ?, rate_limited = ?, limits = ?, servers = ? WHERE id = ?",
        (
            measures.elapsed_seconds,
            measures.requests,
            measures.retries,
            measures.rate_limited,
            msgspec.json.encode(measures.limits_met).decode(),
            msgspec.json.encode(measures.servers).decode(),
            run,
        ),
    )
    write_usage(connection, measures.last, measures.timings)
    timelines.add(connection, run, measures.buckets, measures.moments)


def activity_of(connection: sqlite3.Connection, *, active: bool) -> Activity:
    """Return whether the job runs, waits, rests or was killed. `active`: a process runs it."""
    last = next(iter(reversed(runs_of(connection))), None)
    if last is None or last.ended is not None:
        return Activity(state="running" if active else "idle")
    return timelines.activity_of(connection, last.number) if active else Activity(state="killed", run=last.number)


def timeline_of(connection: sqlite3.Connection) -> Timeline:
    return timelines.timeline_of(connection, runs_of(connection))


def last_usage(connection: sqlite3.Connection) -> LastUsage | None:
    """Return what the last client counted, and the operations that it may have sent since."""
    last = read_usage(connection)
    if last is None:
        return None
    return msgspec.structs.replace(last, uncounted=tuple(each.operation for each in sent(connection)))


def end_run(connection: sqlite3.Connection, run: int, how: Ended, measures: Measures, reason: str | None = None) -> None:
    write_measures(connection, run, measures)
    connection.execute("UPDATE runs SET ended = ?, reason = ? WHERE id = ?", (how, reason, run))


def report_of(connection: sqlite3.Connection, name: str) -> Report:
    fates: dict[str, int] = dict(connection.execute("SELECT fate, count(*) FROM others GROUP BY fate"))
    outcomes: dict[int, int] = dict(connection.execute("SELECT outcome, count(*) FROM operations GROUP BY outcome"))
    verdicts: dict[int, int] = dict(
        connection.execute("SELECT verdict, count(*) FROM operations WHERE outcome = ? GROUP BY verdict", (Outcome.DONE,))
    )
    runs = runs_of(connection)
    rejected, skipped = fates.get("rejected", 0), fates.get("skipped", 0)
    planned = sum(outcomes.values())
    return Report(
        job=name,
        rows=rejected + skipped + planned,
        rejected=rejected,
        skipped=skipped,
        planned=planned,
        done=outcomes.get(Outcome.DONE, 0),
        failed=outcomes.get(Outcome.FAILED, 0),
        pending=outcomes.get(Outcome.PENDING, 0) + outcomes.get(Outcome.SENT, 0),
        unchecked=verdicts.get(Verdict.UNCHECKED, 0) + verdicts.get(Verdict.SHOWN_UNLINKED, 0),
        verified=verdicts.get(Verdict.VERIFIED, 0),
        contradicted=verdicts.get(Verdict.CONTRADICTED, 0),
        cannot_tell=verdicts.get(Verdict.CANNOT_TELL, 0) + verdicts.get(Verdict.MISSING, 0),
        missing=verdicts.get(Verdict.MISSING, 0),
        requests=sum(run.requests for run in runs),
        retries=sum(run.retries for run in runs),
        rate_limited=sum(run.rate_limited for run in runs),
        elapsed_seconds=runs[-1].elapsed_seconds if runs else 0.0,
        consistent=not verdicts.get(Verdict.CONTRADICTED, 0),
        left=left_by_undo(connection),
        failures=_failures(connection),
        waves=report_waves(connection),
        runs=runs,
        warnings=(*server_changes(runs), *_missing(connection)),
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


def _missing(connection: sqlite3.Connection) -> list[str]:
    """Return a sentence for each app that hides devices or links that it must show (contract C7)."""
    found = connection.execute(
        """
        SELECT app_id, count(*) FROM operations JOIN apps ON apps.id = app WHERE outcome = ? AND verdict = ?
        GROUP BY app ORDER BY app_id
        """,
        (Outcome.DONE, Verdict.MISSING),
    )
    return [
        f"cannot tell whether {counted(count, 'change')} in {app_id} took effect: the server shows nothing of these devices,"
        " although it must; it may be unable to read its data"
        for app_id, count in found
    ]


def _failures(connection: sqlite3.Connection) -> tuple[Failures, ...]:
    groups = connection.execute(
        "SELECT cause, count(*), min(message), min(status) FROM operations WHERE outcome = ? GROUP BY cause ORDER BY 2 DESC",
        (Outcome.FAILED,),
    ).fetchall()
    failures: list[Failures] = []
    for cause, count, message, status in groups:
        targets = connection.execute(
            "SELECT app_id || '/' || name FROM operations JOIN apps ON apps.id = app"
            " WHERE outcome = ? AND cause = ? ORDER BY operations.id LIMIT 5",
            (Outcome.FAILED, cause),
        )
        advice = advice_on(cause, status)
        first = tuple(target for (target,) in targets)
        failures.append(Failures(cause, count, message or "", first, advice.text, advice.remedy))
    return tuple(failures)


def was_begun(connection: sqlite3.Connection) -> bool:
    """Return whether a run that sends operations was ever begun, so that the job was confirmed."""
    return connection.execute("SELECT 1 FROM runs WHERE sends LIMIT 1").fetchone() is not None


def runs_of(connection: sqlite3.Connection) -> tuple[Run, ...]:
    """Return all runs, oldest first."""
    rows = connection.execute("""
        SELECT id, started_at, ended, reason, elapsed, done, failed, requests, retries, rate_limited, limits, program, servers,
            operations
        FROM runs ORDER BY id
    """)
    return tuple(
        Run(
            number=number,
            started_at=started_at,
            ended=msgspec.convert(ended, Ended | None),
            reason=reason,
            elapsed_seconds=round(elapsed, 3),
            done=done,
            failed=failed,
            requests=requests,
            retries=retries,
            rate_limited=rate_limited,
            limits_met=_LIMITS.decode(limits),
            program=program,
            servers=_SERVERS.decode(servers),
            operations=operations,
        )
        for (
            number,
            started_at,
            ended,
            reason,
            elapsed,
            done,
            failed,
            requests,
            retries,
            rate_limited,
            limits,
            program,
            servers,
            operations,
        ) in rows
    )


def copy(connection: sqlite3.Connection, path: Path) -> None:
    """Copy the file as it is now. Other processes may write to it meanwhile."""
    with contextlib.closing(sqlite3.connect(path)) as target:
        connection.backup(target)
