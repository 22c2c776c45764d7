"""Servers since August 2026: features are found out by answers, and older answers stay right (contract K0, K4-K8)."""

from typing import Any

import anyio
import pytest
from scripted import Answer, ScriptedTransport, answer
from virtual_time import in_virtual_time

from capgo_async import ActiveDevices, ApiKey, App, Bundle, CapgoClient, Channel, DailyActiveDevices, DeviceFilter, errors
from capgo_async.api.resources.statistics import read_usage
from capgo_async.errors import ConfigurationError, EmptyListing, InvalidRequest, ListingError, Problem
from capgo_async.http.wire import Request, Response, reads_one

APP = "com.example.app"


def refused(code: str, status: int = 400, message: str = "No", **more: object) -> Response:
    return answer(status, {"error": code, "message": message, "moreInfo": more})


def client_of(transport: ScriptedTransport, **options: Any) -> CapgoClient:
    return CapgoClient(**{"api_key": "key", "base_url": "https://capgo.test", "rate": "off", "transport": transport, **options})


# Databases that are away (contract A9, K8)

AWAY = {
    "upstream": refused("upstream_unavailable", 503, permission="app.read_devices", scope={"appId": APP}),
    "database": answer(503, {"error": "database_unavailable", "message": "No", "moreInfo": {}}, retry_after="2"),
}


@pytest.mark.parametrize(("away", "pauses"), [("upstream", [2, 4, 8]), ("database", [2, 2, 2])])
@in_virtual_time
async def test_a_read_waits_for_the_database(away: str, pauses: list[int]) -> None:
    transport = ScriptedTransport(*[AWAY[away]] * 3, last=answer(body={"id": 1, "name": "beta"}))
    async with client_of(transport) as capgo:
        await capgo.channels.get(APP, "beta")
    waited = [later - earlier for earlier, later in zip(transport.times, transport.times[1:], strict=False)]
    assert waited == pytest.approx(pauses, rel=0.3)
    assert all(wait >= least for wait, least in zip(waited, pauses, strict=True))


@pytest.mark.parametrize("away", AWAY.values(), ids=AWAY)
@in_virtual_time
async def test_a_write_that_must_not_be_repeated_is_left_in_doubt(away: Response) -> None:
    transport = ScriptedTransport(away)
    async with client_of(transport) as capgo:
        with pytest.raises(errors.ServerError):
            await capgo.api_keys.regenerate(1)
    assert len(transport.requests) == 1


@pytest.mark.parametrize("away", AWAY.values(), ids=AWAY)
@in_virtual_time
async def test_a_link_is_sent_again_and_the_failing_server_gets_fewer_at_once(away: Response) -> None:
    transport = ScriptedTransport(*[away] * 20, latency=0.01)
    async with client_of(transport, concurrency=8) as capgo:
        async with anyio.create_task_group() as tasks:
            for number in range(8):
                tasks.start_soon(lambda name: capgo.devices.link(APP, name, channel="beta"), f"device-{number}")
        assert capgo.counters.requests == 28


# The filter by custom id (contract K4)


def device(name: str, custom_id: str | None) -> dict[str, Any]:
    return {"device_id": name, "custom_id": custom_id}


def paged(*pages: list[dict[str, Any]]) -> list[Answer]:
    last = len(pages) - 1
    cursors = [{"nextCursor": f"x|{page[-1]['device_id']}"} if at < last else {} for at, page in enumerate(pages)]
    return [answer(body={"data": page, "hasMore": bool(more), **more}) for page, more in zip(pages, cursors, strict=True)]


ALL = paged(
    [device("a", "u1"), device("b", "u2")], [device("c", ""), device("d", None)], [device("e", "u1"), device("f", "U1")]
)
FEW = paged([device("a", "u1")], [device("e", "u1")])


@pytest.mark.parametrize(("pages", "caveats"), [(ALL, 1), (FEW, 0)], ids=["ignored", "known"])
async def test_a_listing_by_custom_id_yields_no_other_device(pages: list[Answer], caveats: int) -> None:
    transport = ScriptedTransport(*pages)
    async with client_of(transport) as capgo:
        listing = capgo.devices.list(APP, DeviceFilter(custom_id=" u1 "), cursors=4)
        assert [each.device_id for each in await listing.all()] == ["a", "e"]
    assert listing.complete
    assert len([caveat for caveat in listing.caveats if "does not filter by custom_id" in caveat]) == caveats
    assert {dict(request.query)["custom_id"] for request in transport.requests} == {"u1"}


