"""The transport over aiohttp, which sends every request exactly once.

This file is longer than 300 lines because all that may go wrong on the way is translated here.
"""

import asyncio
import itertools
import os
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping
from email.utils import formatdate
from typing import Final
from urllib.parse import quote, urlencode, urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
import msgspec
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from ..errors import ConfigurationError, ConnectionLost, NotConnected, Problem, TimedOut
from .direct import Direct, check_asked, fits, is_known, whole
from .unclosed import close_in_the_end
from .wire import MAX_RESPONSE_BYTES, Request, Response

_CONNECT_SECONDS: Final = 10.0
_REFUSALS: Final = 400
"""From this status on, a response may name a time (contract A8)."""
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_PROXY_REFUSES: Final = 407
_SILENT_RESENDS: Final = frozenset({"GET", "HEAD", "PUT", "DELETE"})
"""Methods that aiohttp resends on its own if a kept-alive connection turns out to be dead."""

_NEVER_CONNECTED: Final = (
    aiohttp.ClientConnectorError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.ClientHttpProxyError,
    aiohttp.ServerFingerprintMismatch,
)
"""What aiohttp raises before it has sent any of a request."""

_Handler = Callable[[aiohttp.ClientRequest], Awaitable[aiohttp.ClientResponse]]


class _Disconnected(aiohttp.ClientError):
    """Raised in place of the exceptions on which aiohttp would resend a request."""


async def _once(request: aiohttp.ClientRequest, handler: _Handler) -> aiohttp.ClientResponse:
    try:
        return await handler(request)
    except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise _Disconnected(str(error)) from error


_serial = itertools.count()


async def _fresh(request: aiohttp.ClientRequest, handler: _Handler) -> aiohttp.ClientResponse:
    # Proxy headers are part of the key of the connection pool; without a proxy they have no other effect.
    request.proxy_headers = CIMultiDict({**(request.proxy_headers or {}), "X-Connection": str(next(_serial))})
    request.headers["Connection"] = "close"
    return await handler(request)


def checked_base_url(base_url: str, *, allow_plain_http: bool = False) -> str:
    """Return `base_url` without a trailing slash; a path prefix is kept (contract A1).

    Raises `ConfigurationError` if the URL is invalid, or would send the key unencrypted.
    """
    if not base_url.strip():
        message = "the base URL is empty: name a server, or leave it out and unset CAPGO_BASE_URL for Capgo's cloud"
        raise ConfigurationError(message)
    if "@" in base_url or "?" in base_url or "#" in base_url:
        # Each of them may hold a secret, so the URL is not shown.
        message = "invalid base URL: it must not contain a user, a query or a fragment"
        raise ConfigurationError(message)
    if not base_url.isascii() or not base_url.isprintable() or " " in base_url:
        message = f"invalid base URL {base_url!r}: it contains characters that must be percent-encoded"
        raise ConfigurationError(message)
    try:
        parts = urlsplit(base_url)
        port = parts.port
    except ValueError as error:
        message = f"invalid base URL {base_url!r}: {error}"
        raise ConfigurationError(message) from error
    if parts.scheme not in {"http", "https"} or not parts.hostname or port == 0:
        message = f"invalid base URL {base_url!r}: write https://HOST, or http://HOST for a server on this machine"
        raise ConfigurationError(message)
    if parts.scheme == "http" and parts.hostname not in _LOOPBACK and not allow_plain_http:
        message = f"base URL {base_url!r} sends the API key unencrypted"
        raise ConfigurationError(message, problem=Problem.UNENCRYPTED)
    return base_url.rstrip("/")


def _proxy_of(base_url: str) -> str | None:
    """Return the proxy for `base_url` from the environment, which aiohttp would look up for every request.

    Raises `ConfigurationError` if it is no HTTP proxy. The message does not contain its URL, which may hold a password.
    """
    parts = urlsplit(base_url)
    host = parts.hostname or ""
    if host in _LOOPBACK or proxy_bypass(host):
        return None
    found = getproxies()
    name = next((name for name in (parts.scheme, "all") if found.get(name)), None)
    if name is None:
        return None
    scheme, separated, _ = found[name].partition("://")
    proxy = found[name] if separated else f"http://{found[name]}"
    fault = f"{scheme} is not supported, only http and https" if separated and scheme not in {"http", "https"} else ""
    try:
        if not fault and not URL(proxy).host:
            fault = "it has no host"
    except ValueError:
        fault = "it is no URL"
    if fault:
        message = f"the proxy in {name}_proxy cannot be used: {fault}. Name an HTTP proxy, or add {host} to no_proxy"
        raise ConfigurationError(message)
    return proxy


