"""Virtual time on loops that somebody else has made."""

import asyncio
import threading
from collections.abc import Awaitable, Callable

import anyio
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from capgo_async.testing import VirtualClock, virtual_time


async def test_an_hour_passes_at_once_and_is_seen_by_the_clock(capgo_clock: VirtualClock) -> None:
    await asyncio.sleep(3600)
    assert capgo_clock.now == pytest.approx(3600)
    await capgo_clock.advance(60)
    assert capgo_clock.now == pytest.approx(3660)


async def test_timers_come_in_their_order(capgo_clock: VirtualClock) -> None:
    seen: list[tuple[str, int]] = []

    async def note(name: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        seen.append((name, round(capgo_clock.now)))

    async with anyio.create_task_group() as group:
        for name, seconds in (("late", 7200.0), ("early", 60.0), ("between", 61.0)):
            group.start_soon(note, name, seconds)
    assert seen == [("early", 60), ("between", 61), ("late", 7200)]


async def test_a_timeout_expires(capgo_clock: VirtualClock) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(300):
            await asyncio.Event().wait()
    assert capgo_clock.now == pytest.approx(300)


async def test_the_clock_stands_still_while_a_thread_works(capgo_clock: VirtualClock) -> None:
    waiting, going_on = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def work() -> str:
        loop.call_soon_threadsafe(waiting.set)
        going_on.wait()
        return "done"

    async def let_go_on() -> None:
        await waiting.wait()
        going_on.set()

    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        group.create_task(let_go_on())
        assert await asyncio.to_thread(work) == "done"
    assert capgo_clock.now == 0


async def test_sockets_of_the_same_process_are_quicker_than_timers(capgo_clock: VirtualClock) -> None:
    async def answer(_request: web.Request) -> web.Response:
        await asyncio.sleep(100)
        return web.Response(text="after a while")

    app = web.Application()
    app.router.add_get("/", answer)
    async with TestClient(TestServer(app)) as client:
        for _ in range(3):
            async with client.get("/") as response:  # aiohttp gives up after 300 s
                assert await response.text() == "after a while"
    assert 300 <= capgo_clock.now < 600


def test_the_loop_that_runs_already_is_taken_over_and_given_back() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        before = loop.time()
        with virtual_time() as clock:
            await asyncio.sleep(3600)
            clock.check()
        assert loop.time() >= before + 3600  # no clock goes backwards
        with pytest.raises(RuntimeError, match="needs an event loop of asyncio itself"):
            clock.check()
        assert await asyncio.to_thread(lambda: 7) == 7
        await asyncio.sleep(0)

    asyncio.run(main())


def test_loops_made_later_and_threads_used_in_them_end_without_a_wait() -> None:
    async def main() -> int:
        await asyncio.sleep(3600)
        return await asyncio.to_thread(lambda: 7)

    with virtual_time() as clock:
        assert [asyncio.run(main()) for _ in range(2)] == [7, 7]
        assert clock.now == pytest.approx(7200)


def test_a_loop_that_lives_longer_goes_on_in_real_time() -> None:
    with asyncio.Runner() as runner:
        runner.run(asyncio.sleep(0))
        with virtual_time() as clock:
            runner.run(asyncio.sleep(3600))
            assert clock.now == pytest.approx(3600)
        assert runner.run(elapsed(lambda: asyncio.sleep(0.001))) < 3600


async def elapsed(work: Callable[[], Awaitable[object]]) -> float:
    began = asyncio.get_running_loop().time()
    await work()
    return asyncio.get_running_loop().time() - began


def test_loops_of_other_threads_keep_their_own_time() -> None:
    found: list[float] = []
    with virtual_time() as clock:
        thread = threading.Thread(target=lambda: found.append(asyncio.run(elapsed(lambda: asyncio.sleep(0.001)))))
        thread.start()
        thread.join()
        assert clock.now == 0
    assert found[0] >= 0.001


def test_one_clock_holds_a_loop() -> None:
    async def main() -> tuple[float, float]:
        with virtual_time() as outer, virtual_time() as inner:
            await asyncio.sleep(60)
            return round(outer.now), inner.now

    assert asyncio.run(main()) == (60, 0)


def test_without_a_loop_it_says_what_it_needs() -> None:
    with virtual_time() as clock, pytest.raises(RuntimeError, match="no loop of asyncio"):
        clock.check()
