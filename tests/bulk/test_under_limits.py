"""Jobs against a sandbox with the server's real limits, in virtual time: the access log is the judge."""

from collections.abc import Iterable
from datetime import timedelta
from functools import partial
from itertools import pairwise
from pathlib import Path

import anyio
import pytest
from fleet import (
    A_TENTH,
    APP,
    LIMITS_OF_A_TENTH,
    client_of,
    copy_job,
    ids_of,
    limits_in,
    links_of,
    relink_everything,
    sandbox_of,
    statuses,
    write_csv,
)
from virtual_time import in_virtual_time

from capgo_async.api.endpoints.bundles import list_bundles
from capgo_async.bulk import Job, Report, read_operations
from capgo_async.bulk.clock import wall_clock
from capgo_async.client import requester_of
from capgo_async.key_ring import pacer_of
from capgo_async.limits.models import DEFAULT_SILENCE, ScopeKind, server_limits
from capgo_async.sandbox import AccessLine, Sandbox, Settings, Thresholds, fleet
from capgo_async.sandbox.inprocess import InProcessTransport
from capgo_async.sandbox.seeding import SUPER_ADMIN_KEY
from capgo_async.sandbox.virtual_time import run_in_virtual_time


async def relink(sandbox: Sandbox, directory: Path, *, name: str = "job", **options: object) -> Report:
    source = read_operations(relink_everything(directory / "devices.csv", sandbox))
    async with client_of(sandbox, **options) as capgo:  # type: ignore[arg-type]  # options of the client
        async with await Job.create(directory / f"{name}.capgo-job", source, client=capgo) as job:
            return await job.run(capgo)


def refused(sandbox: Sandbox) -> list[AccessLine]:
    return [line for line in sandbox.log if line.status == 429]


def silences(log: Iterable[AccessLine], at_least: float) -> int:
    return sum(1 for earlier, later in pairwise(log) if later.time - earlier.answered >= at_least)


@pytest.mark.slow
@pytest.mark.parametrize(("apps", "devices"), [(1, 2700), (3, 4000), (12, 4500)])
@in_virtual_time
async def test_nothing_is_refused_with_64_workers(tmp_path: Path, apps: int, devices: int) -> None:
    sandbox = sandbox_of(apps=apps, devices=devices, limits="server")
    report = await relink(sandbox, tmp_path, concurrency=64)
    assert (report.done, report.failed, report.pending, report.rate_limited) == (report.planned, 0, 0, 0)
    assert report.rows == devices
    assert refused(sandbox) == []
    assert report.requests == len(sandbox.log)
    assert all(set(links_of(sandbox, app).values()) == {"beta"} for app in sandbox.world.apps)


@pytest.mark.slow
@in_virtual_time
async def test_the_key_rests_exactly_as_often_as_it_must(tmp_path: Path) -> None:
    sandbox = sandbox_of(apps=12, devices=1200, limits="server", variables=A_TENTH)
    report = await relink(sandbox, tmp_path, limits=LIMITS_OF_A_TENTH, concurrency=6)
    rests = (report.requests - 1) // 199
    assert silences(sandbox.log, 60.0) == rests
    assert report.requests > 4 * 199
    assert sandbox.log[-1].answered - sandbox.log[0].time < rests * 62.0 + 15.0


@pytest.mark.slow
@in_virtual_time
async def test_auto_learns_a_smaller_limit_of_the_key_once(tmp_path: Path) -> None:
    sandbox = sandbox_of(apps=12, devices=2400, limits="server", variables={"RATE_LIMIT_API_KEY": 301})
    workers = 64
    report = await relink(sandbox, tmp_path, concurrency=workers)
    assert (report.done, report.pending) == (report.planned, 0)
    # First the refusal that may be somebody else's traffic, then the one that teaches: by a request that goes alone.
    knocks = refused(sandbox)
    assert 0 < len(knocks) <= workers + 1
    later = [line for line in sandbox.log if line.time > knocks[-1].time]
    assert len(later) > 3 * 300
    assert not any(line.status == 429 for line in later)


@pytest.mark.slow
@in_virtual_time
async def test_auto_learns_a_smaller_limit_of_an_app_once(tmp_path: Path) -> None:
    sandbox = sandbox_of(apps=2, devices=1600, limits="server", variables={"RATE_LIMIT_CHANNEL_SELF_IP": 100})
    workers = 16
    report = await relink(sandbox, tmp_path, concurrency=workers)
    assert (report.done, report.pending) == (report.planned, 0)
    for app in sandbox.world.apps:
        assert 0 < len([line for line in refused(sandbox) if line.target.startswith(app)]) <= workers + 1