class AiohttpTransport:
    """Sends requests through aiohttp.

    A `session` of the caller's is used as it is and never closed. `max_response_bytes` is the size limit of a response,
    unpacked. With `trust_env` the proxy of the environment is used. .netrc is never used, because its credentials would replace
    the key. Requests have no time limit; see `deadlines.Timed`.
    """

    def __init__(
        self,
        base_url: str,
        *,
        session: aiohttp.ClientSession | None = None,
        trust_env: bool = False,
        max_response_bytes: int = MAX_RESPONSE_BYTES,
    ) -> None:
        self._most_bytes = max_response_bytes
        self._base_url = base_url
        self._session = session
        self._owned: aiohttp.ClientSession | None = None
        self._is_new = False
        self._direct: Direct | None = None
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS)
        self._proxy = _proxy_of(base_url) if trust_env and session is None else None
        self._urls: dict[str, URL] = {}
        self._via = f" through the proxy {URL(self._proxy).host}:{URL(self._proxy).port}" if self._proxy else ""
        self._closed = False
        self._loop: asyncio.AbstractEventLoop | None = None

    async def send(self, request: Request, headers: Mapping[str, str], *, fresh: bool = False) -> Response:
        """Send `request` once.

        Raises `NotConnected`, `ConnectionLost` or `TimedOut`; `UnreadableAnswer` for a response that is too large;
        `ConfigurationError` before any I/O.
        """
        session = self._session_for(headers)
        if self._is_new:
            self._is_new = False
            await close_in_the_end(session, self)
        try:
            if self._direct is not None and not fresh and is_known():
                response = await self._direct.exchange(request.method, self._url_of(request), headers, request.body)
            else:
                response = await self._ask(session, request, headers, fresh=fresh)
        except _NEVER_CONNECTED as error:
            if isinstance(error, aiohttp.ClientHttpProxyError) and error.status == _PROXY_REFUSES:
                raise _refused_by_proxy() from _without_secrets(error)
            message = f"cannot connect to {self._base_url}{self._via} ({_why(error)}); nothing was sent"
            raise NotConnected(message) from _without_secrets(error)
        except TimeoutError as error:
            # The system gives a connection up, or a session of the caller's has a timeout of its own.
            message = f"no response from {self._base_url} in time: {_short(error)}"
            raise TimedOut(message) from error
        except ValueError as error:
            sent = f"{request.method} {request.shown_path or request.path}"
            message = f"the session or the environment prevents {sent} from being sent: {_short(error)}"
            raise ConfigurationError(message) from error
        except (aiohttp.ClientError, OSError) as error:
            # First remove the secrets: the message of aiohttp contains the URL.
            message = f"the connection to {self._base_url} ended before the response: {_short(_without_secrets(error))}"
            raise ConnectionLost(message) from error
        return response if response.status < _REFUSALS or "Date" in response.headers else _dated(response)

    async def _ask(
        self, session: aiohttp.ClientSession, request: Request, headers: Mapping[str, str], *, fresh: bool
    ) -> Response:
        # A ready payload saves aiohttp the search for its class and content type.
        sent = None if request.body is None else aiohttp.BytesPayload(request.body, content_type="application/json")
        answer = await session.request(
            request.method,
            self._url_of(request),
            headers=headers,
            data=sent,
            allow_redirects=False,
            raise_for_status=False,
            timeout=self._timeout,
            middlewares=self._middlewares(session, request.method, fresh=fresh),
        )
        # Reading the body to its end releases the connection, and an error closes it.
        if answer.status == _PROXY_REFUSES:
            await answer.read()
            raise _refused_by_proxy()
        try:
            check_asked(headers, answer.headers)
            body = await whole(answer.content, self._most_bytes)
        except BaseException:
            answer.close()
            # A short response has given its connection back by now.
            if (protocol := getattr(answer, "_protocol", None)) is not None:
                protocol.close()
            raise
        return Response(status=answer.status, headers=answer.headers, body=body)

    async def aclose(self) -> None:
        """Close the session unless it is the caller's."""
        self._closed = True
        if self._owned is not None:
            await self._owned.close()
            self._owned = None

    def _session_for(self, headers: Mapping[str, str]) -> aiohttp.ClientSession:
        if self._closed:
            message = "the client is closed"
            raise ConfigurationError(message)
        loop = asyncio.get_running_loop()
        self._loop = self._loop or loop
        if self._loop is not loop:
            message = "the client was used in another event loop: make a client in each call of asyncio.run"
            raise ConfigurationError(message)
        if self._session is None:
            return self._owned or self._open()
        if self._session.closed:
            message = "the session that was passed to the client is closed"
            raise ConfigurationError(message)
        if "capgkey" in headers and "authorization" in self._session.headers:
            message = "the session sends an authorization header, which conflicts with the key in capgkey"
            raise ConfigurationError(message)
        return self._session

    def _open(self) -> aiohttp.ClientSession:
        # The pacer limits the requests in flight, and so the connections. The API sets no cookies.
        self._owned = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            cookie_jar=aiohttp.DummyCookieJar(),
            proxy=self._proxy,
        )
        self._is_new = True
        if self._proxy is None and fits(self._owned):
            self._direct = Direct(self._owned, self._base_url, self._timeout, self._most_bytes)
        return self._owned

    def _middlewares(
        self, session: aiohttp.ClientSession, method: str, *, fresh: bool
    ) -> tuple[aiohttp.ClientMiddlewareType, ...] | None:
        """Return the middlewares that keep aiohttp from resending, or `None` if none are needed."""
        if not fresh and method not in _SILENT_RESENDS:
            return None
        # A request's middlewares replace those of the session, which have no public name.
        own: tuple[aiohttp.ClientMiddlewareType, ...] = tuple(getattr(session, "_middlewares", ()))
        return (_once, *own, _fresh) if fresh else (_once, *own)

    def _url_of(self, request: Request) -> URL:
        if not request.query:
            if (known := self._urls.get(request.path)) is None:
                known = URL(self._base_url + request.path, encoded=True)
                if len(self._urls) < 64:  # noqa: PLR2004 - a bound, because paths with ids do not repeat
                    self._urls[request.path] = known
            return known
        # All of it is encoded: a bare `+` would silently end an ordered listing (contract D51).
        query = urlencode(request.query, quote_via=quote, safe="")
        return URL(f"{self._base_url}{request.path}?{query}", encoded=True)


