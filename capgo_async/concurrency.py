"""Concurrency: many things to do, some at a time, and one thing beside another."""

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Sequence
from typing import Any, TypeVar

import anyio

T = TypeVar("T")
U = TypeVar("U")


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


async def results(items: AsyncIterable[T], work: Callable[[T], Awaitable[U]], at_once: int) -> AsyncIterator[U]:
    """Yield what `work` makes of each of `items`, in their order; nothing is under way while one is shown."""
    part: list[T] = []
    async for item in items:
        part.append(item)
        if len(part) == at_once:
            for result in await results_of(part, work, at_once):
                yield result
            part.clear()
    for result in await results_of(part, work, at_once):
        yield result


async def results_of(items: Sequence[T], work: Callable[[T], Awaitable[U]], at_once: int) -> list[U]:
    """Return what `work` makes of each of a few `items`, in their order."""
    found: dict[int, U] = {}

    async def do(place: int) -> None:
        found[place] = await work(items[place])

    await fan_out(range(len(items)), do, at_once)
    return [found[place] for place in range(len(items))]


async def alongside(companion: Callable[[], Coroutine[Any, Any, None]], main: Callable[[], Awaitable[T]]) -> T:
    """Return what `main` returns, or raise what it raises, bare; `companion` ends with it."""
    result: list[T] = []
    failure: Exception | None = None
    async with anyio.create_task_group() as group:
        group.start_soon(companion)
        try:
            result.append(await main())
        except Exception as error:  # noqa: BLE001 - raised below, outside the group, which would wrap it
            failure = error
        group.cancel_scope.cancel()
    if failure is not None:
        raise failure
    return result[0]
