"""Closing the session of a client that its program does not close.

aiohttp warns of a session that is collected unclosed, and a session can only be closed in its event loop.
"""

import asyncio
import weakref
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import aiohttp

_open: Final[dict["aiohttp.ClientSession", AsyncGenerator[None]]] = {}
"""Keeps sessions, and what will close them, until they are closed."""


async def close_in_the_end(session: "aiohttp.ClientSession", owner: object) -> None:
    """Close `session` once `owner` is collected, or else when the running event loop ends."""
    turn = asyncio.Lock()
    closing = _open[session] = _closing(session, turn)
    # Before a loop ends, asyncio closes the asynchronous generators that were begun in it.
    await anext(closing)
    weakref.finalize(owner, _close_soon, asyncio.get_running_loop(), session, turn).atexit = False


async def _closing(session: "aiohttp.ClientSession", turn: asyncio.Lock) -> AsyncGenerator[None]:
    try:
        yield
    finally:
        await _close(session, turn)


def _close_soon(loop: asyncio.AbstractEventLoop, session: "aiohttp.ClientSession", turn: asyncio.Lock) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(lambda: loop.create_task(_close(session, turn)))


async def _close(session: "aiohttp.ClientSession", turn: asyncio.Lock) -> None:
    async with turn:  # the loop does not end before the session is closed
        await session.close()
    _open.pop(session, None)
