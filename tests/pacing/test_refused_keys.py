"""A key that is refused in the middle of a run rests and is probed; the address is never locked out (contract B2, G5)."""

from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path

import anyio
import pytest
from fleet import APP, client_of, ids_of, links_of, relink_everything, sandbox_of
from hypothesis import given, settings, strategies as st
from scripted import ScriptedTransport, answer, refusal
from virtual_time import in_virtual_time

from capgo_async import CapgoClient, errors
from capgo_async.bulk import Job, read_operations
from capgo_async.http.wire import Request, Response
from capgo_async.key_ring import pacer_of
from capgo_async.limits.lockout import MOST_IN_FLIGHT, MOST_REFUSALS
from capgo_async.sandbox import Binding, Sandbox
from capgo_async.sandbox.inprocess import InProcessTransport
from capgo_async.sandbox.seeding import EPOCH, ORG_ID, SUPER_ADMIN_KEY, USER_ID

pytestmark = pytest.mark.slow

REFUSED = answer(401, {"error": "invalid_apikey", "message": "Invalid apikey", "moreInfo": {}})
EXPIRING = "00000000-0000-4000-8000-00000000dead"
REST = 5.0
"""Least rest of a refused key in seconds (contract G5)."""


class Server(ScriptedTransport):
    """Refuses keys while `away` says so of the time and the key, and remembers when it did."""

    def __init__(self, away: Callable[[float, str], bool], latency: float = 0.1) -> None:
        super().__init__(latency=latency)
        self.away = away
        self.refused_at: list[float] = []
        self.answered_at: list[float] = []
        self.in_flight_at_first_refusal = 0

    async def send(self, request: Request, headers: Mapping[str, str], *, fresh: bool = False) -> Response:
        response = await super().send(request, headers, fresh=fresh)
        now = anyio.current_time()
        self.answered_at.append(now)
        if not self.away(now, headers["authorization"]):
            return response
        if not self.refused_at:
            self.in_flight_at_first_refusal = self.in_flight + 1
        self.refused_at.append(now)
        return REFUSED


def client(transport: ScriptedTransport, concurrency: int = 16, rate: str = "off") -> CapgoClient:
    return CapgoClient(api_key="secret-key", transport=transport, rate=rate, concurrency=concurrency)


async def unlink(clients: list[CapgoClient], count: int, workers: int = 20, pause: float = 0.0) -> list[errors.CapgoError]:
    """Unlink devices with many workers, each of which stops at an error; return the errors."""
    ends: list[errors.CapgoError] = []
    left = iter(range(count))

    async def work(capgo: CapgoClient) -> None:
        for number in left:
            try:
                await capgo.devices.unlink(APP, f"device-{number}")
                await anyio.sleep(pause)
            except errors.CapgoError as error:
                ends.append(error)
                return

    async with anyio.create_task_group() as group:
        for number in range(workers):
            group.start_soon(work, clients[number % len(clients)])
    return ends


@in_virtual_time
async def test_one_refusal_lets_everybody_rest_and_one_request_probe() -> None:
    transport = ScriptedTransport(*[answer()] * 40, REFUSED, latency=1.0)
    capgo = client(transport)
    assert not await unlink([capgo], 200)
    assert len(transport.requests) == 201
    times = sorted(set(transport.times))
    [(last, probe)] = [pair for pair in pairwise(times) if pair[1] - pair[0] > 1.5]
    assert probe - (last + 1.0) >= REST, "the rest begins after the last response"
    assert transport.times.count(probe) == 1
    assert transport.times.count(probe + 1.0) == MOST_IN_FLIGHT - 1, "all go on, and leave room for the refusal so far"
    assert pacer_of(capgo).gates.keys.recovered


