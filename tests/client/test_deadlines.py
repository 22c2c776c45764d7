"""One timer for all attempts, and each still has its own time."""

import asyncio
from typing import cast

import aiohttp
import anyio
import pytest
from virtual_time import in_virtual_time

from capgo_async import errors
from capgo_async.http.deadlines import Timed
from capgo_async.http.transport import AiohttpTransport
from capgo_async.http.wire import Request

GET = Request(method="GET", path="/ok")


class Answer:
    status = 200
    headers: dict[str, str] = {}  # noqa: RUF012 - a double

    def __init__(self) -> None:
        self.left = [b"{}", b""]

    @property
    def content(self) -> "Answer":
        return self

    async def readany(self) -> bytes:
        return self.left.pop(0)


class SlowSession:
    """A session that takes so many seconds for each request."""

    closed = False

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    async def request(self, *_: object, **__: object) -> Answer:
        await asyncio.sleep(self.seconds)
        return Answer()


def transport(seconds: float) -> tuple[Timed, SlowSession]:
    session = SlowSession(seconds)
    url = "http://127.0.0.1:1"
    return Timed(AiohttpTransport(url, session=cast("aiohttp.ClientSession", session)), 7.0, url), session


async def ended_at(carrier: Timed) -> float:
    with pytest.raises(errors.TimedOut, match=r"within 7\.0 s"):
        await carrier.send(GET, {})
    return asyncio.get_running_loop().time()


@in_virtual_time
async def test_each_attempt_has_its_own_time() -> None:
    carrier, _ = transport(100)

    async def begun_at(at: float) -> float:
        await asyncio.sleep(at)
        return await ended_at(carrier)

    ended = await asyncio.gather(begun_at(0), begun_at(0), begun_at(3), begun_at(20))

    assert tuple(ended) == (7, 7, 10, 27)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


@in_virtual_time
async def test_an_answer_in_time_leaves_nothing_behind_for_the_next_attempt() -> None:
    carrier, session = transport(6.9)

    assert (await carrier.send(GET, {})).status == 200
    session.seconds = 100

    assert await ended_at(carrier) == pytest.approx(13.9)


@in_virtual_time
async def test_a_scope_around_an_attempt_ends_it_as_a_cancellation() -> None:
    carrier, _ = transport(100)

    with anyio.move_on_after(3) as scope:
        await carrier.send(GET, {})

    assert scope.cancelled_caught
    assert asyncio.get_running_loop().time() == 3
    assert await ended_at(carrier) == 10


@in_virtual_time
async def test_who_cancels_in_the_same_moment_gets_the_cancellation() -> None:
    carrier, _ = transport(100)
    task = asyncio.create_task(carrier.send(GET, {}))
    asyncio.get_running_loop().call_at(7, task.cancel)

    with pytest.raises(asyncio.CancelledError):
        await task


@in_virtual_time
async def test_closing_stops_the_timer() -> None:
    carrier, _ = transport(1)

    await carrier.send(GET, {})
    await carrier.aclose()

    loop = asyncio.get_running_loop()
    assert loop.time() == 1
    assert all(timer.cancelled() for timer in vars(loop)["_scheduled"])
