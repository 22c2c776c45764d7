"""Rehearsals: a copy of a job through the real engine against a sandbox, in virtual time, and the job itself untouched."""

import hashlib
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from fleet import APP, client_of, ids_of, relink_everything, sandbox_of, write_csv

from capgo_async.bulk import Job, read_operations
from capgo_async.errors import JobError, SafetyStop
from capgo_async.rehearsal import Conditions, Rehearsal, Rehearsed
from capgo_async.sandbox import Sandbox, parse_faults, thresholds
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


@pytest.mark.parametrize(("apps", "devices"), [(1, 1500), (3, 3000)])
def test_a_rehearsal_takes_what_the_run_takes(tmp_path: Path, apps: int, devices: int) -> None:
    sandbox = sandbox_of(apps=apps, devices=devices, limits="server")
    path = planned(tmp_path, sandbox)
    before = digest(path)
    found = rehearsed(path, latency=0.04)
    assert digest(path) == before

    async def run() -> tuple[int, float]:
        async with client_of(sandbox) as capgo, await Job.open(path, client=capgo) as job:
            report = await job.run(capgo)
            return report.runs[-1].requests, report.elapsed_seconds

    requests, seconds = run_in_virtual_time(run())
    assert (found.requests, found.rate_limited, found.error) == (requests, 0, None)
    assert found.makespan == pytest.approx(seconds, rel=0.01)
    assert (found.report.done, found.report.pending) == (found.report.planned, 0)


def test_the_same_rehearsal_comes_to_the_same_and_another_seed_to_another(tmp_path: Path) -> None:
    path = planned(tmp_path, sandbox_of(devices=300))
    faults = parse_faults("/device:502=5%,drop-after=5%")
    first, second, other = (rehearsed(path, faults=faults, limits=thresholds("off"), seed=seed) for seed in (1, 1, 2))
    assert first.retries > 0
    assert (first.makespan, first.requests, first.retries) == (second.makespan, second.requests, second.retries)
    assert first.makespan != other.makespan


def test_what_was_done_stays_done_and_the_rest_is_rehearsed(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=100)
    path = planned(tmp_path, sandbox)

    async def half() -> int:
        async with client_of(sandbox, concurrency=4) as capgo, await Job.open(path, client=capgo) as job:
            report = await job.run(capgo, progress=lambda _: job.drain() if job.parked == 0 else None)
            return report.pending

    pending = run_in_virtual_time(half())
    assert pending > 0
    found = rehearsed(path)
    assert found.requests == pending
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

            report = await job.run(capgo, progress=rehearse)
            assert report.done == report.planned

    run_in_virtual_time(run())
    assert found[0].report.done == found[0].report.planned


def test_what_stops_the_run_stops_the_rehearsal(tmp_path: Path) -> None:
    path = planned(tmp_path, sandbox_of(devices=300))
    found = rehearsed(path, faults=parse_faults("POST /device:500=60%"), limits=thresholds("off"))
    assert isinstance(found.error, SafetyStop)
    assert found.report.runs[-1].ended == "stopped"
    assert found.report.failures


def test_refusals_are_told_by_the_limit_that_they_come_from(tmp_path: Path) -> None:
    sandbox = sandbox_of(apps=2, devices=400)
    found = rehearsed(planned(tmp_path, sandbox), limits=thresholds("server", {"RATE_LIMIT_CHANNEL_SELF_IP": 100}))
    assert found.report.pending == 0
    assert found.limits_met == {"app_address": found.rate_limited}
    assert found.rate_limited > 0


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


def test_what_is_no_job_is_refused(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="there is no job file"):
        rehearsed(tmp_path / "none.capgo-job")
