"""Raw answers for who asks for them, and keys for nobody: what is shown of answers, keys and attempts."""

import logging
import traceback
from typing import Any

import anyio
import pytest
from client.test_sockets import serving
from scripted import Answer, ScriptedTransport, answer
from virtual_time import in_virtual_time

from capgo_async import ApiKey, CapgoClient, NewApiKey, errors, raw_responses
from capgo_async.api.endpoints.api_keys import delete_api_key_by_secret
from capgo_async.api.models import CreatedApiKey
from capgo_async.events import AttemptEnded, Event
from capgo_async.http.wire import Request, Response

KEY = "9f86d081-884c-4d65-9a2f-eaa0c55ad015"
SECRET = "7c4a8d09-ca37-42af-a1e0-000000005ec7"
APP = "com.example.app"
NO_APP = answer(401, {"error": "cannot_access_app", "message": "No", "moreInfo": {}})


def client_of(transport: ScriptedTransport, **options: Any) -> CapgoClient:
    return CapgoClient(
        **{"api_key": KEY, "base_url": "https://capgo.test", "rate": "off", "retries": 0, "transport": transport, **options}
    )


def shown(thing: object) -> str:
    return f"{thing!r} {thing!s} {thing} {[thing]!r}"


# Raw responses


@in_virtual_time
async def test_every_answer_in_a_block_is_collected_as_it_came() -> None:
    replies: list[Answer] = [answer(502, {}), errors.ConnectionLost("gone"), answer(body={"app_id": APP, "colour": "red"})]
    async with client_of(ScriptedTransport(*replies, last=NO_APP), retries=4) as capgo:
        with raw_responses() as captured:
            await capgo.apps.get(APP)
            with pytest.raises(errors.PermissionDenied):
                await capgo.apps.get(APP)
        with pytest.raises(errors.PermissionDenied):
            await capgo.apps.get(APP)

    assert [response.status for response in captured] == [502, 200, 401]
    assert captured[1].json() == {"app_id": APP, "colour": "red"}


async def test_blocks_hold_for_the_tasks_that_they_start_and_for_nobody_else() -> None:
    async with client_of(ScriptedTransport(last=answer(body={"app_id": APP}))) as capgo:
        with raw_responses() as outer:
            await capgo.apps.get(APP)
            with raw_responses() as inner:
                async with anyio.create_task_group() as group:
                    group.start_soon(capgo.apps.get, APP)
                    group.start_soon(capgo.apps.get, APP)
            await capgo.apps.get(APP)

    assert (len(outer), len(inner)) == (2, 2)


def test_a_raw_answer_that_is_no_json_says_so() -> None:
    with pytest.raises(errors.UnreadableAnswer, match="is not JSON"):
        Response(status=200, headers={}, body=b"<html>").json()


# Keys that are made


def test_no_repr_of_an_answer_shows_its_body() -> None:
    response = answer(body={"id": 1, "key": SECRET})

    assert SECRET not in shown(response)
    assert SECRET.encode() in response.body
    assert "200" in repr(response)


@pytest.mark.parametrize("key", [ApiKey(id=1, name="ci", key=SECRET), CreatedApiKey(key=ApiKey(id=1, key=SECRET))])
def test_no_repr_of_a_key_shows_its_secret(key: object) -> None:
    assert SECRET not in shown(key)
    assert "id=1" in repr(key)


async def test_a_new_key_is_in_the_model_and_nowhere_else(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    told: list[Event] = []
    made = answer(body={"id": 1, "name": "ci", "key": SECRET})
    async with client_of(ScriptedTransport(last=made), on_event=told.append) as capgo:
        created = await capgo.api_keys.create(NewApiKey(name="ci"))
        renewed = await capgo.api_keys.regenerate(1)
        with raw_responses() as captured:
            listed = await capgo.api_keys.get(1)

    assert created.key == renewed.key == listed.key == SECRET
    assert SECRET not in shown([created, renewed, listed, captured, told, caplog.text])


async def test_an_answer_with_a_key_that_cannot_be_read_does_not_show_it() -> None:
    for body in ({"id": "x", "name": "ci", "key": SECRET}, {"id": 1, "key": [SECRET]}, {"id": 1, "name": {SECRET: 1}}):
        async with client_of(ScriptedTransport(answer(body=body))) as capgo:
            with pytest.raises(errors.UnreadableAnswer) as caught:
                await capgo.api_keys.create(NewApiKey(name="ci"))
        assert SECRET not in "".join(traceback.format_exception(caught.value)) + repr(vars(caught.value))


# A key that is a path

REPLIES: dict[str, Answer] = {
    "done": answer(),
    "unknown": answer(404, {"error": "api_key_not_found", "message": "Key not found", "moreInfo": {}}),
    "denied": answer(401, {"error": "cannot_delete_apikey", "message": "No", "moreInfo": {}}),
    "failed": answer(500, {}),
    "html": Response(status=200, headers={}, body=b"<html>"),
    "lost": errors.ConnectionLost("gone"),
    "not connected": errors.NotConnected("no"),
}


@pytest.mark.parametrize("reply", REPLIES)
async def test_a_key_that_is_revoked_by_itself_is_shown_nowhere(reply: str) -> None:
    told: list[Event] = []
    transport = ScriptedTransport(REPLIES[reply])
    shows = ""
    async with client_of(transport, on_event=told.append) as capgo:
        try:
            await capgo.api_keys.delete_by_secret(SECRET)
        except errors.CapgoError as error:
            shows = "".join(traceback.format_exception(error)) + repr(vars(error)) + shown(error)

    assert transport.requests[0].path == f"/apikey/{SECRET}"
    assert [event.path for event in told if isinstance(event, AttemptEnded)] == ["/apikey/[API key]"]
    assert SECRET not in shows + shown(told)


@pytest.mark.parametrize(
    "secret",
    ["", " ", "12", "123456789", "..", "short-1", "a/../b?c=d#e", f"{SECRET}\n", f" {SECRET}", "x" * 257, "1" * 8],
)
async def test_what_is_no_key_never_leaves(secret: str) -> None:
    """A number would delete the key of that number, and dots lead to another route."""
    transport = ScriptedTransport()
    async with client_of(transport) as capgo:
        with pytest.raises(errors.ConfigurationError) as caught:
            await capgo.api_keys.delete_by_secret(secret)

    assert transport.requests == []
    assert SECRET not in shown(caught.value)


def test_nor_does_the_call_show_it() -> None:
    call = delete_api_key_by_secret(SECRET)
    assert SECRET not in shown(call) + shown(call.request)
    assert SECRET not in shown(Request(method="POST", path="/apikey", body=SECRET.encode()))


async def test_nor_is_it_shown_where_the_answer_is_malformed() -> None:
    async with serving(lambda _: b"HTTP/1.1 nonsense\r\n\r\n") as server:
        async with CapgoClient(api_key=KEY, base_url=server.url, rate="off", retries=0) as capgo:
            with pytest.raises(errors.CapgoError) as caught:
                await capgo.api_keys.delete_by_secret(SECRET)

    error = caught.value
    assert SECRET not in "".join(traceback.format_exception(error)) + repr(vars(error)) + repr(error.__cause__)