@pytest.mark.slow
@in_virtual_time
async def test_earlier_traffic_on_the_key_teaches_nothing(tmp_path: Path) -> None:
    sandbox = sandbox_of(apps=12, devices=300, limits="server", variables=A_TENTH)
    async with client_of(sandbox) as other:
        for _ in range(150):
            await other.bundles.list(APP).all()
    await anyio.sleep(5.0)
    workers = 6
    async with client_of(sandbox, limits=LIMITS_OF_A_TENTH, concurrency=workers) as capgo:
        source = read_operations(relink_everything(tmp_path / "devices.csv", sandbox))
        async with await Job.create(tmp_path / "job.capgo-job", source, client=capgo) as job:
            report = await job.run(capgo)
        assert max(limits_in(pacer_of(capgo).gates.windows_of(requester_of(capgo).key_scope))) == 199
    assert report.done == report.planned
    assert 0 < len(refused(sandbox)) <= workers


@pytest.mark.slow
@in_virtual_time
async def test_after_the_keys_refusal_the_log_shows_silence_until_the_reset(tmp_path: Path) -> None:
    sandbox = sandbox_of(apps=12, devices=2400, limits="server", variables={"RATE_LIMIT_API_KEY": 301})
    await relink(sandbox, tmp_path, concurrency=64)
    log = list(sandbox.log)
    for refusal in refused(sandbox):
        after = [line for line in log if line.time > refusal.answered + 0.04]
        together = max(line.answered for line in log if line.time <= refusal.answered + 0.04)
        assert after[0].time >= together + 60.0


@pytest.mark.slow
def test_a_resume_right_after_a_kill_learns_no_false_limit_and_breaks_no_gate(tmp_path: Path) -> None:
    sandbox = sandbox_of(apps=12, devices=6000, limits="server")
    source = relink_everything(tmp_path / "devices.csv", sandbox)
    path = tmp_path / "job.capgo-job"
    left_by_kill = tmp_path / "killed.capgo-job"

    async def killed() -> float:
        async with (
            client_of(sandbox, concurrency=64) as capgo,
            await Job.create(path, read_operations(source), client=capgo) as job,
        ):
            with anyio.move_on_after(3.0):
                async with anyio.create_task_group() as group:
                    group.start_soon(job.run, capgo)
                    await anyio.sleep(2.9)
                    copy_job(path, left_by_kill)
        return anyio.current_time()

    async def resumed(killed_at: float) -> Report:
        await anyio.sleep(killed_at + 1.0)
        async with client_of(sandbox, concurrency=64) as capgo, await Job.open(left_by_kill) as job:
            report = await job.run(capgo)
            assert max(limits_in(pacer_of(capgo).gates.windows_of(requester_of(capgo).key_scope))) == 1999
            return report

    report = run_in_virtual_time(resumed(run_in_virtual_time(killed())))
    assert (report.done, report.pending) == (report.planned, 0)
    assert refused(sandbox) == []


@pytest.mark.slow
def test_a_window_that_was_open_before_the_last_request_is_not_outlived_by_a_resume(tmp_path: Path) -> None:
    # The plan's listing opened the app's window, half a minute later most of it was used, and it is over when the job goes on.
    sandbox = sandbox_of(devices=4000, limits="server")
    source = relink_everything(tmp_path / "devices.csv", sandbox)
    path = tmp_path / "job.capgo-job"

    async def drained() -> float:
        async with (
            client_of(sandbox, concurrency=4) as capgo,
            await Job.create(path, read_operations(source), client=capgo) as job,
            anyio.create_task_group() as group,
        ):
            await anyio.sleep(45.0 - anyio.current_time())
            group.start_soon(job.run, capgo)
            await anyio.sleep(5.0)
            job.drain()
        return anyio.current_time()

    async def resumed(drained_at: float) -> Report:
        await anyio.sleep(drained_at + 11.5)
        async with (
            client_of(sandbox) as capgo,
            await Job.open_copy(path, client=capgo, clock=lambda: wall_clock() + timedelta(seconds=11.5)) as job,
        ):
            report = await job.run(capgo)
            assert limits_in(pacer_of(capgo).gates.windows_of((ScopeKind.APP_ADDRESS, APP))) == (1000,)
            return report

    report = run_in_virtual_time(resumed(run_in_virtual_time(drained())))
    assert (report.done, report.pending) == (report.planned, 0)
    assert refused(sandbox) == []


