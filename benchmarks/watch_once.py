"""Watch a large job that is under way, in virtual time; started by `watch`."""

import argparse
import asyncio
import contextlib
import json
import sqlite3
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import anyio

from benchmarks.measuring import spent
from benchmarks.page_once import make
from capgo_async.bulk.jobfile.schema import Outcome
from capgo_async.bulk.picture import Picture
from capgo_async.bulk.storage.lock import locked
from capgo_async.cli.job.watching import Board, follow
from capgo_async.pages.charts import charts_of
from capgo_async.pages.words import Drawing
from capgo_async.sandbox.virtual_time import run_in_virtual_time


class Counting(Board):
    """Counts how often the page is new."""

    def __init__(self) -> None:
        super().__init__()
        self.times = 0

    def put(self, html: str, *, last: bool) -> None:
        """Replace the page."""
        super().put(html, last=last)
        self.times += 1


def go_on(path: Path, operations: int) -> None:
    """Let a job that has ended be one that is half done and under way."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE operations SET outcome = ?, run = NULL WHERE id > ?", (Outcome.PENDING, operations // 2))
        connection.execute("UPDATE runs SET ended = NULL WHERE sends")
        connection.commit()


async def watched(path: Path, seconds: float) -> dict[str, Any]:
    """Watch a job for some virtual seconds."""
    drawings, board, began = 0, Counting(), spent()

    async def draw(picture: Picture) -> Mapping[str, Drawing]:
        nonlocal drawings
        drawings += 1
        return charts_of(picture)

    with locked(path), anyio.move_on_after(seconds):
        await follow(path, board, draw)
    share = spent().since(began).cpu / seconds
    return {"share": round(share, 4), "seconds": seconds, "readings": board.times, "drawings": drawings}


def main(arguments: Sequence[str] | None = None) -> None:
    """Make one job, watch it, and print the measurements as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--operations", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="watch-") as directory:
        path = Path(directory, "relink.capgo-job")
        asyncio.run(make(path, options.operations, options.operations // 100))
        go_on(path, options.operations)
        print(json.dumps(run_in_virtual_time(watched(path, options.seconds))))


if __name__ == "__main__":
    main()
