"""What stands in a job file, read and written: functions of a connection, each a part of a transaction."""

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from ..errors import JobError
from ..pacing import Usage
from . import schema
from .operations import Change, Former, FormerState, Operation, operation_of
from .report import Failures, Report
from .runner import Failed, Planned, Settled
from .schema import Outcome, Verdict


class LastUsage(msgspec.Struct, frozen=True):
    """What a client counted against the limits, when it said so, and which operations may have left since.

    `at` is in UTC, ISO 8601; `client` tells one client from another.
    """

    at: str
    client: str
    usage: tuple[Usage, ...]
    uncounted: tuple[Planned, ...] = ()


class Measures(msgspec.Struct, frozen=True):
    """What a run has used so far, to be stored with each commit; `at` is the time in UTC, ISO 8601."""

    at: str
    elapsed_seconds: float
    requests: int
    retries: int
    rate_limited: int
    last: LastUsage


def check_format(connection: sqlite3.Connection, path: Path, *, migrations: Mapping[int, Sequence[str]], newest: int) -> None:
    """Refuse files that are no jobs or of a newer format; bring an older one up to date, in this transaction."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (found,) = connection.execute("PRAGMA user_version").fetchone()
    if application != schema.APPLICATION_ID:
        message = f"{path} is not a job file"
        raise JobError(message)
    if found > newest:
        message = f"{path} was written by a newer version of this program (format {found}, this one knows {newest})"
        raise JobError(message)
    for version in range(found, newest):
        if version not in migrations:
            message = f"{path} has the format {version}, which no version of this program wrote: it is damaged"
            raise JobError(message)
        for statement in migrations[version]:
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {version + 1}")


def record(connection: sqlite3.Connection, settled: Sequence[Settled], run: int) -> None:
    """Write outcomes down."""
    # What is done, nearly all, in one statement: each is a switch between this thread and that of the event loop.
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


_DONE = """
    UPDATE operations SET outcome = ?, cause = NULL, status = NULL, message = NULL, run = ?, request_id = done.value
    FROM json_each(?) AS done WHERE operations.id = CAST(done.key AS INTEGER)
"""


_SELECT = """
    SELECT operations.id AS id, apps.app_id AS app_id, name, kind, argument
    FROM operations JOIN apps ON apps.id = app JOIN changes ON changes.id = change
"""


_ROWS = msgspec.json.Decoder(list[tuple[int, str, str, str, str]])


def _planned(rows: Iterable[tuple[int, str, str, str, str]]) -> list[Planned]:
    return [
        Planned(number, operation_of(Change(kind, argument), app_id, name)) for number, app_id, name, kind, argument in rows
    ]


def take(connection: sqlite3.Connection, cursor: int, last: int | None, take: int) -> list[Planned]:
    """Return the next operations that are not settled, up to the one with the number `last`."""
    # What an earlier process marked as sent comes again: whoever executes it knows what to do about that.
    found = f"{_SELECT} WHERE operations.id > ?1 AND (?2 IS NULL OR operations.id <= ?2) AND outcome <= ?3 ORDER BY 1 LIMIT ?4"
    (rows,) = connection.execute(
        f"SELECT json_group_array(json_array(id, app_id, name, kind, argument)) FROM ({found})",
        (cursor, last, Outcome.SENT, take),
    ).fetchone()
    return _planned(sorted(_ROWS.decode(rows)))


def in_doubt(connection: sqlite3.Connection) -> list[tuple[Operation, FormerState]]:
    """Return the operations that may have left in a run that did not settle them, with what the plan saw."""
    found = connection.execute(
        """
        SELECT app_id, name, kind, argument, former, former_value
        FROM operations JOIN apps ON apps.id = app JOIN changes ON changes.id = change WHERE outcome = ?
        """,
        (Outcome.SENT,),
    )
    return [
        (operation_of(Change(kind, argument), app_id, name), FormerState(Former(known), value))
        for app_id, name, kind, argument, known, value in found
    ]


def sent_before(connection: sqlite3.Connection, after: int, last: int) -> list[int]:
    """Return which operations of a range were marked as sent before: by a process that did not settle them."""
    rows = connection.execute("SELECT id FROM operations WHERE id > ? AND id <= ? AND outcome = ?", (after, last, Outcome.SENT))
    return [number for (number,) in rows]


def mark_sent(connection: sqlite3.Connection, after: int, last: int) -> None:
    """Mark operations as sent: those that `take` found."""
    # The rows that `take` found, in one statement: each costs this thread and the event loop a switch.
    connection.execute(
        "UPDATE operations SET outcome = ? WHERE id > ? AND id <= ? AND outcome = ?",
        (Outcome.SENT, after, last, Outcome.PENDING),
    )


def read_facts(connection: sqlite3.Connection) -> dict[str, Any]:
    """Return the job's facts."""
    return {name: msgspec.json.decode(value) for name, value in connection.execute("SELECT name, value FROM job")}


