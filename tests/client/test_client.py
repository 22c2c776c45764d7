"""The client as a whole: its options, its headers, its ids, and the key that nobody sees."""

import re
import traceback
from typing import Any

import pytest
from scripted import Attempts, ScriptedTransport, answer
from virtual_time import in_virtual_time

from capgo_async import CapgoClient, Dialect, SlidingWindow, errors
from capgo_async.client import DEFAULT_BASE_URL, requester_of
from capgo_async.errors import ConfigurationError
from capgo_async.http.requester import Requester
from capgo_async.http.transport import AiohttpTransport
from capgo_async.key_ring import KeyRing, pacer_of
from capgo_async.limits.models import Limit, ScopeKind
from capgo_async.version import __version__

APP = "com.example.app"
KEY = "9f86d081-884c-4d65-9a2f-eaa0c55ad015"
SERVERS_FORM_OF_AN_ID = re.compile(r"[A-Za-z0-9_=-]{1,255}")
EMPTY_APP = answer(body={"app_id": APP})


def fingerprint_of(capgo: CapgoClient, salt: bytes) -> str:
    return requester_of(capgo).identity.fingerprint(salt)


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CAPGO_API_KEY", raising=False)
    monkeypatch.delenv("CAPGO_BASE_URL", raising=False)


def client_of(transport: ScriptedTransport | None = None, **options: Any) -> CapgoClient:
    return CapgoClient(
        **{"api_key": KEY, "rate": "off", "retries": 0, "transport": transport or ScriptedTransport(), **options}
    )


# Headers


@pytest.mark.parametrize(("options", "name"), [({}, "authorization"), ({"auth_header": "capgkey"}, "capgkey")])
async def test_the_key_is_sent_in_one_header_and_bare(options: dict[str, Any], name: str) -> None:
    transport = ScriptedTransport(last=EMPTY_APP)
    async with client_of(transport, **options) as capgo:
        await capgo.apps.get(APP)

    [headers] = transport.headers
    assert {header for header, value in headers.items() if KEY in value} == {name}
    assert {header.lower() for header in headers} & {"authorization", "capgkey", "x-api-key"} == {name}
    assert headers[name] == KEY
    assert headers["User-Agent"] == f"capgo-async/{__version__}"


async def test_the_health_check_needs_no_key() -> None:
    transport = ScriptedTransport(answer(x_worker_source="capgo_api-prod-12.201.7"))
    async with client_of(transport, user_agent="fleet/1") as capgo:
        await capgo.check()
        assert capgo.server_version == (12, 201, 7)

    assert KEY not in repr(transport.headers)


@in_virtual_time
async def test_each_attempt_has_an_id_of_its_own() -> None:
    transport = ScriptedTransport(errors.NotConnected("no"), answer(502, {}), last=EMPTY_APP)
    first, second = client_of(transport, retries=2), client_of(transport)

    await first.apps.get(APP)
    await first.apps.get(APP)
    await second.apps.get(APP)

    ids = [headers["X-Request-Id"] for headers in transport.headers]
    assert len(ids) == len(set(ids)) == 5
    assert all(SERVERS_FORM_OF_AN_ID.fullmatch(request_id) for request_id in ids)


# What the client knows


async def test_the_server_s_version_is_that_of_its_last_answer() -> None:
    transport = ScriptedTransport(
        EMPTY_APP,
        answer(404, {"error": "x_y"}, x_worker_source="capgo_api-prod-12.188.1"),
        answer(body={"app_id": APP}, x_worker_source="capgo_api-prod-12.201.7"),
        EMPTY_APP,
    )
    async with client_of(transport) as capgo:
        await capgo.apps.get(APP)
        assert capgo.server_version is None
        with pytest.raises(errors.NotFound):
            await capgo.apps.get(APP)
        assert capgo.server_version == (12, 188, 1)
        await capgo.apps.get(APP)
        await capgo.apps.get(APP)
        assert capgo.server_version == (12, 201, 7)
        assert capgo.counters.requests == 4


