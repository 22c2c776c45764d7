"""What a job says of itself while it runs, rests and waits, and after a kill."""

import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path

import anyio
import pytest
from fleet import APP, client_of, copy_job, ids_of, sandbox_of, write_csv
from msgspec.structs import replace
from virtual_time import in_virtual_time

from capgo_async.bulk import Activity, Answer, Decision, Job, Options, Question, read_operations
from capgo_async.bulk.jobfile import timelines
from capgo_async.bulk.jobfile.journal import LIFE_SECONDS
from capgo_async.bulk.jobfile.schema import TABLES
from capgo_async.bulk.timeline import Moment
from capgo_async.events import ApprovalAnswered, ApprovalAsked, Event, ForecastMade, RestBegan, ServerAway, WaveEnded
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
        assert running.seconds_left is not None
        assert running.seconds_left > 60.0, "the run sends 100 a minute; without its limit, it took some seconds"
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
    assert (running.state, running.run, running.waits_for) == ("running", 2, "")


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


@in_virtual_time
async def test_a_run_shows_signs_of_life_while_nothing_is_sent(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=20)
    killed, lived = tmp_path / "killed.capgo-job", 0.0

    async def approve(_question: Question) -> Answer:
        nonlocal lived
        await anyio.sleep(46.0)
        lived = anyio.current_time() - began
        copy_job(job.path, killed)
        return Answer(Decision.APPROVED)

    async with (
        await make(sandbox, tmp_path, Options(waves=(Fraction(1, 2), Fraction(1)))) as job,
        client_of(sandbox) as capgo,
    ):
        began = anyio.current_time()
        await job.run(capgo, approve=approve)
    async with await Job.open(killed, read_only=True) as job:
        (_, run) = (await job.report()).runs
    assert run.ended is None
    assert lived - LIFE_SECONDS <= run.elapsed_seconds <= lived


NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
MADE = ForecastMade(operations=900, seconds=1300.0, more=50.0)


@pytest.mark.parametrize(
    ("told", "left"),
    [
        pytest.param([], None, id="no forecast"),
        pytest.param([(-100.0, 2, MADE)], 1200.0, id="passed in part"),
        pytest.param([(-2000.0, 2, MADE)], 0.0, id="late"),
        pytest.param([(-100.0, 1, MADE)], None, id="of another run"),
        pytest.param([(-900.0, 2, MADE), (-100.0, 2, replace(MADE, seconds=500.0))], 400.0, id="the last one"),
        pytest.param([(-1350.0, 2, MADE), (-10.0, 2, RestBegan(limit="key", seconds=60.0))], 50.0, id="rests beyond it"),
        pytest.param([(-100.0, 2, MADE), (-10.0, 2, RestBegan(limit="key", seconds=60.0))], 1200.0, id="rests within it"),
        pytest.param(
            [
                *((-800.0, 2, ApprovalAsked(wave=1)), (-700.0, 2, MADE)),
                (-500.0, 2, WaveEnded(wave=2, state="verified", done=1, failed=0, contradicted=0)),
                *((-400.0, 2, ApprovalAsked(wave=2)), (-300.0, 2, ApprovalAnswered(wave=2, answer="again"))),
                (-200.0, 2, ApprovalAsked(wave=2, attempt=2)),
            ],
            1000.0,
            id="stands still from the first question on",
        ),
        pytest.param(
            [(-100.0, 2, MADE), (-50.0, 2, ServerAway(seconds=55.0, so_far=0.0))], 1250.0, id="stands still without the server"
        ),
    ],
)
def test_a_run_ends_by_its_own_last_forecast(told: list[tuple[float, int, Event]], left: float | None) -> None:
    at = NOW.timestamp()
    with closing(sqlite3.connect(":memory:")) as connection:
        for statement in TABLES:
            connection.execute(statement)
        for seconds, run, event in told:
            timelines.add(connection, run, (), (Moment(at + seconds, run, event),))
        found = timelines.activity_of(connection, 2, at)
    assert found.seconds_left == (None if left is None else pytest.approx(left))


def away(sandbox: Sandbox) -> None:
    """Let nothing be answered any more."""

    def drop(_arrival: Arrival, _now: float) -> Reply | Dropped:
        return Dropped(processed=False)

    sandbox.answer = drop  # type: ignore[method-assign,assignment]  # a double
