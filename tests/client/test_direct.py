"""The direct way, past aiohttp's session, against the session's own: nobody can tell which one was taken."""

import asyncio
import gzip
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import aiohttp
import anyio
import pytest
from client.test_sockets import KEY, METHODS, NEVER, OK, OURS, Received, always, request_of, serving, transport_of

from capgo_async import errors
from capgo_async.http.direct import release_fits
from capgo_async.http.transport import AiohttpTransport
from capgo_async.http.wire import Request, Response

HEAD = b"HTTP/1.1 200 OK\r\n"
ANSWERS = {
    "an answer": OK,
    "an error": b"HTTP/1.1 429 \r\nRetry-After: 3\r\nDate: now\r\nX-Request-Id: a\r\nContent-Length: 2\r\n\r\n{}",
    "chunks": HEAD + b'Transfer-Encoding: chunked\r\n\r\n5\r\n{"a":\r\n2\r\n1}\r\n0\r\n\r\n',
    "compressed": HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%b" % (len(z := gzip.compress(b"{}")), z),
    "hints before": b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n" + OK,
    "nothing": b"HTTP/1.1 204 No Content\r\n\r\n",
    "an empty body": HEAD + b"Content-Length: 0\r\n\r\n",
    "until the end": HEAD + b"Connection: close\r\n\r\n{}",
    "an older protocol": b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}",
    "two of one header": HEAD + b"X-A: 1\r\nX-A: 2\r\nContent-Length: 2\r\n\r\n{}",
    "a large body": HEAD + b"Content-Length: 1000000\r\n\r\n" + b"x" * 1_000_000,
}


@pytest.mark.parametrize("sent", ANSWERS.values(), ids=ANSWERS)
@pytest.mark.parametrize("method", METHODS)
async def test_both_ways_ask_and_hear_the_same(method: str, sent: bytes) -> None:
    asked: list[list[tuple[int, int, list[str], bytes]]] = []
    heard: list[list[tuple[int, list[tuple[str, str]], bytes]]] = []
    for kind in OURS:
        async with serving(always(sent)) as server, transport_of(kind, server.url + "/under") as transport:
            answers = [await transport.send(request_of(method), {"authorization": KEY, "User-Agent": "a"}) for _ in range(2)]
        heard.append([(answer.status, list(answer.headers.items()), answer.body) for answer in answers])
        heads = [(each, [line for line in each.head.split("\r\n") if "Host:" not in line]) for each in server.received]
        asked.append([(each.connection, each.serial, [head[0], *sorted(head[1:])], each.body) for each, head in heads])

    assert asked[0] == asked[1]
    assert heard[0] == heard[1]
    assert len(asked[0]) == 2


async def test_everybody_gets_an_answer_of_their_own() -> None:
    def echo(request: Received) -> bytes:
        return HEAD + b"Content-Length: %d\r\n\r\n%b" % (len(request.body), request.body)

    async with serving(echo) as server, transport_of("ours", server.url) as transport:

        async def ask(text: str) -> Response:
            return await transport.send(Request(method="POST", path="/device", body=text.encode()), {})

        for _ in range(5):
            answers = await asyncio.gather(*(ask(f"{number} of many") for number in range(20)))
            assert [answer.body.decode() for answer in answers] == [f"{number} of many" for number in range(20)]

    assert server.connections <= 20


@pytest.mark.parametrize("kind", OURS)
async def test_a_connection_whose_answer_nobody_awaits_any_more_is_not_used_again(kind: str) -> None:
    def second_is_silent(_: Received) -> bytes | None:
        return NEVER if len(server.received) == 2 else OK

    async with serving(second_is_silent) as server, transport_of(kind, server.url) as transport:
        await transport.send(request_of("POST"), {})
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:
                group.start_soon(transport.send, request_of("POST"), {})
                while len(server.received) < 2:
                    await anyio.lowlevel.checkpoint()
                scope.cancel()
        await transport.send(request_of("POST"), {})

    assert [(request.connection, request.serial) for request in server.received] == [(1, 1), (1, 2), (2, 1)]


