"""Real kills: the command runs a job against a sandbox on a socket, and is ended by SIGKILL at many moments."""

import contextlib
import os
import random
import shutil
import signal
import sqlite3
from collections import Counter
from pathlib import Path
from subprocess import PIPE

import anyio.to_thread
import msgspec
import pytest
from fleet import links_of, relink_everything

from benchmarks.forked import Forked
from capgo_async import CapgoClient
from capgo_async.bulk import Job, Report, read_operations
from capgo_async.bulk.jobfile.schema import Outcome
from capgo_async.events import RunBegan, RunEnded
from capgo_async.sandbox import Arrival, Dropped, Reply, Sandbox, Settings, fleet
from capgo_async.sandbox.faults import parse
from capgo_async.sandbox.seeding import SUPER_ADMIN_KEY
from capgo_async.sandbox.server import serve

pytestmark = pytest.mark.slow

OPERATIONS = 1500
KILLS = 8
"""Points at which the run is killed, spread over all of it by a seeded draw."""


class DeadlySandbox(Sandbox):
    """A sandbox that kills its client at a chosen answer, at the moment when the answer is due."""

    def __init__(self, settings: Settings | None = None) -> None:
        super().__init__(fleet(apps=4, devices=OPERATIONS, overrides={"alpha": 0.5}), settings)
        self.deaths: list[int] = []
        self.victim: Forked | None = None

    def answer(self, arrival: Arrival, now: float) -> Reply | Dropped:
        reply = super().answer(arrival, now)
        if self.victim is not None and self.deaths and self.answered >= self.deaths[0]:
            self.deaths.pop(0)
            self.victim.kill()
            self.victim = None
        return reply


async def ran(sandbox: DeadlySandbox, base_url: str, *words: object) -> tuple[int | None, str, str]:
    """Run a command that the sandbox may kill; return its exit code and what it wrote."""
    aimed = {**os.environ, "CAPGO_API_KEY": SUPER_ADMIN_KEY, "CAPGO_BASE_URL": base_url}
    process = Forked(*words, "--json", "--rate", "off", stdout=PIPE, stderr=PIPE, env=aimed, cwd=Path.cwd())
    sandbox.victim = process
    out, err = await anyio.to_thread.run_sync(process.communicate)
    sandbox.victim = None
    return process.returncode, out, err


def recorded_as_done(path: Path, directory: Path) -> set[str]:
    """Return the targets that a killed job had recorded as done, read from a copy."""
    for suffix in ("", "-wal"):
        part = path.with_name(path.name + suffix)
        if part.exists():
            shutil.copy(part, directory / f"looked-at{suffix}")
    with contextlib.closing(sqlite3.connect(directory / "looked-at")) as connection:
        rows = connection.execute(
            "SELECT app_id || '/' || name FROM operations JOIN apps ON apps.id = app WHERE outcome = ?", (Outcome.DONE,)
        ).fetchall()
    for suffix in ("", "-wal", "-shm"):
        (directory / f"looked-at{suffix}").unlink(missing_ok=True)
    return {target for (target,) in rows}


async def compare_with_timeline(path: Path, report: Report) -> None:
    """Compare the totals of the timeline with those of the runs, of which all but the last were killed."""
    async with await Job.open(path, read_only=True) as job:
        found = await job.timeline()
    for name in ("done", "failed", "requests", "retries"):
        assert sum(getattr(bucket, name) for bucket in found.buckets) == sum(getattr(run, name) for run in report.runs), name
    assert sum(bucket.done for bucket in found.buckets) == report.done
    begun = [moment.run for moment in found.moments if isinstance(moment.event, RunBegan)]
    ended = [moment.run for moment in found.moments if isinstance(moment.event, RunEnded)]
    assert begun == [run.number for run in report.runs]
    assert ended == [run.number for run in report.runs if run.ended is not None]


async def killed_often(directory: Path, sandbox: DeadlySandbox, kills: int) -> tuple[Report, int]:
    """Plan, then run and kill until it is through; return the last report and how often it was killed."""
    path = directory / "move.capgo-job"
    source = relink_everything(directory / "devices.csv", sandbox)
    async with serve(sandbox) as address:
        async with CapgoClient(api_key=SUPER_ADMIN_KEY, base_url=address.base_url) as capgo:
            job = await Job.create(path, read_operations(source), client=capgo)
            await job.aclose()
        planning = sandbox.answered
        draw = random.Random(7)
        sandbox.deaths = sorted(planning + draw.randrange(1, job.plan.planned) for _ in range(kills))
        killed = 0
        while True:
            begin = len(sandbox.log)
            done = recorded_as_done(path, directory)
            code, out, err = await ran(sandbox, address.base_url, "job", "run", path, "--yes")
            again = {line.target for line in list(sandbox.log)[begin:] if line.method == "POST"}
            assert not again & done, "what was recorded as done is not sent again"
            if code != -signal.SIGKILL:
                break
            killed += 1
    assert code == 0, err
    await compare_with_timeline(path, msgspec.json.decode(out, type=Report))
    return msgspec.json.decode(out, type=Report), killed


async def test_killed_at_many_moments_every_operation_ends_in_exactly_one_outcome(tmp_path: Path) -> None:
    sandbox = DeadlySandbox()
    report, killed = await killed_often(tmp_path, sandbox, KILLS)
    assert killed == KILLS
    assert report.rows == report.planned == OPERATIONS
    assert (report.done, report.failed, report.pending) == (OPERATIONS, 0, 0)
    for app in sandbox.world.apps:
        assert set(links_of(sandbox, app).values()) == {"beta"}
    posts = Counter(line.target for line in sandbox.log if line.method == "POST")
    assert len(posts) == OPERATIONS
    assert sum(posts.values()) > OPERATIONS, "a kill leaves some in doubt: the kills really came in between"


async def test_killed_while_answers_are_lost_after_the_commit(tmp_path: Path) -> None:
    sandbox = DeadlySandbox(Settings(faults=parse("POST /device:drop-after=2%,502-after=2%")))
    report, killed = await killed_often(tmp_path, sandbox, 4)
    assert killed == 4
    assert (report.done, report.failed, report.pending) == (report.planned, 0, 0)
    for app in sandbox.world.apps:
        assert set(links_of(sandbox, app).values()) == {"beta"}


async def test_killed_while_planning_nothing_is_left_that_looks_like_a_job(tmp_path: Path) -> None:
    sandbox = DeadlySandbox()
    source = relink_everything(tmp_path / "devices.csv", sandbox)
    path = tmp_path / "move.capgo-job"
    async with serve(sandbox) as address:
        for death in (1, 5, 15):
            sandbox.deaths = [sandbox.answered + death]
            words = ("devices", "relink", source, "--job", path, "--plan-only")
            assert (await ran(sandbox, address.base_url, *words))[0] == -signal.SIGKILL
            assert not path.exists()
        async with CapgoClient(api_key=SUPER_ADMIN_KEY, base_url=address.base_url) as capgo:
            async with await Job.create(path, read_operations(source), client=capgo) as job:
                assert job.plan.planned == OPERATIONS
    assert not path.with_name(path.name + ".building").exists()