async def test_nobody_is_found_rather_than_everybody() -> None:
    async with client_of(ScriptedTransport(*ALL)) as capgo:
        assert await capgo.devices.find(APP, "u3") == ()


@pytest.mark.parametrize("chosen", [DeviceFilter(custom_id="u3"), DeviceFilter(custom_ids_only=True)], ids=["id", "any"])
@pytest.mark.parametrize(("others", "links"), [(0, 3), (0, 0), (2, 3)], ids=["blind", "no links", "others"])
async def test_nobody_has_a_custom_id_only_where_the_server_shows_its_devices(
    chosen: DeviceFilter, others: int, links: int
) -> None:
    def server(request: Request) -> Answer:
        if request.path != "/device":
            return answer(body={"app_id": APP, "channel_device_count": links})
        query = dict(request.query)
        chooses = "custom_id" in query or "customIdMode" in query
        shown = [] if chooses else [device(f"device-{number}", "") for number in range(others)]
        return answer(body={"data": shown, "hasMore": False})

    async with client_of(ScriptedTransport(last=server)) as capgo:
        listing = capgo.devices.list(APP, chosen)
        if links and not others:
            with pytest.raises(EmptyListing, match=r"counts linked devices in this app \(3\)"):
                await listing.all()
        else:
            assert await listing.all() == []


async def test_several_devices_are_found_only_on_request() -> None:
    async with client_of(ScriptedTransport(*FEW, *FEW)) as capgo:
        with pytest.raises(ConfigurationError, match=r"2 devices of .* have the custom id 'u1': a, e") as caught:
            await capgo.devices.find(APP, "u1")
        assert caught.value.problem is Problem.SEVERAL_DEVICES
        assert [each.device_id for each in await capgo.devices.find(APP, "u1", allow_several=True)] == ["a", "e"]


async def test_a_search_stops_at_its_bound_and_says_that_it_does_not_know() -> None:
    transport = ScriptedTransport(*ALL)
    async with client_of(transport) as capgo:
        with pytest.raises(ListingError, match="cannot look for the custom id 'u2'"):
            await capgo.devices.find(APP, "u2", max_pages=1)
    assert len(transport.requests) == 1


@pytest.mark.parametrize(
    ("custom_id", "why"),
    [("", "cannot be empty"), ("  ", "cannot be empty"), ("x" * 37, "longer than 36"), ("\udcff", "cannot be sent as text")],
)
async def test_a_custom_id_that_no_server_takes_is_never_sent(custom_id: str, why: str) -> None:
    transport = ScriptedTransport()
    async with client_of(transport) as capgo:
        with pytest.raises(ConfigurationError, match=rf"custom id .*{why}"):
            await capgo.devices.find(APP, custom_id)
    assert transport.requests == []


async def test_the_filter_is_looked_for_once_for_each_version_of_the_server() -> None:
    version = "12.201.7"

    def server(request: Request) -> Answer:
        source: dict[str, Any] = {"x_worker_source": f"capgo_api-prod-{version}"}
        if dict(request.query).get("custom_id") is None or version == "12.201.7":
            return answer(body={"data": [device("a", "u1")], "hasMore": False}, **source)
        return answer(400, {"error": "invalid_custom_id", "message": "No", "moreInfo": {}}, **source)

    transport = ScriptedTransport(last=server)
    async with client_of(transport) as capgo:
        assert [await capgo.devices.knows_custom_ids(APP) for _ in range(2)] == [False, False]
        assert len(transport.requests) == 1
        version = "12.262.1"
        await capgo.devices.list(APP).all()
        assert [await capgo.devices.knows_custom_ids(APP) for _ in range(2)] == [True, True]
    assert len(transport.requests) == 3


# The filter by the name of a bundle (contract K5)

EMPTY = refused("cannot_get_bundle", message="Cannot get bundle")


def bundle(number: int) -> dict[str, Any]:
    return {"id": number, "name": f"1.{number}.0", "created_at": f"2026-07-01T00:00:{number % 60:02}"}


MANY = [bundle(number) for number in range(120, 0, -1)]