def write_facts(connection: sqlite3.Connection, facts: dict[str, object]) -> None:
    """Write facts of the job, in place of those of the same names."""
    connection.executemany(
        "INSERT OR REPLACE INTO job VALUES (?, ?)",
        ((name, msgspec.json.encode(value).decode()) for name, value in facts.items()),
    )


def begin_run(connection: sqlite3.Connection, measures: Measures) -> int:
    """Insert the record of a run, and return its number."""
    cursor = connection.execute("INSERT INTO runs (started_at) VALUES (?)", (measures.at,))
    run = cursor.lastrowid or 0
    write_measures(connection, run, measures)
    return run


def write_measures(connection: sqlite3.Connection, run: int, measures: Measures) -> None:
    """Write down what a run has used so far."""
    connection.execute(
        "UPDATE runs SET elapsed = ?, requests = ?, retries = ?, rate_limited = ? WHERE id = ?",
        (measures.elapsed_seconds, measures.requests, measures.retries, measures.rate_limited, run),
    )
    write_facts(connection, {"usage": measures.last})


def begun(connection: sqlite3.Connection) -> bool:
    """Tell whether the job was run before, and not only planned and looked at."""
    found = connection.execute("SELECT 1 FROM runs WHERE ended IS NULL OR ended NOT IN ('planned', 'compared', 'verified')")
    return found.fetchone() is not None


def last_usage(connection: sqlite3.Connection) -> LastUsage | None:
    """Return what the last client counted, and what it may have sent since."""
    row = connection.execute("SELECT value FROM job WHERE name = 'usage'").fetchone()
    if row is None:
        return None
    last = msgspec.json.decode(row[0], type=LastUsage)
    sent = _planned(connection.execute(f"{_SELECT} WHERE outcome = ?", (Outcome.SENT,)))
    return LastUsage(last.at, last.client, last.usage, tuple(sent))


def end_run(connection: sqlite3.Connection, run: int, how: str, measures: Measures) -> None:
    """Complete the record of a run."""
    write_measures(connection, run, measures)
    connection.execute("UPDATE runs SET ended = ? WHERE id = ?", (how, run))


def report_of(connection: sqlite3.Connection, name: str) -> Report:
    """Count everything into a report."""
    fates: dict[str, int] = dict(connection.execute("SELECT fate, count(*) FROM others GROUP BY fate"))
    outcomes: dict[int, int] = dict(connection.execute("SELECT outcome, count(*) FROM operations GROUP BY outcome"))
    verdicts: dict[int, int] = dict(
        connection.execute("SELECT verdict, count(*) FROM operations WHERE outcome = ? GROUP BY verdict", (Outcome.DONE,))
    )
    requests, retries, rate_limited = connection.execute(
        "SELECT coalesce(sum(requests), 0), coalesce(sum(retries), 0), coalesce(sum(rate_limited), 0) FROM runs"
    ).fetchone()
    elapsed = connection.execute("SELECT elapsed FROM runs ORDER BY id DESC LIMIT 1").fetchone()
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
        unchecked=verdicts.get(Verdict.UNCHECKED, 0),
        verified=verdicts.get(Verdict.VERIFIED, 0),
        contradicted=verdicts.get(Verdict.CONTRADICTED, 0),
        cannot_tell=verdicts.get(Verdict.CANNOT_TELL, 0),
        requests=requests,
        retries=retries,
        rate_limited=rate_limited,
        elapsed_seconds=round(elapsed[0], 3) if elapsed else 0.0,
        consistent=not verdicts.get(Verdict.CONTRADICTED, 0),
        failures=_failures(connection),
    )


