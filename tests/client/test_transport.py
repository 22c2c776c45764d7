"""The adapter to aiohttp without sockets: what its exceptions mean, what it is asked to send, which URLs are refused."""

import asyncio
import re
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any
from unittest.mock import Mock

import aiohttp
import pytest
from aioresponses import aioresponses
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from capgo_async import errors
from capgo_async.http.transport import AiohttpTransport, checked_base_url
from capgo_async.http.wire import Request, error_of

BASE = "https://capgo.test"
HERE = f"{BASE}/device"
GET = Request(method="GET", path="/device")
KEY = "9f86d081-884c-4d65-9a2f-eaa0c55ad015"
TOLD = aiohttp.RequestInfo(URL(HERE), "GET", CIMultiDictProxy(CIMultiDict({"authorization": KEY})), URL(HERE))
PLACE = Mock(host="capgo.test", port=443, is_ssl=True, ssl=True)


@pytest.fixture
async def transport() -> AsyncIterator[AiohttpTransport]:
    made = AiohttpTransport(BASE)
    yield made
    await made.aclose()


MEANINGS: list[tuple[Exception, type[errors.CapgoError]]] = [
    (aiohttp.ClientConnectorError(PLACE, OSError(111, "refused")), errors.NotConnected),
    (aiohttp.ClientConnectorDNSError(PLACE, OSError(-2, "unknown name")), errors.NotConnected),
    (aiohttp.ClientConnectorSSLError(PLACE, ssl.SSLError(1, "handshake")), errors.NotConnected),
    (aiohttp.ClientConnectorCertificateError(PLACE, ssl.SSLCertVerificationError(1, "self-signed")), errors.NotConnected),
    (aiohttp.ClientProxyConnectionError(PLACE, OSError(111, "refused")), errors.NotConnected),
    (aiohttp.ClientHttpProxyError(TOLD, (), status=502, message="Bad Gateway"), errors.NotConnected),
    (aiohttp.ServerFingerprintMismatch(b"a", b"b", "capgo.test", 443), errors.NotConnected),
    (aiohttp.ConnectionTimeoutError("connecting"), errors.NotConnected),
    (aiohttp.SocketTimeoutError("reading"), errors.TimedOut),
    (aiohttp.ServerTimeoutError("late"), errors.TimedOut),
    (TimeoutError(), errors.TimedOut),
    (aiohttp.ServerDisconnectedError(), errors.ConnectionLost),
    (aiohttp.ClientConnectionResetError("reset"), errors.ConnectionLost),
    (aiohttp.ClientOSError(32, "broken pipe"), errors.ConnectionLost),
    (aiohttp.ClientPayloadError("half a body"), errors.ConnectionLost),
    (aiohttp.ClientResponseError(TOLD, (), status=400, message="Expected HTTP/"), errors.ConnectionLost),
    (aiohttp.ClientConnectionError("Connector is closed"), errors.ConnectionLost),
    (aiohttp.ClientError(), errors.ConnectionLost),
    (OSError(5, "broken"), errors.ConnectionLost),
    (aiohttp.InvalidURL("x"), errors.ConfigurationError),
    (aiohttp.InvalidUrlClientError("x"), errors.ConfigurationError),
    (ValueError("Only http proxies are supported"), errors.ConfigurationError),
]


@pytest.mark.parametrize(("met", "kind"), MEANINGS, ids=[type(met).__name__ for met, _ in MEANINGS])
async def test_what_each_exception_means(
    mocked: aioresponses, transport: AiohttpTransport, met: Exception, kind: type[errors.CapgoError]
) -> None:
    mocked.get(HERE, exception=met)

    with pytest.raises(errors.CapgoError) as caught:
        await transport.send(GET, {"authorization": KEY})

    assert type(caught.value) is kind
    assert BASE in str(caught.value) or kind is errors.ConfigurationError
    assert caught.value.__cause__ is met
    assert KEY not in repr(met) + str(met) + repr(vars(met)) + repr(caught.value)


