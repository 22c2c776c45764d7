"""Options of single calls: clients that share all but how they make their calls, and who owns what they share."""

import gc
import math
import warnings
from datetime import UTC, datetime
from typing import Any

import anyio
import pytest
from client.test_sockets import OK, always, serving
from fleet import APP, sandbox_of
from scripted import ScriptedTransport, answer
from virtual_time import in_virtual_time

from capgo_async import CapgoClient, KeyRing, Known, errors
from capgo_async.client import requester_of
from capgo_async.key_ring import pacer_of
from capgo_async.sandbox.inprocess import InProcessTransport
from capgo_async.sandbox.seeding import SUPER_ADMIN_KEY

KEY = "9f86d081-884c-4d65-9a2f-eaa0c55ad015"
ORG = "046a36ac-0000-4000-8000-00000000000a"


def client_of(transport: ScriptedTransport | None = None, **options: Any) -> CapgoClient:
    used = transport or ScriptedTransport()
    return CapgoClient(**{"api_key": KEY, "base_url": "https://capgo.test", "rate": "off", "transport": used, **options})


@in_virtual_time
async def test_each_option_is_that_of_the_client_until_it_is_changed() -> None:
    transport = ScriptedTransport(last=answer(503), latency=5.0)
    capgo = client_of(transport, retries=2, timeout=10.0)
    for client, attempts in ((capgo.with_options(retries=0), 1), (capgo, 3), (capgo.with_options(timeout=9.0), 3)):
        before = len(transport.requests)
        with pytest.raises(errors.ServerError):
            await client.devices.unlink(APP, "d")
        assert len(transport.requests) - before == attempts


@in_virtual_time
async def test_a_timeout_holds_for_one_client_alone_and_for_every_transport() -> None:
    transport = ScriptedTransport(latency=5.0)
    capgo = client_of(transport, retries=0)
    hurried = capgo.with_options(timeout=2.0)
    with pytest.raises(errors.TimedOut, match=r"within 2\.0 s"):
        await hurried.devices.unlink(APP, "d")
    assert anyio.current_time() == 2.0
    with pytest.raises(errors.TimedOut):
        await hurried.with_options(retries=0).devices.unlink(APP, "d")
    await hurried.with_options(timeout=6.0).devices.unlink(APP, "d")
    await capgo.devices.unlink(APP, "d")


@in_virtual_time
async def test_headers_are_added_to_every_request_and_a_later_one_replaces_an_earlier_one() -> None:
    transport = ScriptedTransport(last=answer(body={"status": "ok"}))
    capgo = client_of(transport, headers={"x-tenant": "blue", "traceparent": "00-a"})
    await capgo.with_options(headers={"Traceparent": "00-b"}).devices.unlink(APP, "d")
    await capgo.devices.unlink(APP, "d")
    await capgo.with_options(headers={}).check()
    sent = [{name.lower(): value for name, value in headers.items()} for headers in transport.headers]
    assert [headers["traceparent"] for headers in sent] == ["00-b", "00-a", "00-a"]
    assert {headers["x-tenant"] for headers in sent} == {"blue"}
    assert [len(headers) for headers in transport.headers] == [len(headers) for headers in sent]
    assert KEY not in repr(transport.headers[2])