@pytest.mark.slow
@in_virtual_time
async def test_somebody_who_knocks_with_the_same_key_for_minutes_teaches_no_limit(tmp_path: Path) -> None:
    sandbox = sandbox_of(apps=12, devices=600, limits="server", variables=A_TENTH)
    source = read_operations(relink_everything(tmp_path / "devices.csv", sandbox))

    async def knock() -> None:
        transport = InProcessTransport(sandbox)
        while anyio.current_time() < 600.0:
            await transport.send(list_bundles(APP, 0).request, {"authorization": SUPER_ADMIN_KEY})
            await anyio.sleep(20.0)

    path = tmp_path / "job.capgo-job"
    client = client_of(sandbox, limits=LIMITS_OF_A_TENTH, concurrency=6)
    async with client as capgo, await Job.create(path, source, client=capgo) as job:
        async with anyio.create_task_group() as group:
            group.start_soon(knock)
            with anyio.fail_after(3600.0):
                report = await job.run(capgo)
        assert limits_in(pacer_of(capgo).gates.windows_of(requester_of(capgo).key_scope)) == (199,)
    assert (report.done, report.pending) == (report.planned, 0)
    assert anyio.current_time() < 900.0


@in_virtual_time
async def test_an_attempt_that_outlasts_the_servers_memory_does_not_park_its_operation_for_ever(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=5, limits="server", faults="POST /device:latency=90000ms,drop-after=#1")
    source = read_operations(relink_everything(tmp_path / "devices.csv", sandbox))
    async with client_of(sandbox) as capgo, await Job.create(tmp_path / "job.capgo-job", source, client=capgo) as job:
        with anyio.fail_after(3600.0):
            report = await job.run(capgo)
    assert (report.done, report.pending) == (report.planned, 0)
    assert refused(sandbox) == []


@in_virtual_time
async def test_a_link_that_somebody_else_sends_meanwhile_parks_nothing_for_ever(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=30, limits="server")
    source = read_operations(relink_everything(tmp_path / "devices.csv", sandbox))
    async with client_of(sandbox) as capgo, await Job.create(tmp_path / "job.capgo-job", source, client=capgo) as job:
        slow = client_of(sandbox, delay=20.0)
        requester_of(slow).pacer = pacer_of(capgo)
        async with anyio.create_task_group() as group:
            for device in ids_of(sandbox):
                group.start_soon(partial(slow.devices.link, APP, device, channel="beta"))
            await anyio.sleep(1.0)
            with anyio.fail_after(3600.0):
                report = await job.run(capgo)
    assert (report.done, report.pending) == (report.planned, 0)


@pytest.mark.slow
@in_virtual_time
async def test_windows_divided_by_a_speed_are_kept_on_the_ordinary_path(tmp_path: Path) -> None:
    speed = 20.0
    sandbox = sandbox_of(apps=12, devices=6000, limits="server", speed=speed)
    report = await relink(sandbox, tmp_path, limits=server_limits(speed=speed), concurrency=64)
    assert report.done == report.planned
    assert refused(sandbox) == []
    assert silences(sandbox.log, DEFAULT_SILENCE / speed) >= 2


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["drop-before", "drop-after", "500", "500-after", "502", "502-after"])
@in_virtual_time
async def test_faults_are_survived_and_nothing_is_lost(tmp_path: Path, fault: str) -> None:
    sandbox = sandbox_of(apps=3, devices=600, limits="server", faults=f"/device:{fault}=5%")
    report = await relink(sandbox, tmp_path, concurrency=32)
    assert (report.done, report.failed, report.pending) == (report.planned, 0, 0)
    assert report.retries > 0
    assert all(set(links_of(sandbox, app).values()) == {"beta"} for app in sandbox.world.apps)
    assert refused(sandbox) == [], "a link that may have been processed waits for the server's memory"


