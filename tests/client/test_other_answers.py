"""A 200 that holds an error, a page with a bad row, and something else that responds in place of the API."""

from typing import Any

import anyio
import pytest
from scripted import ScriptedTransport, answer
from virtual_time import in_virtual_time

from capgo_async import CapgoClient, errors
from capgo_async.http.wire import Request, Response
from capgo_async.key_ring import pacer_of

APP = "com.example.app"
PORTAL = Response(
    status=200,
    headers={"content-type": "text/html"},
    body=b"<!DOCTYPE html>\n<html><head><title>Guest Wi-Fi</title></head><body>Accept the terms</body></html>",
)


def client(transport: ScriptedTransport, **options: Any) -> CapgoClient:
    return CapgoClient(api_key="secret-key", transport=transport, rate="off", **options)


CALLS = {
    "one app": lambda capgo: capgo.apps.get(APP),
    "apps": lambda capgo: capgo.apps.list().all(),
    "channels": lambda capgo: capgo.channels.list(APP).all(),
    "devices": lambda capgo: capgo.devices.list(APP).all(),
    "a link": lambda capgo: capgo.devices.link(APP, "d", channel="beta"),
}
REFUSALS: dict[str, tuple[dict[str, Any], type[errors.ApiError]]] = {
    "no_access_to_app": ({"error": "no_access_to_app", "message": "No way in"}, errors.PermissionDenied),
    "quota": ({"error": "over_quota", "message": "No way in", "moreInfo": {"used": 7}}, errors.InvalidRequest),
    "no way in": ({"error": "No way in"}, errors.InvalidRequest),
}


@pytest.mark.parametrize(("body", "kind"), REFUSALS.values(), ids=REFUSALS)
@pytest.mark.parametrize("name", CALLS)
@in_virtual_time
async def test_a_200_that_holds_nothing_but_an_error_is_told_in_its_words(
    name: str, body: dict[str, Any], kind: type[errors.ApiError]
) -> None:
    transport = ScriptedTransport(last=answer(200, body))
    with pytest.raises(kind, match="No way in") as raised:
        await CALLS[name](client(transport, retries=2))
    assert raised.value.status == 200
    assert len(transport.requests) == 1, "a refusal is not repeated"


@in_virtual_time
async def test_an_error_beside_what_was_asked_for_is_none() -> None:
    transport = ScriptedTransport(last=answer(200, {"app_id": APP, "name": "A", "error": "none"}))
    assert (await client(transport).apps.get(APP)).app_id == APP


BAD: dict[str, tuple[str, object, int | None, str, str]] = {
    "a field of a row": (
        "devices",
        {"data": [{"device_id": "d1"}, {"device_id": "d2", "os_version": 17.5}], "hasMore": False},
        2,
        "os_version",
        r"row 2 \(device_id d2\), os_version: Expected `str \| null`, got `float`",
    ),
    "a row without its id": ("devices", {"data": [{}], "hasMore": False}, 1, "", "row 1: Object missing required field"),
    "a row that is none": ("devices", {"data": [{"device_id": "a"}, 7], "hasMore": False}, 2, "", "row 2: Expected `object`"),
    "a bare list": (
        "channels",
        [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}, {"id": 3, "name": ["c"]}],
        3,
        "name",
        r"row 3 \(id 3\), name: Expected `str`",
    ),
    "inside a row": ("channels", [{"id": 1, "name": "a", "version": {"id": "x"}}], 1, "version.id", "row 1 .*version"),
    "in an envelope": ("apps", {"data": [{"app_id": APP, "name": {}}]}, 1, "name", rf"row 1 \(app_id {APP}\), name"),
    "a field of one thing": ("one app", {"app_id": APP, "name": []}, None, "name", "expected form: name: Expected `str"),
}


@pytest.mark.parametrize(("name", "body", "row", "field", "said"), BAD.values(), ids=BAD)
@in_virtual_time
async def test_a_body_of_another_form_names_the_row_and_the_field(
    name: str, body: object, row: int | None, field: str, said: str
) -> None:
    transport = ScriptedTransport(last=answer(200, body))
    with pytest.raises(errors.UnreadableAnswer, match=said) as raised:
        await CALLS[name](client(transport, retries=0))
    assert (raised.value.row, raised.value.field) == (row, field)


ROWS: list[object] = [{"device_id": "d1"}, {"device_id": "d2", "os_version": 17.5}, {"device_id": "d3"}, 7]
SEED_ROWS: list[object] = [
    {"device_id": "d1", "version": {"id": 1, "name": "1.0.0"}},
    {"device_id": "d2", "version": {"id": "x"}},
]


