"""Tests of the service, with the fixtures that capgo_async brings along."""

from collections.abc import AsyncIterator
from http import HTTPStatus

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from service import MAX_WAIT, make, response_to

from capgo_async import CapgoClient, errors
from capgo_async.testing import CapgoSandbox, VirtualClock

Service = TestClient[web.Request, web.Application]

APP = "com.example.app01"


@pytest.fixture
def capgo(capgo_sandbox: CapgoSandbox) -> CapgoClient:
    """Return the client that the service has in production, of the sandbox."""
    return capgo_sandbox.client(max_wait=MAX_WAIT)


@pytest.fixture
async def service(capgo: CapgoClient) -> AsyncIterator[Service]:
    """Run the service on a free port."""
    async with TestClient(TestServer(make(capgo))) as client:
        yield client


async def link(service: Service, device: str, channel: str = "beta") -> tuple[int, str | None]:
    """Ask for a channel, and return the status and `Retry-After`."""
    async with service.put(f"/devices/{APP}/{device}/channel", json={"channel": channel}) as response:
        return response.status, response.headers.get("Retry-After")


async def test_a_device_is_linked_and_shown(service: Service, capgo_sandbox: CapgoSandbox) -> None:
    device = capgo_sandbox.device_ids()[0]
    assert await link(service, device) == (HTTPStatus.OK, None)
    async with service.get(f"/devices/{APP}/{device}") as response:
        runs = capgo_sandbox.world.apps[APP].devices[device].traits.version_name
        assert await response.json() == {"runs": runs, "channel": "beta"}
    assert [each.route for each in capgo_sandbox.requests] == ["POST /device", "GET /device"]


@pytest.mark.capgo(limits="server")
async def test_who_would_wait_too_long_is_told_when_to_come_again(
    service: Service, capgo_sandbox: CapgoSandbox, capgo_clock: VirtualClock
) -> None:
    assert await link(service, "d1") == (HTTPStatus.OK, None)
    status, retry_after = await link(service, "d1")
    assert status == HTTPStatus.SERVICE_UNAVAILABLE
    assert retry_after is not None
    assert len(capgo_sandbox.requests) == 1
    await capgo_clock.advance(float(retry_after))
    assert await link(service, "d1") == (HTTPStatus.OK, None)


@pytest.mark.capgo(limits="server")
async def test_the_health_route_shows_the_use_of_limits(service: Service, capgo_clock: VirtualClock) -> None:
    for number in range(3):
        await link(service, f"d{number}")
    async with service.get("/health") as response:
        told = msgspec.json.decode(await response.read(), type=dict[str, object])
    assert told == {
        "server": [12, 201, 7],
        "limits": [
            {"limit": "app_address", "app": APP, "used": 3, "allowed": 1000},
            {"limit": "key", "app": "", "used": 3, "allowed": 1999},
        ],
    }
    assert capgo_clock.now < 1


@pytest.mark.usefixtures("capgo_clock")
async def test_the_health_route_fails_while_the_server_is_away(service: Service, capgo_sandbox: CapgoSandbox) -> None:
    capgo_sandbox.fail_next("502", times=None)
    async with service.get("/health") as response:
        assert response.status == HTTPStatus.BAD_GATEWAY
    capgo_sandbox.recover()
    async with service.get("/health") as response:
        assert response.status == HTTPStatus.OK


OF_THE_SERVER = [
    (errors.InvalidRequest, HTTPStatus.UNPROCESSABLE_ENTITY),
    (errors.PublicChannelOverride, HTTPStatus.UNPROCESSABLE_ENTITY),
    (errors.ChannelNotFound, HTTPStatus.NOT_FOUND),
    (errors.DeviceNotFound, HTTPStatus.NOT_FOUND),
    (errors.PermissionDenied, HTTPStatus.NOT_FOUND),
    (errors.Conflict, HTTPStatus.CONFLICT),
    (errors.AuthenticationError, HTTPStatus.INTERNAL_SERVER_ERROR),
    (errors.SubscriptionRequired, HTTPStatus.INTERNAL_SERVER_ERROR),
    (errors.ServerError, HTTPStatus.BAD_GATEWAY),
    (errors.RateLimited, HTTPStatus.SERVICE_UNAVAILABLE),
]
WITHOUT_A_RESPONSE = [
    (errors.ConfigurationError("invalid"), HTTPStatus.BAD_REQUEST),
    (errors.WouldWait(seconds=2.5), HTTPStatus.SERVICE_UNAVAILABLE),
    (errors.NotConnected("nobody there"), HTTPStatus.SERVICE_UNAVAILABLE),
    (errors.TimedOut("too slow"), HTTPStatus.GATEWAY_TIMEOUT),
    (errors.UnreadableAnswer("no JSON"), HTTPStatus.BAD_GATEWAY),
]
CASES = [*((kind("why", status=400, code="code"), status) for kind, status in OF_THE_SERVER), *WITHOUT_A_RESPONSE]


@pytest.mark.parametrize(("error", "status"), CASES, ids=[type(error).__name__ for error, _ in CASES])
def test_each_error_has_a_status(error: errors.CapgoError, status: HTTPStatus) -> None:
    response = response_to(error)
    assert response.status == status
    assert ("Retry-After" in response.headers) == isinstance(error, errors.RateLimited | errors.WouldWait)


@pytest.mark.parametrize("body", [b"", b"{}", b'{"channel": 1}', b'{"chanel": "beta"}'])
async def test_a_body_without_a_channel_is_refused(service: Service, capgo_sandbox: CapgoSandbox, body: bytes) -> None:
    async with service.put(f"/devices/{APP}/d1/channel", data=body) as response:
        assert response.status == HTTPStatus.BAD_REQUEST
    assert capgo_sandbox.requests == []
