"""What a job says of itself while it runs, rests and waits, and after a kill."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path

import anyio
import pytest
from fleet import APP, client_of, copy_job, ids_of, sandbox_of, write_csv
from virtual_time import in_virtual_time

from capgo_async.bulk import Activity, Answer, Decision, Job, Options, Question, read_operations
from capgo_async.limits.models import server_limits
from capgo_async.sandbox import Arrival, Dropped, Reply, Sandbox


async def make(sandbox: Sandbox, directory: Path, options: Options = Options()) -> Job:  # noqa: B008 - immutable
    sandbox.world.apps[APP].overrides.clear()
    source = read_operations(
        write_csv(directory / "rows.csv", [(device,) for device in ids_of(sandbox)]), app_id=APP, channel="alpha"
    )
    async with client_of(sandbox) as capgo:
        return await Job.create(directory / "job.capgo-job", source, client=capgo, options=options)


async def seen_at(job: Job, run: Callable[[], Awaitable[object]], at: float) -> tuple[Activity, Activity, float]:
    """Return what another reader is told `at` seconds after the start, what it is told of a killed copy, and by which clock."""
    found: list[tuple[Activity, Activity, float]] = []

    async def look() -> None:
        await anyio.sleep(at)
        killed = copy_job(job.path, job.path.with_name("killed.capgo-job"))
        now = datetime.now(UTC).timestamp()
        async with await Job.open(job.path, read_only=True) as shown, await Job.open(killed, read_only=True) as copy:
            found.append((await shown.activity(), await copy.activity(), now))
        job.abort()

    async with anyio.create_task_group() as group:
        group.start_soon(look)
        await run()
    return found[0]


@in_virtual_time
async def test_a_job_that_nobody_runs_is_idle(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=50)
    async with await make(sandbox, tmp_path) as job, client_of(sandbox) as capgo:
        assert await job.activity() == Activity(state="idle")
        await job.run(capgo)
        assert await job.activity() == Activity(state="idle")


@in_virtual_time
async def test_a_run_that_rests_says_for_which_limit_and_until_when(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=200)
    async with await make(sandbox, tmp_path) as job, client_of(sandbox, rate="100/min") as capgo:
        running, killed, now = await seen_at(job, lambda: job.run(capgo), 20.0)
        assert (running.state, running.waits_for, running.run) == ("resting", "key", 2)
        assert running.until is not None
        # The wall clock does not follow virtual time: the rest was told by a clock that has hardly moved.
        assert 20.0 < datetime.fromisoformat(running.until).timestamp() - now < 70.0
        assert killed == Activity(state="killed", run=2)
        # A run that sends again does not rest.
        report = await job.run(capgo)
        assert report.done == 200
        assert await job.activity() == Activity(state="idle")


@in_virtual_time
async def test_a_run_that_sends_is_running(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=200)
    async with await make(sandbox, tmp_path) as job, client_of(sandbox, rate="60/min", delay=5.0) as capgo:
        running, _, _ = await seen_at(job, lambda: job.run(capgo), 12.0)
    assert running == Activity(state="running", run=2)


@pytest.mark.slow
@pytest.mark.parametrize("wait", ["bake", "approval", "server"])
def test_a_run_that_waits_says_for_what(tmp_path: Path, wait: str) -> None:
    @in_virtual_time
    async def run() -> None:
        sandbox = sandbox_of(devices=50)
        options = Options(waves=(Fraction(1, 2), Fraction(1)), bake_seconds=600.0 if wait == "bake" else 0.0)

        async def approve(_question: Question) -> Answer:
            await anyio.sleep(1000.0)
            return Answer(Decision.APPROVED)

        async with (
            await make(sandbox, tmp_path, options) as job,
            client_of(sandbox, wait_for_server=3600.0 if wait == "server" else 0.0) as capgo,
        ):
            if wait == "server":
                away(sandbox)
            told, killed, now = await seen_at(
                job, lambda: job.run(capgo, approve=approve if wait == "approval" else None), 320.0
            )
        assert (told.state, told.waits_for, told.run) == ("waiting", wait, 2)
        assert killed == Activity(state="killed", run=2)
        if wait == "approval":
            assert told.until is None
        else:
            assert told.until is not None
            assert 0.0 < datetime.fromisoformat(told.until).timestamp() - now < 601.0

    run()


@in_virtual_time
async def test_what_a_killed_run_left_in_doubt_waits_for_the_limits_of_its_devices(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=60, limits="server")
    killed = tmp_path / "killed.capgo-job"
    async with await make(sandbox, tmp_path) as job, client_of(sandbox, delay=2.0) as capgo:

        async def kill() -> None:
            await anyio.sleep(9.0)
            copy_job(job.path, killed)

        async with anyio.create_task_group() as group:
            group.start_soon(kill)
            await job.run(capgo)
    async with await Job.open(killed) as job, client_of(sandbox) as capgo:
        told = job.lasts(server_limits())
        report = await job.run(capgo)
    assert report.done == report.planned
    assert told == pytest.approx(report.elapsed_seconds, rel=0.1)
    assert told > 60.0
    async with await Job.open(killed, read_only=True) as job:
        assert job.lasts(server_limits()) == 0.0


def away(sandbox: Sandbox) -> None:
    """Let nothing be answered any more."""

    def drop(_arrival: Arrival, _now: float) -> Reply | Dropped:
        return Dropped(processed=False)

    sandbox.answer = drop  # type: ignore[method-assign,assignment]  # a double
