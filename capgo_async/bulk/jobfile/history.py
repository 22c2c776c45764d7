"""The runs of a job.

Each function takes a connection and is part of a transaction, as in `records`.
"""

import sqlite3

import msgspec

from ..report import Ended, Run
from .schema import Outcome

_LIMITS = msgspec.json.Decoder(dict[str, int])
_SERVERS = msgspec.json.Decoder(tuple[str, ...])


def was_begun(connection: sqlite3.Connection) -> bool:
    """Return whether a run that sends operations was ever begun, so that the job was confirmed."""
    return connection.execute("SELECT 1 FROM runs WHERE sends LIMIT 1").fetchone() is not None


def runs_of(connection: sqlite3.Connection) -> tuple[Run, ...]:
    """Return all runs, oldest first."""
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
