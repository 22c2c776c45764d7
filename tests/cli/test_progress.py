"""What a run says of the time that it still takes is foreseen: checked against the run itself, in virtual time."""

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path

import anyio
import pytest
from fleet import A_TENTH, APP, LIMITS_OF_A_TENTH, client_of, ids_of, lose_counts, write_csv
from scripted import refusal
from virtual_time import in_virtual_time

from capgo_async import CapgoClient
from capgo_async.bulk import Job, Options, Report, StopRules, Which, read_operations
from capgo_async.bulk.clock import duration, minute_in, time_in, wall_clock
from capgo_async.bulk.forecast.forecast import Leg, seconds_of
from capgo_async.bulk.forecast.outlook import outlook_of
from capgo_async.bulk.operations.results import Done
from capgo_async.bulk.schedule.share import share_of
from capgo_async.cli.job.progress import Follower
from capgo_async.cli.output.speech import Speech
from capgo_async.cli.output.waiting import Waits, shown_by_progress, waiting
from capgo_async.client import requester_of
from capgo_async.http.wire import Request, Response
from capgo_async.key_ring import pacer_of, ring_of
from capgo_async.limits.models import Fate, ScopeKind
from capgo_async.limits.refused_keys import KEY_RESTS_FOR
from capgo_async.sandbox import Sandbox, Settings, fleet, parse_faults, thresholds
from capgo_async.sandbox.inprocess import InProcessTransport
from capgo_async.sandbox.seeding import SUPER_ADMIN_KEY

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
@pytest.mark.parametrize(("options", "of_a_tenth"), [(Options(), False), (WAVES, True)], ids=["at once", "in waves"])
@in_virtual_time
async def test_what_is_said_to_be_left_is_left(tmp_path: Path, options: Options, *, of_a_tenth: bool) -> None:
    sandbox = Sandbox(
        fleet(1, 450 if of_a_tenth else 4500, channels=4), Settings(limits=thresholds("server", A_TENTH if of_a_tenth else {}))
    )
    limits, workers = (LIMITS_OF_A_TENTH, 2) if of_a_tenth else (None, 16)
    path = await planned(sandbox, tmp_path, options, planning_delay=0.002)
    start = wall_clock()
    async with (
        client_of(sandbox, limits=limits, concurrency=workers, delay=0.4) as capgo,
        await Job.open_copy(path, client=capgo, clock=lambda: start + timedelta(seconds=anyio.current_time())) as job,
    ):
        assert job.plan.seconds is not None
        follower = Follower(job, ring_of(capgo), Speech(quiet=True))
        began = anyio.current_time()
        said: list[tuple[float, float]] = []

        lasts = job.lasts(pacer_of(capgo).gates.limits)

        async def look() -> None:
            for part in (0.05, 0.5):
                await anyio.sleep_until(began + part * lasts)
                said.append((anyio.current_time(), left_in(follower.line())))

        async with anyio.create_task_group() as group:
            group.start_soon(look)
            report = await job.run(capgo, on_progress=follower)
    assert report.pending == 0
    ends = [at - began + left for at, left in said]
    assert ends == pytest.approx([report.elapsed_seconds] * 2, abs=1.0 + 0.03 * report.elapsed_seconds)


@pytest.mark.slow
@in_virtual_time
async def test_a_run_of_what_failed_foresees_that_alone(tmp_path: Path) -> None:
    faults = parse_faults("POST /device:429-permanent=10%")
    sandbox = Sandbox(fleet(1, 1500, channels=4), Settings(faults=faults))
    path = await planned(sandbox, tmp_path, Options(), planning_delay=0.02)
    async with client_of(sandbox, rate="off") as capgo, await Job.open(path, client=capgo) as job:
        report = await job.run(capgo, stop_rules=StopRules(failures=None))
        assert 50 < report.failed < 300
        remaining: list[float] = []
        await job.run(
            capgo,
            which=Which.FAILED,
            stop_rules=StopRules(failures=None),
            on_progress=lambda _: remaining.append(job.remaining(capgo, len(remaining)).seconds),
        )
    assert remaining[0] == pytest.approx(report.failed / 15 * 0.04, abs=0.1)
    assert remaining[-1] <= 0.05