def test_what_headers_contain_is_shown_by_nothing() -> None:
    requester = requester_of(client_of(headers={"X-Gateway": "s3cret"}))
    assert "s3cret" not in f"{requester.options!r} {vars(requester)!r}"
    assert "X-Gateway" in repr(requester.options)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"max_wait": -1.0}, "invalid max_wait -1.0: it must be at least 0 seconds, or None"),
        ({"max_wait": math.nan}, "invalid max_wait nan"),
        ({"max_wait": "5"}, "invalid max_wait '5'"),
        ({"timeout": 0}, "invalid timeout 0"),
        ({"timeout": math.nan}, "invalid timeout nan"),
        ({"retries": -1}, "invalid retries -1"),
        ({"retries": 0.5}, "invalid retries 0.5"),
        ({"headers": {"authorization": "x"}}, "invalid header Authorization: the client sets it"),
        ({"headers": {"capgkey": "x"}}, "invalid header Capgkey: the client sets it"),
        ({"headers": {"x-request-id": "x"}}, "invalid header X-Request-Id: the client sets it"),
        ({"headers": {"Content-Length": "1"}}, "invalid header Content-Length: it describes"),
        ({"headers": {"x y": "1"}}, "invalid header name 'X Y'"),
        ({"headers": {"": "1"}}, "invalid header name ''"),
        ({"headers": {"X-A": "1\r\nX-B: 2"}}, "invalid value of header X-A"),
    ],
)
def test_options_that_mean_nothing_are_refused_wherever_they_are_given(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(errors.ConfigurationError, match=sentence):
        client_of(**options)
    with pytest.raises(errors.ConfigurationError, match=sentence):
        client_of().with_options(**options)
    with pytest.raises(errors.ConfigurationError, match=sentence):
        KeyRing(client_of(), {}).with_options(**options)


@pytest.mark.parametrize("max_wait", [0, 0.0, 5, math.inf, None])
def test_every_number_of_seconds_may_be_waited_for(max_wait: float | None) -> None:
    client_of(max_wait=max_wait).with_options(max_wait=max_wait)


@in_virtual_time
async def test_clients_that_are_made_from_another_share_all_that_it_has() -> None:
    sandbox = sandbox_of(devices=2, limits="server")
    transport = InProcessTransport(sandbox)
    capgo = CapgoClient(api_key=SUPER_ADMIN_KEY, base_url="https://capgo.test", transport=transport)
    other = capgo.with_options(timeout=5.0, retries=1, max_wait=9.0, headers={"X-A": "1"})
    await other.apps.get(APP)
    capgo.recall(Known(page=7, page_found_at=datetime.now(UTC)))
    assert pacer_of(other) is pacer_of(capgo)
    assert other.counters is capgo.counters
    assert capgo.counters.requests == 1
    assert capgo.server_version == other.server_version is not None
    assert capgo.dialect is other.dialect
    assert other.known().page == capgo.known().page == 7
    await capgo.apps.get(APP)
    ids = [line.request_id for line in sandbox.log]
    assert len(set(ids)) == 2, "no id is used twice"
    assert ids[0].rpartition("-")[0] == ids[1].rpartition("-")[0]
    assert requester_of(other.with_key("another")).options == requester_of(other).options


@in_virtual_time
async def test_a_ring_with_other_options_has_the_keys_and_what_was_found_out() -> None:
    transport = ScriptedTransport(answer(body=[{"app_id": "com.example.theirs"}]), last=answer(503))
    ring = KeyRing(client_of(transport), {ORG: "key-of-org", APP: "key-of-app"})
    hurried = ring.with_options(retries=0)
    await hurried.prepare()
    await ring.prepare()
    assert len(transport.requests) == 1, "what one ring has found out, the other one knows"
    for app_id, key in ((APP, "key-of-app"), ("com.example.theirs", "key-of-org"), ("com.example.other", KEY)):
        for each, attempts in ((hurried, 1), (ring, 5)):
            before = len(transport.requests)
            with pytest.raises(errors.ServerError):
                await each.client_of(app_id).devices.unlink(app_id, "d")
            assert {headers["authorization"] for headers in transport.headers[before:]} == {key}
            assert len(transport.requests) - before == attempts
    assert hurried.counters.requests == ring.counters.requests == len(transport.requests)


class Closing(ScriptedTransport):
    closed = 0

    async def aclose(self) -> None:
        self.closed += 1


async def test_the_client_that_was_made_first_owns_the_connections() -> None:
    transport = Closing()
    capgo = client_of(transport)
    async with capgo.with_options(timeout=1.0) as other, capgo.with_key("another") as third, third.with_options(retries=0):
        await other.devices.unlink(APP, "d")
    assert transport.closed == 0
    await capgo.devices.unlink(APP, "d")
    await capgo.aclose()
    assert transport.closed == 1


@pytest.mark.filterwarnings("error")
async def test_no_session_stays_open_whichever_client_opens_it() -> None:
    async with serving(always(OK)) as server:
        capgo = CapgoClient(api_key=KEY, base_url=server.url, rate="off")
        hurried = capgo.with_options(timeout=9.0)
        await hurried.devices.unlink(APP, "d")
        await hurried.aclose()
        await capgo.devices.unlink(APP, "d")
        assert server.connections == 1, "all clients use one pool"
        await capgo.aclose()
        for client in (capgo, hurried):
            with pytest.raises(errors.ConfigurationError, match="the client is closed"):
                await client.devices.unlink(APP, "d")
        del capgo, hurried, client
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            gc.collect()
    assert not [str(warning.message) for warning in told if "nclosed" in str(warning.message)]
