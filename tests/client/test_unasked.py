"""Responses that nobody asked for, that have no end, or that say success in other ways."""

import asyncio
import tracemalloc
import zlib

import pytest
from client.test_sockets import KEY, OK, OURS, Received, always, request_of, serving, transport_of
from scripted import ScriptedTransport
from virtual_time import in_virtual_time

from capgo_async import CapgoClient, errors
from capgo_async.http.transport import AiohttpTransport
from capgo_async.http.wire import Response

APP = "com.example.app"
HEAD = b"HTTP/1.1 200 OK\r\n"
MB = 1 << 20


def answer(body: bytes, *headers: bytes) -> bytes:
    return b"\r\n".join([b"HTTP/1.1 200 OK", *headers, b"Content-Length: %d" % len(body), b"", body])


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_what_arrives_on_an_idle_connection_answers_no_request() -> None:
    """A proxy says that an idle connection timed out, or a server sends a response twice."""
    writers: list[asyncio.StreamWriter] = []
    served: list[int] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        connection = len(writers)
        while not reader.at_eof():
            try:
                await reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError:
                break
            served.append(connection)
            writer.write(answer(b'{"connection":%d}' % connection))
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as listening:
        transport = AiohttpTransport(f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}")
        first = await transport.send(request_of("POST"), {})
        again = await transport.send(request_of("POST"), {})
        writers[0].write(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
        await writers[0].drain()
        await asyncio.sleep(0.01)
        third = await transport.send(request_of("POST"), {})
        await transport.aclose()
    assert [each.status for each in (first, again, third)] == [200] * 3
    assert served == [1, 1, 2], "a connection is kept until it says what nobody asked for"


@pytest.mark.parametrize("kind", OURS)
async def test_the_response_to_another_request_of_ours_is_none(kind: str) -> None:
    def second_gets_the_first(request: Received) -> bytes:
        told = b"abc-000001" if len(server.received) == 2 else request.header("x-request-id")[0].encode()
        return answer(b"{}", b"X-Request-Id: " + told)

    async with serving(second_gets_the_first) as server, transport_of(kind, server.url) as transport:
        await transport.send(request_of("POST"), {"X-Request-Id": "abc-000001"})
        with pytest.raises(errors.ConnectionLost, match="abc-000001 instead of abc-000002"):
            await transport.send(request_of("POST"), {"X-Request-Id": "abc-000002"})
        await transport.send(request_of("POST"), {"X-Request-Id": "abc-000003"})
    assert [request.connection for request in server.received] == [1, 1, 2]


@pytest.mark.parametrize("told", ["abd-000001", "7f3e2a", "", "cf-ray-8d"])
@pytest.mark.parametrize("kind", OURS)
async def test_ids_of_others_say_nothing(kind: str, told: str) -> None:
    async with (
        serving(always(answer(b"{}", b"X-Request-Id: " + told.encode()))) as server,
        transport_of(kind, server.url) as transport,
    ):
        assert (await transport.send(request_of("POST"), {"X-Request-Id": "abc-000001"})).status == 200


def packed(megabytes: int) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return b"".join(packer.compress(bytes(MB)) for _ in range(megabytes)) + packer.flush()


BOMB = packed(60)
LARGE = {
    "packed": answer(BOMB, b"Content-Encoding: gzip"),
    "plain": answer(bytes(3 * MB)),
    "in chunks": HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + (b"10000\r\n" + b"x" * 0x10000 + b"\r\n") * 40,
    "until the end": HEAD + b"Connection: close\r\n\r\n" + b" " * 3 * MB,
}


@pytest.mark.parametrize("sent", LARGE.values(), ids=LARGE)
@pytest.mark.parametrize("kind", OURS)
async def test_a_response_that_is_too_large_is_an_error_and_takes_no_memory(kind: str, sent: bytes) -> None:
    async with serving(always(sent)) as server, transport_of(kind, server.url, max_response_bytes=2 * MB) as transport:
        tracemalloc.start()
        try:
            for _ in range(2):
                with pytest.raises(errors.UnreadableAnswer, match=r"larger than 2,097,152 bytes"):
                    await transport.send(request_of("GET"), {})
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert [request.connection for request in server.received] == [1, 2], "such a connection is not used again"
    assert peak < 12 * MB


@pytest.mark.parametrize("kind", OURS)
async def test_a_response_of_the_largest_size_is_read(kind: str) -> None:
    async with (
        serving(always(answer(packed(2), b"Content-Encoding: gzip"))) as server,
        transport_of(kind, server.url, max_response_bytes=2 * MB) as transport,
    ):
        assert len((await transport.send(request_of("GET"), {})).body) == 2 * MB


async def test_a_response_that_is_too_large_leaves_a_write_in_doubt() -> None:
    async with (
        serving(always(OK)) as server,
        CapgoClient(api_key=KEY, base_url=server.url, rate="off", max_response_bytes=3, retries=0) as capgo,
    ):
        with pytest.raises(errors.UnreadableAnswer, match="larger than 3 bytes"):
            await capgo.devices.link(APP, "d", channel="beta")


def test_a_bound_below_one_is_no_bound() -> None:
    with pytest.raises(errors.ConfigurationError, match="max_response_bytes 0"):
        CapgoClient(api_key=KEY, max_response_bytes=0)


WRITES = {
    "created": (201, b'{"status":"ok"}', None),
    "created, in other words": (201, b'{"success": true}', None),
    "no content": (204, b"", None),
    "created, and refused": (201, b'{"status":"KO","error":"no_room"}', errors.InvalidRequest),
    "created, without a word": (201, b"", errors.UnreadableAnswer),
    "accepted for later": (202, b'{"status":"ok"}', errors.UnreadableAnswer),
    "from a cache": (203, b'{"status":"ok"}', errors.UnreadableAnswer),
    "a part": (206, b'{"status":"ok"}', errors.UnreadableAnswer),
}


@pytest.mark.parametrize(("status", "body", "error"), WRITES.values(), ids=WRITES)
@in_virtual_time
async def test_what_counts_as_success_of_a_write(status: int, body: bytes, error: type[Exception] | None) -> None:
    transport = ScriptedTransport(last=Response(status=status, headers={}, body=body))
    capgo = CapgoClient(api_key=KEY, transport=transport, rate="off", retries=0)
    for write in (capgo.devices.unlink(APP, "d"), capgo.devices.link(APP, "d", channel="beta")):
        if error is None:
            await write
        else:
            with pytest.raises(error):
                await write


@in_virtual_time
async def test_a_read_needs_what_it_asked_for() -> None:
    transport = ScriptedTransport(last=Response(status=204, headers={}, body=b""))
    capgo = CapgoClient(api_key=KEY, transport=transport, rate="off", retries=0)
    with pytest.raises(errors.UnreadableAnswer, match="HTTP 204 does not tell"):
        await capgo.apps.get(APP)
