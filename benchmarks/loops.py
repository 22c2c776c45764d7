"""The event loops to compare."""

import asyncio
from importlib.util import find_spec
from typing import Final

LOOPS: Final = ("asyncio", "uvloop")


def runner(loop: str) -> asyncio.Runner:
    """Return a runner for the event loop of this name."""
    if loop == "asyncio":
        return asyncio.Runner()
    import uvloop  # noqa: PLC0415 - an extra

    return asyncio.Runner(loop_factory=uvloop.new_event_loop)


def has_uvloop() -> bool:
    """Return whether the extra `speed` is installed."""
    return find_spec("uvloop") is not None