async def test_each_attempt_is_told_once_and_cannot_be_changed() -> None:
    told = Attempts()
    transport = ScriptedTransport(EMPTY_APP, answer(404, {"error": "x_y"}), errors.TimedOut("late"))
    async with client_of(transport, on_event=told) as capgo:
        await capgo.apps.get(APP)
        for kind in (errors.NotFound, errors.TimedOut):
            with pytest.raises(kind):
                await capgo.apps.get(APP)

    assert [(attempt.status, attempt.error, attempt.number) for attempt in told] == [
        (200, None, 1),
        (404, "NotFound", 1),
        (None, "TimedOut", 1),
    ]
    assert {(attempt.operation, attempt.method, attempt.path) for attempt in told} == {(f"get app {APP}", "GET", f"/app/{APP}")}
    assert [attempt.request_id for attempt in told] == [headers["X-Request-Id"] for headers in transport.headers]
    assert KEY not in repr(told)
    with pytest.raises(AttributeError):
        told[0].status = 500  # type: ignore[misc]  # that it cannot be done is what this shows


async def test_a_fingerprint_tells_keys_apart_and_gives_none_away() -> None:
    one, other = client_of(), client_of(api_key="another-key")

    assert fingerprint_of(one, b"salt") == fingerprint_of(client_of(), b"salt")
    assert len({fingerprint_of(one, b"salt"), fingerprint_of(one, b"sugar"), fingerprint_of(other, b"salt")}) == 3
    assert KEY not in fingerprint_of(one, b"salt")


# The key stays secret


async def test_no_repr_shows_the_key() -> None:
    transport = AiohttpTransport("http://127.0.0.1:9")
    capgo = CapgoClient(api_key=KEY, transport=transport)
    requester = requester_of(capgo)
    for thing in (capgo, requester, requester.pacer, requester.identity, transport, capgo.devices):
        for shown in (repr(thing), str(thing), f"{thing}", repr(getattr(thing, "__dict__", ""))):
            assert KEY not in shown
    await capgo.aclose()


ANSWERS = [
    answer(401, {"error": "invalid_apikey", "message": "Invalid apikey"}),
    answer(500, {}),
    answer(body={"nothing": "right"}),
    errors.ConnectionLost("lost"),
]


@pytest.mark.parametrize("reply", ANSWERS, ids=["refused", "failed", "unreadable", "lost"])
async def test_no_exception_shows_the_key(reply: Any) -> None:
    async with client_of(ScriptedTransport(reply)) as capgo:
        with pytest.raises(errors.CapgoError) as caught:
            await capgo.apps.get(APP)

    error = caught.value
    told = "".join(traceback.format_exception(error)) + repr(error) + repr(vars(error)) + repr(error.__cause__)
    assert KEY not in told


# Options


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"api_key": ""}, "no API key"),
        ({"api_key": None}, "no API key"),
        ({"api_key": "key\n"}, "an invalid character"),
        ({"api_key": " key"}, "an invalid character"),
        ({"api_key": "Bearer key"}, "without `Bearer`"),
        ({"api_key": "kéy"}, "an invalid character"),
        ({"base_url": "http://capgo.test"}, "unencrypted"),
        ({"base_url": "capgo.test"}, "write https://HOST"),
        ({"rate": "fast"}, "rate"),
        ({"concurrency": 0}, "concurrency"),
        ({"timeout": 0}, "timeout"),
        ({"timeout": float("nan")}, "timeout"),
        ({"retries": -1}, "retries"),
        ({"wait_for_server": -1.0}, "wait_for_server"),
        ({"wait_for_server": float("nan")}, "wait_for_server"),
        ({"dialect": "old"}, "auto, modern, seed"),
        ({"auth_header": "x-api-key"}, "is not one of authorization, capgkey"),
        ({"auth_header": "Authorization"}, "is not one of authorization, capgkey"),
        ({"user_agent": "fleet\r\nauthorization: x"}, "user_agent"),
        ({"user_agent": "flotte é"}, "user_agent"),
    ],
)
def test_options_that_mean_nothing(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigurationError, match=sentence) as caught:
        client_of(**options)

    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    "base_url",
    ["https://me:PASS@capgo.test/ v1", "me:PASS@capgo.test", "https://me:PASS/1@capgo.test", "https://capgo.test:x?key=PASS"],
)
def test_a_password_in_a_base_url_is_not_shown(base_url: str) -> None:
    with pytest.raises(ConfigurationError, match="must not contain a user") as caught:
        client_of(base_url=base_url)

    assert "PASS" not in f"{caught.value!r} {caught.value.__cause__!r}"


