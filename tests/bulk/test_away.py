"""A server that is away: with `wait_for_server`, a client and what uses it probe it and go on; otherwise they end as before."""

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Final

import anyio
import pytest
from fleet import APP, client_of, ids_of, links_of, relink_everything, sandbox_of, write_csv
from virtual_time import in_virtual_time

from capgo_async import CapgoClient
from capgo_async.bulk import Bounds, Ended, Job, Options, read_operations
from capgo_async.client import requester_of
from capgo_async.errors import ConnectionLost, NotConnected, SafetyStop
from capgo_async.events import ServerAway, ServerBack
from capgo_async.http.wire import Request, Response
from capgo_async.key_ring import KeyRing, absence_of, pacer_of
from capgo_async.sandbox import Binding, Sandbox
from capgo_async.sandbox.seeding import ORG_ID, USER_ID

pytestmark = pytest.mark.slow


class Cut:
    """The transport of a client whose server is away between two times, counted from the first change.

    For the first seconds of that, as many as `loses`, connections are lost; then none can be made.
    """

    def __init__(self, client: CapgoClient, away: tuple[float, float], loses: float = 0.0) -> None:
        self._transport = requester_of(client).transport
        requester_of(client).transport = self
        self.away = away
        self.loses = loses
        self.began: float | None = None
        self.tried: list[tuple[float, str]] = []

    async def send(self, request: Request, headers: Mapping[str, str], *, fresh: bool = False) -> Response:
        if self.began is None and request.method == "POST":
            self.began = anyio.current_time()
        now = anyio.current_time() - (self.began or 0.0)
        if self.began is not None and self.away[0] <= now < self.away[1]:
            self.tried.append((now, request.path))
            await anyio.sleep(0.02)
            error = ConnectionLost if now < self.away[0] + self.loses else NotConnected
            raise error(request.path)
        return await self._transport.send(request, headers, fresh=fresh)

    async def aclose(self) -> None:
        await self._transport.aclose()


async def make(sandbox: Sandbox, directory: Path, waves: tuple[Fraction, ...] = ()) -> Job:
    sandbox.world.apps[APP].overrides.clear()
    source = read_operations(
        write_csv(directory / "rows.csv", [(device,) for device in ids_of(sandbox)]), app_id=APP, channel="alpha"
    )
    async with client_of(sandbox) as capgo:
        return await Job.create(directory / "job.capgo-job", source, client=capgo, options=Options(waves=waves))


WAITING: Final = 1800.0
OTHER_KEY: Final = "10000000-0000-4000-8000-000000000001"


@pytest.mark.parametrize("loses", [0.0, 0.1])
@pytest.mark.parametrize("waves", [(), (Fraction(1, 2), Fraction(1))])
def test_a_run_waits_for_its_server_and_goes_on(tmp_path: Path, loses: float, waves: tuple[Fraction, ...]) -> None:
    @in_virtual_time
    async def run() -> None:
        sandbox = sandbox_of(devices=200)
        async with (
            await make(sandbox, tmp_path, waves) as job,
            client_of(sandbox, rate="off", wait_for_server=WAITING) as capgo,
        ):
            cut = Cut(capgo, (0.1, 900.0), loses)
            report = await job.run(capgo)
            moments = [moment.event for moment in (await job.timeline()).moments]
        assert (report.done, report.failed, report.pending) == (200, 0, 0)
        assert [event.seconds for event in moments if isinstance(event, ServerAway)][:4] == [5.0, 10.0, 20.0, 40.0]
        assert [event.seconds for event in moments if isinstance(event, ServerBack)] == [pytest.approx(900.0, abs=70.0)]
        assert [run.ended for run in report.runs] == [Ended.PLANNED, Ended.FINISHED], "one run, which did not end meanwhile"
        assert 900.0 < report.elapsed_seconds < 1000.0
        probes = [at for at, path in cut.tried if path == "/ok"]
        assert [round(after - before) for before, after in pairwise(probes)][:4] == [10, 20, 40, 60]
        assert len(cut.tried) - len(probes) < 100, "nothing else is tried meanwhile"
        assert len(links_of(sandbox)) == 200
        repeated = Counter(line.target for line in sandbox.log if line.method == "POST")
        assert max(repeated.values()) == 1, "what had no connection was not sent, and what was lost here never arrived"

    run()