@settings(max_examples=12, deadline=None)
@given(
    begins=st.floats(1.5, 5.0),
    lasts=st.floats(0.01, REST),
    latency=st.floats(0.05, 1.0),
    concurrency=st.sampled_from([1, 2, 15, 16, 64]),
)
def test_nothing_fails_while_the_server_has_no_database_for_a_moment(
    begins: float, lasts: float, latency: float, concurrency: int
) -> None:
    @in_virtual_time
    async def run() -> None:
        server = Server(lambda now, _key: begins <= now < begins + lasts, latency)
        assert not await unlink([client(server, concurrency)], 1000, workers=70)
        assert len(server.refused_at) <= MOST_REFUSALS

    run()


@settings(max_examples=15, deadline=None)
@given(
    expires=st.floats(3.5, 6.0),
    latency=st.floats(0.05, 1.0),
    concurrency=st.integers(1, 80),
    keys=st.integers(1, 3),
    rate=st.sampled_from(["off", "auto", "1000/min"]),
)
def test_an_expired_key_costs_what_was_in_flight_and_a_probe(
    expires: float, latency: float, concurrency: int, keys: int, rate: str
) -> None:
    @in_virtual_time
    async def run() -> None:
        server = Server(lambda now, _key: now >= expires, latency)
        first = client(server, concurrency, rate)
        clients = [first, *(first.with_key(f"other-key-{number}") for number in range(keys - 1))]
        ends = await unlink(clients, 100_000, workers=90)
        assert {type(end) for end in ends} == {errors.AuthenticationError}
        assert "worked until now" in str(ends[-1])
        assert len(server.refused_at) <= MOST_REFUSALS
        if keys == 1:
            assert len(server.refused_at) <= server.in_flight_at_first_refusal + 1
            assert server.refused_at[-1] - server.refused_at[-2] >= REST
        assert not pacer_of(first).gates.keys.recovered

    run()


@in_virtual_time
async def test_refusals_within_a_quarter_of_an_hour_add_up_and_the_last_one_ends_the_run() -> None:
    # Good keys do not make the server forget refused ones.
    server = Server(lambda now, _key: now % 300.0 < REST and now > 200.0)
    ends = await unlink([client(server)], 20_000, workers=6, pause=2.0)
    assert len(server.refused_at) == MOST_REFUSALS
    assert "locks out this address" in str(ends[0])


@in_virtual_time
async def test_what_the_server_has_forgotten_does_not_count() -> None:
    back_at = 0.0
    server = Server(lambda now, _key: now < back_at)
    capgo = client(server)
    for _ in range(4):
        assert not await unlink([capgo], 40)
        back_at = anyio.current_time() + 1.0
        assert not await unlink([capgo], 40)
        await anyio.sleep(1000.0)
    assert len(server.refused_at) == 4 * MOST_IN_FLIGHT
    assert pacer_of(capgo).most_in_flight == MOST_IN_FLIGHT


@in_virtual_time
async def test_a_key_rests_alone() -> None:
    server = Server(lambda now, key: key == "other-key" and 3.0 <= now < 4.0)
    first = client(server)
    other = first.with_key("other-key")
    async with anyio.create_task_group() as group:
        group.start_soon(unlink, [first], 1500, 8)
        group.start_soon(unlink, [other], 300, 4)
    used = [
        headers["authorization"] for headers, time in zip(server.headers, server.times, strict=True) if 4.2 < time < 4.2 + REST
    ]
    assert set(used) == {"secret-key"}
    assert sum(headers["authorization"] == "other-key" for headers in server.headers) == 300 + len(server.refused_at)


@pytest.mark.parametrize("code", ["database_unavailable", "upstream_unavailable"])
@in_virtual_time
async def test_a_server_that_says_that_its_database_is_away_has_not_refused_the_key(code: str) -> None:
    away = answer(503, {"error": code, "message": "No", "moreInfo": {}}, retry_after="2")
    transport = ScriptedTransport(answer(), away, away)
    capgo = client(transport)
    assert not await unlink([capgo], 30)
    assert pacer_of(capgo).gates.keys.lockout.refusals == 0


