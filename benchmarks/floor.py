"""The floor under every client on an event loop: write prepared bytes and count responses."""

import asyncio
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Final, cast
from urllib.parse import urlsplit

_ANSWER_ENDS: Final = b'{"status":"ok"}'


class _Writer(asyncio.Protocol):
    """Writes the next request as soon as the response to the last one is complete."""

    def __init__(self, requests: Iterator[bytes], ended: asyncio.Future[None]) -> None:
        self._requests = requests
        self._ended = ended
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have classes of their own.
        self._transport = cast("asyncio.Transport", transport)
        self._next()

    def data_received(self, data: bytes) -> None:
        self._received += data
        if self._received.endswith(_ANSWER_ENDS):
            self._received = b""
            self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._ended.done():
            self._ended.set_exception(exc or ConnectionError("the server closed the connection"))

    def _next(self) -> None:
        request = next(self._requests, None)
        if request is not None:
            self._transport.write(request)
        else:
            self._ended.set_result(None)
            self._transport.close()


def prepared(base_url: str, bodies: Iterable[bytes]) -> list[bytes]:
    """Return a complete request for each of `bodies`."""
    head = f"POST /device HTTP/1.1\r\nHost: {urlsplit(base_url).netloc}\r\nContent-Type: application/json\r\n".encode()
    return [b"%bContent-Length: %d\r\n\r\n%b" % (head, len(body), body) for body in bodies]


async def write_all(base_url: str, requests: Iterable[bytes], *, connections: int) -> None:
    """Write all requests over several connections, one at a time on each, and wait for all responses."""
    loop = asyncio.get_running_loop()
    place = urlsplit(base_url)
    left = iter(requests)
    ended = [loop.create_future() for _ in range(connections)]
    for each in ended:
        await loop.create_connection(partial(_Writer, left, each), place.hostname or "", place.port or 80)
    await asyncio.gather(*ended)
