"""Fan-out: many things to do, some at a time."""

from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

import anyio

T = TypeVar("T")


async def fan_out(items: Iterable[T], work: Callable[[T], Awaitable[object]], at_once: int) -> None:
    """Do `work` for each of `items`, `at_once` at a time, taken as they are needed.

    The first failure ends what is under way, and is raised bare: as if one had been done after the other.
    """
    waiting = iter(items)
    failures: list[Exception] = []
    async with anyio.create_task_group() as group:

        async def go_on() -> None:
            try:
                for item in waiting:
                    await work(item)
            except Exception as error:  # noqa: BLE001 - raised below
                failures.append(error)
                group.cancel_scope.cancel()

        for _ in range(at_once):
            group.start_soon(go_on)
    if failures:
        raise failures[0]
