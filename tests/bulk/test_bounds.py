"""Bounds of a run: not one request more, not a second longer, and the rest is left to the next run."""

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import anyio
import pytest
from fleet import client_of, links_of, looked_up, relink_everything, sandbox_of, statuses
from virtual_time import in_virtual_time

from capgo_async import KeyRing, errors
from capgo_async.bulk import Bounds, Job, Report, Which, read_operations
from capgo_async.bulk.jobfile.records import last_usage
from capgo_async.bulk.running.bounds import deadline_of, in_words
from capgo_async.bulk.running.runner import StopReason
from capgo_async.key_ring import pacer_of
from capgo_async.limits.budget import Budget
from capgo_async.limits.models import Fate, Limit, ScopeKind, SilenceWindow, SlidingWindow
from capgo_async.limits.pacer import Pacer
from capgo_async.sandbox import Binding, Sandbox
from capgo_async.sandbox.faults import Faults
from capgo_async.sandbox.seeding import ORG_ID, USER_ID

OTHER_KEY = "10000000-0000-4000-8000-000000000001"
NOW = datetime(2026, 11, 25, 20, 0, tzinfo=UTC)


async def made(path: Path, sandbox: Sandbox) -> Path:
    source = read_operations(relink_everything(path.with_name("devices.csv"), sandbox))
    async with client_of(sandbox) as capgo:
        await (await Job.create(path, source, client=capgo)).aclose()
    return path


async def run_until_bound(path: Path, sandbox: Sandbox, bounds: Bounds, **options: object) -> tuple[Report, str]:
    """Run a job, and return its report and what stopped it, which is nothing where it came to its end."""
    async with client_of(sandbox, **options) as capgo, await Job.open(path) as job:  # type: ignore[arg-type]  # of the client
        try:
            return await job.run(capgo, bounds=bounds), ""
        except errors.SafetyStop as error:
            return await job.report(), str(error)


@pytest.mark.slow
@pytest.mark.parametrize("faults", ["", "/device:drop-before=10%,drop-after=10%,502=10%,500-after=10%", "*:429-edge=#40+#60"])
@pytest.mark.parametrize("most", [1, 15, 16, 17, 100, 333])
@in_virtual_time
async def test_not_one_request_more_leaves(tmp_path: Path, most: int, faults: str) -> None:
    path = await made(tmp_path / "x.capgo-job", sandbox_of(devices=600, limits="server"))
    sandbox = sandbox_of(devices=600, limits="server", faults=faults)
    report, why = await run_until_bound(path, sandbox, Bounds(max_requests=most), concurrency=16)
    assert len(sandbox.log) == most
    assert why == f"stopped: the limit of {most} request{'s' if most > 1 else ''} is reached"
    assert report.done + report.failed + report.pending == report.planned
    assert report.done <= sum(count for status, count in statuses(sandbox).items() if status == 200)
    sandbox.faults = Faults(())
    async with client_of(sandbox) as capgo, await Job.open(path) as job:
        await job.run(capgo)
        report = await job.run(capgo, which=Which.FAILED)
    assert (report.done, report.pending) == (report.planned, 0)
    assert set(links_of(sandbox).values()) == {"beta"}


@in_virtual_time
async def test_a_run_that_needs_no_more_than_its_requests_is_not_stopped(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=60)
    path = await made(tmp_path / "x.capgo-job", sandbox)
    before = len(sandbox.log)
    async with await Job.open(path, read_only=True) as job:
        planned = (await job.report()).planned
    report, why = await run_until_bound(path, sandbox, Bounds(max_requests=planned))
    assert (report.done, why, len(sandbox.log) - before) == (planned, "", planned)


@in_virtual_time
async def test_what_was_sent_before_its_request_was_the_last_stays_in_doubt(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=10, limits="server", faults="POST /device:drop-after=#1")
    path = await made(tmp_path / "x.capgo-job", sandbox)
    report, why = await run_until_bound(path, sandbox, Bounds(max_requests=1), concurrency=1)
    assert "the limit of 1 request is reached" in why
    assert report.done == 0
    last = await looked_up(path, last_usage)
    assert last is not None
    assert len(last.uncounted) == 1


