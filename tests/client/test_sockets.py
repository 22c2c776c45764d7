"""The adapter to aiohttp against servers on real sockets that do what servers and networks do."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

import aiohttp
import pytest

from capgo_async import CapgoClient, errors
from capgo_async.http.deadlines import Timed
from capgo_async.http.transport import AiohttpTransport
from capgo_async.http.wire import Request

KEY = "9f86d081-884c-4d65-9a2f-eaa0c55ad015"
OK = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 15\r\n\r\n{"status":"ok"}'
CLOSE = b""
"""Close the connection instead of answering."""
NEVER = None
"""Keep the connection and do not answer."""


@dataclass
class Received:
    """One request as it arrived: on which connection, and which of its requests it was."""

    connection: int
    serial: int
    head: str
    body: bytes

    @property
    def line(self) -> str:
        return self.head.partition("\r\n")[0]

    def header(self, name: str) -> list[str]:
        lines = [line.partition(":") for line in self.head.split("\r\n")[1:]]
        return [value.strip() for found, _, value in lines if found.lower() == name]


Script = Callable[[Received], bytes | None]


@dataclass
class Server:
    script: Script
    url: str = ""
    received: list[Received] = field(default_factory=list)
    connections: int = 0
    silence: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        connection, serial = self.connections, 0
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                serial += 1
                request = Received(connection, serial, head, b"")
                if length := request.header("content-length"):
                    request.body = await reader.readexactly(int(length[0]))
                self.received.append(request)
                answer = self.script(request)
                if answer is NEVER:
                    await self.silence.wait()
                if not answer:
                    break
                writer.write(answer)
                await writer.drain()
                if b"Connection: close" in answer:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.ended.set()
            writer.close()


@asynccontextmanager
async def serving(script: Script) -> AsyncIterator[Server]:
    server = Server(script)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    try:
        yield server
    finally:
        listening.close()
        server.silence.set()
        await listening.wait_closed()
        # Let each connection see its end before the loop closes.
        for _ in range(10):
            await asyncio.sleep(0)


def always(answer: bytes | None) -> Script:
    return lambda _: answer


def second_request_kills_the_connection(request: Received) -> bytes:
    return OK if request.serial == 1 else CLOSE


seen_by_own_middleware: list[str] = []


async def own_middleware(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    seen_by_own_middleware.append(request.method)
    request.headers["X-Own"] = "yes"
    return await handler(request)


@asynccontextmanager
async def transport_of(kind: str, url: str, **options: Any) -> AsyncIterator[AiohttpTransport]:
    seen_by_own_middleware.clear()
    if kind in OURS:
        with pytest.MonkeyPatch.context() as patched:
            if kind != "ours":
                patched.setattr("capgo_async.http.transport.fits", lambda _session: False)
            transport = AiohttpTransport(url, **options)
            yield transport
            await transport.aclose()
        return
    middlewares = (own_middleware,) if "middleware" in kind else ()
    async with aiohttp.ClientSession(middlewares=middlewares) as session:
        transport = AiohttpTransport(url, session=session, **options)
        yield transport
        await transport.aclose()
        assert not session.closed


OURS = ["ours", "ours, by way of aiohttp's session"]
KINDS = [*OURS, "the caller's", "the caller's with a middleware"]
METHODS = ["GET", "PUT", "DELETE", "POST"]


def request_of(method: str) -> Request:
    return Request(method=method, path="/device", body=b"{}" if method in {"PUT", "POST"} else None)


# (a) Nobody resends behind our back


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_aiohttp_by_itself_resends_on_a_dead_connection(method: str) -> None:
    """The trap is there: if this fails, aiohttp has changed and the guard may go."""
    async with serving(second_request_kills_the_connection) as server, aiohttp.ClientSession() as session:
        for _ in range(2):
            async with session.request(method, f"{server.url}/device") as answer:
                await answer.read()

    assert len(server.received) == 3


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", METHODS)
async def test_a_request_on_a_dead_connection_is_sent_once(method: str, kind: str) -> None:
    async with serving(second_request_kills_the_connection) as server, transport_of(kind, server.url) as transport:
        await transport.send(request_of(method), {})
        with pytest.raises(errors.ConnectionLost) as caught:
            await transport.send(request_of(method), {})

    assert type(caught.value) is errors.ConnectionLost
    assert [(request.connection, request.serial) for request in server.received] == [(1, 1), (1, 2)]
    if "middleware" in kind:
        assert seen_by_own_middleware == [method, method]
        assert [request.header("x-own") for request in server.received] == [["yes"], ["yes"]]


# (b) Redirects


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("kind", OURS)
async def test_the_key_does_not_travel(kind: str, status: int) -> None:
    async with serving(always(OK)) as elsewhere:
        location = f"Location: {elsewhere.url}/device\r\nContent-Length: 0\r\n\r\n"
        redirect = f"HTTP/1.1 {status} Moved\r\n{location}".encode()
        async with serving(always(redirect)) as server, transport_of(kind, server.url) as transport:
            for sent, method in enumerate(METHODS, 1):
                answer = await transport.send(request_of(method), {"authorization": KEY})
                assert (answer.status, len(server.received)) == (status, sent), method

    assert elsewhere.received == []


async def test_a_redirect_is_explained() -> None:
    redirect = b"HTTP/1.1 301 Moved\r\nLocation: https://elsewhere.test/\r\nContent-Length: 0\r\n\r\n"
    async with serving(always(redirect)) as server, CapgoClient(api_key=KEY, base_url=server.url, rate="off") as capgo:
        with pytest.raises(errors.InvalidRequest, match="check the base URL"):
            await capgo.apps.get("com.example.app")

    assert len(server.received) == 1


# (c) Fresh connections


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", METHODS)
async def test_a_fresh_request_uses_a_connection_of_its_own(method: str, kind: str) -> None:
    async with serving(always(OK)) as server, transport_of(kind, server.url) as transport:
        for fresh in (False, False, True, True, False):
            await transport.send(request_of(method), {}, fresh=fresh)

    assert [(request.connection, request.serial) for request in server.received] == [(1, 1), (1, 2), (2, 1), (3, 1), (1, 3)]
    assert [request.header("connection") for request in server.received] == [[], [], ["close"], ["close"], []]
    assert all(request.header("x-connection") == [] for request in server.received)
    if "middleware" in kind:
        assert seen_by_own_middleware == [method] * 5


@pytest.mark.parametrize("method", METHODS)
async def test_a_fresh_request_is_sent_once_too(method: str) -> None:
    async with serving(always(CLOSE)) as server, transport_of("ours", server.url) as transport:
        with pytest.raises(errors.ConnectionLost):
            await transport.send(request_of(method), {}, fresh=True)

    assert len(server.received) == 1


@pytest.mark.parametrize("kind", KINDS)
async def test_queries_are_encoded_in_full(kind: str) -> None:
    query = (("cursor", "2026-07-01T10:20:30.1+00:00|a b"), ("channel", "é&=%/?#"), ("empty", ""))
    async with serving(always(OK)) as server, transport_of(kind, server.url) as transport:
        await transport.send(Request(method="GET", path="/device", query=query), {})

    _, target, _ = server.received[0].line.split(" ")
    assert target == "/device?cursor=2026-07-01T10%3A20%3A30.1%2B00%3A00%7Ca%20b&channel=%C3%A9%26%3D%25%2F%3F%23&empty="
    assert parse_qsl(target.partition("?")[2], keep_blank_values=True) == [*query]


# (d) Whose session is closed


async def test_our_session_is_closed_and_the_caller_s_is_not() -> None:
    async with serving(always(OK)) as server:
        async with CapgoClient(api_key=KEY, base_url=server.url, rate="off") as capgo:
            await capgo.check()
            assert not server.ended.is_set()
        await server.ended.wait()

        async with aiohttp.ClientSession() as session:
            async with CapgoClient(api_key=KEY, base_url=server.url, rate="off", session=session) as capgo:
                await capgo.check()
            assert not session.closed


async def test_a_client_that_sent_nothing_has_nothing_to_close() -> None:
    async with CapgoClient(api_key=KEY, base_url="https://capgo.test"):
        pass


# (e) What networks do


@pytest.mark.parametrize("kind", [*OURS, "the caller's"])
async def test_nobody_listens(kind: str) -> None:
    async with serving(always(OK)) as server:
        pass
    async with transport_of(kind, server.url) as transport:
        with pytest.raises(errors.NotConnected, match=f"cannot connect to {server.url}"):
            await transport.send(request_of("GET"), {})


@pytest.mark.parametrize("kind", OURS)
async def test_nobody_speaks_tls(kind: str) -> None:
    async def greet(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(OK)
        writer.close()

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        async with transport_of(kind, f"https://127.0.0.1:{port}") as transport:
            with pytest.raises(errors.NotConnected) as caught:
                await transport.send(request_of("GET"), {})

    assert isinstance(caught.value.__cause__, aiohttp.ClientConnectorError)


@pytest.mark.parametrize("kind", [*OURS, "the caller's"])
async def test_nobody_answers(kind: str) -> None:
    async with serving(always(NEVER)) as server, transport_of(kind, server.url) as transport:
        with pytest.raises(errors.TimedOut, match=r"within 0\.2 s"):
            await Timed(transport, 0.2, server.url).send(request_of("GET"), {})

    assert len(server.received) == 1


LOST = {
    "no answer": CLOSE,
    "half a body": b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\nConnection: close\r\n\r\n{",
    "half a chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n5\r\nab",
    "bad chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\nzz\r\nab\r\n0\r\n\r\n",
    "bad compression": b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\nConnection: close\r\n\r\nabcd",
    "half a head": b"HTTP/1.1 200 OK\r\nConnection: close\r\n",
    "garbage": b"\x16\x03\x01 what\r\n\r\nConnection: close",
    "another protocol": b"220 mail.test ESMTP\r\nConnection: close\r\n\r\n",
    "no status": b"HTTP/1.1 yes\r\nConnection: close\r\n\r\n",
}


@pytest.mark.parametrize("answer", LOST.values(), ids=LOST)
@pytest.mark.parametrize("kind", OURS)
async def test_an_answer_that_breaks_off_or_is_none(kind: str, answer: bytes) -> None:
    async with serving(always(answer)) as server, transport_of(kind, server.url) as transport:
        for sent, method in enumerate(METHODS, 1):
            with pytest.raises(errors.ConnectionLost) as caught:
                await transport.send(request_of(method), {"authorization": KEY})
            assert len(server.received) == sent, method
            assert_lost_without_the_key(caught.value)


def assert_lost_without_the_key(lost: BaseException) -> None:
    assert type(lost) is errors.ConnectionLost
    error: BaseException | None = lost
    while error is not None:
        assert KEY not in repr(error) + str(error) + repr(vars(error))
        error = error.__cause__ or error.__context__


# What arrives


async def test_what_arrives_at_the_server() -> None:
    async with serving(always(OK)) as server:
        async with CapgoClient(api_key=KEY, base_url=f"{server.url}/functions/v1", rate="off") as capgo:
            await capgo.devices.link("com.example.app", "ABC", channel="béta")
            await capgo.devices.unlink("com.example.app", "a +|:é")
            await capgo.check()
        link, unlink, health = server.received

    assert link.line == "POST /functions/v1/device HTTP/1.1"
    assert link.body == '{"app_id":"com.example.app","device_id":"abc","channel":"béta"}'.encode()
    assert link.header("content-type") == ["application/json"]
    assert unlink.line == "DELETE /functions/v1/device?app_id=com.example.app&device_id=a%20%2B%7C%3A%C3%A9 HTTP/1.1"
    assert (unlink.body, unlink.header("content-type")) == (b"", [])
    for request in (link, unlink):
        assert request.header("authorization") == [KEY]
        assert request.header("capgkey") + request.header("x-api-key") == []
        assert len(request.header("x-request-id")) == 1
        assert request.header("user-agent")[0].startswith("capgo-async/")
    assert health.line == "GET /functions/v1/ok HTTP/1.1"
    assert health.header("authorization") == []


@pytest.mark.parametrize("kind", OURS)
async def test_cookies_of_the_server_are_not_kept(kind: str) -> None:
    cookie = OK.replace(b"\r\n", b"\r\nSet-Cookie: a=b\r\n", 1)
    async with serving(always(cookie)) as server, transport_of(kind, server.url) as transport:
        for _ in range(2):
            await transport.send(request_of("GET"), {})

    assert [request.header("cookie") for request in server.received] == [[], []]