@in_virtual_time
async def test_a_lock_out_ends_at_once_also_for_a_key_that_worked() -> None:
    transport = ScriptedTransport(answer(), last=refusal("too_many_failed_auth_attempts", retry_after=900))
    ends = await unlink([client(transport)], 200)
    assert all(isinstance(end, errors.AuthenticationError) and end.locked_out for end in ends)
    assert len(transport.requests) <= 1 + MOST_IN_FLIGHT


@in_virtual_time
async def test_a_probe_that_gets_no_answer_is_followed_by_another() -> None:
    transport = ScriptedTransport(answer(), REFUSED, errors.ConnectionLost("gone"), answer(502))
    assert not await unlink([client(transport, 1)], 10)


class Flaky(InProcessTransport):
    """Refuses the key at some of the requests, without handing these to the sandbox."""

    refuses: frozenset[int] = frozenset()
    sent = 0

    async def send(self, request: Request, headers: Mapping[str, str], *, fresh: bool = False) -> Response:
        self.sent += 1
        if self.sent in self.refuses:
            await anyio.sleep(0.04)
            return REFUSED
        return await super().send(request, headers, fresh=fresh)


class Timed(Flaky):
    """Notes when requests leave."""

    def __init__(self, sandbox: Sandbox) -> None:
        super().__init__(sandbox, request_delay=0.02, reply_delay=0.02)
        self.times: list[float] = []

    async def send(self, request: Request, headers: Mapping[str, str], *, fresh: bool = False) -> Response:
        self.times.append(anyio.current_time())
        return await super().send(request, headers, fresh=fresh)


@in_virtual_time
async def test_refused_keys_count_in_a_rate_that_was_asked_for() -> None:
    transport = Timed(sandbox_of(devices=3))
    transport.refuses = frozenset({5, 9, 14})
    async with CapgoClient(api_key=SUPER_ADMIN_KEY, transport=transport, rate="20/min") as capgo:
        for _ in range(30):
            await capgo.apps.get(APP)
    times = transport.times
    assert len(times) == 33
    assert max(sum(begin <= time < begin + 60 for time in times) for begin in times) == 20


@in_virtual_time
async def test_a_job_survives_lone_refusals_and_repeats_nothing(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=300, limits="server")
    transport = Flaky(sandbox, request_delay=0.02, reply_delay=0.02)
    transport.refuses = frozenset({60, 61, 200})
    source = read_operations(relink_everything(tmp_path / "all.csv", sandbox))
    async with (
        CapgoClient(api_key=SUPER_ADMIN_KEY, transport=transport) as capgo,
        await Job.create(tmp_path / "j.capgo-job", source, client=capgo) as job,
    ):
        began = anyio.current_time()
        report = await job.run(capgo)
    assert (report.done, report.failed, report.pending) == (report.planned, 0, 0)
    assert anyio.current_time() - began < 40, "a refused key is not counted for the limit of its device, which is 60 s"
    assert set(links_of(sandbox)) == set(ids_of(sandbox))
    changed = [line.target for line in sandbox.log if line.method == "POST"]
    assert len(changed) == len(set(changed)) == report.planned


@in_virtual_time
async def test_a_key_that_expires_ends_the_job_without_a_lock_out(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=300, limits="server")
    source = read_operations(relink_everything(tmp_path / "all.csv", sandbox))
    binding = Binding(role="org_super_admin", org_id=ORG_ID)
    sandbox.world.add_key(EXPIRING, binding, user_id=USER_ID, expires_at=EPOCH + 0.7)
    async with (
        client_of(sandbox, api_key=EXPIRING) as capgo,
        await Job.create(tmp_path / "j.capgo-job", source, client=capgo) as job,
    ):
        with pytest.raises(errors.AuthenticationError, match="worked until now"):
            await job.run(capgo)
        report = await job.report()
    assert (report.failed, report.done + report.pending) == (0, report.planned)
    assert report.done
    assert report.pending
    assert sum(line.status == 401 for line in sandbox.log) <= MOST_REFUSALS
    assert not [line for line in sandbox.log if line.status == 429], "the address is not locked out"