def test_a_wrong_key_is_not_shown() -> None:
    with pytest.raises(ConfigurationError) as caught:
        client_of(api_key=f"{KEY}\n")

    assert KEY not in repr(caught.value)


def test_the_environment_gives_what_the_caller_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    assert client_of().base_url == DEFAULT_BASE_URL == "https://api.capgo.app"
    monkeypatch.setenv("CAPGO_API_KEY", "key-of-the-environment")
    monkeypatch.setenv("CAPGO_BASE_URL", "https://self.test/functions/v1/")

    assert client_of().base_url == "https://self.test/functions/v1"
    assert client_of(base_url="https://other.test").base_url == "https://other.test"
    assert fingerprint_of(client_of(api_key=None), b"s") == fingerprint_of(client_of(api_key="key-of-the-environment"), b"s")
    assert fingerprint_of(client_of(), b"s") != fingerprint_of(client_of(api_key=None), b"s")
    with pytest.raises(ConfigurationError, match="no API key"):
        client_of(api_key="")


def test_an_empty_url_never_means_the_cloud(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="the base URL is empty"):
        client_of(base_url="")
    monkeypatch.setenv("CAPGO_BASE_URL", "")
    with pytest.raises(ConfigurationError, match="the base URL is empty"):
        client_of()
    assert client_of(base_url="https://self.test").base_url == "https://self.test"


def test_a_wrong_url_of_the_environment_is_refused_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAPGO_BASE_URL", "http://capgo.test")

    with pytest.raises(ConfigurationError, match="unencrypted"):
        client_of()
    assert client_of(allow_plain_http=True).base_url == "http://capgo.test"


def test_options_reach_their_places() -> None:
    limit = Limit(ScopeKind.KEY, SlidingWindow(requests=3))
    capgo = client_of(limits=[limit], rate="auto", concurrency=3, retries=7, dialect="seed")

    assert (pacer_of(capgo).gates.limits, pacer_of(capgo).concurrency, pacer_of(capgo).gates.adaptive) == ((limit,), 3, True)
    assert requester_of(capgo).options.retries == 7
    assert capgo.dialect is Dialect.SEED
    assert repr(capgo) == "CapgoClient(base_url='https://api.capgo.app')"
    assert not pacer_of(client_of(rate="standard")).gates.adaptive
    assert isinstance(requester_of(capgo), Requester)


def test_clients_of_two_keys_share_a_pace() -> None:
    capgo = client_of()
    assert pacer_of(capgo.with_key("other")) is pacer_of(capgo)
    assert pacer_of(client_of()) is not pacer_of(capgo)
    assert requester_of(client_of()).key_scope == requester_of(client_of()).key_scope
    assert requester_of(client_of()).key_scope != requester_of(client_of(api_key="other")).key_scope


@pytest.mark.parametrize("key", [None, ""])
def test_an_additional_client_never_takes_the_key_of_the_environment(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAPGO_API_KEY", "key-of-the-environment")
    capgo = client_of(api_key=None)

    with pytest.raises(ConfigurationError, match="no API key for the additional client"):
        capgo.with_key(key)
    with pytest.raises(ConfigurationError, match="no API key for the additional client"):
        KeyRing(capgo, {APP: key})
