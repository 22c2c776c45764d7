"""The virtual loop itself: the tests of waiting rest on it."""

import asyncio
import contextlib
import threading
from selectors import BaseSelector
from typing import Any, cast

import anyio
import pytest
from virtual_time import in_virtual_time

from capgo_async.sandbox.virtual_time import JumpingSelector, VirtualTimeLoop, run_in_virtual_time


@in_virtual_time
async def test_an_hour_passes_at_once() -> None:
    await anyio.sleep(3600)
    assert anyio.current_time() == pytest.approx(3600)


class Impatient(VirtualTimeLoop):
    patience = 0.0


def test_a_deadlock_is_an_error_and_no_hang() -> None:
    with pytest.raises(RuntimeError, match="deadlock"):
        run_in_virtual_time(anyio.Event().wait(), Impatient)


class OfWindows:
    """A selector that does not tell what it watches."""

    def select(self, timeout: float) -> list[Any]:
        return ["late"] if timeout else []


def test_a_loop_that_may_watch_files_gives_them_a_moment() -> None:
    asked: list[bool] = []

    class Clock(VirtualTimeLoop):
        def lull(self, *, watches_files: bool) -> float:
            asked.append(watches_files)
            return 0.001

    with contextlib.closing(Clock()) as clock:
        events: list[Any] = JumpingSelector(cast("BaseSelector", OfWindows()), clock).select(3600.0)
    assert events == ["late"]
    assert (asked, clock.now) == ([True], 0.0)


def test_thread_calls_are_made_in_the_loops_own_thread() -> None:
    async def main() -> tuple[int, str]:
        loop = asyncio.get_running_loop()
        called_in = await loop.run_in_executor(None, threading.get_ident)
        with pytest.raises(ZeroDivisionError):
            await loop.run_in_executor(None, lambda: 1 // 0)
        await anyio.sleep(3600)
        return called_in, f"{anyio.current_time():.0f}"

    assert run_in_virtual_time(main()) == (threading.get_ident(), "3600")
