"""Forecasts where writes take longer than the reads of the plan: told as unsure, and right after the first responses."""

from collections.abc import Callable
from pathlib import Path

import anyio
import msgspec
import pytest
from fleet import APP, client_of, ids_of, write_csv
from virtual_time import in_virtual_time

from capgo_async import CapgoClient
from capgo_async.bulk import Job, Options, Report, read_operations
from capgo_async.bulk.forecast.forecast import MOST_TIMES, Foreseen, Leg, foreseen
from capgo_async.bulk.forecast.line import Outlook
from capgo_async.bulk.operations.kinds import KINDS
from capgo_async.bulk.schedule.share import calls_of, share_of
from capgo_async.limits.models import Limit, ScopeKind, SlidingWindow, server_limits
from capgo_async.limits.timing import Timing
from capgo_async.sandbox import Sandbox, Settings, fleet, parse_faults, thresholds
from capgo_async.sandbox.faults import Faults

READS = 0.02


def slow_to_write(faults: str, *, devices: int = 2000, limits: str = "off") -> Sandbox:
    settings = Settings(limits=thresholds(limits), faults=parse_faults(faults))
    return Sandbox(fleet(1, devices, channels=4), settings)


async def planned(sandbox: Sandbox, directory: Path, capgo: CapgoClient, name: str = "job", channel: str = "ch04") -> Job:
    rows = write_csv(directory / "rows.csv", [(device,) for device in ids_of(sandbox)])
    source = read_operations(rows, app_id=APP, channel=channel)
    return await Job.create(directory / f"{name}.capgo-job", source, client=capgo, options=Options())


async def watched(
    job: Job, capgo: CapgoClient, look_at: tuple[int, ...], on_change: Callable[[int], None] = lambda _: None
) -> tuple[Report, list[tuple[float, Foreseen]]]:
    """Run a job; return its report, and the time left with its forecast after some numbers of operations."""
    said: list[tuple[float, Foreseen]] = []
    settled = 0

    def note(_result: object) -> None:
        nonlocal settled
        settled += 1
        on_change(settled)
        if settled in look_at:
            said.append((anyio.current_time(), job.remaining(capgo, settled)))

    report = await job.run(capgo, on_progress=note)
    ended = anyio.current_time()
    return report, [(ended - at, found) for at, found in said]