@in_virtual_time
async def test_a_run_ends_as_before_unless_it_is_to_wait(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=50)
    async with await make(sandbox, tmp_path) as job, client_of(sandbox) as capgo:
        cut = Cut(capgo, (0.0, 900.0))
        with pytest.raises(NotConnected):
            await job.run(capgo)
    assert cut.tried[-1][0] < 15.0
    assert all(path != "/ok" for _, path in cut.tried)


@in_virtual_time
async def test_a_server_that_is_away_for_too_long_ends_the_run_and_loses_nothing(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=50)
    async with await make(sandbox, tmp_path) as job, client_of(sandbox, concurrency=2, wait_for_server=600.0) as capgo:
        cut = Cut(capgo, (1.0, 1e9))
        with pytest.raises(NotConnected):
            await job.run(capgo)
        assert 600.0 < cut.tried[-1][0] < 620.0
        report = await job.report()
        assert report.runs[-1].ended is Ended.STOPPED
        assert (report.failed, report.done + report.pending) == (0, 50)
        cut.away = (0.0, 0.0)
        assert (await job.run(capgo)).done == 50


@in_virtual_time
async def test_each_absence_may_take_that_long(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=200)
    async with await make(sandbox, tmp_path) as job, client_of(sandbox, rate="100/min", wait_for_server=500.0) as capgo:
        cut = Cut(capgo, (0.1, 400.0))

        async def cut_again() -> None:
            await anyio.sleep(470.0)
            now = anyio.current_time() - (cut.began or 0.0)
            cut.away = (now, now + 400.0)

        async with anyio.create_task_group() as group:
            group.start_soon(cut_again)
            report = await job.run(capgo)
    assert report.done == 200
    assert report.elapsed_seconds > 800.0


@in_virtual_time
async def test_a_server_that_answers_probes_alone_is_away_all_the_time(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=20)

    class Deaf(Cut):
        async def send(self, request: Request, headers: Mapping[str, str], *, fresh: bool = False) -> Response:
            if request.path == "/ok":
                return await self._transport.send(request, headers, fresh=fresh)
            return await super().send(request, headers, fresh=fresh)

    async with await make(sandbox, tmp_path) as job, client_of(sandbox, wait_for_server=300.0) as capgo:
        cut = Deaf(capgo, (0.0, 1e9), 1e9)
        with pytest.raises(ConnectionLost):
            await job.run(capgo)
    # A request that got no response counts against the limit of its device, so a round takes four minutes.
    assert 300.0 < cut.tried[-1][0] < 900.0


@in_virtual_time
async def test_a_wait_for_a_server_is_ended_by_a_drain_and_by_a_bound(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=50)
    async with await make(sandbox, tmp_path) as job, client_of(sandbox, wait_for_server=WAITING) as capgo:
        Cut(capgo, (0.0, 1e9))
        async with anyio.create_task_group() as group:

            async def drain() -> None:
                await anyio.sleep(100.0)
                assert absence_of(capgo).looks_again_at is not None
                job.drain()

            group.start_soon(drain)
            began = anyio.current_time()
            report = await job.run(capgo)
        assert anyio.current_time() - began == pytest.approx(100.0, abs=1.0)
        assert (report.pending, report.runs[-1].ended) == (50, Ended.INTERRUPTED)
        assert absence_of(capgo).looks_again_at is None
        with pytest.raises(SafetyStop, match="the time limit"):
            await job.run(capgo, bounds=Bounds(max_seconds=60.0))
        assert anyio.current_time() - began < 170.0


class Away(Cut):
    """The transport of a client whose server goes away at its request number `at`, for so many seconds."""

    def __init__(self, client: CapgoClient, at: int, seconds: float) -> None:
        super().__init__(client, (0.0, seconds))
        self._left = at

    async def send(self, request: Request, headers: Mapping[str, str], *, fresh: bool = False) -> Response:
        self._left -= 1
        if self.began is None and not self._left:
            self.began = anyio.current_time()
        return await super().send(request, headers, fresh=fresh)


async def plan(job: Job, capgo: CapgoClient) -> object:
    source = read_operations(write_csv(job.path.with_name("again.csv"), [("unseen",)]), app_id=APP, channel="alpha")
    async with await Job.create(job.path.with_name("again.capgo-job"), source, client=capgo) as planned:
        return planned.plan.planned == 1


async def verify(job: Job, capgo: CapgoClient) -> object:
    return (await job.verify(capgo)).verified == 40


