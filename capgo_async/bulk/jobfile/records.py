"""The records of a job file: outcomes and runs.

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
from ..operations.results import Failed, Settled
from ..report import Activity, Ended, Run
from ..timeline import Bucket, Moment, Timeline
from . import schema, timelines
from .facts import LastUsage, read_usage, write_usage
from .schema import Outcome
from .seen import sent

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


def activity_of(connection: sqlite3.Connection, now: datetime | None) -> Activity:
    """Return whether the job runs, waits, rests or was killed, and when its run ends.

    `now` is the time if a process runs the job, and `None` otherwise.
    """
    last = next(iter(reversed(runs_of(connection))), None)
    if last is None or last.ended is not None:
        return Activity(state="idle" if now is None else "running")
    if now is None:
        return Activity(state="killed", run=last.number)
    return timelines.activity_of(connection, last.number, now.timestamp())


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


def was_begun(connection: sqlite3.Connection) -> bool:
    """Return whether a run that sends operations was ever begun, so that the job was confirmed."""
    return connection.execute("SELECT 1 FROM runs WHERE sends LIMIT 1").fetchone() is not None


def runs_of(connection: sqlite3.Connection, now: datetime | None = None) -> tuple[Run, ...]:
    """Return all runs, oldest first.

    `now` is the time if a process runs the job: a last run without an end then goes on until now.
    """
    runs = _stored_runs(connection)
    if now is None or not runs or runs[-1].ended is not None:
        return runs
    lasted = round((now - datetime.fromisoformat(runs[-1].started_at)).total_seconds(), 3)
    return *runs[:-1], msgspec.structs.replace(runs[-1], elapsed_seconds=max(runs[-1].elapsed_seconds, lasted))


def _stored_runs(connection: sqlite3.Connection) -> tuple[Run, ...]:
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
