"""Make the job file of a large job and the page about it; started by `page`."""

import argparse
import asyncio
import contextlib
import json
import sqlite3
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from benchmarks.job_of_size import APP_ID, AtOnce, write_source
from benchmarks.measuring import Spent, spent
from benchmarks.timeline_once import BEGAN_AT, fill
from capgo_async import CapgoClient
from capgo_async.bulk import Bounds, Job, read_operations
from capgo_async.bulk.jobfile.schema import Outcome
from capgo_async.cli.job.drawing import charts_of, html_of
from capgo_async.errors import SafetyStop

_SENT: Final = 10
"""Requests that are really sent, so that there is a run; all other outcomes are written by SQL."""
_CAUSES: Final = 50


async def make(path: Path, operations: int, messages: int) -> None:
    """Make a job of which `messages` operations failed, each with another message, and all others are done."""
    source = path.with_name("devices.csv")
    write_source(source, operations)
    client = CapgoClient(api_key="00000000-0000-4000-8000-00000000aaaa", rate="off", transport=AtOnce(operations))
    async with client, await Job.create(path, read_operations(source), client=client) as job:
        with contextlib.suppress(SafetyStop):
            await job.run(client, bounds=Bounds(max_requests=_SENT))
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE operations SET outcome = ?, run = 2", (Outcome.DONE,))
        connection.execute(
            f"""
            UPDATE operations SET outcome = ?, status = 400, cause = 'cause ' || (id % {_CAUSES}),
                message = 'The server cannot change device ' || name || ': it is broken in a way of its own, number ' || id
            WHERE id <= ?
            """,
            (Outcome.FAILED, messages),
        )
        connection.execute("DELETE FROM moments")
        connection.execute("DELETE FROM steps")
        ended_at = fill(connection, operations, [APP_ID])
        connection.execute(
            "UPDATE runs SET started_at = ?, elapsed = ?, done = ?, failed = ? WHERE sends",
            (datetime.fromtimestamp(BEGAN_AT, UTC).isoformat(), ended_at - BEGAN_AT, operations - messages, messages),
        )
        connection.commit()


async def pages(path: Path) -> dict[str, Any]:
    """Return the size of the page, and what it takes to read the job and to draw its page, without and with charts."""
    began = spent()
    async with await Job.open(path, read_only=True) as job:
        picture = await job.picture()
    plain = html_of(picture, {})
    without = spent().since(began)
    whole = html_of(picture, await charts_of(picture))
    took = spent().since(began)
    return {
        "bytes": len(whole.encode()),
        "bytes_without_charts": len(plain.encode()),
        "failed": picture.report.failed,
        "without_charts": _rounded(without),
        "with_charts": _rounded(took),
    }


def _rounded(took: Spent) -> dict[str, float]:
    return {"wall": round(took.wall, 2), "cpu": round(took.cpu, 2)}


def main(arguments: Sequence[str] | None = None) -> None:
    """Make one job and its page, and print the measurements as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--operations", type=int, required=True)
    parser.add_argument("--messages", type=int, required=True)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="page-") as directory:
        path = Path(directory, "relink.capgo-job")
        asyncio.run(make(path, options.operations, options.messages))
        print(json.dumps(asyncio.run(pages(path))))


if __name__ == "__main__":
    main()