@in_virtual_time
async def test_a_link_is_never_sent_again_within_the_servers_memory_and_holds_no_worker_up(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=300, limits="server", faults="POST /device:drop-after=#1")
    await relink(sandbox, tmp_path, concurrency=1)
    posts = [line for line in sandbox.log if line.method == "POST"]
    again = [line for line in posts if line.target == posts[0].target]
    assert len(again) == 2
    assert again[1].time - again[0].time >= 60.0
    assert posts[-1] is again[1], "the only worker went on with the others"


@in_virtual_time
async def test_a_server_that_always_fails_ends_in_ambiguous_failures(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=20, faults="POST /device:502=100%")
    report = await relink(sandbox, tmp_path)
    assert (report.done, report.failed) == (0, report.planned)
    assert [failure.cause for failure in report.failures] == ["ambiguous"]
    assert statuses(sandbox)[502] == 5 * report.planned


@in_virtual_time
async def test_a_published_limit_is_kept_by_the_standard_rate(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=400, limits="published")
    report = await relink(sandbox, tmp_path, rate="standard", concurrency=64)
    assert report.done == report.planned
    assert refused(sandbox) == []


@in_virtual_time
async def test_auto_falls_back_to_the_published_limit_when_an_edge_enforces_it(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=400, limits="published")
    report = await relink(sandbox, tmp_path, concurrency=16)
    assert report.done == report.planned
    assert len(refused(sandbox)) <= 16


@in_virtual_time
async def test_operations_are_interleaved_by_app_and_in_input_order_within_one(tmp_path: Path) -> None:
    sandbox = sandbox_of(apps=3, devices=90)
    rows = [(app, device) for app in sandbox.world.apps for device in reversed(ids_of(sandbox, app))]
    source = write_csv(tmp_path / "devices.csv", rows, ("app_id", "device_id"))
    async with client_of(sandbox, concurrency=1) as capgo:
        async with await Job.create(tmp_path / "job.capgo-job", read_operations(source, channel="beta"), client=capgo) as job:
            await job.run(capgo)
    targets = [line.target for line in sandbox.log if line.method == "POST"]
    apps = [target.split("/")[0] for target in targets[:30]]
    assert max(apps.count(app) for app in set(apps)) <= 11
    for app in sandbox.world.apps:
        mine = [target for target in targets if target.startswith(app)]
        assert mine == sorted(mine, reverse=True)


def links_only(sandbox: Sandbox, directory: Path) -> Path:
    return write_csv(directory / "devices.csv", [(device,) for device in ids_of(sandbox)])


@pytest.mark.slow
@pytest.mark.parametrize(("published", "concurrency"), [(20, 1), (20, 4), (20, 16), (50, 4), (99, 1), (99, 16)])
@in_virtual_time
async def test_auto_learns_a_rate_below_the_published_one(tmp_path: Path, published: int, concurrency: int) -> None:
    sandbox = Sandbox(fleet(1, 6 * published, channels=4), Settings(limits=Thresholds(published=published)))
    async with client_of(sandbox, concurrency=concurrency) as capgo:
        source = read_operations(links_only(sandbox, tmp_path), app_id=APP, channel="ch04")
        async with await Job.create(tmp_path / "job.capgo-job", source, client=capgo) as job:
            report = await job.run(capgo)
        assert [(each.scope, each.requests) for each in capgo.known().limits] == [(ScopeKind.KEY, published)]
    assert report.done == 6 * published
    assert report.rate_limited <= concurrency + 1
    assert report.elapsed_seconds < 1.05 * 62 * 6 + 62


@pytest.mark.slow
@pytest.mark.parametrize(
    ("concurrency", "limit", "pause"),
    [(1, 5, 0.0), (2, 5, 3.0), (16, 5, 0.0), (1, 30, 3.0), (2, 30, 0.0), (16, 30, 3.0), (1, 301, 0.0), (16, 301, 3.0)],
)
@in_virtual_time
async def test_two_refusals_at_the_same_number_teach_the_limit_of_a_key(concurrency: int, limit: int, pause: float) -> None:
    sandbox = sandbox_of(limits="server", variables={"RATE_LIMIT_API_KEY": limit + 1})
    capgo = client_of(sandbox, concurrency=concurrency)
    left = iter(range(5 * limit))

    async def work() -> None:
        for _ in left:
            await capgo.apps.get(APP)
            await anyio.sleep(pause)

    async with anyio.create_task_group() as group:
        for _ in range(concurrency):
            group.start_soon(work)
    assert [each.requests for each in capgo.known().limits] == [limit]
    assert len(refused(sandbox)) <= concurrency + 1