async def adoption(job: Job, capgo: CapgoClient) -> object:
    return (await job.adoption(capgo)).devices == 40


async def undo(job: Job, capgo: CapgoClient) -> object:
    async with await job.undo(job.path.with_name("undo.capgo-job"), client=capgo) as undoing:
        return undoing.plan.planned == 40


async def single_write(job: Job, capgo: CapgoClient) -> object:
    del job
    await capgo.devices.link(APP, "unseen", channel="alpha")
    return True


@pytest.mark.parametrize("reads", [plan, verify, adoption, undo, single_write])
def test_all_that_a_client_does_waits_for_its_server(
    tmp_path: Path, reads: Callable[[Job, CapgoClient], Awaitable[object]]
) -> None:
    @in_virtual_time
    async def run() -> None:
        sandbox = sandbox_of(devices=40)
        async with await make(sandbox, tmp_path) as job:
            async with client_of(sandbox) as capgo:
                await job.run(capgo)
            heard: list[object] = []
            async with client_of(sandbox, wait_for_server=WAITING) as capgo:
                cut = Away(capgo, 1, 900.0)
                pacer_of(capgo).listeners.add(heard.append, "other")
                assert await reads(job, capgo)
            assert [event.seconds for event in heard if isinstance(event, ServerAway)][:4] == [5.0, 10.0, 20.0, 40.0]
            assert sum(isinstance(event, ServerBack) for event in heard) == 1
            probes = sum(path == "/ok" for _, path in cut.tried)
            assert 15 <= probes <= 20, "it is probed, and nothing else is tried meanwhile"
            for made in (*tmp_path.glob("again.*"), *tmp_path.glob("undo.*")):
                made.unlink()
            async with client_of(sandbox, wait_for_server=60.0) as capgo:
                Away(capgo, 1, 1e9)
                with pytest.raises(NotConnected):
                    await reads(job, capgo)

    run()


@in_virtual_time
async def test_many_readers_wait_for_one_probe(tmp_path: Path) -> None:
    sandbox = sandbox_of(apps=6, devices=60)
    async with client_of(sandbox, wait_for_server=WAITING) as capgo:
        cut = Away(capgo, 4, 300.0)
        heard: list[object] = []
        pacer_of(capgo).listeners.add(heard.append, "other")
        source = read_operations(relink_everything(tmp_path / "all.csv", sandbox))
        async with await Job.create(tmp_path / "job.capgo-job", source, client=capgo) as job:
            assert job.plan.planned
    assert sum(path == "/ok" for _, path in cut.tried) < 10
    assert sum(isinstance(event, ServerBack) for event in heard) == 1, "who waited for the same probe goes on with it"


@in_virtual_time
async def test_a_verification_that_waits_says_so(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=40)
    async with await make(sandbox, tmp_path) as job, client_of(sandbox, wait_for_server=WAITING) as capgo:
        await job.run(capgo)
        Away(capgo, 1, 900.0)

        async def look() -> None:
            await anyio.sleep(300.0)
            async with await Job.open(job.path, read_only=True) as shown:
                assert (await shown.activity()).waits_for == "server"

        async with anyio.create_task_group() as group:
            group.start_soon(look)
            assert (await job.verify(capgo)).verified == 40


@in_virtual_time
async def test_a_run_waits_for_its_server_before_it_begins(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=40)
    async with await make(sandbox, tmp_path) as job, client_of(sandbox, wait_for_server=WAITING) as capgo:
        sandbox.world.add_key(OTHER_KEY, Binding(role="org_super_admin", org_id=ORG_ID), user_id=USER_ID)
        ring = KeyRing(capgo, {ORG_ID: OTHER_KEY})
        Away(ring.clients[1], 1, 300.0)
        with pytest.raises(SafetyStop, match="the time limit"):
            await job.run(ring, rebind=True, bounds=Bounds(max_seconds=60.0))
        async with anyio.create_task_group() as group:

            async def drain() -> None:
                await anyio.sleep(30.0)
                job.drain()

            group.start_soon(drain)
            began = anyio.current_time()
            report = await job.run(ring)
        assert anyio.current_time() - began == pytest.approx(30.0, abs=1.0)
        assert (report.pending, report.runs[-1].ended) == (40, Ended.INTERRUPTED)
        assert (await job.run(ring)).done == 40
