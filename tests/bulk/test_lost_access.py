"""What the plan saw and a call does not find is looked for once, and the run stops as what it is (contract A7, G5)."""

from collections.abc import Callable, Mapping
from pathlib import Path

import anyio
import pytest
from fleet import APP, client_of, ids_of, links_of, relink_everything, sandbox_of
from msgspec.structs import replace
from scripted import answer
from virtual_time import in_virtual_time

from capgo_async import CapgoClient
from capgo_async.bulk import (
    Bounds,
    DeleteChannel,
    Job,
    Report,
    Source,
    StopRules,
    UnlinkDevice,
    Which,
    from_operations,
    read_operations,
)
from capgo_async.bulk.running.missing import LOOK_AFTER_SECONDS, Look, Looks, Place
from capgo_async.errors import PermissionDenied, Problem, SafetyStop, ServerError
from capgo_async.http.wire import Request, Response
from capgo_async.key_ring import ring_of
from capgo_async.sandbox import Binding, Sandbox
from capgo_async.sandbox.inprocess import InProcessTransport
from capgo_async.sandbox.seeding import ORG_ID, SUPER_ADMIN_KEY, USER_ID
from capgo_async.sandbox.state.apps import Override

pytestmark = pytest.mark.slow

OTHER_ORG = "046a36ac-0000-4000-8000-00000000000a"
NO_RULES = StopRules(failures=None, consecutive=None, no_access=None, server_errors=None)


def lose_access(sandbox: Sandbox) -> None:
    sandbox.world.apps[APP].owner_org = OTHER_ORG


def lose_channel(sandbox: Sandbox) -> None:
    del sandbox.world.apps[APP].channels["beta"]


class Changing(InProcessTransport):
    """Calls `change` at the time `at`, and `restore` at the time `until`; fails the first `faults` looks in between."""

    change: Callable[[], None] = staticmethod(lambda: None)
    restore: Callable[[], None] = staticmethod(lambda: None)
    at, until = 0.6, float("inf")
    faults = 0
    _begun = _ended = False

    async def send(self, request: Request, headers: Mapping[str, str], *, fresh: bool = False) -> Response:
        now = anyio.current_time()
        if now >= self.at and not self._begun:
            self._begun = True
            self.change()
        if now >= self.until and not self._ended:
            self._ended = True
            self.restore()
        if self._begun and self.faults and (request.method, request.path) == ("GET", "/channel"):
            self.faults -= 1
            return answer(500, {"error": "unknown_error", "message": "No", "moreInfo": {}})
        return await super().send(request, headers, fresh=fresh)


