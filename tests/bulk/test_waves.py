"""Waves: exact shares of every app, each verified before the next, and bakes that outlive processes."""

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path

import anyio
import pytest
from fleet import APP, client_of, copy_job, ids_of, links_of, sandbox_of, write_csv
from hypothesis import HealthCheck, given, settings, strategies as st
from virtual_time import in_virtual_time

from capgo_async.bulk import Bounds, Job, Options, Report, Unknown, Which, read_operations
from capgo_async.bulk.running.stopping import StopRules
from capgo_async.cli.output.exit_codes import ExitCode, exit_code
from capgo_async.errors import ConfigurationError, SafetyStop
from capgo_async.sandbox import Arrival, Dropped, Reply, Sandbox
from capgo_async.sandbox.virtual_time import run_in_virtual_time

pytestmark = pytest.mark.slow

SHARES = (Fraction(1, 100), Fraction(1, 10), Fraction(1))
BAKE = 600.0


async def make(
    sandbox: Sandbox, directory: Path, *, apps: dict[str, int], waves: tuple[Fraction, ...] = SHARES, bake: float = BAKE
) -> Job:
    """Plan to link the first devices of some apps, all of them without a link, to alpha."""
    for app_id in apps:
        sandbox.world.apps[app_id].overrides.clear()
    rows = [(app_id, device) for app_id, count in apps.items() for device in ids_of(sandbox, app_id)[:count]]
    source = read_operations(write_csv(directory / "rows.csv", rows, ("app_id", "device_id")), channel="alpha")
    async with client_of(sandbox) as capgo:
        options = Options(waves=waves, bake_seconds=bake)
        return await Job.create(directory / "job.capgo-job", source, client=capgo, options=options)


def linked(sandbox: Sandbox) -> int:
    return sum(line.method == "POST" for line in sandbox.log)


def refuse_changes(sandbox: Sandbox, *numbers: int) -> None:
    """Let the changes of these numbers, from 1, find a public channel."""
    answer = sandbox.answer
    channels = sandbox.world.apps[APP].channels

    def refuse(arrival: Arrival, now: float) -> Reply | Dropped:
        if arrival.request.method != "POST" or linked(sandbox) + 1 not in numbers:
            return answer(arrival, now)
        channels["alpha"].public = True
        try:
            return answer(arrival, now)
        finally:
            channels["alpha"].public = False

    sandbox.answer = refuse  # type: ignore[method-assign]  # a double


def order_of(path: Path) -> Iterator[tuple[str, int]]:
    with sqlite3.connect(path) as connection:
        yield from connection.execute(
            "SELECT app_id, line FROM operations JOIN apps ON apps.id = app ORDER BY operations.id"
        ).fetchall()
    connection.close()


def bake_of(path: Path, number: int, to: datetime | None = None) -> datetime | None:
    """Return when the bake of a wave ends, or make it end at another time."""
    connection = sqlite3.connect(path)
    if to is not None:
        connection.execute("UPDATE waves SET bake_until = ? WHERE number = ?", (to.isoformat(), number))
        connection.commit()
    (found,) = connection.execute("SELECT bake_until FROM waves WHERE number = ?", (number,)).fetchone()
    connection.close()
    return None if found is None else datetime.fromisoformat(found)


