"""Running many things, a few at a time."""

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Sequence
from typing import Any, TypeVar

import anyio

T = TypeVar("T")
U = TypeVar("U")


async def fan_out(items: Iterable[T], work: Callable[[T], Awaitable[object]], at_once: int) -> None:
    """Call `work` with each of `items`, up to `at_once` at a time; items are taken when they are needed.

    The first failure cancels the others and is raised as it is, not in an exception group.
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
    """Yield the result of `work` for each of `items`, in order; nothing runs while a result is yielded."""
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
    """Return the results of `work` for a few `items`, in order."""
    found: dict[int, U] = {}

    async def do(place: int) -> None:
        found[place] = await work(items[place])

    await fan_out(range(len(items)), do, at_once)
    return [found[place] for place in range(len(items))]


async def alongside(companion: Callable[[], Coroutine[Any, Any, None]], main: Callable[[], Awaitable[T]]) -> T:
    """Await `main` while `companion` runs, and return its result; `companion` is cancelled at its end."""
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