def _failures(connection: sqlite3.Connection) -> tuple[Failures, ...]:
    groups = connection.execute(
        "SELECT cause, count(*), min(message), min(id) FROM operations WHERE outcome = ? GROUP BY cause ORDER BY 2 DESC",
        (Outcome.FAILED,),
    ).fetchall()
    return tuple(
        Failures(cause, count, message or "", _first_targets(connection, cause)) for cause, count, message, _ in groups
    )


def _first_targets(connection: sqlite3.Connection, cause: str) -> tuple[str, ...]:
    rows = connection.execute(
        "SELECT apps.app_id || '/' || name FROM operations JOIN apps ON apps.id = app"
        " WHERE outcome = ? AND cause = ? ORDER BY operations.id LIMIT 5",
        (Outcome.FAILED, cause),
    )
    return tuple(target for (target,) in rows)


def open_by_app(connection: sqlite3.Connection) -> list[tuple[str, str, int]]:
    """Return how many operations of each app and kind are not settled."""
    return connection.execute(
        """
        SELECT app_id, kind, count(*) FROM operations JOIN apps ON apps.id = app JOIN changes ON changes.id = change
        WHERE outcome <= ? GROUP BY app, kind
        """,
        (Outcome.SENT,),
    ).fetchall()


def apps_done(connection: sqlite3.Connection) -> list[str]:
    """Return the apps with done operations."""
    rows = connection.execute(
        "SELECT DISTINCT app_id FROM operations JOIN apps ON apps.id = app WHERE outcome = ? ORDER BY 1", (Outcome.DONE,)
    )
    return [app_id for (app_id,) in rows]


def begin_verdicts(connection: sqlite3.Connection, app_id: str) -> None:
    """Forget the verdicts on an app, and make ready to find its operations by name."""
    connection.execute(schema.BY_NAME)
    connection.execute(f"UPDATE operations SET verdict = ? {_DONE_OF_APP}", (Verdict.UNCHECKED, Outcome.DONE, app_id))


def judge_devices(connection: sqlite3.Connection, app_id: str, shown: Sequence[tuple[str, str | None]]) -> None:
    """Compare done operations of an app with devices that a listing shows, each with its channel."""
    connection.executemany(
        f"""
        UPDATE operations
        SET verdict = CASE
            WHEN (SELECT iif(kind = 'unlink_device', NULL, argument) FROM changes WHERE changes.id = change) IS ? THEN ?
            ELSE ? END
        {_DONE_OF_APP} AND name = ?
        """,
        ((channel, Verdict.VERIFIED, Verdict.CONTRADICTED, Outcome.DONE, app_id, device) for device, channel in shown),
    )


def end_verdicts(connection: sqlite3.Connection, app_id: str, run: int, measures: Measures) -> None:
    """Say of what no listing showed that nobody can tell."""
    connection.execute(
        f"UPDATE operations SET verdict = ? {_DONE_OF_APP} AND verdict = ?",
        (Verdict.CANNOT_TELL, Outcome.DONE, app_id, Verdict.UNCHECKED),
    )
    write_measures(connection, run, measures)


_DONE_OF_APP = "WHERE outcome = ? AND app = (SELECT id FROM apps WHERE app_id = ?)"


def formers(connection: sqlite3.Connection, after: int, most: int) -> list[tuple[int, str, FormerState]]:
    """Return operations after a number, with what was known of their targets."""
    rows = connection.execute(
        "SELECT id, name, former, former_value FROM operations WHERE id > ? ORDER BY id LIMIT ?", (after, most)
    )
    return [(number, name, FormerState(Former(known), value)) for number, name, known, value in rows]


def others(connection: sqlite3.Connection) -> list[tuple[int, str, str]]:
    """Return the rows that need no request."""
    return connection.execute("SELECT line, fate, reason FROM others ORDER BY line").fetchall()