rising = st.sets(st.integers(1, 9999), max_size=4).map(lambda cuts: (*(Fraction(n, 10_000) for n in sorted(cuts)), Fraction(1)))


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(0, 40), min_size=3, max_size=3).filter(any), rising)
def test_every_wave_has_the_exact_share_of_every_app(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], waves: tuple[Fraction, ...]
) -> None:
    directory = tmp_path_factory.mktemp("waves")
    sandbox = sandbox_of(apps=3, devices=120)
    apps = {app_id: min(size, len(ids_of(sandbox, app_id))) for app_id, size in zip(sandbox.world.apps, sizes, strict=True)}

    async def create() -> tuple[int, ...]:
        async with await make(sandbox, directory, apps=apps, waves=waves, bake=0.0) as job:
            return tuple(wave.operations for wave in job.plan.waves)

    counts = run_in_virtual_time(create())
    order = list(order_of(directory / "job.capgo-job"))
    taken = 0
    for share, count in zip(waves, counts, strict=True):
        taken += count
        found = Counter(app_id for app_id, _ in order[:taken])
        assert found == Counter({app_id: -(-size * share.numerator // share.denominator) for app_id, size in apps.items()})
    assert taken == len(order) == sum(apps.values())
    for app_id in apps:
        lines = [line for app, line in order if app == app_id]
        assert lines == sorted(lines), "the order of the input within an app"


@in_virtual_time
async def test_waves_follow_each_other_after_their_bakes(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=200)
    async with await make(sandbox, tmp_path, apps={APP: 200}) as job, client_of(sandbox) as capgo:
        assert [(wave.share, wave.operations, wave.state) for wave in job.plan.waves] == [
            ("1%", 2, "pending"),
            ("10%", 18, "pending"),
            ("100%", 180, "pending"),
        ]
        assert "1,200 s of pauses" in str(job.plan)
        assert "wave 2, up to 10%: 18 operations, pending" in str(job.plan)
        seen: list[tuple[float, int, bool]] = []

        async def look() -> None:
            for _ in range(5):
                await anyio.sleep(BAKE / 2)
                seen.append((anyio.current_time(), linked(sandbox), job.baking_until is not None))

        async with anyio.create_task_group() as group:
            group.start_soon(look)
            report = await job.run(capgo)
            ended = anyio.current_time()
            group.cancel_scope.cancel()
    assert [(count, baking) for _, count, baking in seen] == [(2, True), (2, True), (20, True), (20, True)][: len(seen)]
    assert 2 * BAKE < ended < 2 * BAKE + 120.0
    assert (report.done, report.verified, report.pending) == (200, 200, 0)
    async with await Job.open(job.path, read_only=True) as job:
        assert [wave.state for wave in job.plan.waves] == ["verified"] * 3
        assert [wave.bake_until is not None for wave in job.plan.waves] == [True, True, False]


@in_virtual_time
async def test_a_contradicted_wave_stops_the_run_and_the_next_run_stops_only_for_more(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=200)
    posts: list[str] = []
    arrive = sandbox.arrive

    def undo(*arguments: object) -> object:
        if arguments[0].method == "GET" and len(links_of(sandbox)) == 2:  # type: ignore[attr-defined]  # a request
            posts.append(min(links_of(sandbox)))
            sandbox.world.apps[APP].unlink(posts[-1])
        return arrive(*arguments)  # type: ignore[arg-type]  # a request and what follows it

    async with await make(sandbox, tmp_path, apps={APP: 200}, bake=0.0) as job, client_of(sandbox) as capgo:
        sandbox.arrive = undo  # type: ignore[method-assign,assignment]  # somebody else is at work
        with pytest.raises(SafetyStop, match=r"after wave 1 \(1%\): a fresh listing contradicts 1 operation that succeeded"):
            await job.run(capgo)
        assert linked(sandbox) == 2
        report = await job.report()
        assert (report.done, report.contradicted, report.pending) == (2, 1, 198)
    async with await Job.open(job.path) as job, client_of(sandbox) as capgo:
        assert [wave.state for wave in job.plan.waves] == ["stopped", "pending", "pending"]
        report = await job.run(capgo)
    assert (report.done, report.contradicted, report.verified) == (200, 1, 199)


@in_virtual_time
async def test_what_an_earlier_wave_did_is_looked_at_again(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=200)
    async with await make(sandbox, tmp_path, apps={APP: 200}) as job, client_of(sandbox) as capgo:
        async with anyio.create_task_group() as group:

            async def undo() -> None:
                await anyio.sleep(BAKE / 2)
                sandbox.world.apps[APP].unlink(ids_of(sandbox)[0])

            group.start_soon(undo)
            with pytest.raises(SafetyStop, match=r"after wave 2 \(10%\)"):
                await job.run(capgo)
    assert linked(sandbox) == 20


@pytest.mark.parametrize(("rules", "stops"), [(StopRules(), True), (StopRules(failures=None), False)])
def test_a_wave_with_too_many_failures_is_the_last(tmp_path: Path, *, rules: StopRules, stops: bool) -> None:
    @in_virtual_time
    async def run() -> None:
        sandbox = sandbox_of(devices=200)
        refuse_changes(sandbox, 1, 3)
        async with await make(sandbox, tmp_path, apps={APP: 200}, bake=0.0) as job, client_of(sandbox) as capgo:
            if not stops:
                assert (await job.run(capgo, stop_rules=rules)).failed == 2
                return
            with pytest.raises(SafetyStop, match=r"after wave 1 \(1%\): 1 of 2 operations failed"):
                await job.run(capgo, stop_rules=rules)
            assert (await job.report()).pending == 198
            report = await job.run(capgo)
        assert (report.failed, report.done) == (2, 198)

    run()


@in_virtual_time
async def test_what_failed_and_was_opened_again_is_sent_in_its_wave(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=200)
    refuse_changes(sandbox, 1, 30)
    rules = StopRules(failures=None)
    async with await make(sandbox, tmp_path, apps={APP: 200}) as job, client_of(sandbox) as capgo:
        assert (await job.run(capgo, stop_rules=rules)).failed == 2
        connection = sqlite3.connect(job.path)
        connection.execute("UPDATE operations SET outcome = 0 WHERE outcome = 3")
        connection.commit()
        connection.close()
        for number in (1, 2):
            bake_of(job.path, number, datetime.now(UTC))
        began = anyio.current_time()
        report = await job.run(capgo, stop_rules=rules)
        assert BAKE < anyio.current_time() - began < 1.5 * BAKE, "between the first wave and the last"
    assert (report.done, report.verified, report.failed) == (200, 200, 0)


@in_virtual_time
async def test_a_run_of_what_failed_verifies_no_wave_that_it_does_not_complete(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=200)
    refuse_changes(sandbox, 1)
    async with await make(sandbox, tmp_path, apps={APP: 200}, bake=0.0) as job, client_of(sandbox) as capgo:
        with pytest.raises(SafetyStop, match="1 of 2 operations failed"):
            await job.run(capgo)
        report = await job.run(capgo, which=Which.FAILED)
        assert (report.done, report.pending) == (2, 198)
        async with await Job.open(job.path, read_only=True) as shown:
            assert [wave.state for wave in shown.plan.waves] == ["verified", "pending", "pending"]
        report = await job.run(capgo)
    assert (report.verified, report.failed) == (200, 0)


@in_virtual_time
async def test_a_rule_that_stopped_within_a_wave_does_not_stop_again_at_its_end(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=200)
    refuse_changes(sandbox, 1, 2)
    rules = StopRules(consecutive=2)
    async with await make(sandbox, tmp_path, apps={APP: 200}, waves=(Fraction(1, 20), Fraction(1)), bake=0.0) as job:
        async with client_of(sandbox, concurrency=1) as capgo:
            with pytest.raises(SafetyStop, match=r"2 operations in a row failed, in wave 1 \(5%\)"):
                await job.run(capgo, stop_rules=rules)
            report = await job.run(capgo, stop_rules=rules)
    assert (report.failed, report.pending) == (2, 0)


async def draining(job: Job, sandbox: Sandbox, at: float, stop: Callable[[Job], None] = Job.drain) -> tuple[Report, float]:
    """Run and stop; return the report, and how long the run went on after that."""
    async with client_of(sandbox) as capgo, anyio.create_task_group() as group:

        async def drain() -> None:
            await anyio.sleep(at)
            stop(job)

        group.start_soon(drain)
        began = anyio.current_time()
        report = await job.run(capgo)
        late = anyio.current_time() - began - at
    return report, late


@pytest.mark.parametrize("stop", [Job.drain, Job.abort])
def test_a_bake_is_ended_at_once_and_goes_on_where_it_was(tmp_path: Path, stop: Callable[[Job], None]) -> None:
    @in_virtual_time
    async def run() -> None:
        sandbox = sandbox_of(devices=200)
        async with await make(sandbox, tmp_path, apps={APP: 200}) as job:
            report, late = await draining(job, sandbox, BAKE / 2, stop)
            assert late < 0.1
            assert (report.done, report.pending) == (2, 198)
            left = timedelta(seconds=100)
            bake_of(job.path, 1, datetime.now(UTC) + left)
            began = anyio.current_time()
            report, _ = await draining(job, sandbox, 99.0)
            assert report.done == 2, "the bake goes on"
            bake_of(job.path, 1, datetime.now(UTC) + left)
            report, _ = await draining(job, sandbox, 120.0)
            assert report.done == 20
            assert anyio.current_time() - began < 2 * BAKE

    run()


async def half_linked(tmp_path: Path, sandbox: Sandbox) -> Job:
    """Plan for two waves, of which the first one is linked after 180 s, and verified after 240, where a request takes 60."""
    return await make(sandbox, tmp_path, apps={APP: 40}, waves=(Fraction(1, 2), Fraction(1)))


@pytest.mark.parametrize("stop", [Job.drain, Job.abort])
def test_a_verification_is_ended_at_once_and_begun_anew_by_the_next_run(tmp_path: Path, stop: Callable[[Job], None]) -> None:
    @in_virtual_time
    async def run() -> None:
        sandbox = sandbox_of(devices=40)
        async with await half_linked(tmp_path, sandbox) as job:
            async with client_of(sandbox, delay=30.0) as capgo, anyio.create_task_group() as group:

                async def end() -> None:
                    await anyio.sleep(200.0)
                    stop(job)

                group.start_soon(end)
                report = await job.run(capgo)
                assert anyio.current_time() == pytest.approx(200.0, abs=1.0)
            assert (report.done, report.unchecked, report.waves[0].state) == (20, 20, "begun")
            assert report.runs[-1].ended == "interrupted"
            async with client_of(sandbox) as capgo:
                report = await job.run(capgo)
            assert [wave.state for wave in report.waves] == ["verified", "verified"]
            assert linked(sandbox) == 40

    run()


@in_virtual_time
async def test_a_bound_ends_a_verification_too(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=40)
    async with await half_linked(tmp_path, sandbox) as job, client_of(sandbox, delay=30.0) as capgo:
        began = anyio.current_time()
        with pytest.raises(SafetyStop, match="the time limit"):
            await job.run(capgo, bounds=Bounds(max_seconds=200.0))
        assert anyio.current_time() - began == pytest.approx(200.0, abs=1.0)
        assert (await job.report()).unchecked == 20


@in_virtual_time
async def test_a_kill_in_a_bake_loses_nothing_of_it(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=200)
    async with await make(sandbox, tmp_path, apps={APP: 200}) as job, client_of(sandbox) as capgo:
        killed = tmp_path / "killed.capgo-job"
        async with anyio.create_task_group() as group:

            async def kill() -> None:
                await anyio.sleep(BAKE / 2)
                copy_job(job.path, killed)
                job.abort()

            group.start_soon(kill)
            await job.run(capgo)
    until = bake_of(killed, 1)
    assert until is not None
    assert until.utcoffset() == timedelta(0)
    assert abs((until - datetime.now(UTC)).total_seconds() - BAKE) < 60.0
    bake_of(killed, 1, datetime.now(UTC) - timedelta(seconds=1))
    async with await Job.open(killed) as job, client_of(sandbox) as capgo:
        began = anyio.current_time()
        report = await job.run(capgo)
    assert BAKE < anyio.current_time() - began < BAKE + 130.0, "of two bakes one was over"
    assert report.done == 200
    assert linked(sandbox) == 200, "nothing was sent twice"


@in_virtual_time
async def test_a_kill_within_a_wave_goes_on_in_that_wave(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=400)
    waves = (Fraction(1, 2), Fraction(1))
    killed = tmp_path / "killed.capgo-job"
    async with await make(sandbox, tmp_path, apps={APP: 400}, waves=waves) as job, client_of(sandbox) as capgo:
        async with anyio.create_task_group() as group:

            async def kill() -> None:
                while linked(sandbox) < 100:  # noqa: ASYNC110 - the sandbox has no event to wait for
                    await anyio.sleep(0.05)
                copy_job(job.path, killed)
                job.abort()

            group.start_soon(kill)
            await job.run(capgo)
    async with await Job.open(killed) as job:
        report, _ = await draining(job, sandbox, 300.0)
    assert (report.done, report.pending) == (200, 200)
    assert set(links_of(sandbox)) == set(ids_of(sandbox)[:200])


@in_virtual_time
async def test_a_wave_that_was_drained_is_not_verified(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=400)
    async with await make(sandbox, tmp_path, apps={APP: 400}, waves=(Fraction(1, 2), Fraction(1))) as job:
        report, _ = await draining(job, sandbox, 0.3)
        assert 0 < report.done < 200
        assert report.unchecked == report.done
    async with await Job.open(job.path, read_only=True) as job:
        assert [wave.state for wave in job.plan.waves] == ["begun", "pending"]


@in_virtual_time
async def test_a_contradiction_at_the_end_stops_nothing_and_is_reported(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=200)
    async with await make(sandbox, tmp_path, apps={APP: 200}) as job, client_of(sandbox) as capgo:
        answer = sandbox.answer

        def undo(arrival: Arrival, now: float) -> Reply | Dropped:
            if linked(sandbox) == 200:
                sandbox.world.apps[APP].unlink(ids_of(sandbox)[0])
            return answer(arrival, now)

        sandbox.answer = undo  # type: ignore[method-assign]  # somebody else is at work
        report = await job.run(capgo)
    assert (report.done, report.contradicted) == (200, 1)
    assert exit_code(report) == ExitCode.INCOMPLETE


@in_virtual_time
async def test_a_wave_that_adds_nothing_is_passed_over(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=200)
    waves = (Fraction(1, 100), Fraction(2, 100), Fraction(1))
    async with await make(sandbox, tmp_path, apps={APP: 10}, waves=waves) as job, client_of(sandbox) as capgo:
        assert [wave.operations for wave in job.plan.waves] == [1, 0, 9]
        began = anyio.current_time()
        await job.run(capgo)
        assert BAKE < anyio.current_time() - began < 1.5 * BAKE


@in_virtual_time
async def test_what_a_listing_of_a_wave_could_not_prove_is_kept(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=150, faults="GET /device:masked=#2+#3")
    async with await make(sandbox, tmp_path, apps={APP: 150}, bake=0.0) as job, client_of(sandbox) as capgo:
        assert not job.plan.remarks
        with pytest.raises(SafetyStop):
            await job.run(capgo)
    async with await Job.open(job.path, read_only=True) as job:
        assert any("lists no device" in remark for remark in job.plan.remarks)


@in_virtual_time
async def test_a_clock_that_was_set_back_makes_no_bake_longer(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=200)
    async with await make(sandbox, tmp_path, apps={APP: 200}) as job:
        await draining(job, sandbox, BAKE / 2)
        bake_of(job.path, 1, datetime.now(UTC) + timedelta(days=300))
        report, _ = await draining(job, sandbox, BAKE + 60.0)
    assert report.done == 20


@in_virtual_time
async def test_an_app_so_small_that_one_wave_holds_it_is_not_baked(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=200)
    async with await make(sandbox, tmp_path, apps={APP: 1}) as job, client_of(sandbox) as capgo:
        began = anyio.current_time()
        report = await job.run(capgo)
        assert anyio.current_time() - began < 120.0
    assert report.verified == 1


@pytest.mark.parametrize(
    ("waves", "bake"),
    [
        ((Fraction(1, 2),), 0.0),
        ((Fraction(0), Fraction(1)), 0.0),
        ((Fraction(1, 2), Fraction(1, 2), Fraction(1)), 0.0),
        ((Fraction(1, 10**9), Fraction(1)), 0.0),
        ((), 60.0),
        ((Fraction(1, 2), Fraction(1)), -1.0),
        ((Fraction(1, 2), Fraction(1)), float("inf")),
    ],
)
def test_what_are_no_waves_is_refused(waves: tuple[Fraction, ...], bake: float) -> None:
    with pytest.raises(ConfigurationError):
        Options(waves=waves, bake_seconds=bake)


def test_other_options_stay_free_of_waves() -> None:
    assert Options(unknown=Unknown.SKIP).waves == ()


@in_virtual_time
async def test_a_bound_ends_a_bake_too(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=200)
    job = await make(sandbox, tmp_path, apps={APP: 200})
    began = anyio.current_time()
    async with job, client_of(sandbox) as capgo:
        with pytest.raises(SafetyStop, match="the time limit"):
            await job.run(capgo, bounds=Bounds(max_seconds=60.0))
        assert anyio.current_time() - began == pytest.approx(60.0, abs=1.0)
        assert (await job.report()).done == 2


@in_virtual_time
async def test_a_wave_that_nobody_can_see_is_not_called_verified(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=50)
    rows = [(APP, f"unseen-{number}") for number in range(20)]
    source = read_operations(write_csv(tmp_path / "rows.csv", rows, ("app_id", "device_id")), channel="alpha")
    options = Options(waves=(Fraction(1, 2), Fraction(1)))
    async with client_of(sandbox) as capgo:
        async with await Job.create(tmp_path / "a.capgo-job", source, client=capgo, options=options) as job:
            report = await job.run(capgo)
    assert [wave.state for wave in report.waves] == ["cannot_tell", "cannot_tell"]
