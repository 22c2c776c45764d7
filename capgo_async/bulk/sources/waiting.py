"""Reads pipes and terminals so that a read that waits for data can be given up.

A thread that is blocked in a read cannot be cancelled, and would keep the process from ending.
"""

import io
import os
import select
import stat
import threading
from pathlib import Path
from typing import BinaryIO, Final

_GLANCE: Final = 0.2
"""Seconds between two checks whether a read was given up."""
_CAN_POLL: Final = os.name == "posix"


class GivenUp(Exception):
    """Raised in the thread of a read that was given up."""


def open_at_once(path: Path) -> BinaryIO:
    """Open a file for reading. A named pipe is opened without waiting for a writer."""
    if not (_CAN_POLL and path.is_fifo()):
        return path.open("rb")
    return os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb", buffering=0)


def until(given_up: threading.Event, stream: BinaryIO) -> BinaryIO:
    """Return a view of `stream` whose reads end with `GivenUp` once the event is set.

    Closing the view leaves `stream` open. Files on disk, and streams without a descriptor, are returned as they are.
    """
    try:
        place = stream.fileno()
    except (OSError, ValueError):
        return stream
    if not _CAN_POLL or stat.S_ISREG(os.fstat(place).st_mode):
        return stream
    return io.BufferedReader(_Polled(stream, place, given_up))


class _Polled(io.RawIOBase):
    """Waits for data before each read of a stream."""

    def __init__(self, stream: BinaryIO, place: int, given_up: threading.Event) -> None:
        self._take = getattr(stream, "read1", stream.read)
        self._given_up = given_up
        self._poll = select.poll()
        self._poll.register(place, select.POLLIN)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # BufferedReader passes nothing else
        piece: bytes | None = None
        while piece is None:
            while not self._poll.poll(_GLANCE * 1000):
                if self._given_up.is_set():
                    raise GivenUp
            piece = self._take(len(buffer))  # None if another process has just taken the data of a named pipe
        buffer[: len(piece)] = piece
        return len(piece)