async def test_a_proxy_that_asks_for_a_password_is_named(mocked: aioresponses, transport: AiohttpTransport) -> None:
    # Through a tunnel, aiohttp raises; without one, the response is the proxy's.
    mocked.get(HERE, exception=aiohttp.ClientHttpProxyError(TOLD, (), status=407, message="Proxy Authentication Required"))
    mocked.get(HERE, status=407, body=b"<html>")
    for _ in range(2):
        with pytest.raises(errors.ConfigurationError, match=r"the proxy asks for a user and a password \(HTTP 407\)"):
            await transport.send(GET, {"authorization": KEY})


def test_every_exception_of_the_client_is_in_that_table() -> None:
    """Those of redirects, web sockets and checks that nobody asks for cannot come; bases come as their children."""
    known = {type(met) for met, _ in MEANINGS}
    others = {
        "ClientConnectorError",
        "ClientSSLError",
        "ContentTypeError",
        "NonHttpUrlClientError",
        "ServerConnectionError",
        "TooManyRedirects",
        "UploadAbortedError",
        "WSServerHandshakeError",
        "WebSocketError",
    }
    offered = {value for value in vars(aiohttp).values() if isinstance(value, type) and issubclass(value, aiohttp.ClientError)}
    unknown = {kind.__name__ for kind in offered - known if "Redirect" not in kind.__name__}

    assert unknown <= others


async def test_an_answer(mocked: aioresponses, transport: AiohttpTransport) -> None:
    mocked.get(HERE, status=418, body=b"\x00tea", headers={"X-Request-Id": "r", "Retry-After": "3"})

    answer = await transport.send(GET, {})

    assert (answer.status, answer.body) == (418, b"\x00tea")
    assert (answer.headers["x-request-id"], answer.headers.get("retry-after")) == ("r", "3")


@pytest.mark.parametrize("date", [None, "Fri, 24 Jul 2026 10:00:00 GMT"])
async def test_a_refusal_without_a_date_has_that_of_its_arrival(
    mocked: aioresponses, transport: AiohttpTransport, date: str | None
) -> None:
    in_40_s = format_datetime(datetime.now(UTC) + timedelta(seconds=40), usegmt=True)
    later = "Fri, 24 Jul 2026 10:00:40 GMT" if date else in_40_s
    mocked.get(HERE, status=429, headers={"Retry-After": later} | ({"Date": date} if date else {}))

    seconds = error_of(await transport.send(GET, {}), "op").retry_after

    assert seconds is not None
    assert 30.0 < seconds <= 40.0


def asked(mocked: aioresponses) -> dict[str, Any]:
    [[call]] = mocked.requests.values()
    return dict(call.kwargs)


async def test_what_is_asked_of_aiohttp(mocked: aioresponses, transport: AiohttpTransport) -> None:
    mocked.post(HERE)

    await transport.send(Request(method="POST", path="/device", body=b"{}"), {"authorization": KEY})

    call = asked(mocked)
    assert call["headers"] == {"authorization": KEY}
    assert (call["data"].decode(), call["data"].content_type) == ("{}", "application/json")
    assert call["allow_redirects"] is False
    assert call["raise_for_status"] is False
    assert (call["timeout"].total, call["timeout"].sock_connect) == (None, 10.0)
    assert call["middlewares"] is None


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_nothing_without_a_body_has_a_content_type(
    mocked: aioresponses, transport: AiohttpTransport, method: str
) -> None:
    mocked.add(HERE, method)

    await transport.send(Request(method=method, path="/device"), {"authorization": KEY})

    assert asked(mocked)["headers"] == {"authorization": KEY}
    assert asked(mocked)["middlewares"]


async def test_a_redirect_is_an_answer(mocked: aioresponses, transport: AiohttpTransport) -> None:
    mocked.get(HERE, status=302, headers={"Location": "https://elsewhere.test/"})

    assert (await transport.send(GET, {})).status == 302


async def test_a_session_that_raises_for_status_does_not_hide_the_answer(mocked: aioresponses) -> None:
    mocked.get(HERE, status=404, payload={"error": "device_not_found"})
    async with aiohttp.ClientSession(raise_for_status=True) as session:
        assert (await AiohttpTransport(BASE, session=session).send(GET, {})).status == 404