def until_in(line: str) -> float:
    """Return how many seconds from now a line says that requests wait."""
    found = re.search(r"waiting: .*, until ([\d-]+ [\d:]+) UTC", line)
    assert found is not None, line
    return (datetime.fromisoformat(found[1]).replace(tzinfo=UTC) - wall_clock()).total_seconds()


CLOSED = {
    "a key for long": ((ScopeKind.KEY,), 3600.0, True),
    "a key by an unnamed limit": ((ScopeKind.KEY,), 900.0, False),
    "an app for longer than its window": ((ScopeKind.APP_ADDRESS, APP), 700.0, True),
    "links of another job": ((ScopeKind.DEVICE_CHANNEL, APP, "d", "ch04"), 55.0, True),
}


@pytest.mark.slow
@pytest.mark.parametrize("rate", ["auto", "off", "standard"])
@pytest.mark.parametrize("name", CLOSED)
@in_virtual_time
async def test_while_all_wait_for_a_limit_no_less_time_is_left(tmp_path: Path, name: str, rate: str) -> None:
    scope, seconds, named = CLOSED[name]
    sandbox = Sandbox(fleet(1, 90, channels=4))
    path = await planned(sandbox, tmp_path, Options(), planning_delay=0.002)
    async with client_of(sandbox, rate=rate) as capgo, await Job.open(path, client=capgo) as job:
        follower = Follower(job, ring_of(capgo), Speech(quiet=True))
        # A forecast from before the refusal must not outlive it.
        follower(Done())
        await anyio.sleep(0.5)
        assert left_in(follower.line()) < 10
        pacer_of(capgo).close(
            requester_of(capgo).key_scope if scope == (ScopeKind.KEY,) else scope, seconds, reason_known=named
        )
        line = follower.line()
    assert until_in(line) == pytest.approx(seconds, abs=2.0)
    assert seconds <= left_in(line) < seconds + 10
    assert ("HTTP 429" in line) == (not named)
    assert ("key's limit" in line) == (name == "a key for long")


DOUBTED = {
    "55 years": (1_764_460_800.0, r"2[01]\d\d-\d\d-\d\d [\d:]+ UTC"),
    "beyond any calendar": (1e12, "a time beyond any calendar"),
}


@pytest.mark.parametrize("scope", [(ScopeKind.KEY,), (ScopeKind.APP_ADDRESS, APP)], ids=["key", "app"])
@pytest.mark.parametrize("name", DOUBTED)
@in_virtual_time
async def test_a_rest_that_no_limit_takes_is_told_with_its_day(tmp_path: Path, name: str, scope: tuple[str, ...]) -> None:
    asked, shown = DOUBTED[name]
    path = await planned(sandbox := Sandbox(fleet(1, 9, channels=4)), tmp_path, Options(), planning_delay=0.002)
    async with client_of(sandbox) as capgo, await Job.open(path, client=capgo) as job:
        key = requester_of(capgo).key_scope
        pacer_of(capgo).close(key if scope == (ScopeKind.KEY,) else scope, 900.0, asked=asked)
        line = Follower(job, ring_of(capgo), Speech(quiet=True)).line()
    assert re.search(
        rf"\(the server asks to wait until {shown}, longer than any known limit: one request tries earlier\), until", line
    )
    assert until_in(line) == pytest.approx(900.0, abs=2.0)
    assert 900 <= left_in(line) < 920


class OneDeviceRefused(InProcessTransport):
    """Asks for 30 years of silence of the first device that is linked."""

    refused = False

    async def send(self, request: Request, headers: Mapping[str, str], *, fresh: bool = False) -> Response:
        if request.method != "POST" or self.refused:
            return await super().send(request, headers, fresh=fresh)
        self.refused = True
        return refusal(retry_after=946_080_000, app_id=APP, device_id="d")