class Relinking:
    """A job that links all devices of a sandbox to beta."""

    concurrency = 16

    def __init__(self, directory: Path, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.transport = Changing(sandbox, request_delay=0.02, reply_delay=0.02)
        self._source = self.source(directory)
        self._path = directory / "a.capgo-job"
        self.report: Report | None = None

    def source(self, directory: Path) -> Source:
        """Return the operations of the job."""
        return read_operations(relink_everything(directory / "all.csv", self.sandbox))

    async def run(self, rules: StopRules = StopRules(), bounds: Bounds = Bounds()) -> SafetyStop | None:  # noqa: B008 - immutable
        """Make the job unless it exists, and run it. Return why it stopped."""
        async with CapgoClient(
            api_key=SUPER_ADMIN_KEY, transport=self.transport, retries=1, concurrency=self.concurrency
        ) as capgo:
            made = Job.open(self._path) if self._path.exists() else Job.create(self._path, self._source, client=capgo)
            async with await made as job:
                try:
                    self.report = await job.run(capgo, stop_rules=rules, bounds=bounds)
                except SafetyStop as stop:
                    self.report = await job.report()
                    return stop
        return None

    def looks(self, since: float = 0.5) -> int:
        """Return how often the channel was read after the change."""
        begun = min(line.time for line in self.sandbox.log)
        return sum(line.path == "/channel" and line.time - begun >= since for line in self.sandbox.log)


class Unlinking(Relinking):
    """A job that unlinks all devices of a sandbox."""

    def source(self, directory: Path) -> Source:  # noqa: ARG002 - as that of the other job
        app = self.sandbox.world.apps[APP]
        devices = ids_of(self.sandbox)
        app.overrides.update({device: Override(app.channels["beta"], 1) for device in devices})
        return from_operations([UnlinkDevice(app_id=APP, device_id=device) for device in devices])


@pytest.mark.parametrize(
    ("lose", "problem", "cause", "said"),
    [
        (lose_access, Problem.ACCESS_LOST, "cannot_access_app", "the key has lost access"),
        (lose_channel, Problem.CHANNEL_GONE, "channel_not_found", "was there when the job was planned and is gone"),
    ],
)
@in_virtual_time
async def test_a_run_stops_as_what_was_lost_after_one_look(
    tmp_path: Path, lose: Callable[[Sandbox], None], problem: Problem, cause: str, said: str
) -> None:
    sandbox = sandbox_of(devices=600)
    job = Relinking(tmp_path, sandbox)
    job.transport.change = lambda: lose(sandbox)
    stopped = await job.run()
    assert stopped is not None
    assert stopped.problem is problem
    assert APP in str(stopped)
    assert job.report is not None
    [failure] = job.report.failures
    assert (failure.cause, job.looks()) == (cause, 1)
    assert said in failure.message
    assert failure.count < 40
    assert job.report.pending


@in_virtual_time
async def test_a_channel_that_is_shown_and_not_found_is_a_lost_right(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=600, faults="POST /device:lost-rights=#20..", limits="server")
    job = Relinking(tmp_path, sandbox)
    began = anyio.current_time()
    stopped = await job.run()
    assert stopped is not None
    assert stopped.problem is Problem.ACCESS_LOST
    assert "says that there is none when devices are to be changed: the key has no right to do that" in str(stopped)
    assert job.report is not None
    [failure] = job.report.failures
    assert (failure.cause, failure.count < 20, job.looks(since=4)) == ("right_lost", True, 2)
    assert "do not create them" in failure.what_to_do
    assert anyio.current_time() - began < 30


@in_virtual_time
async def test_what_is_not_found_now_and_then_is_no_lost_right(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=600, faults="POST /device:lost-rights=#20+#150+#300", limits="server")
    job = Relinking(tmp_path, sandbox)
    assert await job.run() is None
    assert job.report is not None
    assert (job.report.done, job.report.failed) == (job.report.planned, 0)


@pytest.mark.parametrize("lose", [lose_access, lose_channel])
@in_virtual_time
async def test_the_rule_can_be_switched_off(tmp_path: Path, lose: Callable[[Sandbox], None]) -> None:
    sandbox = sandbox_of(devices=600)
    job = Relinking(tmp_path, sandbox)
    job.transport.change = lambda: lose(sandbox)
    assert await job.run(NO_RULES) is None
    assert job.report is not None
    assert job.report.failed > 50
    assert (job.report.pending, job.looks()) == (0, 1)


@pytest.mark.parametrize("faults", [0, 1])
@in_virtual_time
async def test_what_was_missing_for_a_moment_is_sent_again(tmp_path: Path, faults: int) -> None:
    sandbox = sandbox_of(devices=600)
    owner = sandbox.world.apps[APP].owner_org
    job = Relinking(tmp_path, sandbox)
    job.transport.change = lambda: lose_access(sandbox)
    job.transport.restore = lambda: setattr(sandbox.world.apps[APP], "owner_org", owner)
    job.transport.until, job.transport.faults = 4.0, faults
    assert await job.run() is None
    assert job.report is not None
    assert (job.report.done, job.report.failed) == (job.report.planned, 0)
    assert {*links_of(sandbox).values()} == {"beta"}
    assert job.looks() == 1


@in_virtual_time
async def test_a_look_that_fails_decides_nothing(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=600)
    job = Relinking(tmp_path, sandbox)
    job.transport.change = lambda: lose_access(sandbox)
    job.transport.faults = 2
    await job.run(NO_RULES)
    assert job.report is not None
    causes = {failure.cause: failure.count for failure in job.report.failures}
    assert causes.keys() == {"channel_not_found", "cannot_access_app"}
    assert causes["channel_not_found"] == 1


@in_virtual_time
async def test_after_a_look_that_fails_the_next_one_waits_again() -> None:
    sandbox = sandbox_of(devices=1)
    transport = Changing(sandbox)
    transport.at, transport.faults = 0.0, 1
    async with CapgoClient(api_key=SUPER_ADMIN_KEY, transport=transport, retries=0) as capgo:
        looks, place, refused_at = Looks(ring_of(capgo)), Place(APP, "beta"), anyio.current_time()
        assert await looks.look_at(place, refused_at) == refused_at + LOOK_AFTER_SECONDS
        await anyio.sleep(LOOK_AFTER_SECONDS)
        with pytest.raises(ServerError):
            await looks.look_at(place, refused_at)
        assert await looks.look_at(place, refused_at) == anyio.current_time() + LOOK_AFTER_SECONDS
        await anyio.sleep(60)
        again = anyio.current_time()
        assert await looks.look_at(place, again) == again + LOOK_AFTER_SECONDS, "not at once, because of the refusal before"
        await anyio.sleep(LOOK_AFTER_SECONDS)
        assert isinstance(await looks.look_at(place, again), Look)


@in_virtual_time
async def test_a_run_that_is_to_end_does_not_wait_for_the_look(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=600)
    job = Relinking(tmp_path, sandbox)
    job.transport.change = lambda: lose_access(sandbox)
    began = anyio.current_time()
    stopped = await job.run(bounds=Bounds(max_seconds=2.0))
    assert stopped is not None
    assert stopped.problem is Problem.TIME_SPENT
    assert anyio.current_time() - began < 4.0
    assert job.report is not None
    assert (job.report.failed, job.report.pending > 0, job.looks()) == (0, True, 0)


@in_virtual_time
async def test_other_apps_go_on_during_the_look(tmp_path: Path) -> None:
    sandbox = sandbox_of(apps=2, devices=800)
    job = Relinking(tmp_path, sandbox)
    job.transport.change = lambda: lose_access(sandbox)
    await job.run(NO_RULES)
    assert len(links_of(sandbox, "com.example.app02")) == len(ids_of(sandbox, "com.example.app02"))


@in_virtual_time
async def test_operations_that_wait_for_the_look_hold_no_worker(tmp_path: Path) -> None:
    sandbox = sandbox_of(apps=2, devices=60)
    job = Relinking(tmp_path, sandbox)
    job.concurrency = 1
    job.transport.change = lambda: lose_channel(sandbox)
    await job.run(NO_RULES)
    [look] = [line.time for line in sandbox.log if line.path == "/channel" and line.time > sandbox.log[0].time + 2.0]
    sent = [line for line in sandbox.log if line.method == "POST"]
    other = [line.time for line in sent if line.target.startswith("com.example.app02")]
    assert len(other) > 10
    assert max(other) < look
    assert sum(line.status == 404 and line.time < look for line in sent) == 1, "what waits for the look is not sent before it"


# Removing links: without access, the server refuses


@in_virtual_time
async def test_removals_of_links_stop_as_what_was_lost_after_one_look(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=300)
    job = Unlinking(tmp_path, sandbox)
    job.transport.change = lambda: lose_access(sandbox)
    stopped = await job.run()
    assert stopped is not None
    assert stopped.problem is Problem.ACCESS_LOST
    assert job.report is not None
    [failure] = job.report.failures
    assert (failure.cause, failure.count < 20) == ("cannot_access_app", True)
    assert f"app {APP} is not shown any more, because the key has lost access" in failure.message
    assert sum(line.path == f"/app/{APP}" and line.status == 401 for line in sandbox.log) == 1


@pytest.mark.parametrize(("job_of", "method"), [(Relinking, "POST"), (Unlinking, "DELETE")])
@in_virtual_time
async def test_a_key_that_sees_everything_and_may_change_nothing_is_told_so(
    tmp_path: Path, job_of: type[Relinking], method: str
) -> None:
    sandbox = sandbox_of(devices=300)
    job = job_of(tmp_path, sandbox)
    reader = Binding(role="app_reader", org_id=ORG_ID, app_id=APP)
    keys = sandbox.world.keys
    key = next(each for each in keys if each.secret == SUPER_ADMIN_KEY)
    job.transport.change = lambda: keys.replace(key, replace(key, bindings=(reader,)))
    stopped = await job.run()
    assert stopped is not None
    assert stopped.problem is Problem.ACCESS_LOST
    assert "refuses this when devices are to be changed: the key has no right to do that" in str(stopped)
    # The server shows the channel, so no advice of the refusal itself fits.
    assert "spelling" not in str(stopped)
    refused = [line for line in sandbox.log if line.method == method and line.status >= 400]
    assert len(refused) <= 2 * job.concurrency


@pytest.mark.parametrize("faults", ["#20", "#20+#150+#250"])
@in_virtual_time
async def test_removals_that_are_refused_for_a_moment_are_sent_again(tmp_path: Path, faults: str) -> None:
    sandbox = sandbox_of(devices=300, faults=f"DELETE /device:lost-rights={faults}")
    job = Unlinking(tmp_path, sandbox)
    assert await job.run() is None
    assert job.report is not None
    assert (job.report.done, job.report.failed, links_of(sandbox)) == (job.report.planned, 0, {})


# Deleting a channel: without access, the server says that there is none


class LosesAccess(InProcessTransport):
    """Loses the answer to the first deletion of a channel, and the key's access with it."""

    carries_out = False
    _lost = False

    async def send(self, request: Request, headers: Mapping[str, str], *, fresh: bool = False) -> Response:
        if request.method != "DELETE" or self._lost:
            return await super().send(request, headers, fresh=fresh)
        self._lost = True
        if self.carries_out:
            await super().send(request, headers, fresh=fresh)
        lose_access(self.sandbox)
        return answer(502)


@pytest.mark.parametrize("carries_out", [False, True])
@in_virtual_time
async def test_a_deletion_in_doubt_is_not_done_because_access_was_lost(tmp_path: Path, *, carries_out: bool) -> None:
    sandbox = sandbox_of(apps=1)
    owner = sandbox.world.apps[APP].owner_org
    transport = LosesAccess(sandbox)
    transport.carries_out = carries_out
    operation = DeleteChannel(app_id=APP, channel="beta")
    path = tmp_path / "a.capgo-job"
    async with (
        CapgoClient(api_key=SUPER_ADMIN_KEY, transport=transport) as capgo,
        await Job.create(path, from_operations([operation]), client=capgo) as job,
    ):
        report = await job.run(capgo)
        assert (report.done, [failure.cause for failure in report.failures]) == (0, ["ambiguous"])
        sandbox.world.apps[APP].owner_org = owner
        report = await job.run(capgo, which=Which.FAILED)
        assert (report.done, "beta" in sandbox.world.apps[APP].channels) == (1, False)


@in_virtual_time
async def test_one_deletion_in_doubt_is_not_done_either() -> None:
    sandbox = sandbox_of(apps=1)
    async with CapgoClient(api_key=SUPER_ADMIN_KEY, transport=LosesAccess(sandbox)) as capgo:
        with pytest.raises(PermissionDenied):
            await capgo.channels.delete(APP, "beta")
    assert "beta" in sandbox.world.apps[APP].channels


@in_virtual_time
async def test_who_may_not_delete_a_channel_is_told_that_and_not_that_there_is_none() -> None:
    sandbox = sandbox_of(apps=2)
    reader = "00000000-0000-4000-8000-00000000beef"
    sandbox.world.add_key(reader, Binding(role="app_reader", org_id=ORG_ID, app_id=APP), user_id=USER_ID)
    async with client_of(sandbox, api_key=reader) as capgo:
        for app_id in (APP, "com.example.app02"):
            with pytest.raises(PermissionDenied, match="cannot_access_app"):
                await capgo.channels.delete(app_id, "beta")
