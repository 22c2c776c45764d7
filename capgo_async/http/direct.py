"""The direct way: an exchange over aiohttp's connections that passes its session by.

What a session does for requests of every kind is most of what one costs. Connections and their pool, TLS, what is written and
what is parsed stay aiohttp's, and nothing here repeats or follows anything.
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
    """Exchange requests for answers over the connector of `session`, whose own settings count for nothing."""

    def __init__(self, session: aiohttp.ClientSession, base_url: str, timeout: aiohttp.ClientTimeout) -> None:
        assert session.connector is not None  # noqa: S101 - the session is open
        self._connector = session.connector
        self._timeout = timeout
        self._loop = asyncio.get_running_loop()
        # Stands for all requests: they go to one place, and begin with the same headers.
        self._any = aiohttp.ClientRequest("GET", URL(base_url, encoded=True), loop=self._loop, session=session)
        self._headers = dict(self._any.headers)

    async def exchange(self, method: str, url: URL, headers: Mapping[str, str], body: bytes | None) -> Response:
        """Send one request and read its answer to the end; raises what aiohttp raises."""
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
            assert protocol is not None  # noqa: S101 - nobody has released it
            protocol.set_response_params(read_until_eof=True)
            writer = http.StreamWriter(protocol, self._loop)
            await writer.write_headers(f"{method} {url.raw_path_qs} HTTP/1.1", sent)  # type: ignore[arg-type]  # any mapping
            await writer.write_eof(body or b"")
            head, content = await protocol.read()
            while 100 <= head.code < 200 and head.code != 101:  # noqa: PLR2004 - what comes before the answer
                head, content = await protocol.read()
            # A short answer is here as a whole when its head is.
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
    """Tell whether a request of a session would do what it did when this module was imported: nobody has put a double there."""
    return aiohttp.ClientSession._request is _REQUEST  # noqa: SLF001 - what doubles and wrappers replace


def fits(session: aiohttp.ClientSession) -> bool:
    """Tell whether requests can go past `session`: nothing traces it, and the tests have seen this aiohttp work."""
    return _FITS and not session.trace_configs


def release_fits(version: str) -> bool:
    """Tell whether the tests have seen aiohttp's release work here; each new one is added once they have."""
    return version.startswith(("3.12.", "3.13.", "3.14."))


_REQUEST: Final = aiohttp.ClientSession._request  # noqa: SLF001 - compared, never called
# Not `isinstance`: a wrapper that was there before may say that it is a function.
_FITS: Final = release_fits(aiohttp.__version__) and type(_REQUEST) is FunctionType