TRIES = r"\(the server asks to wait until 20\d\d-\d\d-\d\d [\d:]+ UTC, longer than any known limit: one request tries earlier\)"


@in_virtual_time
async def test_a_rest_of_one_device_that_no_limit_takes_is_told_and_tried(tmp_path: Path) -> None:
    path = await planned(sandbox := Sandbox(fleet(1, 9, channels=4)), tmp_path, Options(), planning_delay=0.002)
    capgo = CapgoClient(api_key=SUPER_ADMIN_KEY, transport=OneDeviceRefused(sandbox))
    async with capgo, await Job.open(path, client=capgo) as job, anyio.create_task_group() as group:
        follower = Follower(job, ring_of(capgo), Speech(quiet=True))
        group.start_soon(job.run, capgo)
        await anyio.sleep(1.0)
        line = follower.line()
        await anyio.sleep(1000.0)
        report = await job.report()
    assert re.search(rf"1 waiting for limits of single devices {TRIES}", line)
    assert (report.done, report.pending) == (report.planned, 0)


@in_virtual_time
async def test_a_single_change_tells_such_a_rest_too(capsys: pytest.CaptureFixture[str]) -> None:
    sandbox = Sandbox(fleet(1, 9, channels=4))
    async with CapgoClient(api_key=SUPER_ADMIN_KEY, transport=OneDeviceRefused(sandbox)) as capgo:
        pacer_of(capgo).listeners.add(Waits(Speech()), "other")
        await capgo.devices.link(APP, ids_of(sandbox)[0], channel="ch04")
    assert re.search(rf"waiting: device's limit {TRIES}, until", capsys.readouterr().err)


@pytest.mark.parametrize("seconds", [0.0, 1e9, 3e11, 1e14, 1e300, math.inf])
def test_any_time_can_be_shown(seconds: float) -> None:
    for shown in (time_in(seconds), minute_in(seconds), duration(seconds), waiting(seconds, "a limit")):
        assert shown
        assert seconds < 3e11 or "beyond any calendar" in shown or "days" in shown


@in_virtual_time
async def test_answers_that_are_out_when_a_key_is_refused_shorten_nothing() -> None:
    """The silence begins with the last of them."""
    capgo = client_of(Sandbox(fleet(1, 1)))
    pacer, key = pacer_of(capgo), requester_of(capgo).key_scope
    permit = pacer.take((key,))
    assert permit is not None
    pacer.close(key, 300.0)
    await anyio.sleep(50.0)
    legs = [Leg([share_of(APP, "link_device", 16)])]
    assert seconds_of(legs, outlook_of(ring_of(capgo), legs)) == pytest.approx(300.0, abs=1.0)
    pacer.release(permit, Fate.REFUSED)
    await anyio.sleep(100.0)
    assert seconds_of(legs, outlook_of(ring_of(capgo), legs)) == pytest.approx(200.0, abs=1.0)


@pytest.mark.slow
@in_virtual_time
async def test_a_429_without_json_is_told_as_what_it_is(tmp_path: Path) -> None:
    sandbox = Sandbox(fleet(1, 60, channels=4), Settings(faults=parse_faults("POST /device:429-edge=#20")))
    path = await planned(sandbox, tmp_path, Options(), planning_delay=0.002)
    async with client_of(sandbox) as capgo, await Job.open(path, client=capgo) as job:
        follower = Follower(job, ring_of(capgo), Speech(quiet=True))
        said: list[str] = []

        async def look() -> None:
            await anyio.sleep(30.0)
            said.append(follower.line())

        async with anyio.create_task_group() as group:
            group.start_soon(look)
            report = await job.run(capgo, on_progress=follower)
    assert "waiting: an unnamed limit (HTTP 429, perhaps of a proxy), until " in said[0]
    assert "key" not in said[0]
    assert report.runs[-1].limits_met == {"unnamed": 1}


