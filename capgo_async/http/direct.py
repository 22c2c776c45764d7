"""Requests over aiohttp's connections without its session, which takes most of their CPU time.

The connection pool, TLS, the writer and the parser are aiohttp's. Nothing here resends a request or follows a redirect.
"""

import asyncio
from collections.abc import Mapping
from types import FunctionType
from typing import Final

import aiohttp
from aiohttp import http
from yarl import URL

from .wire import Response


class Direct:
    """Sends requests over the connector of `session`, and ignores the session's own settings."""

    def __init__(self, session: aiohttp.ClientSession, base_url: str, timeout: aiohttp.ClientTimeout) -> None:
        assert session.connector is not None  # noqa: S101 - the session is open
        self._connector = session.connector
        self._timeout = timeout
        self._loop = asyncio.get_running_loop()
        # One request stands for all: they have the same host and the same default headers.
        self._any = aiohttp.ClientRequest("GET", URL(base_url, encoded=True), loop=self._loop, session=session)
        self._headers = dict(self._any.headers)

    async def exchange(self, method: str, url: URL, headers: Mapping[str, str], body: bytes | None) -> Response:
        """Send one request and return its response; raises the exceptions of aiohttp."""
        sent = {**self._headers, **headers}
        if body is not None:
            sent["Content-Length"], sent["Content-Type"] = str(len(body)), "application/json"
        elif method != "GET":
            sent["Content-Length"] = "0"
        try:
            connection = await self._connector.connect(self._any, traces=[], timeout=self._timeout)
        except TimeoutError as error:
            message = f"Connection timeout to host {self._any.url}"
            raise aiohttp.ConnectionTimeoutError(message) from error
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
            # A short response has arrived in full with its head.
            read = content.read_nowait() if content.is_eof() else await content.read()
        except http.HttpProcessingError as error:
            connection.close()
            raise aiohttp.ClientResponseError(self._any.request_info, (), status=error.code, message=error.message) from error
        except BaseException:
            connection.close()
            raise
        connection.release()
        return Response(status=head.code, headers=head.headers, body=read)


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
