"""What a run says of the time that it still takes is foreseen: checked against the run itself, in virtual time."""

import re
from datetime import timedelta
from fractions import Fraction
from pathlib import Path

import anyio
import pytest
from fleet import APP, client_of, ids_of, write_csv
from virtual_time import in_virtual_time

from capgo_async.bulk import Job, Options, StopRules, Which, read_operations
from capgo_async.bulk.clock import wall_clock
from capgo_async.cli.job.progress import Follower
from capgo_async.cli.output.speech import Speech
from capgo_async.key_ring import pacer_of, ring_of
from capgo_async.sandbox import Sandbox, Settings, fleet, parse_faults, thresholds

WAVES = Options(waves=(Fraction(1, 10), Fraction(1)), bake_seconds=1800.0)


async def planned(sandbox: Sandbox, directory: Path, options: Options, *, planning_delay: float) -> Path:
    """Plan to link all devices to ch04, with another latency than that of the run."""
    path = directory / "job.capgo-job"
    rows = write_csv(directory / "rows.csv", [(device,) for device in ids_of(sandbox)])
    async with client_of(sandbox, delay=planning_delay) as capgo:
        source = read_operations(rows, app_id=APP, channel="ch04")
        await (await Job.create(path, source, client=capgo, options=options)).aclose()
    return path


def left_in(line: str) -> float:
    found = re.search(r"(?:(\d+) days?, )?(\d+):(\d\d):(\d\d) left, ends ", line)
    assert found is not None, line
    days, hours, minutes, seconds = (int(number or 0) for number in found.groups())
    return timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds).total_seconds()


@pytest.mark.slow
@pytest.mark.parametrize("options", [Options(), WAVES], ids=["at once", "in waves"])
@pytest.mark.parametrize("part", [0.05, 0.5])
@in_virtual_time
async def test_what_is_said_to_be_left_is_left(tmp_path: Path, options: Options, part: float) -> None:
    sandbox = Sandbox(fleet(1, 4500, channels=4), Settings(limits=thresholds("server")))
    path = await planned(sandbox, tmp_path, options, planning_delay=0.002)
    start = wall_clock()
    async with (
        client_of(sandbox, delay=0.4) as capgo,
        await Job.open_copy(path, client=capgo, clock=lambda: start + timedelta(seconds=anyio.current_time())) as job,
    ):
        assert job.plan.seconds is not None
        follower = Follower(job, ring_of(capgo), Speech(quiet=True))
        began = anyio.current_time()
        said: list[tuple[float, float]] = []

        async def look() -> None:
            await anyio.sleep(part * job.lasts(pacer_of(capgo).limits))
            said.append((anyio.current_time(), left_in(follower.line())))

        async with anyio.create_task_group() as group:
            group.start_soon(look)
            report = await job.run(capgo, progress=follower)
    ((at, left),) = said
    assert report.pending == 0
    assert at - began + left == pytest.approx(report.elapsed_seconds, abs=1.0 + 0.03 * report.elapsed_seconds)


@pytest.mark.slow
@in_virtual_time
async def test_a_run_of_what_failed_foresees_that_alone(tmp_path: Path) -> None:
    faults = parse_faults("POST /device:429-permanent=10%")
    sandbox = Sandbox(fleet(1, 1500, channels=4), Settings(faults=faults))
    path = await planned(sandbox, tmp_path, Options(), planning_delay=0.02)
    async with client_of(sandbox, rate="off") as capgo, await Job.open(path, client=capgo) as job:
        report = await job.run(capgo, rules=StopRules(failures=None))
        assert 50 < report.failed < 300
        remaining: list[float] = []
        await job.run(
            capgo,
            which=Which.FAILED,
            rules=StopRules(failures=None),
            progress=lambda _: remaining.append(job.remaining(capgo, len(remaining), 0.04)),
        )
    assert remaining[0] == pytest.approx(report.failed / 16 * 0.04, abs=0.1)
    assert remaining[-1] <= 0.05