@in_virtual_time
async def test_a_call_that_waits_for_a_limit_says_so_once() -> None:
    said: list[str] = []
    speech = Speech()
    speech.note = said.append  # type: ignore[assignment, method-assign]  # to hear it
    sandbox = Sandbox(fleet(1, 1), Settings(limits=thresholds("server", {"RATE_LIMIT_API_KEY": 3})))
    capgo = client_of(sandbox, rate="off")
    pacer_of(capgo).listeners.add(Waits(speech))
    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(capgo.apps.get, APP)
    assert len(said) == 2, "five calls, two at a time"
    assert all(line.startswith("waiting: key's limit, until ") for line in said)
    with shown_by_progress(pacer_of(capgo).listeners):
        pacer_of(capgo).close(requester_of(capgo).key_scope, 100.0)
        await capgo.apps.get(APP)
    assert len(said) == 2


@pytest.mark.slow
@in_virtual_time
async def test_operations_that_are_refused_at_the_end_of_a_job_are_waited_for(tmp_path: Path) -> None:
    """Nothing is left to send then but what is under way."""
    sandbox = Sandbox(fleet(1, 60, channels=4), Settings(limits=thresholds("server", {"RATE_LIMIT_CHANNEL_SELF_IP": 40})))
    path = await planned(Sandbox(fleet(1, 60, channels=4)), tmp_path, Options(), planning_delay=0.002)
    async with client_of(sandbox, rate="off") as capgo, await Job.open(path, client=capgo) as job:
        follower = Follower(job, ring_of(capgo), Speech(quiet=True))
        said: list[str] = []

        async def look() -> None:
            await anyio.sleep(20.0)
            said.append(follower.line())

        async with anyio.create_task_group() as group:
            group.start_soon(look)
            report = await job.run(capgo, on_progress=follower)
    (line,) = said
    assert report.rate_limited > 0
    assert left_in(line) == pytest.approx(report.elapsed_seconds - 20, abs=2.0)
    assert left_in(line) >= until_in(line) - 1


async def lines_of(job: Job, capgo: CapgoClient, every: float) -> tuple[list[str], Report]:
    """Run a job. Return what its follower says, once in `every` seconds, and the report."""
    follower = Follower(job, ring_of(capgo), Speech(quiet=True))
    said: list[str] = []

    async def look() -> None:
        while True:
            await anyio.sleep(every)
            said.append(follower.line())

    async with anyio.create_task_group() as group:
        group.start_soon(look)
        report = await job.run(capgo, on_progress=follower)
        group.cancel_scope.cancel()
    return said, report


@in_virtual_time
async def test_the_rest_of_a_key_that_worked_is_told_as_that(tmp_path: Path) -> None:
    sandbox = Sandbox(fleet(1, 60, channels=4), Settings(faults=parse_faults("POST /device:lost-keys=#20")))
    path = await planned(sandbox, tmp_path, Options(), planning_delay=0.002)
    async with client_of(sandbox, rate="off") as capgo, await Job.open(path, client=capgo) as job:
        said, report = await lines_of(job, capgo, 4.0)
    assert "waiting: pause of an API key that was refused after it had worked, until " in said[0]
    assert 0 < until_in(said[0]) <= KEY_RESTS_FOR
    assert (report.done, report.failed) == (report.planned, 0)


@pytest.mark.slow
@in_virtual_time
async def test_a_server_that_loses_counts_is_told_of(tmp_path: Path) -> None:
    sandbox = Sandbox(fleet(1, 600, channels=4), Settings(limits=thresholds("server", {"RATE_LIMIT_API_KEY": 61})))
    path = await planned(Sandbox(fleet(1, 600, channels=4)), tmp_path, Options(), planning_delay=0.002)
    lose_counts(sandbox)
    async with client_of(sandbox) as capgo, await Job.open(path, client=capgo) as job:
        said, report = await lines_of(job, capgo, 10.0)
    assert report.done == report.planned
    told = ["the server loses counts, or the API key is also used elsewhere" in line for line in said]
    assert told[-1]
    assert told == sorted(told), "once it is noticed, it is told"
    assert not told[0]