@pytest.mark.parametrize("kind", OURS)
async def test_connecting_for_too_long(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def nobody(*_: object, **__: object) -> None:
        raise TimeoutError

    monkeypatch.setattr(aiohttp.TCPConnector, "_create_connection", nobody)
    async with transport_of(kind, "http://127.0.0.1:1") as transport:
        with pytest.raises(errors.NotConnected, match="Connection timeout to host"):
            await transport.send(request_of("POST"), {})


@pytest.mark.parametrize("kind", OURS)
async def test_no_header_makes_two(kind: str) -> None:
    async with serving(always(OK)) as server, transport_of(kind, server.url) as transport:
        with pytest.raises(errors.ConfigurationError, match="prevents POST /device from being sent"):
            await transport.send(request_of("POST"), {"User-Agent": "a\r\nX-B: b"})

    assert server.received == []


@pytest.mark.parametrize("kind", OURS)
async def test_a_server_that_is_trusted_for_its_certificate(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trusting = _identity(tmp_path)
    here = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    here.load_cert_chain(tmp_path / "certificate", tmp_path / "key")

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (await reader.readline()) != b"\r\n":
            pass
        writer.write(OK)
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0, ssl=here) as listening:
        port = listening.sockets[0].getsockname()[1]
        async with transport_of(kind, f"https://127.0.0.1:{port}") as transport:
            with pytest.raises(errors.NotConnected, match="certificate"):
                await transport.send(request_of("GET"), {})
        monkeypatch.setattr(aiohttp.connector, "_SSL_CONTEXT_VERIFIED", trusting)
        async with transport_of(kind, f"https://127.0.0.1:{port}") as transport:
            assert (await transport.send(request_of("GET"), {})).status == 200


def _identity(directory: Path) -> ssl.SSLContext:
    """Make a key and its certificate, and return what trusts them."""
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=x -days 2"
    files = ("-keyout", directory / "key", "-out", directory / "certificate", "-addext", "subjectAltName=IP:127.0.0.1")
    try:
        subprocess.run([*command.split(), *files], check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("without openssl there is no certificate")
    return ssl.create_default_context(cafile=directory / "certificate")


# When it is not taken


async def passed_by() -> bool:
    """Tell whether a request of a transport passed its session by."""
    seen: list[str] = []
    genuine = aiohttp.ClientRequest.send

    async def send(self: aiohttp.ClientRequest, connection: Any) -> aiohttp.ClientResponse:
        seen.append(self.method)
        return await genuine(self, connection)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(aiohttp.ClientRequest, "send", send)
        async with serving(always(OK)) as server:
            transport = AiohttpTransport(server.url)
            assert (await transport.send(request_of("POST"), {})).body == b'{"status":"ok"}'
            await transport.aclose()
    assert len(server.received) == 1
    return not seen


async def test_it_is_taken() -> None:
    assert await passed_by(), (
        f"with aiohttp {aiohttp.__version__} every request costs a third more: see release_fits in direct.py"
    )


async def test_a_proxy_gets_every_request(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(always(OK)) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.delenv("no_proxy", raising=False)
        transport = AiohttpTransport("http://capgo.invalid", trust_env=True)
        await transport.send(request_of("POST"), {})
        await transport.aclose()

    assert [request.line for request in proxy.received] == ["POST http://capgo.invalid/device HTTP/1.1"]


async def test_traces_see_every_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those who observe programs add a trace to each session as it is made."""
    seen: list[str] = []
    trace = aiohttp.TraceConfig()

    async def note(_session: object, _context: object, told: aiohttp.TraceRequestStartParams) -> None:
        seen.append(told.method)

    trace.on_request_start.append(note)
    make = aiohttp.ClientSession.__init__

    def make_traced(self: aiohttp.ClientSession, *args: Any, **options: Any) -> None:
        make(self, *args, **options, trace_configs=[trace])

    monkeypatch.setattr(aiohttp.ClientSession, "__init__", make_traced)

    assert not await passed_by()
    assert seen == ["POST"]


@pytest.mark.parametrize("when", ["before the first request", "after it"])
async def test_who_stands_in_for_the_session_sees_every_request(when: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    genuine = aiohttp.ClientSession._request

    async def stand_in(self: aiohttp.ClientSession, method: str, *args: Any, **options: Any) -> aiohttp.ClientResponse:
        seen.append(method)
        return await genuine(self, method, *args, **options)

    async with serving(always(OK)) as server, transport_of("ours", server.url) as transport:
        if when == "after it":
            await transport.send(request_of("POST"), {})
        monkeypatch.setattr(aiohttp.ClientSession, "_request", stand_in)
        await transport.send(request_of("POST"), {})

    assert seen == ["POST"]


PATCHED_BEFORE_IMPORT = """
import asyncio, functools, re, sys
import aiohttp
from aioresponses import aioresponses

url, kind = sys.argv[1:]

@functools.wraps(aiohttp.ClientSession._request)
async def wrapper(self, method, *args, **options):
    raise aiohttp.ClientConnectionError("intercepted")

async def main():
    from capgo_async.http.transport import AiohttpTransport
    from capgo_async.http.wire import Request

    transport = AiohttpTransport(url)
    try:
        await transport.send(Request(method="DELETE", path="/device"), {})
    finally:
        await transport.aclose()

if kind == "wrapper":
    aiohttp.ClientSession._request = wrapper
    asyncio.run(main())
else:
    with aioresponses() as mocked:
        mocked.delete(re.compile(".*"), exception=aiohttp.ClientConnectionError("intercepted"))
        asyncio.run(main())
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["wrapper", "mock"])
async def test_who_stands_in_before_the_first_import_sees_every_request(kind: str) -> None:
    async with serving(always(OK)) as server:
        ended = await anyio.run_process([sys.executable, "-c", PATCHED_BEFORE_IMPORT, server.url, kind], check=False)

    assert "ended before the response: intercepted" in ended.stderr.decode()
    assert server.received == []


@pytest.mark.parametrize(
    ("version", "fit"), [("3.11.18", False), ("3.12.0", True), ("3.14.5", True), ("3.15.0", False), ("4.0.0a1", False)]
)
def test_releases_of_aiohttp_that_nobody_tried_are_not_trusted(version: str, *, fit: bool) -> None:
    """Another one may work all the same: add it once all tests of this file pass with it."""
    assert release_fits(version) is fit


async def test_without_an_aiohttp_that_fits_its_session_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("capgo_async.http.transport.fits", lambda _session: False)
    assert not await passed_by()