def _refused_by_proxy() -> ConfigurationError:
    return ConfigurationError(
        "the proxy asks for a user and a password (HTTP 407): put them into its URL, such as http://USER:PASSWORD@HOST:PORT"
    )


def _dated(response: Response) -> Response:
    """Return a response with the time of its arrival as its `Date` (RFC 9110, 6.6.1)."""
    headers = CIMultiDict(response.headers)
    headers["Date"] = formatdate(usegmt=True)
    return msgspec.structs.replace(response, headers=headers)


def _without_secrets(error: Exception) -> Exception:
    """Return `error` without the headers and the path of the request, which aiohttp includes."""
    if isinstance(error, aiohttp.ClientResponseError):
        told = error.request_info
        origin = told.url.origin()
        error.request_info = aiohttp.RequestInfo(origin, told.method, CIMultiDictProxy(CIMultiDict()), origin)
        error.args = (error.request_info, ())
    return error


def _why(error: BaseException) -> str:
    """Return why a connection failed, in the words of the system where it gave a reason."""
    cause = getattr(error, "os_error", error)
    if not isinstance(cause, OSError) or isinstance(cause, ssl.SSLError):
        return _short(error)
    if cause.errno and not isinstance(cause, socket.gaierror):
        return os.strerror(cause.errno).lower()
    return cause.strerror or _short(error)


def _short(error: BaseException) -> str:
    return str(error) or type(error).__name__
