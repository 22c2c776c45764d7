"""Nothing warns of what a program leaves open, in any way of using the client that the README shows, and in worse ones."""

import asyncio
import gc
import logging
import warnings
from collections.abc import Awaitable, Callable, Iterator

import aiohttp
import pytest

from capgo_async import CapgoClient
from capgo_async.testing import Server

kept: list[CapgoClient] = []


@pytest.fixture(autouse=True)
def nothing_old_is_collected() -> Iterator[None]:
    """Let collections look at what is made in the test alone, which takes a tenth of the time."""
    gc.freeze()
    yield
    gc.unfreeze()


async def with_a_block(server: Server) -> None:
    async with server.client() as capgo:
        await capgo.apps.list().all()


async def closed_by_hand(server: Server) -> None:
    capgo = server.client()
    await capgo.apps.list().all()
    await capgo.aclose()


async def never_closed(server: Server) -> None:
    capgo = server.client()
    await capgo.apps.list().all()
    await capgo.devices.link("com.example.app01", "d1", channel="beta")


async def never_used(server: Server) -> None:
    server.client()


async def kept_when_the_loop_ends(server: Server) -> None:
    kept.append(server.client())
    await kept[0].check()


async def let_go_long_before_the_loop_ends(server: Server) -> None:
    await never_closed(server)
    gc.collect()
    for _ in range(20):
        await asyncio.sleep(0)


async def in_a_circle_of_references(server: Server) -> None:
    capgo = server.client()
    await capgo.check()
    capgo.itself = capgo  # type: ignore[attr-defined]


async def leaving_a_listing(server: Server) -> None:
    async for _ in server.client().devices.list("com.example.app01"):
        break


async def cancelled_in_flight(server: Server) -> None:
    calls = [asyncio.create_task(server.client().apps.list().all()) for _ in range(3)]
    await asyncio.sleep(0.01)
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)


async def in_flight_when_the_loop_ends(server: Server) -> None:
    capgo = server.client()
    kept.append(capgo)
    asyncio.create_task(capgo.apps.list().all())  # noqa: RUF006 - left behind, that is the point
    await asyncio.sleep(0)


async def with_another_key(server: Server) -> None:
    await server.client().with_key(server.api_key).apps.list().all()


async def with_other_options(server: Server) -> None:
    await server.client().with_options(timeout=5).apps.list().all()


async def on_a_session_of_the_callers(server: Server) -> None:
    async with aiohttp.ClientSession() as session:
        await server.client(session=session).apps.list().all()


WAYS = [
    with_a_block,
    closed_by_hand,
    never_closed,
    never_used,
    kept_when_the_loop_ends,
    let_go_long_before_the_loop_ends,
    in_a_circle_of_references,
    leaving_a_listing,
    cancelled_in_flight,
    in_flight_when_the_loop_ends,
    with_another_key,
    with_other_options,
    on_a_session_of_the_callers,
]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_nothing_is_left_unclosed(
    way: Callable[[Server], Awaitable[None]], capgo_server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        await way(capgo_server)

    with warnings.catch_warnings(record=True) as caught, caplog.at_level(logging.WARNING):
        warnings.simplefilter("always")
        asyncio.run(main())
        kept.clear()
        gc.collect()
    assert [str(warning.message) for warning in caught] == []
    assert caplog.messages == []


def test_a_client_that_nobody_closes_closes_its_connections() -> None:
    async def main() -> bool:
        ended = asyncio.Event()

        async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            headers = b"Content-Type: application/json\r\nContent-Length: 15"
            writer.write(b"HTTP/1.1 200 OK\r\n%b\r\n\r\n%b" % (headers, b'{"status":"ok"}'))
            await reader.read()
            ended.set()
            writer.close()

        async with await asyncio.start_server(respond, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            capgo = CapgoClient(api_key="0000", base_url=f"http://127.0.0.1:{port}")
            await capgo.check()
            del capgo
            gc.collect()
            for _ in range(100):
                await asyncio.sleep(0)
            return ended.is_set()

    assert asyncio.run(main())
