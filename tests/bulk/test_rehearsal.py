"""Rehearsals: a copy of a job through the real engine against a sandbox, in virtual time, and the job itself untouched."""

import errno
import hashlib
import os
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator
from datetime import datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import anyio
import pytest
from bulk.test_every_kind import MAKERS
from fleet import APP, client_of, ids_of, relink_everything, sandbox_of, write_csv

from capgo_async import ChannelSettings, KeyRing
from capgo_async.bulk import Job, Options, PromoteBundle, Report, UpdateChannel, from_operations, read_operations
from capgo_async.bulk.clock import wall_clock
from capgo_async.bulk.jobfile.facts import Survey
from capgo_async.bulk.jobfile.journal import Journal
from capgo_async.bulk.jobfile.seen import Seen
from capgo_async.bulk.operations.operations import Former, FormerState, Operation
from capgo_async.errors import DiskFull, JobError, SafetyStop
from capgo_async.rehearsal import Conditions, Rehearsal, Rehearsed
from capgo_async.rehearsal.scenery import world_of
from capgo_async.sandbox import Sandbox, Settings, fleet, parse_faults, thresholds
from capgo_async.sandbox.exchange import Generation
from capgo_async.sandbox.seeding import DEVELOPER_KEY, ORG_ID, SUPER_ADMIN_KEY
from capgo_async.sandbox.virtual_time import run_in_virtual_time


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Let copies be made in a directory of their own, and find none there in the end."""
    directory = tmp_path / "temporary"
    directory.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(directory))
    yield directory
    assert list(directory.iterdir()) == []


def planned(directory: Path, sandbox: Sandbox, source: Path | None = None) -> Path:
    """Plan a job without running it."""
    path = directory / "job.capgo-job"

    async def plan() -> None:
        async with client_of(sandbox) as capgo:
            rows = read_operations(source or relink_everything(directory / "devices.csv", sandbox))
            await (await Job.create(path, rows, client=capgo)).aclose()

    run_in_virtual_time(plan())
    return path


def rehearsed(path: Path, **conditions: object) -> Rehearsed:
    found = Rehearsal(path, Conditions(**conditions)).run()  # type: ignore[arg-type]  # conditions
    assert found is not None
    return found


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.slow
@pytest.mark.parametrize(("apps", "devices"), [(1, 1500), (3, 3000)])
def test_a_rehearsal_takes_what_the_run_takes(tmp_path: Path, apps: int, devices: int) -> None:
    sandbox = sandbox_of(apps=apps, devices=devices, limits="server")
    path = planned(tmp_path, sandbox)
    before = digest(path)
    begun_at = wall_clock()
    # What was used before counts by the clock: both begin at the same moment, however long the first one takes.
    found = Rehearsal(path, Conditions(latency=0.04), lambda: begun_at).run()
    assert found is not None
    assert digest(path) == before

    def clock() -> datetime:
        return begun_at + timedelta(seconds=anyio.current_time())

    async def run() -> tuple[int, float]:
        async with client_of(sandbox) as capgo, await Job.open_copy(path, client=capgo, clock=clock) as job:
            report = await job.run(capgo)
            return report.runs[-1].requests, report.elapsed_seconds

    requests, seconds = run_in_virtual_time(run())
    rehearsed_run = found.report.runs[-1]
    assert (rehearsed_run.requests, rehearsed_run.rate_limited, found.error) == (requests, 0, None)
    assert found.makespan == pytest.approx(seconds, rel=0.01)
    assert (found.report.done, found.report.pending) == (found.report.planned, 0)


@pytest.mark.slow
def test_the_same_rehearsal_comes_to_the_same_and_another_seed_to_another(tmp_path: Path) -> None:
    path = planned(tmp_path, sandbox_of(devices=300))
    faults = parse_faults("/device:502=5%,drop-after=5%")
    found = [rehearsed(path, faults=faults, limits=thresholds("off"), seed=seed) for seed in (1, 1, 4)]
    first, second, other = [(each.makespan, run.requests, run.retries) for each in found for run in each.report.runs[-1:]]
    assert first[2] > 0
    assert first == second
    assert first[0] != other[0]
    assert first[1] != other[1]


def test_what_was_done_stays_done_and_the_rest_is_rehearsed(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=100)
    path = planned(tmp_path, sandbox)

    async def half() -> int:
        async with client_of(sandbox, concurrency=4) as capgo, await Job.open(path, client=capgo) as job:
            report = await job.run(capgo, on_progress=lambda _: job.drain() if job.parked == 0 else None)
            return report.pending

    pending = run_in_virtual_time(half())
    assert pending > 0
    found = rehearsed(path)
    assert found.report.runs[-1].requests == pending
    assert found.report.pending == 0


def test_another_process_may_run_the_job_meanwhile(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=60)
    path = planned(tmp_path, sandbox)
    found: list[Rehearsed] = []

    async def run() -> None:
        async with client_of(sandbox) as capgo, await Job.open(path, client=capgo) as job:

            def rehearse(_result: object) -> None:
                if not found:
                    thread = threading.Thread(target=lambda: found.append(rehearsed(path)))
                    thread.start()
                    thread.join()

            report = await job.run(capgo, on_progress=rehearse)
            assert report.done == report.planned

    run_in_virtual_time(run())
    assert found[0].report.done == found[0].report.planned


@pytest.mark.slow
def test_what_stops_the_run_stops_the_rehearsal(tmp_path: Path) -> None:
    path = planned(tmp_path, sandbox_of(devices=300))
    found = rehearsed(path, faults=parse_faults("POST /device:500=90%"), limits=thresholds("off"))
    assert isinstance(found.error, SafetyStop)
    assert found.report.runs[-1].ended == "stopped"
    assert found.report.failures


def test_refusals_are_told_by_the_limit_that_they_come_from(tmp_path: Path) -> None:
    sandbox = sandbox_of(apps=2, devices=400)
    found = rehearsed(planned(tmp_path, sandbox), limits=thresholds("server", {"RATE_LIMIT_CHANNEL_SELF_IP": 100}))
    assert found.report.pending == 0
    run = found.report.runs[-1]
    assert run.limits_met == {"app_address": run.rate_limited}
    assert run.rate_limited > 0


@pytest.mark.slow
def test_what_the_plan_used_of_the_key_counts(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=10)
    path = tmp_path / "job.capgo-job"

    async def plan() -> None:
        async with client_of(sandbox) as capgo:
            for _ in range(1995):
                await capgo.bundles.list(APP).all()
            source = write_csv(tmp_path / "rows.csv", [(device,) for device in ids_of(sandbox)])
            rows = read_operations(source, app_id=APP, channel="beta")
            await (await Job.create(path, rows, client=capgo)).aclose()

    run_in_virtual_time(plan())
    assert rehearsed(path).makespan > 55


def test_a_rehearsal_that_is_stopped_leaves_nothing(tmp_path: Path, temporary: Path) -> None:
    rehearsal = Rehearsal(planned(tmp_path, sandbox_of(devices=3000)), Conditions())
    watched: list[int] = []

    def stop() -> None:
        while not list(temporary.iterdir()):
            pass
        watched.append(len(list(temporary.iterdir())))
        rehearsal.stop()

    thread = threading.Thread(target=stop)
    thread.start()
    assert rehearsal.run() is None
    thread.join()
    assert watched == [1]


def test_one_that_was_stopped_before_it_begins_does_not_begin(tmp_path: Path) -> None:
    rehearsal = Rehearsal(tmp_path / "there is none", Conditions())
    rehearsal.stop()
    assert rehearsal.run() is None


def test_one_that_is_stopped_at_its_end_has_come_to_it(tmp_path: Path) -> None:
    rehearsal = Rehearsal(planned(tmp_path, sandbox_of(devices=10)), Conditions())
    found = rehearsal.run()
    rehearsal.stop()
    assert found is not None
    assert found.report.pending == 0


def test_what_is_no_job_is_refused(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="no such job file"):
        rehearsed(tmp_path / "none.capgo-job")


WAVES = Options(waves=(Fraction(1, 10), Fraction(1, 2), Fraction(1)), bake_seconds=7200.0)


@pytest.mark.slow
@pytest.mark.parametrize("options", [Options(), WAVES], ids=["at once", "in waves"])
@pytest.mark.parametrize("kind", MAKERS)
def test_every_kind_is_rehearsed_as_it_will_run(kind: str, options: Options, tmp_path: Path) -> None:
    sandbox = sandbox_of(apps=3, devices=90, limits="server")
    operations = MAKERS[kind](sandbox)
    path = tmp_path / "job.capgo-job"

    async def plan() -> None:
        async with client_of(sandbox) as capgo:
            await (await Job.create(path, from_operations(operations), client=capgo, options=options)).aclose()

    async def run() -> Report:
        async with client_of(sandbox) as capgo, await Job.open(path, client=capgo) as job:
            return await job.run(capgo)

    run_in_virtual_time(plan())
    found = rehearsed(path, latency=0.04)
    report = run_in_virtual_time(run())
    assert found.error is None
    assert found.report.failures == ()
    assert found.report.done == report.done == report.planned > 0
    assert (found.report.verified, found.report.cannot_tell) == (report.verified, report.cannot_tell)
    assert found.report.runs[-1].requests == report.runs[-1].requests
    assert found.makespan == pytest.approx(report.elapsed_seconds, rel=0.02, abs=0.3)
    assert found.forecast == pytest.approx(found.makespan, rel=0.02, abs=0.3)
    if options.waves:
        times = [wave.verified_after for wave in found.waves if wave.verified_after is not None]
        assert len(times) == sum(wave.operations > 0 for wave in found.waves)
        assert times == sorted(times)
        assert times[-1] == pytest.approx(found.makespan, abs=0.1)
        assert [wave.state for wave in found.waves] == [wave.state for wave in report.waves]


def test_a_bake_that_is_under_way_is_waited_for_as_far_as_it_is(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=90)
    path = tmp_path / "job.capgo-job"

    async def begin() -> None:
        async with client_of(sandbox) as capgo:
            source = from_operations(MAKERS["link_device"](sandbox_of(apps=3, devices=90))[:5])
            async with await Job.create(path, source, client=capgo, options=WAVES) as job, anyio.create_task_group() as group:
                group.start_soon(job.run, capgo)
                await anyio.sleep(60.0)
                assert job.baking_until is not None
                job.abort()

    run_in_virtual_time(begin())
    found = Rehearsal(path, Conditions(), lambda: wall_clock() + timedelta(hours=1)).run()
    assert found is not None
    assert found.waves[0].verified_after is None
    assert found.waves[0].baked_after == pytest.approx(3600.0, abs=30.0)
    assert found.makespan == pytest.approx(3600.0 + 7200.0, abs=30.0)
    assert found.forecast == pytest.approx(found.makespan, rel=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("kind", MAKERS)
def test_what_was_done_before_is_there(kind: str, tmp_path: Path) -> None:
    sandbox = sandbox_of(apps=3, devices=90)
    operations = MAKERS[kind](sandbox)
    path = tmp_path / "job.capgo-job"

    async def half() -> int:
        async with client_of(sandbox, concurrency=1) as capgo:
            async with await Job.create(path, from_operations(operations), client=capgo) as job:
                await job.run(capgo, on_progress=lambda _: job.drain())
            async with await Job.open(path, read_only=True) as job:
                return (await job.report()).done

    done = run_in_virtual_time(half())
    found = rehearsed(path)
    assert (found.report.done, found.report.failed, found.report.pending) == (found.report.planned, 0, 0)
    assert found.report.runs[-1].done == found.report.planned - done


@pytest.mark.parametrize("number", range(1, 12))
def test_numbers_that_operations_name_are_given_to_nothing_else(number: int) -> None:
    operations: tuple[Operation, ...] = (
        UpdateChannel(app_id=APP, channel="alpha", settings=ChannelSettings(bundle="1.0.0")),
        PromoteBundle(app_id=APP, channel="beta", bundle="2.0.0", version_id=number),
        UpdateChannel(app_id=APP, channel="gamma", settings=ChannelSettings(bundle="3.0.0")),
    )
    seen = [Seen(place, place, each, FormerState(Former.UNKNOWN), done=False) for place, each in enumerate(operations, 1)]

    async def read() -> AsyncIterator[list[Seen]]:
        yield seen

    survey = Survey(unknown=0, listed={}, listed_in_part={}, linked={}, planned=())
    world = run_in_virtual_time(world_of(read, survey, 0.0, filled=False))
    app = world.apps[APP]
    assert {bundle.name for bundle in app.bundles.values()} >= {"1.0.0", "2.0.0", "3.0.0"}
    assert app.bundles[number].name == "2.0.0"
    assert all(bundle.id == place for place, bundle in app.bundles.items())
    assert len({channel.id for channel in app.channels.values()}) == len(app.channels)


def test_settings_of_every_sort_find_what_they_need(tmp_path: Path) -> None:
    sandbox = sandbox_of(apps=1)
    settings = ChannelSettings(
        bundle="1.0.0",
        rollout_bundle="1.1.0",
        rollout_percentage_bps=500,
        rollout_enabled=True,
        public=True,
        ios=True,
        disable_auto_update="metadata",
        auto_pause_enabled=True,
    )
    operations = [
        UpdateChannel(app_id=APP, channel="beta", settings=settings),
        UpdateChannel(app_id=APP, channel="alpha", settings=ChannelSettings(rollout_paused=True, bundle=None)),
    ]
    path = tmp_path / "job.capgo-job"

    async def plan() -> None:
        async with client_of(sandbox) as capgo:
            await (await Job.create(path, from_operations(operations), client=capgo)).aclose()

    run_in_virtual_time(plan())
    found = rehearsed(path)
    assert (found.report.done, found.report.failures) == (2, ())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("chosen", "requests"), [(slice(300), 3 * 25), (slice(-10, None), 10)], ids=["listed as a whole", "listed in part"]
)
def test_devices_beside_the_planned_ones_cost_pages(tmp_path: Path, chosen: slice, requests: int) -> None:
    sandbox = sandbox_of(devices=5000)
    rows = write_csv(tmp_path / "rows.csv", [(device,) for device in ids_of(sandbox)[chosen]])
    path = tmp_path / "job.capgo-job"

    async def plan() -> None:
        async with client_of(sandbox) as capgo:
            source = read_operations(rows, app_id=APP, channel="alpha")
            await (await Job.create(path, source, client=capgo, options=WAVES)).aclose()

    async def run() -> Report:
        async with client_of(sandbox) as capgo, await Job.open(path, client=capgo) as job:
            return await job.run(capgo)

    run_in_virtual_time(plan())
    found = rehearsed(path, latency=0.04)
    report = run_in_virtual_time(run())
    assert found.report.runs[-1].requests == report.runs[-1].requests
    assert found.report.runs[-1].requests > requests


@pytest.mark.slow
@pytest.mark.parametrize("rate", ["auto", "off"])
def test_a_job_of_several_keys_says_that_it_is_rehearsed_with_one(tmp_path: Path, rate: str) -> None:
    sandbox = sandbox_of(apps=2)
    path = tmp_path / "job.capgo-job"

    async def plan() -> None:
        async with client_of(sandbox, rate=rate) as capgo:
            # An organization's key that is the client's own is no other key.
            ring = KeyRing(capgo, {APP: DEVELOPER_KEY, ORG_ID: SUPER_ADMIN_KEY})
            source = read_operations(relink_everything(tmp_path / "devices.csv", sandbox))
            await (await Job.create(path, source, client=ring)).aclose()

    async def rebind() -> None:
        async with client_of(sandbox) as capgo, await Job.open(path, client=capgo) as job:
            await job.run(capgo, rebind=True, on_progress=lambda _: job.drain())

    run_in_virtual_time(plan())
    found = rehearsed(path)
    assert found.remarks == ("the job was made with 2 keys but rehearsed with one: the real run may be faster",)
    assert found.report.done == found.report.planned
    run_in_virtual_time(rebind())
    assert rehearsed(path).remarks == ()


@pytest.mark.parametrize("after", [0, 1])
def test_a_copy_without_room_is_no_end_of_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    path = planned(tmp_path, sandbox_of(devices=60))
    advance = Journal.advance
    calls = 0

    async def full(journal: Journal, *given: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls > after:
            message = "no space left for the copy: free some disk space, then go on"
            raise DiskFull(message)
        return await advance(journal, *given)

    monkeypatch.setattr(Journal, "advance", full)
    with pytest.raises(
        DiskFull, match=r"no space left in .*temporary to rehearse a copy of .*job\.capgo-job: free some disk space, or"
    ):
        rehearsed(path)


@pytest.mark.parametrize(("code", "raised"), [(errno.ENOSPC, DiskFull), (errno.EACCES, PermissionError)])
def test_a_folder_that_cannot_be_made_for_the_copy_is_no_end_of_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, raised: type[Exception]
) -> None:
    path = planned(tmp_path, sandbox_of(devices=60))

    def refuse(*_given: Any, **_named: Any) -> str:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(tempfile, "mkdtemp", refuse)
    with pytest.raises(raised):
        rehearsed(path)


def test_a_copy_that_is_damaged_is_no_end_of_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = planned(tmp_path, sandbox_of(devices=60))

    async def damaged(_journal: Journal, *_given: Any) -> Any:
        message = "the copy: disk I/O error"
        raise JobError(message)

    monkeypatch.setattr(Journal, "advance", damaged)
    with pytest.raises(JobError, match="disk I/O error"):
        rehearsed(path)


@pytest.mark.parametrize(
    ("generation", "settings"),
    [
        ("2026-07", ChannelSettings(allow_dev=False)),
        # An older server would not store the package, so that the operation would fail.
        ("2026-11", ChannelSettings(bundle="1.0.0", update_package="delta")),
    ],
)
def test_the_rehearsed_server_is_of_the_generation_that_the_plan_saw(
    tmp_path: Path, generation: Generation, settings: ChannelSettings
) -> None:
    sandbox = Sandbox(fleet(1, 0), Settings(generation=generation, version="capgo_api-13.0.0"))
    path = tmp_path / "channels.capgo-job"

    async def plan() -> None:
        async with client_of(sandbox) as capgo:
            change = UpdateChannel(app_id=APP, channel="beta", settings=settings)
            await (await Job.create(path, from_operations([change]), client=capgo)).aclose()

    run_in_virtual_time(plan())
    found = rehearsed(path)
    assert (found.report.planned, found.report.done) == (1, 1)
    assert any("November 2026" in remark for remark in found.remarks) is (generation == "2026-11")
