"""One relink with or without events and timeline, or only its plan; or the size of a timeline. Started by `timeline`."""

import argparse
import asyncio
import json
import sqlite3
import tempfile
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final
from unittest import mock

from benchmarks.contenders import Load, engine
from benchmarks.measuring import Spent
from capgo_async.bulk import Job
from capgo_async.bulk.jobfile import timelines
from capgo_async.bulk.jobfile.schema import TABLES
from capgo_async.bulk.running.collecting import Collector
from capgo_async.events import AttemptEnded, RestBegan, RestEnded
from capgo_async.listeners import Listeners

BEGAN_AT: Final = 1_790_000_000.0
_PERIOD: Final = 1999
"""Requests between two silences (contract B2)."""
_SILENCE: Final = 61.0
_RATE: Final = 200
"""Operations a second while the key does not rest."""


def with_events(load: Load) -> Spent:
    """Relink as users do."""
    return asyncio.run(engine(load))


def without_events(load: Load) -> Spent:
    """Relink while nobody listens, so that no event is made and no bucket is stored."""

    def nothing(*_: object, **__: object) -> None:
        pass

    with mock.patch.object(Listeners, "add", nothing), mock.patch.object(Collector, "settled", nothing):
        return asyncio.run(engine(load))


def plan(load: Load) -> Spent:
    """Plan the job and do not run it."""

    class Planned(Exception):
        pass

    with mock.patch.object(Job, "run", side_effect=Planned):
        try:
            return asyncio.run(engine(load))
        except Planned:
            return Spent(0.0, 0.0)


DO: Final[dict[str, Callable[[Load], Spent]]] = {"with": with_events, "without": without_events, "plan": plan}


def size_of(operations: int, apps: int) -> dict[str, Any]:
    """Return how many bytes the timeline of a job under the server's limits takes, and how long its buckets are."""
    with tempfile.TemporaryDirectory(prefix="timeline-") as directory:
        path = Path(directory, "timeline.sqlite")
        with closing(sqlite3.connect(path)) as connection:
            for statement in TABLES:
                connection.execute(statement)
            connection.commit()
            empty = path.stat().st_size
            fill(connection, operations, [f"com.example.app{number:03}" for number in range(apps)])
            connection.commit()
            connection.execute("VACUUM")
            found = timelines.timeline_of(connection, ())
        return {
            "apps": apps,
            "bytes": path.stat().st_size - empty,
            "bucket_seconds": found.width,
            "done": sum(bucket.done for bucket in found.buckets),
        }


def fill(connection: sqlite3.Connection, operations: int, apps: Sequence[str]) -> float:
    """Store the timeline of a job, second by second, and return when it ends. All apps take turns; response times vary."""
    collector, at = Collector(), BEGAN_AT
    for number in range(operations):
        app = apps[number % len(apps)]
        seconds = 0.05 + number * 7919 % 997 / 2000
        collector.ended(
            AttemptEnded(
                operation="link",
                method="POST",
                path="/device",
                request_id="r",
                number=1,
                status=200,
                error=None,
                seconds=seconds,
                app=app,
                ended_at=at,
            )
        )
        collector.settled(at, app, done=1, failed=0)
        if number % _PERIOD == _PERIOD - 1:
            collector.happened(at, RestBegan(limit="key", seconds=_SILENCE))
            at += _SILENCE
            collector.happened(at, RestEnded(limit="key", seconds=_SILENCE))
        if number % _RATE == _RATE - 1:
            at += 1.0
            timelines.add(connection, 1, *collector.take())
    timelines.add(connection, 1, *collector.take())
    return at


def main(arguments: Sequence[str] | None = None) -> None:
    """Do one step and print what it took as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--do", choices=[*DO, "size"], required=True)
    parser.add_argument("--operations", type=int, required=True)
    parser.add_argument("--base-url", default="")
    parser.add_argument("--concurrency", type=int, default=15)
    parser.add_argument("--apps", type=int, default=1)
    options = parser.parse_args(arguments)
    if options.do == "size":
        print(json.dumps(size_of(options.operations, options.apps)))
        return
    load = Load(options.base_url, options.operations, options.concurrency)
    print(json.dumps(DO[options.do](load)._asdict()))


if __name__ == "__main__":
    main()
