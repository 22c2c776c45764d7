"""Serves the page about a job on this machine, and reads the job again while another process runs it.

The job is only read, so its run pays nothing. Who watches pays at most a twentieth of a processor core.
"""

import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio
from aiohttp import web

from ...bulk import Job
from ...bulk.picture import Picture
from ...errors import ConfigurationError
from ...pages.history import is_under_way
from .drawing import html_of

if TYPE_CHECKING:
    from ...pages.page import Charts

ADDRESS: Final = "127.0.0.1"
_EVERY: Final = 5.0
"""Seconds between two readings of the numbers."""
_CHARTS_EVERY: Final = 60.0
_SHARE_OF_NUMBERS: Final = 0.03
"""The part of a core that the numbers may take: those of a very large job are read less often."""
_SHARE_OF_CHARTS: Final = 0.015
LINGERS: Final = 600.0
"""Seconds for which the last page waits to be fetched."""
_HEADERS: Final = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff"}


class Board:
    """The page as it is now. `fetched` is set when somebody gets the last one."""

    def __init__(self) -> None:
        self.html = ""
        self.fetched = anyio.Event()
        self._last = False

    def put(self, html: str, *, last: bool) -> None:
        """Replace the page."""
        self.html, self._last = html, last

    def get(self) -> str:
        """Return the page for somebody who asked for it."""
        if self._last:
            self.fetched.set()
        return self.html


@contextlib.asynccontextmanager
async def served(board: Board, port: int) -> AsyncIterator[str]:
    """Serve the page on loopback and yield its address, which holds a secret.

    With port 0, a free port is taken. Raises `ConfigurationError` if the port is taken.
    """
    path = f"/{secrets.token_urlsafe(16)}/"
    hosts: set[str] = set()

    async def answer(request: web.BaseRequest) -> web.Response:
        # Another name for this address would let a web site of that name read the page (DNS rebinding).
        if request.host not in hosts:
            return web.Response(status=403, text="this page is served for this machine only", headers=_HEADERS)
        if not secrets.compare_digest(request.path.encode(), path.encode()):
            return web.Response(status=404, text="not found", headers=_HEADERS)
        if request.method not in {"GET", "HEAD"}:
            return web.Response(status=405, text="read only", headers=_HEADERS)
        return web.Response(text=board.get(), content_type="text/html", headers=_HEADERS)

    runner = web.ServerRunner(web.Server(answer, access_log=None))
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, ADDRESS, port).start()
        except OSError as error:
            message = f"cannot listen on port {port}: {error.strerror or error}. Choose another --port, or leave it out"
            raise ConfigurationError(message) from error
        _, port = runner.addresses[0][:2]
        hosts |= {f"{ADDRESS}:{port}", f"localhost:{port}"}
        yield f"http://{ADDRESS}:{port}{path}"
    finally:
        await runner.cleanup()


async def follow(path: Path, board: Board, draw: Callable[[Picture], Awaitable["Charts"]]) -> None:
    """Keep the page up to date until the job is over, or the run that is under way has ended."""
    charts: Charts = {}
    picture: Picture | None = None
    drawn_until, ran = -_CHARTS_EVERY, False
    while True:
        began, drawing = time.process_time(), 0.0
        async with await Job.open(path, read_only=True) as job:
            picture = await job.picture(picture)
        under_way = is_under_way(picture.activity)
        last = not under_way and (ran or not picture.report.pending)
        if last or anyio.current_time() >= drawn_until:
            before = time.process_time()
            charts = await draw(picture)
            drawing = time.process_time() - before
            drawn_until = anyio.current_time() + max(_CHARTS_EVERY, drawing / _SHARE_OF_CHARTS)
        board.put(html_of(picture, charts, refresh=None if last else round(_EVERY)), last=last)
        if last:
            return
        ran = ran or under_way
        await anyio.sleep(max(_EVERY, (time.process_time() - began - drawing) / _SHARE_OF_NUMBERS))


async def linger(board: Board) -> None:
    """Wait until somebody has fetched the last page, but not for ever."""
    with anyio.move_on_after(LINGERS):
        await board.fetched.wait()
