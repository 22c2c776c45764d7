"""Run one thing while another accompanies it."""

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import anyio

T = TypeVar("T")


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