@in_virtual_time
async def test_the_reads_of_a_ring_count_and_all_its_keys_share_the_bound(tmp_path: Path) -> None:
    sandbox = sandbox_of(apps=2, devices=200)
    sandbox.world.add_key(OTHER_KEY, Binding(role="org_super_admin", org_id=ORG_ID), user_id=USER_ID)
    first = next(iter(sandbox.world.apps))
    source = read_operations(relink_everything(tmp_path / "devices.csv", sandbox))
    async with client_of(sandbox) as capgo:
        await (await Job.create(tmp_path / "x.capgo-job", source, client=KeyRing(capgo, {first: OTHER_KEY}))).aclose()
    before = len(sandbox.log)
    async with client_of(sandbox) as capgo, await Job.open(tmp_path / "x.capgo-job") as job:
        with pytest.raises(errors.SafetyStop, match="the limit of 1 request is reached"):
            await job.run(KeyRing(capgo, {ORG_ID: OTHER_KEY}), bounds=Bounds(max_requests=1), rebind=True)
        assert sandbox.log[before].method == "GET"
        with pytest.raises(errors.SafetyStop, match="the limit of 110 requests is reached"):
            await job.run(KeyRing(capgo, {first: OTHER_KEY}), bounds=Bounds(max_requests=110), rebind=True)
        assert pacer_of(capgo).budget is None
    sent = list(sandbox.log)[before:]
    assert len(sent) == 111
    assert len({line.key for line in sent}) == 2


@in_virtual_time
async def test_a_client_has_one_such_bound_at_a_time(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=10)
    path = await made(tmp_path / "x.capgo-job", sandbox)
    async with client_of(sandbox) as capgo, await Job.open(path) as job:
        pacer_of(capgo).budget = Budget(5)
        with pytest.raises(errors.ConfigurationError, match="another run"):
            await job.run(capgo, bounds=Bounds(max_requests=5))


@in_virtual_time
async def test_who_waits_for_a_limit_learns_that_nothing_is_left() -> None:
    limit = Limit(ScopeKind.KEY, SlidingWindow(requests=2))
    pacer = Pacer((limit,))
    pacer.budget = Budget(3)
    scope = (ScopeKind.KEY, "k")
    pacer.gates.prove(scope)
    ends: list[float] = []

    async def ask() -> None:
        try:
            permit = await pacer.acquire((scope,))
            await anyio.sleep(1.0)
            pacer.release(permit, Fate.PASSED)
        except errors.SafetyStop:
            ends.append(anyio.current_time())

    async with anyio.create_task_group() as group:
        for _ in range(8):
            group.start_soon(ask)
    assert len(ends) == 5
    assert max(ends) <= 63.0


def test_what_never_left_is_given_back() -> None:
    budget = Budget(1)
    budget.spend()
    with pytest.raises(errors.SafetyStop):
        budget.check()
    budget.give_back()
    budget.check()


@in_virtual_time
async def test_attempts_that_find_no_server_use_nothing_up() -> None:
    pacer = Pacer()
    pacer.budget = Budget(1)
    scope = (ScopeKind.KEY, "k")
    for _ in range(5):
        pacer.release(await pacer.acquire((scope,)), Fate.UNSENT)
    permit = await pacer.acquire((scope,))
    pacer.budget = Budget(1)
    pacer.release(permit, Fate.UNSENT)
    await pacer.acquire((scope,))
    assert pacer.budget.spent, "what the budget before this one paid does not come back to this one"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("bounds", "why"),
    [
        (lambda: Bounds(max_seconds=1.0), "stopped: the time limit of 1s is reached"),
        (lambda: Bounds(until=datetime.now(UTC) + timedelta(seconds=1.0)), " UTC is reached"),
    ],
)
@in_virtual_time
async def test_a_run_drains_when_its_time_is_over(tmp_path: Path, bounds: Callable[[], Bounds], why: str) -> None:
    sandbox = sandbox_of(devices=2000)
    path = await made(tmp_path / "x.capgo-job", sandbox)
    began = anyio.current_time()
    report, said = await run_until_bound(path, sandbox, bounds(), delay=0.3, concurrency=4)
    assert said.endswith(why)
    assert anyio.current_time() - began <= 1.6
    posts = sum(line.method == "POST" for line in sandbox.log)
    assert report.done == posts > 0, "what was in flight was finished and recorded"
    assert report.pending > 0
    report, said = await run_until_bound(path, sandbox, Bounds(max_seconds=1e6))
    assert (report.pending, said) == (0, "")
    assert report.done == sum(line.method == "POST" for line in sandbox.log), "nothing was sent twice"