def test_a_second_event_loop_is_refused_in_words(mocked: aioresponses) -> None:
    transport = AiohttpTransport(BASE)

    async def send() -> None:
        mocked.get(HERE, body=b"{}")
        await transport.send(GET, {})

    asyncio.run(send())
    with pytest.raises(errors.ConfigurationError, match="in another event loop: make a client in each call"):
        asyncio.run(send())
    asyncio.run(transport.aclose())


def test_few_addresses_are_remembered() -> None:
    transport = AiohttpTransport(BASE)
    requests = [Request(method="GET", path=f"/app/a.b{n}") for n in range(200)]

    for request in (*requests, *requests):
        assert str(transport._url_of(request)) == BASE + request.path
    assert transport._url_of(requests[0]) is transport._url_of(requests[0])
    assert len(transport._urls) <= 64


# Sessions


async def test_nothing_is_sent_after_the_end(transport: AiohttpTransport) -> None:
    await transport.aclose()
    await transport.aclose()
    async with aiohttp.ClientSession() as session:
        given = AiohttpTransport(BASE, session=session)
        await given.aclose()
        for closed in (transport, given):
            with pytest.raises(errors.ConfigurationError, match="the client is closed"):
                await closed.send(GET, {})


async def test_a_closed_session_of_the_caller_s(mocked: aioresponses) -> None:
    session = aiohttp.ClientSession()
    await session.close()

    with pytest.raises(errors.ConfigurationError, match="session that was passed to the client is closed"):
        await AiohttpTransport(BASE, session=session).send(GET, {})
    assert mocked.requests == {}


async def test_a_session_with_an_authorization_of_its_own_does_not_fight_the_key(mocked: aioresponses) -> None:
    mocked.get(HERE, repeat=True)
    async with aiohttp.ClientSession(headers={"Authorization": "token"}) as session:
        transport = AiohttpTransport(BASE, session=session)
        with pytest.raises(errors.ConfigurationError, match="sends an authorization header"):
            await transport.send(GET, {"capgkey": KEY})
        assert mocked.requests == {}

        await transport.send(GET, {"authorization": KEY})
    assert asked(mocked)["headers"]["authorization"] == KEY


# Base URLs


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("https://api.capgo.app", "https://api.capgo.app"),
        ("https://api.capgo.app/", "https://api.capgo.app"),
        ("https://x.supabase.co/functions/v1/", "https://x.supabase.co/functions/v1"),
        ("https://x.supabase.co:8443/a%20b", "https://x.supabase.co:8443/a%20b"),
        ("HTTPS://API.CAPGO.APP", "HTTPS://API.CAPGO.APP"),
        ("http://localhost:8080", "http://localhost:8080"),
        ("http://127.0.0.1", "http://127.0.0.1"),
        ("http://[::1]:80/x", "http://[::1]:80/x"),
    ],
)
async def test_base_urls(mocked: aioresponses, given: str, kept: str) -> None:
    assert checked_base_url(given) == kept
    mocked.get(re.compile(".*/device$"))
    transport = AiohttpTransport(kept)
    assert (await transport.send(GET, {})).status == 200
    await transport.aclose()


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "api.capgo.app",
        "//api.capgo.app",
        "ftp://api.capgo.app",
        "https://",
        "https:///device",
        " ",
        "https://user@api.capgo.app",
        "https://user:secret@api.capgo.app",
        "https://@api.capgo.app",
        "https://api.capgo.app?",
        "https://api.capgo.app/?key=1",
        "https://api.capgo.app#",
        "https://api.capgo.app/#top",
        "https://api.capgo.app\n",
        "https://api.capgo.app\r\nX: 1",
        " https://api.capgo.app",
        "https://api .capgo.app",
        "https://[::1",
        "https://api.capgo.app:0",
        "https://api.capgo.app:99999",
        "https://api.capgo.app:https",
        "https://münchen.test",
        "http://api.capgo.app",
        "http://127.0.0.1.capgo.test",
        "http://localhost.capgo.test",
    ],
)
def test_base_urls_that_are_refused(wrong: str) -> None:
    with pytest.raises(errors.ConfigurationError):
        checked_base_url(wrong)


