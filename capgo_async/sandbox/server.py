"""The sandbox on a real socket, served by aiohttp.web."""

import asyncio
import random
import time
from asyncio import sleep
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from pathlib import Path
from typing import TextIO
from urllib.parse import parse_qsl

import msgspec
from aiohttp import web
from aiohttp.web_protocol import RequestHandler
from anyio.from_thread import start_blocking_portal

from .exchange import Dropped, Incoming, Reply
from .sandbox import Sandbox


class Keeping(msgspec.Struct, frozen=True, kw_only=True):
    """How many responses a connection carries before the server closes it; `None` for no limit.

    With `announced`, the last response says `Connection: close`. Otherwise the connection is closed without notice, as by a
    server with an idle timeout.
    """

    answers: int | None = None
    announced: bool = True


class Serving:
    """A running server: its address, and the number of connections that it accepted."""

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        self.port = port
        self.connections = 0

    @property
    def base_url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    def __str__(self) -> str:
        return self.base_url


@asynccontextmanager
async def serve(  # noqa: PLR0913 -- six knobs, each with a default
    sandbox: Sandbox,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    keeping: Keeping | None = None,
    log_file: Path | None = None,
    seed: int = 0,
) -> AsyncIterator[Serving]:
    """Serve a sandbox until the block ends; then requests in progress are answered first.

    With `port` 0 the system picks a free one. `seed` makes random faults repeatable. `log_file` gets a line of JSON for each
    request.
    """
    with nullcontext() if log_file is None else log_file.open("a", encoding="utf-8") as log:
        face = _Face(sandbox, keeping or Keeping(), random.Random(seed), log)  # noqa: S311 -- faults, no secrets
        server = web.Server(face.handle)
        serving = Serving(host, port)
        loop = asyncio.get_running_loop()

        def accept() -> _Connection:
            serving.connections += 1
            return _Connection(server, loop=loop)

        listening = await loop.create_server(accept, host, port)
        serving.port = listening.sockets[0].getsockname()[1]
        try:
            yield serving
        finally:
            listening.close()
            await server.shutdown(timeout=5)
            await listening.wait_closed()


@contextmanager
def serve_from_thread(sandbox: Sandbox, *, seed: int = 0) -> Iterator[Serving]:
    """Serve a sandbox as `serve` does, from a thread of its own, for callers that block."""
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(serve(sandbox, seed=seed)) as serving:
        yield serving


class _Connection(RequestHandler):
    """A connection of aiohttp that counts its responses."""

    answers = 0


class _Face:
    """Translates aiohttp's requests into values, and replies into bytes; writes the access log to a file."""

    def __init__(self, sandbox: Sandbox, keeping: Keeping, chance: random.Random, log: TextIO | None) -> None:
        self._sandbox = sandbox
        self._keeping = keeping
        self._chance = chance
        self._log = log

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        incoming = await _incoming(request)
        arrival = self._sandbox.arrive(incoming, time.time(), self._chance)
        if arrival.fault.latency > 0:
            await sleep(arrival.fault.latency)
        logged = self._sandbox.answered
        outcome = self._sandbox.answer(arrival, time.time())
        if self._log is not None and self._sandbox.answered > logged:  # questions about the sandbox are not logged
            self._log.write(msgspec.json.encode(self._sandbox.log[-1]).decode() + "\n")
            self._log.flush()
        if isinstance(outcome, Dropped):
            if request.transport is not None:
                request.transport.abort()
            return web.Response()
        return await self._send(request, outcome)

    async def _send(self, request: web.BaseRequest, reply: Reply) -> web.StreamResponse:
        response = web.Response(status=reply.status, headers=reply.headers, body=reply.body)
        connection = request.protocol
        if self._keeping.answers is None or not isinstance(connection, _Connection):
            return response
        connection.answers += 1
        if connection.answers < self._keeping.answers:
            return response
        if self._keeping.announced:
            response.force_close()
            return response
        await response.prepare(request)
        await response.write_eof()
        if request.transport is not None:
            request.transport.close()
        return response


async def _incoming(request: web.BaseRequest) -> Incoming:
    path, _, query = request.raw_path.partition("?")
    peer = request.transport.get_extra_info("peername") if request.transport is not None else None
    return Incoming(
        method=request.method,
        path=path,
        query=tuple(parse_qsl(query, keep_blank_values=True)),
        headers={name.lower(): value for name, value in request.headers.items()},
        body=await request.read() if request.can_read_body else b"",
        address=peer[0] if peer else "",
    )
