"""A sandbox in a process of its own, which ends with the block whatever happens."""

import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from typing import Final

import anyio
import msgspec
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream

from ..errors import CapgoError

_LONGEST_LINE: Final = 4096
_PATIENCE: Final = 5.0
"""Seconds that it may take to stop before it is killed."""


class Address(msgspec.Struct, frozen=True):
    """Where a sandbox answers, and the key that it takes."""

    base_url: str
    api_key: str


class SandboxFailed(CapgoError):
    """Say that the sandbox did not start."""


@contextlib.asynccontextmanager
async def embedded(options: Mapping[str, object]) -> AsyncIterator[Address]:
    """Start `python -m capgo_async sandbox` with `options` on a free port, and stop it at the end of the block.

    Its stdin is a pipe of ours: when this process dies, it ends, too. Signals from the keyboard do not reach it.
    """
    given = [f"--{name}={value}" for name, value in options.items()]
    process = await anyio.open_process(
        [sys.executable, "-m", "capgo_async", "sandbox", "--port=0", "--json", "--lifeline=0", *given],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=None,
        start_new_session=True,
    )
    try:
        yield await _address(process)
    finally:
        with anyio.CancelScope(shield=True):
            await _stop(process)


async def _address(process: Process) -> Address:
    assert process.stdout is not None  # noqa: S101 - a pipe, as asked above
    try:
        line = await BufferedByteReceiveStream(process.stdout).receive_until(b"\n", _LONGEST_LINE)
        return msgspec.json.decode(line, type=Address)
    except (anyio.IncompleteRead, msgspec.DecodeError) as error:
        message = "the sandbox did not start: run `capgo-async sandbox` to see why"
        raise SandboxFailed(message) from error


async def _stop(process: Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    with anyio.move_on_after(_PATIENCE):
        await process.wait()
    if process.returncode is None:
        process.kill()
    await process.aclose()