def test_plain_http_where_it_is_asked_for() -> None:
    assert checked_base_url("http://10.0.0.7/", allow_plain_http=True) == "http://10.0.0.7"
    with pytest.raises(errors.ConfigurationError):
        checked_base_url("ftp://10.0.0.7", allow_plain_http=True)


# Proxies

PROXY = "http://proxy.test:3128"


@pytest.fixture
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("https_proxy", PROXY)
    monkeypatch.setenv("http_proxy", f"{PROXY}/plain")
    monkeypatch.setenv("no_proxy", "direct.test")


@pytest.mark.usefixtures("_environment")
@pytest.mark.parametrize(
    ("base", "proxy"),
    [
        ("https://capgo.test", PROXY),
        ("http://10.0.0.7", f"{PROXY}/plain"),
        ("https://direct.test", None),
        ("http://localhost:8080", None),
        ("http://127.0.0.1:8080", None),
        ("http://[::1]:8080", None),
    ],
)
async def test_proxies_of_the_environment_are_asked_for_once_and_never_for_loopback(
    mocked: aioresponses, monkeypatch: pytest.MonkeyPatch, base: str, proxy: str | None
) -> None:
    transport = AiohttpTransport(base, trust_env=True)
    monkeypatch.setenv("https_proxy", "http://another.test")
    monkeypatch.setenv("http_proxy", "http://another.test")
    mocked.get(f"{base}/device")

    await transport.send(GET, {})

    assert transport._owned is not None
    found = transport._owned._default_proxy
    assert (None if found is None else str(found)) == proxy
    assert transport._owned.trust_env is False
    await transport.aclose()


@pytest.mark.usefixtures("_environment")
@pytest.mark.parametrize(
    ("variable", "value", "proxy"),
    [
        ("https_proxy", "proxy.test:8080", "http://proxy.test:8080"),
        ("https_proxy", "https://me:secret@proxy.test", "https://me:secret@proxy.test"),
        ("https_proxy", "", None),
        ("ALL_PROXY", "http://every.test:1", "http://every.test:1"),
        ("all_proxy", "10.0.0.9:3128", "http://10.0.0.9:3128"),
    ],
)
def test_a_proxy_is_taken_as_other_programs_take_it(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, proxy: str | None
) -> None:
    monkeypatch.delenv("https_proxy")
    monkeypatch.setenv(variable, value)
    assert AiohttpTransport("https://capgo.test", trust_env=True)._proxy == proxy


@pytest.mark.usefixtures("_environment")
@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("socks5://me:secret@proxy.test:1080", "socks5 is not supported"),
        ("socks5h://proxy.test", "socks5h is not supported"),
        ("SOCKS://proxy.test", "SOCKS is not supported"),
        ("http://", "it has no host"),
        ("me:secret@proxy.test:99999", "it is no URL"),
    ],
)
@pytest.mark.parametrize("variable", ["https_proxy", "all_proxy"])
def test_a_proxy_that_cannot_be_used_is_refused_before_anything_is_sent(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, said: str
) -> None:
    monkeypatch.delenv("https_proxy")
    monkeypatch.setenv(variable, value)
    with pytest.raises(errors.ConfigurationError, match=f"the proxy in {variable} cannot be used: {said}") as caught:
        AiohttpTransport("https://capgo.test", trust_env=True)
    assert "secret" not in str(caught.value)
    assert AiohttpTransport("https://direct.test", trust_env=True)._proxy is None


@pytest.mark.usefixtures("_environment")
async def test_without_trust_the_environment_counts_for_nothing() -> None:
    async with aiohttp.ClientSession() as session:
        assert AiohttpTransport(BASE)._proxy is None
        assert AiohttpTransport(BASE, session=session, trust_env=True)._proxy is None
