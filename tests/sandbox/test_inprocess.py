"""The transport without sockets: delays, drops and cancellation in virtual time."""

import json
import random

import anyio
import pytest
from sandbox.talking import APP
from virtual_time import in_virtual_time

from capgo_async.errors import ConnectionLost
from capgo_async.http.wire import Request, Transport
from capgo_async.sandbox import Sandbox, Settings, fleet, parse_faults, thresholds
from capgo_async.sandbox.inprocess import InProcessTransport
from capgo_async.sandbox.seeding import EPOCH, SUPER_ADMIN_KEY

HEADERS = {"Authorization": SUPER_ADMIN_KEY}
LINK = Request(method="POST", path="/device", body=json.dumps({"app_id": APP, "device_id": "d", "channel": "beta"}).encode())


def sandbox(faults: str = "", limits: str = "off") -> Sandbox:
    return Sandbox(fleet(1, 5, overrides={}), Settings(faults=parse_faults(faults), limits=thresholds(limits)))


@in_virtual_time
async def test_it_is_a_transport_and_carries_requests_both_ways() -> None:
    server = sandbox("*:latency=1s")
    transport: Transport = InProcessTransport(server, request_delay=2, reply_delay=4, epoch_offset=EPOCH)
    answer = await transport.send(Request(method="GET", path="/device", query=(("app_id", APP),)), HEADERS, fresh=True)
    assert anyio.current_time() == pytest.approx(7)
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert len(json.loads(answer.body)["data"]) == 5
    line = server.log[-1]
    assert (line.time, line.answered) == pytest.approx((EPOCH + 2, EPOCH + 3))
    await transport.aclose()


@in_virtual_time
async def test_the_sandbox_keeps_the_loops_time() -> None:
    transport = InProcessTransport(sandbox(limits="server"))
    assert [(await transport.send(LINK, HEADERS)).status for _ in range(2)] == [200, 429]
    await anyio.sleep(60)
    assert (await transport.send(LINK, HEADERS)).status == 200


@pytest.mark.parametrize(("fault", "written"), [("drop-before", False), ("drop-after", True)])
@in_virtual_time
async def test_a_drop_is_a_lost_connection(fault: str, *, written: bool) -> None:
    server = sandbox(f"*:{fault}=#1")
    with pytest.raises(ConnectionLost, match="dropped the connection of POST /device"):
        await InProcessTransport(server).send(LINK, HEADERS)
    assert bool(server.world.apps[APP].overrides) is written


@pytest.mark.parametrize(("seconds", "written"), [(0.5, False), (1.5, True), (2.5, True)])
@in_virtual_time
async def test_a_cancelled_request_takes_effect_once_it_has_arrived(seconds: float, *, written: bool) -> None:
    server = sandbox("*:latency=1s")
    transport = InProcessTransport(server, request_delay=1, reply_delay=1)
    with anyio.move_on_after(seconds) as scope:
        await transport.send(LINK, HEADERS)
    assert scope.cancelled_caught
    assert anyio.current_time() == pytest.approx(seconds)
    assert bool(server.world.apps[APP].overrides) is written
    assert server.answered == int(written)


@in_virtual_time
async def test_simultaneous_requests_pass_the_device_limiters_together() -> None:
    server = sandbox("*:latency=1s", "server")
    transport = InProcessTransport(server)
    statuses: list[int] = []

    async def send() -> None:
        statuses.append((await transport.send(LINK, HEADERS)).status)

    async with anyio.create_task_group() as group:
        for _ in range(8):
            group.start_soon(send)
    await send()
    assert statuses == [200] * 8 + [429]


@in_virtual_time
async def test_addresses_are_limited_apart() -> None:
    server = Sandbox(fleet(1, 0), Settings(limits=thresholds("server", {"RATE_LIMIT_CHANNEL_SELF_IP": 1})))
    here, there = (InProcessTransport(server, address=address) for address in ("1.1.1.1", "2.2.2.2"))
    listing = Request(method="GET", path="/device", query=(("app_id", APP),))
    assert [(await end.send(listing, HEADERS)).status for end in (here, here, there)] == [200, 429, 200]


@in_virtual_time
async def test_faults_by_chance_want_a_source_of_it() -> None:
    with pytest.raises(ValueError, match=r"pass a random\.Random"):
        InProcessTransport(sandbox("*:502=50%"))
    transport = InProcessTransport(sandbox("*:502=50%"), chance=random.Random(1))
    health = Request(method="GET", path="/ok")
    assert {(await transport.send(health, {})).status for _ in range(20)} == {200, 502}
