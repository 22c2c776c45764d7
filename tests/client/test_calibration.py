"""Calibration: what it finds out, that it stays within its budget, and that the first refusal ends it."""

import json
from collections.abc import Mapping
from typing import Any

import anyio
import msgspec
import pytest
from fleet import APP, client_of, ids_of, sandbox_of
from virtual_time import in_virtual_time

from capgo_async import CapgoClient, ScopeKind
from capgo_async.bulk.running.bounds import budgeted
from capgo_async.calibration import Findings, Refused, calibrate
from capgo_async.sandbox import Sandbox
from capgo_async.sandbox.inprocess import InProcessTransport
from capgo_async.sandbox.seeding import SUPER_ADMIN_KEY
from capgo_async.wire import Request, Response


class Forgetful(InProcessTransport):
    """A server whose look-up of overrides fails silently on pages above `keeps` devices (contract C7)."""

    keeps = 500

    async def send(self, request: Request, headers: Mapping[str, str], *, fresh: bool = False) -> Response:
        response = await super().send(request, headers, fresh=fresh)
        if request.path != "/device" or int(dict(request.query).get("limit", "0")) <= self.keeps:
            return response
        body: dict[str, Any] = json.loads(response.body)
        for device in body.get("data", ()):
            device.pop("channel", None)
        return msgspec.structs.replace(response, body=json.dumps(body).encode())


async def found(sandbox: Sandbox, *, reads: int = 150, app_id: str | None = APP, keeps: int = 500) -> Findings:
    transport = Forgetful(sandbox, request_delay=0.02, reply_delay=0.02)
    transport.keeps = keeps
    capgo = CapgoClient(api_key=SUPER_ADMIN_KEY, transport=transport)
    before = len(sandbox.log)
    with budgeted(capgo.pacer, reads):
        result = await calibrate(capgo, app_id)
    lines = list(sandbox.log)[before:]
    assert {line.method for line in lines} <= {"GET"}
    assert len(lines) == capgo.counters.requests <= reads
    assert sum(1 for line in lines if line.status == 429) == (result.refused is not None)
    return result


@pytest.mark.parametrize("keeps", [50, 57, 120, 200, 333, 499, 500])
@in_virtual_time
async def test_the_largest_page_that_keeps_the_channel_is_found_to_within_ten(keeps: int) -> None:
    sandbox = sandbox_of(devices=800)
    page = (await found(sandbox, keeps=keeps)).page
    assert page is not None
    assert page <= keeps < page + 10


@pytest.mark.parametrize(("keeps", "page"), [(60, 50), (480, 480), (500, 500)])
@in_virtual_time
async def test_no_page_is_told_that_was_not_seen_to_keep_the_channel(keeps: int, page: int) -> None:
    sandbox = sandbox_of(devices=800)
    links = sandbox.world.apps[APP].overrides
    link = next(iter(links.values()))
    links.clear()
    links[ids_of(sandbox)[300]] = link
    found_page = (await found(sandbox, keeps=keeps)).page
    assert found_page is not None
    assert page - 10 < found_page <= page


@pytest.mark.parametrize(("devices", "page"), [(0, None), (50, None), (51, 51), (230, 230), (800, 500)])
@in_virtual_time
async def test_no_page_is_tried_that_the_app_cannot_fill(devices: int, page: int | None) -> None:
    result = await found(sandbox_of(devices=devices))
    assert result.page == page
    assert result.page is not None or "too few to tell" in result.page_remark


@in_virtual_time
async def test_without_links_nothing_can_be_told() -> None:
    sandbox = sandbox_of(devices=300)
    sandbox.world.apps[APP].overrides.clear()
    result = await found(sandbox)
    assert (result.page, result.page_remark) == (
        None,
        f"300 devices of {APP} were looked at, 0 of them linked: too few to tell",
    )


@pytest.mark.parametrize("reads", [1, 5, 12, 40, 150])
@in_virtual_time
async def test_the_budget_is_used_and_never_exceeded(reads: int) -> None:
    sandbox = sandbox_of(devices=800, limits="server")
    result = await found(sandbox, reads=reads)
    assert len(sandbox.log) == reads
    assert result.refused is None
    assert (result.page is None) is (reads < 12)


@in_virtual_time
async def test_an_app_with_many_devices_is_looked_for() -> None:
    assert (await found(sandbox_of(apps=3, devices=600), app_id=None)).app_id == APP
    empty = await found(sandbox_of(apps=2, devices=0), app_id=None)
    assert (empty.app_id, empty.page_remark) == (None, "the key sees no app with devices")


@pytest.mark.parametrize(
    ("variables", "refused"),
    [
        ({"RATE_LIMIT_API_KEY": 100}, Refused(scope=ScopeKind.KEY, passed=99, named=True)),
        ({"RATE_LIMIT_CHANNEL_SELF_IP": 60}, Refused(scope=ScopeKind.APP_ADDRESS, passed=60, named=True)),
    ],
)
@in_virtual_time
async def test_a_limit_below_the_budget_is_found_by_one_refusal_and_at_once(
    variables: dict[str, int], refused: Refused
) -> None:
    sandbox = sandbox_of(devices=800, limits="server", variables=variables)
    assert (await found(sandbox)).refused == refused
    assert anyio.current_time() < 10.0, "nobody waits for the key's rest"


@in_virtual_time
async def test_what_passed_is_that_of_the_app_that_was_refused_its_failures_included() -> None:
    variables = {"RATE_LIMIT_CHANNEL_SELF_IP": 40}
    sandbox = sandbox_of(apps=3, devices=240, limits="server", variables=variables, faults="GET /device:500=#8")
    for app_id in list(sandbox.world.apps)[:2]:
        for device_id in ids_of(sandbox, app_id)[3:]:
            sandbox.world.apps[app_id].forget_device(device_id)
    result = await found(sandbox, app_id=None)
    assert result.refused == Refused(scope=ScopeKind.APP_ADDRESS, passed=40, named=True)


@in_virtual_time
async def test_a_limit_that_is_not_named_is_told_as_such() -> None:
    sandbox = sandbox_of(devices=10, limits="published")
    result = await found(sandbox, reads=120)
    assert result.refused == Refused(scope=ScopeKind.KEY, passed=100, named=False)


@in_virtual_time
async def test_a_refusal_right_at_the_start_is_no_limit() -> None:
    sandbox = sandbox_of(devices=100, limits="server", variables={"RATE_LIMIT_API_KEY": 30})
    async with client_of(sandbox) as other:
        for _ in range(29):
            await other.apps.get(APP)
    result = await found(sandbox)
    assert result.refused == Refused(scope=ScopeKind.KEY, passed=0, named=True)
    assert result.page_remark == "a limit refused a read before"


@in_virtual_time
async def test_a_failing_server_is_asked_again_within_the_budget() -> None:
    sandbox = sandbox_of(devices=200, faults="*:500=#3+#4+#20")
    result = await found(sandbox)
    assert (result.page, result.refused) == (200, None)