@pytest.mark.parametrize(
    ("answers", "found", "requests"),
    [
        ([answer(body=[bundle(7)])], 7, 1),
        ([answer(body=[]), answer(body=[bundle(9)])], None, 2),
        ([EMPTY, EMPTY, answer(body=[{"id": 1, "name": "beta"}])], None, 3),
        ([answer(body=[bundle(9), bundle(7)])], 7, 1),
        ([answer(body=[bundle(9)]), answer(body=[bundle(9)])], None, 2),
        ([answer(body=MANY[:50]), answer(body=MANY[:50]), answer(body=MANY[50:])], 7, 3),
    ],
    ids=["filtered", "filtered away", "no bundles", "on the first page", "of one other", "on a later page"],
)
async def test_a_bundle_is_found_whether_or_not_the_server_filters(
    answers: list[Answer], found: int | None, requests: int
) -> None:
    transport = ScriptedTransport(*answers)
    async with client_of(transport) as capgo:
        result = await capgo.bundles.find(APP, "1.7.0")
    assert (result and result.id) == found
    assert len(transport.requests) == requests


@pytest.mark.parametrize("none", [answer(body=[]), EMPTY], ids=["[]", "400"])
async def test_that_no_bundle_is_found_is_not_believed_if_none_is_listed_and_one_is_used(none: Answer) -> None:
    user = {"id": 1, "name": "beta", "version": {"id": 7, "name": "1.7.0"}}
    async with client_of(ScriptedTransport(none, none, answer(body=[user]))) as capgo:
        with pytest.raises(errors.EmptyListing, match=r"channel beta has bundle 1\.7\.0"):
            await capgo.bundles.find(APP, "1.7.0")


async def test_a_refusal_is_not_taken_for_no_such_bundle() -> None:
    async with client_of(ScriptedTransport(refused("cannot_get_bundle", app_id=APP))) as capgo:
        with pytest.raises(errors.PermissionDenied):
            await capgo.bundles.find(APP, "1.7.0")


@pytest.mark.parametrize("end", [answer(body=[]), EMPTY], ids=["[]", "400"])
async def test_both_ends_of_a_listing_of_bundles_are_ends(end: Answer) -> None:
    async with client_of(ScriptedTransport(answer(body=MANY[:50]), end)) as capgo:
        assert len(await capgo.bundles.list(APP).all()) == 50


# Codes and fields


@pytest.mark.parametrize(
    "code", ["channel_zip_required", "channel_delta_required", "invalid_update_package", "invalid_query", "invalid_icon_path"]
)
async def test_refused_arguments_are_permanent(code: str) -> None:
    transport = ScriptedTransport(last=refused(code))
    async with client_of(transport) as capgo:
        with pytest.raises(InvalidRequest) as caught:
            await capgo.devices.link(APP, "d", channel="beta")
    assert len(transport.requests) == 1
    assert ("update_package" in str(caught.value)) is (code.startswith("channel_") or "package" in code)


def test_fields_of_newer_servers_are_read_and_those_of_older_ones_suffice() -> None:
    new = answer(body={"id": 1, "name": "beta", "ios": True, "android": False, "updatePackage": "delta"})
    assert reads_one(Channel)(new, "get") == Channel(id=1, name="beta", ios=True, android=False, update_package="delta")
    key = answer(body={"id": 1, "name": "MCP · client", "owner_org_id": "o", "bindings": []})
    assert reads_one(ApiKey)(key, "get") == ApiKey(id=1, name="MCP · client", owner_org_id="o")
    app = answer(body={"app_id": APP, "onboarding": {"source": "cli"}})
    assert reads_one(App)(app, "get") == App(app_id=APP)
    assert reads_one(Bundle)(answer(body={"id": 1, "name": "1.0.0", "novelty": 1}), "get") == Bundle(id=1, name="1.0.0")


def test_active_devices_are_part_of_the_usage_of_newer_servers() -> None:
    counts = {"android": 2, "ios": 1, "electron": 0, "unknown": 0, "total": 3}
    daily: dict[str, Any] = {
        "labels": ["2026-11-01"],
        "android": [2],
        "ios": [1],
        "electron": [0],
        "unknown": [0],
        "total": [3],
    }
    body = {"labels": [], "datasets": [], "activeDevices": counts, "dailyPlatformActive": daily}
    usage = read_usage(answer(body=body), "usage")
    assert usage.active_devices == ActiveDevices(android=2, ios=1, total=3)
    assert usage.daily_platform_active == DailyActiveDevices(**daily)
    assert usage.previous_period_active_devices is None
