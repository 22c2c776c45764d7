"""Calibration: what it finds out, that it stays within its budget, and that the first refusal ends it."""

from datetime import UTC, datetime

import anyio
import pytest
from fleet import APP, client_of, ids_of, sandbox_of
from forgetful import Forgetful
from virtual_time import in_virtual_time

from capgo_async import CapgoClient, ScopeKind
from capgo_async.bulk.running.bounds import budgeted
from capgo_async.calibration import Findings, Refused, calibrate
from capgo_async.errors import PermissionDenied
from capgo_async.key_ring import pacer_of
from capgo_async.limits.known import Known, KnownLimit
from capgo_async.sandbox import Sandbox
from capgo_async.sandbox.seeding import SUPER_ADMIN_KEY


async def found(
    sandbox: Sandbox,
    *,
    reads: int = 150,
    app_id: str | None = APP,
    keeps: int = 350,
    latency: float = 0.04,
    rate: str = "auto",
    known: Known | None = None,
    in_flight: int = 1,
) -> Findings:
    transport = Forgetful(sandbox, keeps, request_delay=latency / 2, reply_delay=latency / 2)
    capgo = CapgoClient(api_key=SUPER_ADMIN_KEY, transport=transport, rate=rate)
    if known is not None:
        capgo.recall(known)
    before = len(sandbox.log)
    with budgeted(pacer_of(capgo), reads):
        result = await calibrate(capgo, app_id)
    lines = list(sandbox.log)[before:]
    assert {line.method for line in lines} <= {"GET"}
    assert len(lines) == capgo.counters.requests <= reads
    refusals = sum(1 for line in lines if line.status == 429)
    assert (refusals > 0) is (result.refused is not None)
    assert refusals <= in_flight
    return result


@pytest.mark.slow
@pytest.mark.parametrize("keeps", [50, 57, 120, 200, 333, 349, 350])
@in_virtual_time
async def test_the_largest_page_that_keeps_the_channel_is_found_to_within_ten(keeps: int) -> None:
    sandbox = sandbox_of(devices=800)
    result = await found(sandbox, keeps=keeps)
    assert result.page is not None
    assert result.page <= keeps < result.page + 10
    loses = result.page_loses
    assert loses is None if keeps == 350 else loses is not None and keeps < loses <= result.page + 10


@pytest.mark.parametrize(("keeps", "page"), [(60, 50), (340, 340), (350, 350)])
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


@pytest.mark.parametrize(("devices", "page"), [(0, None), (50, None), (51, 51), (230, 230), (800, 350)])
@in_virtual_time
async def test_no_page_is_tried_that_the_app_cannot_fill(devices: int, page: int | None) -> None:
    result = await found(sandbox_of(devices=devices))
    assert (result.page, result.page_loses) == (page, None)
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


@pytest.mark.parametrize("latency", [0.7, 1.2])
@pytest.mark.parametrize(
    ("limits", "variables", "passed"),
    [
        ("published", {}, range(100, 101)),
        ("server", {"RATE_LIMIT_API_KEY": 101}, range(100, 101)),
        # Checked before and counted after: what was in flight together passes unseen, and only what surely counted is told.
        ("server", {"RATE_LIMIT_CHANNEL_SELF_IP": 100}, range(95, 101)),
    ],
)
@in_virtual_time
async def test_a_limit_below_the_budget_is_found_however_slow_the_answers_are(
    limits: str, variables: dict[str, int], passed: range, latency: float
) -> None:
    sandbox = sandbox_of(devices=800, limits=limits, variables=variables)
    refused = (await found(sandbox, latency=latency, in_flight=8)).refused
    assert refused is not None
    assert refused.passed in passed
    assert anyio.current_time() < 60.0


@pytest.mark.slow
@pytest.mark.parametrize("app_id", [APP, None])
@pytest.mark.parametrize("latency", [0.04, 0.7, 1.2, 2.3, 2.6, 3.0, 10.0])
@in_virtual_time
async def test_every_limit_that_is_denied_would_have_been_met(latency: float, app_id: str | None) -> None:
    tried = (await found(sandbox_of(devices=800, limits="server"), latency=latency, app_id=app_id)).tried
    assert 145 < tried <= 150 if latency < 0.1 else 40 <= tried <= 150
    for name in ("RATE_LIMIT_API_KEY", "RATE_LIMIT_CHANNEL_SELF_IP"):
        for limit in (tried - 1, tried - 5, tried - 12):
            sandbox = sandbox_of(devices=800, limits="server", variables={name: limit})
            refused = (await found(sandbox, latency=latency, app_id=app_id, in_flight=8)).refused
            assert refused is not None
            assert refused.passed <= limit


@in_virtual_time
async def test_what_the_clients_own_pace_held_back_was_not_tried() -> None:
    paced = await found(sandbox_of(devices=800, limits="server"), rate="standard")
    assert anyio.current_time() > 60.0
    assert paced.tried == 100
    assert (await found(sandbox_of(devices=800, limits="server"), rate="30/min", reads=70)).tried == 30


@pytest.mark.parametrize("latency", [0.04, 0.7])
@pytest.mark.parametrize("faults", ["", "*:500=#40+#41+#42"])
@in_virtual_time
async def test_nobody_waits_for_the_rest_of_a_limit_that_is_known(faults: str, latency: float) -> None:
    limit = KnownLimit(scope=ScopeKind.KEY, requests=60, learned_at=datetime.now(UTC))
    sandbox = sandbox_of(devices=800, limits="server", variables={"RATE_LIMIT_API_KEY": 61}, faults=faults)
    result = await found(sandbox, latency=latency, known=Known(limits=(limit,)))
    assert (result.refused, len(sandbox.log)) == (None, 60)
    assert anyio.current_time() < 60.0


@in_virtual_time
async def test_nobody_waits_for_the_rest_of_a_limit_that_was_suspected() -> None:
    limit = KnownLimit(scope=ScopeKind.KEY, requests=60, learned_at=datetime.now(UTC), certain=False)
    sandbox = sandbox_of(devices=800, limits="server", variables={"RATE_LIMIT_API_KEY": 61})
    result = await found(sandbox, latency=0.7, known=Known(limits=(limit,)))
    assert result.refused == Refused(scope=ScopeKind.KEY, passed=60, named=True)
    assert anyio.current_time() < 60.0


@in_virtual_time
async def test_a_failure_ends_it_bare_also_where_several_reads_are_under_way() -> None:
    sandbox = sandbox_of(devices=100)

    async def close_the_app() -> None:
        await anyio.sleep(10.0)
        del sandbox.world.apps[APP]

    async with anyio.create_task_group() as group:
        group.start_soon(close_the_app)
        with pytest.raises(PermissionDenied):
            await found(sandbox, latency=0.7)
