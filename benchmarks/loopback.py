"""A loopback server that responds as fast as Python can, so that the client is what is measured.

It knows the three calls of a relink, and responds with the headers of the real server (contract A5, C6, C7). It can also have a
larger inventory and latency.
"""

import argparse
import asyncio
import contextlib
import itertools
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from email.utils import formatdate
from typing import Final, cast

from benchmarks.inventory import Inventory
from benchmarks.loops import has_uvloop, runner
from benchmarks.measuring import LONGEST_RUN, ROOT, environment

APP_ID: Final = "com.example.app"
CHANNEL: Final = "beta"

_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_REQUEST_ID: Final = re.compile(rb"\r\nx-request-id: *([^\r]+)", re.IGNORECASE)
_ACCEPTED: Final = b'{"status":"ok"}'
_CHANNEL: Final = b'{"id":7,"name":"beta","app_id":"com.example.app","public":false,"version":{"id":3,"name":"1.0.0"}}'
# No relinked device is among these, so that every operation needs a request.
_DEVICES: Final = ",".join(
    f'{{"device_id":"ffffffff-0000-4000-8000-{number:012x}","app_id":"{APP_ID}","version":3,"version_name":"1.0.0",'
    '"platform":"ios","custom_id":"","channel":"stable"}'
    for number in range(50)
)
_INVENTORY: Final = f'{{"data":[{_DEVICES}],"hasMore":false}}'.encode()


class _Connection(asyncio.Protocol):
    """Responds to one request after the other. Unknown requests get a 404."""

    _serial = itertools.count(1)

    def __init__(self, date: "_Date", inventory: Callable[[bytes], bytes], latency: float) -> None:
        self._date = date
        self._inventory = inventory
        self._latency = latency
        self._received = b""
        self._write: Callable[[bytes], None] = _nowhere

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have classes of their own.
        self._write = cast("asyncio.Transport", transport).write

    def data_received(self, data: bytes) -> None:
        received = self._received + data
        while (head_ends := received.find(b"\r\n\r\n")) >= 0:
            head = received[:head_ends]
            length = _LENGTH.search(head)
            ends = head_ends + 4 + (int(length[1]) if length else 0)
            if len(received) < ends:
                break
            received = received[ends:]
            if self._latency:
                asyncio.get_running_loop().call_later(self._latency, self._answer, head)
            else:
                self._answer(head)
        self._received = received

    def _answer(self, head: bytes) -> None:
        status, body = b"200 OK", _ACCEPTED
        if head.startswith(b"GET /channel?"):
            body = _CHANNEL
        elif head.startswith(b"GET /device?"):
            body = self._inventory(head)
        elif not head.startswith(b"POST /device "):
            status, body = b"404 Not Found", b'{"error":"not_found","message":"Not found"}'
        asked = _REQUEST_ID.search(head)
        request_id = asked[1] if asked else b"%032x" % next(self._serial)
        self._write(
            b"HTTP/1.1 %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\ndate: %b\r\n"
            b"x-worker-source: capgo_api-local-12.201.7\r\nx-database-source: sb_pooler_main\r\nx-request-id: %b\r\n\r\n%b"
            % (status, len(body), self._date.text, request_id, body)
        )


def _for_relink(_head: bytes) -> bytes:
    return _INVENTORY


def _nowhere(_data: bytes) -> None:
    message = "there is no connection yet"
    raise RuntimeError(message)


class _Date:
    """The `Date` header, renewed each second."""

    def __init__(self) -> None:
        self.text = b""
        self._renew()

    def _renew(self) -> None:
        self.text = formatdate(usegmt=True).encode()
        asyncio.get_running_loop().call_later(1.0, self._renew)


@contextlib.contextmanager
def serving(*options: str) -> Iterator[str]:
    """Run the server in its own process and yield its base URL."""
    command = [sys.executable, "-m", "benchmarks.loopback", *options]
    with subprocess.Popen(
        command, cwd=ROOT, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            base_url = process.stdout.readline().strip()
            if not base_url:
                message = "the loopback server did not start"
                raise RuntimeError(message)
            yield base_url
        finally:
            process.terminate()


async def _serve(seconds: float, inventory: Callable[[bytes], bytes], latency: float) -> None:
    loop = asyncio.get_running_loop()
    date = _Date()
    server = await loop.create_server(lambda: _Connection(date, inventory, latency), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    print(f"http://127.0.0.1:{port}", flush=True)
    # The server ends with the benchmark, which holds the other end of this pipe.
    closed = loop.run_in_executor(None, sys.stdin.read)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(closed, seconds)
    server.close()


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the base URL and serve until standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=2 * LONGEST_RUN, help="seconds after which it ends at the latest")
    parser.add_argument("--devices", type=int, default=0, help="devices in the inventory (default: 50 for a relink)")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before each response")
    options = parser.parse_args(arguments)
    inventory = Inventory(options.devices).page if options.devices else _for_relink
    with runner("uvloop" if has_uvloop() else "asyncio") as loop:
        loop.run(_serve(options.seconds, inventory, options.latency))


if __name__ == "__main__":
    main()
