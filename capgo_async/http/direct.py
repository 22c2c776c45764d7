"""Requests over aiohttp's connections without its session, which takes most of their CPU time.

The connection pool, TLS, the writer and the parser are aiohttp's. Nothing here resends a request or follows a redirect.
"""

import asyncio
from collections.abc import Mapping
from types import FunctionType
from typing import Final
from weakref import WeakSet

import aiohttp
from aiohttp import http
from aiohttp.connector import Connection
from yarl import URL

from ..errors import ConnectionLost, UnreadableAnswer
from .wire import Response


class Direct:
    """Sends requests over the connector of `session`, and ignores the session's own settings."""

    def __init__(self, session: aiohttp.ClientSession, base_url: str, timeout: aiohttp.ClientTimeout, most_bytes: int) -> None:
        assert session.connector is not None  # noqa: S101 - the session is open
        self._connector = session.connector
        self._timeout = timeout
        self._most_bytes = most_bytes
        self._loop = asyncio.get_running_loop()
        self._used: WeakSet[asyncio.BaseProtocol] = WeakSet()
        # One request stands for all: they have the same host and the same default headers.
        self._any = aiohttp.ClientRequest("GET", URL(base_url, encoded=True), loop=self._loop, session=session)
        self._headers = dict(self._any.headers)

    async def exchange(self, method: str, url: URL, headers: Mapping[str, str], body: bytes | None) -> Response:
        """Send one request and return its response.

        Raises the exceptions of aiohttp, and those of `check_asked` and `whole`.
        """
        sent = {**self._headers, **headers}
        if body is not None:
            sent["Content-Length"], sent["Content-Type"] = str(len(body)), "application/json"
        elif method != "GET":
            sent["Content-Length"] = "0"
        connection = await self._connect()
        try:
            protocol = connection.protocol
            assert protocol is not None  # noqa: S101 - set until the connection is released
            protocol.set_response_params(read_until_eof=True)
            writer = http.StreamWriter(protocol, self._loop)
            await writer.write_headers(f"{method} {url.raw_path_qs} HTTP/1.1", sent)  # type: ignore[arg-type]  # any mapping
            await writer.write_eof(body or b"")
            head, content = await protocol.read()
            while 100 <= head.code < 200 and head.code != 101:  # noqa: PLR2004 - informational responses
                head, content = await protocol.read()
            check_asked(headers, head.headers)
            # A short response has arrived in full with its head.
            arrived = content.is_eof() and content.total_bytes <= self._most_bytes
            read = content.read_nowait() if arrived else await whole(content, self._most_bytes)
        except http.HttpProcessingError as error:
            connection.close()
            raise aiohttp.ClientResponseError(self._any.request_info, (), status=error.code, message=error.message) from error
        except BaseException:
            connection.close()
            raise
        self._used.add(protocol)
        connection.release()
        return Response(status=head.code, headers=head.headers, body=read)

    async def _connect(self) -> Connection:
        """Return a connection on which nothing was received that nobody asked for."""
        while True:
            try:
                connection = await self._connector.connect(self._any, traces=[], timeout=self._timeout)
            except TimeoutError as error:
                message = f"Connection timeout to host {self._any.url}"
                raise aiohttp.ConnectionTimeoutError(message) from error
            protocol = connection.protocol
            # A new connection is not judged: a server may refuse it before it is asked, and has closed it by then.
            if protocol is None or not protocol.should_close or protocol not in self._used:
                return connection
            connection.close()


def check_asked(sent: Mapping[str, str], received: Mapping[str, str]) -> None:
    """Raise `ConnectionLost` if a response belongs to another request of the same client.

    The server returns the id of the request (contract A5). Ids of others, such as a proxy, say nothing.
    """
    asked, told = sent.get("X-Request-Id"), received.get("X-Request-Id")
    if asked is not None and told is not None and told != asked and told.rpartition("-")[0] == asked.rpartition("-")[0]:
        message = f"the response to another request was received ({told} instead of {asked})"
        raise ConnectionLost(message)


async def whole(content: aiohttp.StreamReader, most_bytes: int) -> bytes:
    """Return the rest of a body; raises `UnreadableAnswer` once it is larger than `most_bytes`, unpacked."""
    chunks: list[bytes] = []
    size = 0
    while chunk := await content.readany():
        size += len(chunk)
        if size > most_bytes:
            message = f"the response is larger than {most_bytes:,} bytes (max_response_bytes), and was not read to its end"
            raise UnreadableAnswer(message)
        chunks.append(chunk)
    return b"".join(chunks)


def is_known() -> bool:
    """Return whether `ClientSession._request` is still the function that it was at import."""
    return aiohttp.ClientSession._request is _REQUEST  # noqa: SLF001 - what mocks and wrappers replace


def fits(session: aiohttp.ClientSession) -> bool:
    """Return whether requests may bypass `session`, which has no traces, in this release of aiohttp."""
    return _FITS and not session.trace_configs


def release_fits(version: str) -> bool:
    """Return whether this release of aiohttp was tested.

    Add a new one once tests/client/test_direct.py passes with it.
    """
    return version.startswith(("3.12.", "3.13.", "3.14."))


_REQUEST: Final = aiohttp.ClientSession._request  # noqa: SLF001 - compared, never called
# A mock that is in place at import must not pass for the genuine function: it may be of any type, or of another module. Not
# `isinstance`, because a wrapper may claim to be a function.
_GENUINE: Final = type(_REQUEST) is FunctionType and _REQUEST.__globals__ is vars(aiohttp.client)
_FITS: Final = _GENUINE and release_fits(aiohttp.__version__)
