"""Links that another job has just set: one refusal is waited out for all (contract B2, same set)."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import anyio
import pytest
from fleet import APP, client_of, ids_of, links_of, write_csv
from virtual_time import in_virtual_time

from capgo_async import CapgoClient
from capgo_async.bulk import Job, Report, read_operations
from capgo_async.limits.wake import Wake
from capgo_async.sandbox import Sandbox, Settings, Thresholds, fleet

Refusal = tuple[float, float, int]
"""When, for how long, and after how many requests."""


@pytest.mark.parametrize(
    ("refusals", "until"),
    [
        ([(0, 54, 1)], 54),
        ([(0, 54, 1), (0.1, 56, 9), (0.2, 50, 16)], 56.1),
        # Those that were set later are refused after the wait: the next one is longer, but no longer than the server remembers.
        ([(0, 4, 1), (4, 3, 20)], 10),
        ([(0, 4, 1), (4, 3, 20), (10, 2, 40)], 18),
        ([(0, 54, 1), (54, 40, 20)], 115),
        ([(0, 54, 1), (54, 70, 20)], 124),
        # A single device, long after: somebody set that one alone.
        ([(0, 4, 1), (400, 50, 5000)], 4),
        ([(0, 4, 1), (400, 50, 5000), (400.1, 50, 5016)], 450.1),
        # The first refusal counts also if much was sent before.
        ([(100, 30, 90_000)], 130),
    ],
)
def test_the_rule(refusals: Sequence[Refusal], until: float) -> None:
    wake = Wake(61.0)
    for now, seconds, sent in refusals:
        wake.refused(now, seconds, sent)
    assert wake.until == pytest.approx(until)


async def planned(capgo: CapgoClient, directory: Path, name: str, devices: Sequence[str]) -> Job:
    rows = write_csv(directory / f"{name}.csv", [(device,) for device in devices])
    source = read_operations(rows, app_id=APP, channel="ch04")
    return await Job.create(directory / f"{name}.capgo-job", source, client=capgo)


async def relink(sandbox: Sandbox, directory: Path, name: str, devices: Sequence[str], **options: object) -> Report:
    async with client_of(sandbox, **options) as capgo:  # type: ignore[arg-type]  # options of the client
        async with await planned(capgo, directory, name, devices) as job:
            return await job.run(capgo)


def sandbox_that_remembers(seconds: float, devices: int) -> Sandbox:
    return Sandbox(fleet(1, devices, channels=4), Settings(limits=Thresholds(same_set=1), speed=60.0 / seconds))


def unlink_all(sandbox: Sandbox, devices: Sequence[str]) -> None:
    for device in devices:
        sandbox.world.apps[APP].unlink(device)


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [60.0, 5.0, 20.0])
@pytest.mark.parametrize(("devices", "again"), [(60, 1), (60, -1), (500, 1), (500, -1)])
@in_virtual_time
async def test_links_of_another_job_cost_few_refusals_whatever_the_server_remembers(
    tmp_path: Path, seconds: float, devices: int, again: int
) -> None:
    sandbox = sandbox_that_remembers(seconds, devices)
    ids = ids_of(sandbox)
    first = await relink(sandbox, tmp_path, "first", ids, rate="off")
    unlink_all(sandbox, ids)
    second = await relink(sandbox, tmp_path, "second", ids[::again], rate="off")
    assert (second.done, second.failed, second.pending) == (second.planned, 0, 0)
    assert set(links_of(sandbox).values()) == {"ch04"}
    assert 0 < second.rate_limited <= 3 * 16
    assert second.elapsed_seconds < 2 * seconds + 2 * first.elapsed_seconds + 3
    assert sum(1 for line in sandbox.log if line.status == 429) == second.rate_limited


@pytest.mark.slow
@in_virtual_time
async def test_a_job_that_is_faster_than_the_one_before_is_refused_a_few_times_only(tmp_path: Path) -> None:
    sandbox = sandbox_that_remembers(60.0, 800)
    ids = ids_of(sandbox)
    first = await relink(sandbox, tmp_path, "first", ids, delay=0.4)
    assert first.elapsed_seconds > 35
    unlink_all(sandbox, ids)
    second = await relink(sandbox, tmp_path, "second", ids, delay=0.02)
    assert second.done == 800
    assert second.rate_limited <= 7 * 16
    assert second.elapsed_seconds < 125


@pytest.mark.slow
@in_virtual_time
async def test_a_single_device_that_somebody_links_later_holds_back_itself_alone(tmp_path: Path) -> None:
    sandbox = sandbox_that_remembers(60.0, 1200)
    ids = ids_of(sandbox)
    theirs = [ids[100], ids[-1]]

    async def link(device: str) -> None:
        async with client_of(sandbox, rate="off") as other:
            await other.devices.link(APP, device, channel="ch04")
        unlink_all(sandbox, [device])

    await link(theirs[0])

    async def link_later() -> None:
        await anyio.sleep(70.0)
        await link(theirs[1])

    async with client_of(sandbox, rate="off", delay=0.2) as capgo, await planned(capgo, tmp_path, "ours", ids) as job:
        async with anyio.create_task_group() as group:
            group.start_soon(link_later)
            report = await job.run(capgo)
    assert (report.done, report.rate_limited) == (1200, 2)
    times = sorted(line.time for line in sandbox.log if line.method == "POST" and line.status == 200)[1:]
    gaps = [place for place, (before, after) in enumerate(pairwise(times)) if after - before > 10]
    assert gaps == [gaps[0], 1199], "all wait for the first, and only the last one for itself"


@pytest.mark.slow
@in_virtual_time
async def test_the_wait_is_foreseen(tmp_path: Path) -> None:
    sandbox = sandbox_that_remembers(60.0, 60)
    ids = ids_of(sandbox)
    await relink(sandbox, tmp_path, "first", ids)
    unlink_all(sandbox, ids)
    async with client_of(sandbox) as capgo, await planned(capgo, tmp_path, "again", ids) as job:
        foreseen: list[float] = []

        async def look() -> None:
            await anyio.sleep(5.0)
            foreseen.append(5.0 + job.remaining(capgo, 0).seconds)

        async with anyio.create_task_group() as group:
            group.start_soon(look)
            report = await job.run(capgo)
    assert foreseen == pytest.approx([report.elapsed_seconds], abs=1.0)
    assert report.elapsed_seconds > 50
