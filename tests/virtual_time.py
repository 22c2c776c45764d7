"""Tests in virtual time."""

import functools
from collections.abc import Awaitable, Callable
from typing import ParamSpec

from capgo_async.sandbox.virtual_time import run_in_virtual_time

P = ParamSpec("P")


def in_virtual_time(test: Callable[P, Awaitable[None]]) -> Callable[P, None]:
    """Make a test of a coroutine function, run on a virtual loop."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        async def main() -> None:
            await test(*args, **kwargs)

        run_in_virtual_time(main())

    return run
