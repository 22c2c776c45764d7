"""The timeline in a job file.

Each function takes a connection and is part of a transaction, as in `records`.
"""

import sqlite3
import zlib
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from itertools import groupby
from operator import attrgetter
from typing import Final

import msgspec

from ...events import (
    ApprovalAnswered,
    ApprovalAsked,
    BakeBegan,
    BakeEnded,
    Event,
    ForecastMade,
    RestBegan,
    RestEnded,
    RunBegan,
    RunEnded,
    ServerAway,
    ServerBack,
    WaveEnded,
)
from ..report import Activity, Decision, Ended, Run
from ..timeline import WIDTH, Bucket, Moment, Timeline, merged

MOST_BYTES: Final = 1_200_000
"""Most bytes of all buckets. Beyond that they become twice as long."""
MOST_MOMENTS: Final = 1000
"""Most moments of one kind; further ones are not kept.

The buckets count refusals and rests all the same.
"""
_BUCKETS: Final = msgspec.msgpack.Decoder(tuple[Bucket, ...])
_EVENT: Final = msgspec.json.Decoder(Event)
_MOMENT: Final = msgspec.json.Decoder(Moment)
_DOING: Final = (
    *(RestBegan, RestEnded, BakeBegan, BakeEnded),
    *(ApprovalAsked, ApprovalAnswered, ServerAway, ServerBack),
)
"""Events that tell what a run does from then on.

The last of them is kept apart from the moments, of which there may be too many.
"""
_OPEN: Final = {
    "approval": (ApprovalAsked.__name__, WaveEnded.__name__),
    "server": (ServerAway.__name__, ServerBack.__name__),
}
"""Waits whose end is not known.

For each, the event with which it begins, and one that it never goes on beyond.
"""


def add(connection: sqlite3.Connection, run: int, buckets: Sequence[Bucket], moments: Sequence[Moment]) -> None:
    """Add what happened since the last call."""
    if buckets:
        _add(connection, buckets)
    connection.executemany(
        """
        INSERT INTO moments (at, run, kind, event) SELECT ?1, ?2, ?3, ?4
        WHERE (SELECT count(*) FROM moments WHERE kind = ?3) < ?5
        """,
        (
            (moment.at, run, type(moment.event).__name__, msgspec.json.encode(moment.event).decode(), MOST_MOMENTS)
            for moment in moments
        ),
    )
    if (last := next((moment for moment in reversed(moments) if isinstance(moment.event, _DOING)), None)) is not None:
        doing = msgspec.json.encode(msgspec.structs.replace(last, run=run)).decode()
        connection.execute("INSERT OR REPLACE INTO job VALUES ('doing', ?)", (doing,))


def activity_of(connection: sqlite3.Connection, run: int, now: float) -> Activity:
    """Return what an unfinished run is doing now, and how long that is expected to take."""
    doing = _doing_of(connection, run)
    return msgspec.structs.replace(doing, seconds_left=_seconds_left(connection, run, doing, now))


def _seconds_left(connection: sqlite3.Connection, run: int, doing: Activity, now: float) -> float | None:
    """Return how long a run goes on by its own last forecast, or `None` without one.

    It never ends before its rest does. While it waits and nobody knows how long, no time passes for the forecast.
    """
    statement = "SELECT at, event FROM moments WHERE run = ? AND kind = ? ORDER BY id DESC LIMIT 1"
    row = connection.execute(statement, (run, ForecastMade.__name__)).fetchone()
    forecast = None if row is None else _EVENT.decode(row[1])
    if not isinstance(forecast, ForecastMade):
        return None
    passed = (_waits_since(connection, run, doing.waits_for) if doing.waits_for in _OPEN else now) - row[0]
    rest = 0.0 if doing.until is None else datetime.fromisoformat(doing.until).timestamp() - now
    return max(0.0, forecast.seconds - max(0.0, float(passed)), rest)


def _waits_since(connection: sqlite3.Connection, run: int, waits_for: str) -> float:
    begun, before = _OPEN[waits_for]
    row = connection.execute(
        """
        SELECT min(at) FROM moments WHERE run = ?1 AND kind = ?2
            AND at >= (SELECT coalesce(max(at), 0) FROM moments WHERE run = ?1 AND kind = ?3)
        """,
        (run, begun, before),
    ).fetchone()
    return float(row[0] or 0.0)