@pytest.mark.parametrize("cursors", [1, 3])
@in_virtual_time
async def test_a_bad_row_costs_that_row_where_the_caller_asks_for_it(cursors: int) -> None:
    first = {"data": ROWS, "hasMore": True, "nextCursor": "c"}
    transport = ScriptedTransport(answer(200, first), answer(200, {"data": [{"device_id": "d4"}], "hasMore": False}))
    bad: list[errors.UnreadableAnswer] = []
    listing = client(transport, retries=0).devices.list(APP, cursors=cursors, on_unreadable=bad.append)
    assert [device.device_id for device in await listing.all()] == ["d1", "d3", "d4"]
    assert [(error.row, error.field) for error in bad] == [(2, "os_version"), (4, "")]
    assert "row 2 (device_id d2)" in str(bad[0])
    assert listing.complete
    assert "rows that could not be read were left out" in listing.caveats


@pytest.mark.parametrize("cursors", [1, 3])
@in_virtual_time
async def test_a_page_of_bad_rows_is_no_empty_page(cursors: int) -> None:
    first = {"data": [ROWS[1], ROWS[1]], "hasMore": True, "nextCursor": "c"}
    transport = ScriptedTransport(answer(200, first), answer(200, {"data": [{"device_id": "d4"}], "hasMore": False}))
    listing = client(transport, retries=0).devices.list(APP, cursors=cursors, on_unreadable=lambda _: None)
    assert [device.device_id for device in await listing.all()] == ["d4"]
    alone = ScriptedTransport(answer(200, {**first, "hasMore": False}))
    listing = client(alone, retries=0).devices.list(APP, cursors=cursors, on_unreadable=lambda _: None)
    assert (await listing.all(), listing.complete, len(alone.requests)) == ([], True, 1)
    assert listing.caveats == ("rows that could not be read were left out",)


@in_virtual_time
async def test_a_bad_row_of_an_older_server_costs_that_row_too() -> None:
    transport = ScriptedTransport(answer(200, SEED_ROWS), last=answer(200, []))
    bad: list[errors.UnreadableAnswer] = []
    listing = client(transport, retries=0).devices.list(APP, on_unreadable=bad.append)
    assert [device.version_name for device in await listing.all()] == ["1.0.0"]
    assert [error.row for error in bad] == [2]


@in_virtual_time
async def test_a_page_that_is_none_is_an_error_whatever_the_caller_asks_for() -> None:
    bad: list[errors.UnreadableAnswer] = []
    with pytest.raises(errors.UnreadableAnswer, match="HTML"):
        await client(ScriptedTransport(last=PORTAL), retries=0).devices.list(APP, on_unreadable=bad.append).all()
    assert bad == []


@in_virtual_time
async def test_a_page_of_html_is_told_as_that() -> None:
    with pytest.raises(errors.UnreadableAnswer, match="is an HTML page and not from the API: Guest Wi-Fi Accept the terms"):
        await client(ScriptedTransport(last=PORTAL), retries=0).apps.get(APP)


@pytest.mark.slow
@in_virtual_time
async def test_while_a_portal_responds_fewer_requests_are_in_flight() -> None:
    good = 0

    def from_the_twentieth_on(_: Request) -> Response:
        nonlocal good
        good += 1
        return answer() if good <= 20 else PORTAL

    transport = ScriptedTransport(last=from_the_twentieth_on, latency=0.1)
    capgo = client(transport, retries=0)
    ends: list[errors.CapgoError] = []

    async def link(number: int) -> None:
        try:
            await capgo.devices.link(APP, f"d{number}", channel="beta")
        except errors.CapgoError as error:
            ends.append(error)

    async with anyio.create_task_group() as group:
        for number in range(120):
            group.start_soon(link, number)
    assert pacer_of(capgo).most_in_flight == 1
    assert len(ends) == 100
    assert all(isinstance(end, errors.UnreadableAnswer) for end in ends)


@in_virtual_time
async def test_a_call_is_not_repeated_once_something_else_responds() -> None:
    transport = ScriptedTransport(last=PORTAL)
    capgo = client(transport, retries=9)
    for _ in range(20):
        with pytest.raises(errors.UnreadableAnswer):
            await capgo.apps.get(APP)
    assert len(transport.requests) == 30 + 17, "ten, ten, ten, and one for each call after that"


@in_virtual_time
async def test_one_readable_response_is_enough_to_go_on() -> None:
    transport = ScriptedTransport(*[PORTAL] * 9, answer(200, {"app_id": APP, "name": "A"}))
    capgo = client(transport, retries=9)
    for _ in range(2):
        assert (await capgo.apps.get(APP)).name == "A"
        transport.script = [*[PORTAL] * 9, answer(200, {"app_id": APP, "name": "A"})]
    assert len(transport.requests) == 20


@in_virtual_time
async def test_bad_rows_come_from_the_api() -> None:
    transport = ScriptedTransport(last=answer(200, {"data": ROWS, "hasMore": False}))
    capgo = client(transport, retries=1)
    for _ in range(40):
        with pytest.raises(errors.UnreadableAnswer, match="row 2"):
            await capgo.devices.list(APP).all()
    assert len(transport.requests) == 80
