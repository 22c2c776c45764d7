"""The runs of a job as its file tells them: functions of a connection, as in `records`."""

import sqlite3

import msgspec

from ..report import Ended, Run
from .schema import Outcome

_LIMITS = msgspec.json.Decoder(dict[str, int])
_SERVERS = msgspec.json.Decoder(tuple[str, ...])


def was_begun(connection: sqlite3.Connection) -> bool:
    """Tell whether a run was begun that sends, so that what it does was confirmed."""
    return connection.execute("SELECT 1 FROM runs WHERE sends LIMIT 1").fetchone() is not None


def runs_of(connection: sqlite3.Connection) -> tuple[Run, ...]:
    """Return all runs, the first one first."""
    settled: dict[tuple[int, int], int] = {
        (run, outcome): count
        for run, outcome, count in connection.execute(
            "SELECT run, outcome, count(*) FROM operations WHERE outcome >= ? GROUP BY run, outcome", (Outcome.DONE,)
        )
    }
    rows = connection.execute("""
        SELECT id, started_at, ended, reason, elapsed, requests, retries, rate_limited, limits, program, servers
        FROM runs ORDER BY id
    """)
    return tuple(
        Run(
            number=number,
            started_at=started_at,
            ended=msgspec.convert(ended, Ended | None),
            reason=reason,
            elapsed_seconds=round(elapsed, 3),
            done=settled.get((number, Outcome.DONE), 0),
            failed=settled.get((number, Outcome.FAILED), 0),
            requests=requests,
            retries=retries,
            rate_limited=rate_limited,
            limits_met=_LIMITS.decode(limits),
            program=program,
            servers=_SERVERS.decode(servers),
        )
        for number, started_at, ended, reason, elapsed, requests, retries, rate_limited, limits, program, servers in rows
    )