@in_virtual_time
async def test_who_waits_for_a_limit_waits_no_longer_than_the_run(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=600, limits="off")
    path = await made(tmp_path / "x.capgo-job", sandbox)
    before, began = len(sandbox.log), anyio.current_time()
    limits = [Limit(ScopeKind.KEY, SilenceWindow(requests=100, window=3600.0))]
    report, said = await run_until_bound(path, sandbox, Bounds(max_seconds=90.0), limits=limits)
    assert "the time limit of 1m30s is reached" in said
    assert anyio.current_time() - began <= 91.0
    assert 90 < report.done == len(sandbox.log) - before <= 100


@in_virtual_time
async def test_a_run_whose_last_requests_are_out_at_its_end_is_finished(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=12)
    path = await made(tmp_path / "x.capgo-job", sandbox)
    report, said = await run_until_bound(path, sandbox, Bounds(max_seconds=3.0), delay=1.0)
    assert (report.pending, said) == (0, "")


@in_virtual_time
async def test_a_moment_that_passed_while_somebody_thought_sends_nothing(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=60)
    path = await made(tmp_path / "x.capgo-job", sandbox)
    before = len(sandbox.log)
    report, said = await run_until_bound(path, sandbox, Bounds(until=NOW - timedelta(days=4000)))
    assert " UTC is reached" in said
    assert (report.pending, len(sandbox.log)) == (report.planned, before)


@in_virtual_time
async def test_the_reads_of_a_ring_end_with_the_run(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=60)
    path = await made(tmp_path / "x.capgo-job", sandbox)
    async with client_of(sandbox, delay=50.0) as capgo, await Job.open(path) as job:
        began = anyio.current_time()
        with pytest.raises(errors.SafetyStop, match="the time limit of 1m is reached"):
            await job.run(KeyRing(capgo, {ORG_ID: OTHER_KEY}), bounds=Bounds(max_seconds=60.0), rebind=True)
        assert anyio.current_time() - began == 60.0
        assert (await job.report()).done == 0


def test_the_earlier_end_counts() -> None:
    both = Bounds(max_seconds=60.0, until=NOW + timedelta(seconds=30))
    assert deadline_of(both, 100.0, NOW) == (
        130.0,
        StopReason("the end time 2026-11-25 20:00:30 UTC is reached", errors.Problem.END_TIME_REACHED),
    )
    assert deadline_of(both, 100.0, NOW - timedelta(hours=1)) == (
        160.0,
        StopReason("the time limit of 1m is reached", errors.Problem.TIME_SPENT),
    )
    there = timezone(timedelta(hours=-5))
    until = Bounds(until=datetime(2026, 11, 26, tzinfo=there))
    assert deadline_of(until, 0.0, NOW).reason.text == "the end time 2026-11-26 05:00 UTC is reached"
    assert deadline_of(Bounds(), 0.0, NOW).at == math.inf


@pytest.mark.parametrize(
    ("bounds", "said"),
    [
        ({"max_requests": 0}, "could send nothing"),
        ({"max_seconds": 0.0}, "cannot last"),
        ({"max_seconds": math.nan}, "cannot last"),
        ({"max_seconds": math.inf}, "cannot last"),
        ({"until": datetime(2026, 1, 1)}, "no time zone"),  # noqa: DTZ001 - that is the fault
    ],
)
def test_bounds_that_mean_nothing_are_refused(bounds: dict[str, object], said: str) -> None:
    with pytest.raises(errors.ConfigurationError, match=said):
        Bounds(**bounds)  # type: ignore[arg-type]  # what nobody checked


@pytest.mark.parametrize(("seconds", "text"), [(90, "1m30s"), (7200, "2h"), (5400, "1h30m"), (0.5, "0.5s"), (3601, "1h1s")])
def test_durations_are_said_as_they_are_given(seconds: float, text: str) -> None:
    assert in_words(seconds) == text
