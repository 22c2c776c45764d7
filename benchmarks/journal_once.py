"""One step with a job file, or with a plain table, in this process; started by `jobfile`."""

import argparse
import asyncio
import itertools
import json
import sqlite3
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

from benchmarks.job_of_size import AtOnce, write_source
from benchmarks.measuring import Spent, spent
from capgo_async import CapgoClient
from capgo_async.bulk import Ended, Job, Which, read_operations
from capgo_async.bulk.jobfile.facts import LastUsage
from capgo_async.bulk.jobfile.journal import Journal
from capgo_async.bulk.jobfile.records import Measures
from capgo_async.bulk.operations.results import Done, Settled
from capgo_async.bulk.running.runner import LARGEST_BATCH

_MEASURES: Final = Measures("2026-07-01T00:00:00+00:00", 1.0, 1, 0, 0, LastUsage("2026-07-01T00:00:00+00:00", "benchmark", ()))
_REQUEST_ID: Final = "0123456789abcdef0123456789abcdef"


async def make(path: Path, operations: int) -> Spent:
    """Plan a job with `operations` operations."""
    source = path.with_suffix(".csv")
    write_source(source, operations)
    async with CapgoClient(api_key="benchmark", rate="off", transport=AtOnce(0)) as client:
        began = spent()
        await (await Job.create(path, read_operations(source), client=client)).aclose()
        return spent().since(began)


async def record(path: Path, operations: int) -> Spent:
    """Take operations from a job and record them as done, in the batches of a fast run."""
    journal = await Journal.open(path)
    try:
        await journal.begin_run(lambda _: _MEASURES, Which.OPEN)
        began = spent()
        settled: list[Settled] = []
        ((app_id, *_),) = await journal.shares()
        for size in _batches(operations):
            taken = await journal.advance(settled, (), {app_id: size})
            settled = [Settled(one.id, Done(_REQUEST_ID), one.operation.target.app_id) for one in taken]
        await journal.advance(settled, (), {})
        took = spent().since(began)
        await journal.end_run(Ended.FINISHED)
    finally:
        await journal.aclose()
    return took


async def record_plainly(path: Path, operations: int) -> Spent:
    """Do the same with a plain table: one transaction per batch, one update per row."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        began = spent()
        after = 0
        for size in _batches(operations):
            rows = connection.execute(
                "SELECT id, name FROM operations WHERE id > ? ORDER BY id LIMIT ?", (after, size)
            ).fetchall()
            numbers = [(number,) for number, _ in rows]
            for statement, values in (
                ("UPDATE operations SET outcome = 1 WHERE id = ?", numbers),
                (
                    "UPDATE operations SET outcome = 2, run = 2, request_id = ? WHERE id = ?",
                    [(_REQUEST_ID, *one) for one in numbers],
                ),
            ):
                connection.execute("BEGIN")
                connection.executemany(statement, values)
                connection.execute("COMMIT")
            after = numbers[-1][0]
        return spent().since(began)


async def open_and_close(path: Path, _operations: int) -> Spent:
    """Open a job, which reads its plan."""
    began = spent()
    await (await Job.open(path)).aclose()
    return spent().since(began)


async def report(path: Path, _operations: int) -> Spent:
    """Make the report of a job."""
    async with await Job.open(path) as job:
        began = spent()
        await job.report()
        return spent().since(began)


async def count(path: Path, _operations: int) -> Spent:
    """Count the operations of a job by app, change and outcome, with plain SQL."""
    with closing(sqlite3.connect(path)) as connection:
        began = spent()
        connection.execute("SELECT app, change, outcome, count(*) FROM operations GROUP BY app, change, outcome").fetchall()
        return spent().since(began)


def _batches(operations: int) -> Iterator[int]:
    return itertools.chain(
        itertools.repeat(LARGEST_BATCH, operations // LARGEST_BATCH), filter(None, (operations % LARGEST_BATCH,))
    )


DOING: Final[Mapping[str, Callable[[Path, int], Coroutine[None, None, Spent]]]] = {
    "make": make,
    "record": record,
    "record-plainly": record_plainly,
    "open": open_and_close,
    "report": report,
    "count": count,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the step and print what it took as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--do", choices=DOING, required=True)
    parser.add_argument("--job", type=Path, required=True)
    parser.add_argument("--operations", type=int, required=True)
    options = parser.parse_args(arguments)
    print(json.dumps(asyncio.run(DOING[options.do](options.job, options.operations))._asdict()))


if __name__ == "__main__":
    main()