def _doing_of(connection: sqlite3.Connection, run: int) -> Activity:
    row = connection.execute("SELECT value FROM job WHERE name = 'doing'").fetchone()
    last = None if row is None else _MOMENT.decode(row[0])
    if last is None or last.run != run:
        return Activity(state="running", run=run)
    match last.event:
        case RestBegan(limit=limit, app=app, seconds=seconds):
            return Activity(state="resting", run=run, waits_for=limit, app=app, until=_written(last.at + seconds))
        case BakeBegan(seconds=seconds):
            return Activity(state="waiting", run=run, waits_for="bake", until=_written(last.at + seconds))
        case ServerAway(seconds=seconds):
            return Activity(state="waiting", run=run, waits_for="server", until=_written(last.at + seconds))
        case ApprovalAsked() | ApprovalAnswered(answer=Decision.AGAIN):
            return Activity(state="waiting", run=run, waits_for="approval")
    return Activity(state="running", run=run)


def _written(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")


def timeline_of(connection: sqlite3.Connection, runs: Sequence[Run]) -> Timeline:
    """Return the timeline of the job, with the begins and ends of its runs."""
    stored = connection.execute("SELECT at, run, event FROM moments ORDER BY at, id")
    moments = [*map(_begin_of, runs), *(Moment(at, run, _EVENT.decode(event)) for at, run, event in stored)]
    last = {moment.run: moment.at for moment in moments}
    moments += [_end_of(run, run.ended, last[run.number]) for run in runs if run.ended is not None]
    return Timeline(_width(connection), tuple(_all(connection)), tuple(sorted(moments, key=attrgetter("at"))))


def _begin_of(run: Run) -> Moment:
    return Moment(_began_at(run), run.number, RunBegan(run=run.number, operations=run.operations, program=run.program))


def _end_of(run: Run, how: Ended, last: float) -> Moment:
    """Return the end of a run, after all its other moments.

    Stored times of runs are rounded more than those of moments.
    """
    at = max(_began_at(run) + run.elapsed_seconds, last)
    return Moment(at, run.number, RunEnded(run=run.number, how=how, reason=run.reason))


def _began_at(run: Run) -> float:
    return datetime.fromisoformat(run.started_at).timestamp()


def _add(connection: sqlite3.Connection, buckets: Sequence[Bucket]) -> None:
    grown = False
    for start, group in groupby(merged(buckets, _width(connection)), attrgetter("start")):
        added = list(group)
        row = connection.execute("SELECT buckets FROM steps WHERE start = ?", (start,)).fetchone()
        grown = grown or row is None
        together = added if row is None else merged([*_unpacked(row[0]), *added], 1)
        connection.execute("INSERT OR REPLACE INTO steps VALUES (?, ?)", (start, _packed(together)))
    while grown and _is_too_large(connection):
        _coarsen(connection)


def _is_too_large(connection: sqlite3.Connection) -> bool:
    steps, size = connection.execute("SELECT count(*), sum(length(buckets)) FROM steps").fetchone()
    return bool(steps > 1 and size > MOST_BYTES)


def _coarsen(connection: sqlite3.Connection) -> None:
    width = 2 * _width(connection)
    coarser = merged(_all(connection), width)
    connection.execute("DELETE FROM steps")
    connection.executemany(
        "INSERT INTO steps VALUES (?, ?)",
        ((start, _packed(list(buckets))) for start, buckets in groupby(coarser, attrgetter("start"))),
    )
    connection.execute("INSERT OR REPLACE INTO job VALUES ('width', ?)", (str(width),))


def _width(connection: sqlite3.Connection) -> int:
    row = connection.execute("SELECT value FROM job WHERE name = 'width'").fetchone()
    return WIDTH if row is None else int(row[0])


def _all(connection: sqlite3.Connection) -> Iterable[Bucket]:
    for (packed,) in connection.execute("SELECT buckets FROM steps ORDER BY start").fetchall():
        yield from _unpacked(packed)


def _packed(buckets: list[Bucket]) -> bytes:
    # With many apps, their names take most of the room.
    return zlib.compress(msgspec.msgpack.encode(buckets), 1)


def _unpacked(packed: bytes) -> tuple[Bucket, ...]:
    return _BUCKETS.decode(zlib.decompress(packed))