@pytest.mark.slow
@pytest.mark.parametrize(("limits", "devices"), [("off", 1200), ("server", 2500)])
@pytest.mark.parametrize(
    "faults", ["POST /device:latency=130ms", "POST /device:latency=1500ms", "POST /device:latency=20ms..240ms"]
)
@in_virtual_time
async def test_after_200_operations_the_time_left_is_right_within_a_twentieth(
    tmp_path: Path, faults: str, limits: str, devices: int
) -> None:
    sandbox = slow_to_write(faults, limits=limits, devices=devices)
    async with client_of(sandbox, delay=READS / 2) as capgo, await planned(sandbox, tmp_path, capgo) as job:
        report, said = await watched(job, capgo, (200, 2 * devices // 5, 18 * devices // 25))
    assert (report.done, len(said)) == (devices, 3)
    for left, found in said:
        assert found.seconds == pytest.approx(left, rel=0.05)
    assert job.plan.seconds is not None
    assert job.plan.at_most is not None
    assert job.plan.seconds < report.elapsed_seconds
    if "1500" not in faults:
        assert report.elapsed_seconds < job.plan.at_most


@pytest.mark.slow
@in_virtual_time
async def test_a_server_that_slows_down_is_followed(tmp_path: Path) -> None:
    sandbox = slow_to_write("POST /device:latency=30ms", devices=3000)

    def slow_down(settled: int) -> None:
        if settled == 1000:
            sandbox.faults = Faults(parse_faults("POST /device:latency=300ms"))

    async with client_of(sandbox, delay=READS / 2) as capgo, await planned(sandbox, tmp_path, capgo) as job:
        _, said = await watched(job, capgo, (2200,), slow_down)
    ((left, found),) = said
    assert found.seconds == pytest.approx(left, rel=0.05)


@pytest.mark.slow
@in_virtual_time
async def test_the_next_plan_and_the_next_process_know_how_long_writes_take(tmp_path: Path) -> None:
    sandbox = slow_to_write("POST /device:latency=130ms")
    async with client_of(sandbox, rate="off", delay=READS / 2) as capgo:
        async with await planned(sandbox, tmp_path, capgo) as job:
            assert job.plan.at_most == pytest.approx(27.0, abs=1.0)
            assert "requests to send, about 3 s\n" in str(job.plan), "24 s more decide nothing"
            longer = msgspec.structs.replace(job.plan, seconds=180.0, at_most=1620.0)
            assert "about 3 min (up to about 27 min: few such requests were measured so far)\n" in str(longer)
            report = await job.run(capgo)
        async with await planned(sandbox, tmp_path, capgo, "back", "beta") as back:
            assert back.plan.seconds == pytest.approx(report.elapsed_seconds, rel=0.05)
            assert "up to about" not in str(back.plan)
        known = capgo.known()
    async with client_of(sandbox, rate="off", delay=READS / 2) as capgo:
        async with await Job.open(tmp_path / "back.capgo-job", client=capgo) as back:
            assert back.plan.seconds == pytest.approx(report.elapsed_seconds, rel=0.05)
    async with client_of(sandbox, rate="off", delay=READS / 2) as capgo:
        capgo.recall(known)
        async with await planned(sandbox, tmp_path, capgo, "again", "beta") as again:
            assert again.plan.seconds == pytest.approx(report.elapsed_seconds, rel=0.05)


SHARES = [share_of(APP, "link_device", 1600)]


@pytest.mark.parametrize(
    ("timing", "seconds", "more"),
    [
        (None, 2.0, 2.0 * (MOST_TIMES - 1)),
        (Timing(0.15, 0.0, 200), 15.0, 0.0),
        (Timing(0.15, 0.15, 225), 15.0, 2.0),
        (Timing(0.15, 0.15, 25), 15.0, 6.0),
    ],
)
def test_a_forecast_tells_how_sure_it_is(timing: Timing | None, seconds: float, more: float) -> None:
    outlook = Outlook((), 16, 0.02, timings={} if timing is None else {"POST /device": timing})
    assert foreseen([Leg(SHARES)], outlook) == pytest.approx((seconds, more))


def test_where_a_limit_decides_an_unknown_latency_matters_little() -> None:
    limit = Limit(ScopeKind.KEY, SlidingWindow(requests=10))
    found = foreseen([Leg(SHARES)], Outlook([limit], 16, 0.02))
    assert found.more < 0.01 * found.seconds


def test_each_leg_takes_its_own_latency() -> None:
    timings = {"POST /device": Timing(1.0), "GET /channel": Timing(0.1), "POST /channel": Timing(0.5)}
    outlook = Outlook(server_limits(), 10, 9.0, timings=timings)
    links, channels = [share_of(APP, "link_device", 100)], [share_of(APP, "update_channel", 100)]
    assert foreseen([Leg(links)], outlook).seconds == pytest.approx(10.0)
    assert foreseen([Leg(channels)], outlook).seconds == pytest.approx(6.0)
    assert foreseen([Leg(links), Leg(channels)], outlook).seconds == pytest.approx(16.0)


def test_the_kinds_of_requests_are_counted() -> None:
    shares = [share_of(APP, "renew_device", 3), share_of("com.example.b", "unlink_device", 5)]
    assert calls_of(shares) == {"GET /device": 3, "DELETE /device": 8, "POST /device": 3}
    assert all(calls_of([share_of(APP, kind, 1)]).total() == len(KINDS[kind].requests) for kind in KINDS)
