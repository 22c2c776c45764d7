"""Reads a stream in blocks of whole lines, in bounded memory."""

from typing import TYPE_CHECKING, BinaryIO

from ...errors import InputError
from ..operations.reasons import Cause, Reason

if TYPE_CHECKING:
    from hashlib import _Hash

LONGEST_LINE = 65_536  # Bytes of one row. Bounds the memory that a file without line ends or closing quotes takes.
_READ = 32_768  # Bytes read at once. Half of `LONGEST_LINE`, so that few blocks can hold a longer line.

_ADVICE: dict[type[Exception], str] = {
    FileNotFoundError: "there is no such file; check the path",
    IsADirectoryError: "this is a directory; name a file",
    PermissionError: "no permission to read it; check its owner and mode",
}


def cannot_read(name: str, error: Exception) -> InputError:
    """Return the error for a file that cannot be read."""
    return InputError(f"{name}: {_ADVICE.get(type(error)) or getattr(error, 'strerror', None) or error}.")


class Lines:
    """The bytes of a stream, in blocks of whole lines.

    A line ends with LF, CR LF or CR. A line longer than `LONGEST_LINE` is cut, but stays too long, so that it is rejected.
    """

    def __init__(self, name: str, stream: BinaryIO, sha256: "_Hash") -> None:
        self.name = name
        self.final = False
        self._stream = stream
        self._sha256 = sha256
        self._rest = b""

    def block(self, at_least: int = 1) -> bytes:
        """Return the next lines, at least `at_least` bytes unless the stream ends; empty at the end."""
        while not self.final:
            data = self._read()
            self.final = not data
            held = self._rest + data
            # A CR as the last byte may be the first half of CR LF.
            end = len(held) if self.final else max(held.rfind(b"\n"), held.rfind(b"\r", 0, -1)) + 1
            self._rest = held[end:]
            if len(self._rest) > LONGEST_LINE + 1:
                self._rest = self._rest[: LONGEST_LINE + 1] + (b"\r" if self._rest.endswith(b"\r") else b"")
            if self.final or end >= at_least:
                return held[:end]
            self._rest = held[:end] + self._rest
        return b""

    def put_back(self, lines: bytes) -> None:
        """Take back the last lines of a block. The next block begins with them."""
        self._rest = lines + self._rest

    def _read(self) -> bytes:
        """Return `_READ` bytes, or fewer at the end only. A pipe may return them in small pieces."""
        pieces: list[bytes] = []
        missing = _READ
        while missing:
            try:
                piece: object = self._stream.read(missing)
            except (OSError, ValueError) as error:
                raise cannot_read(self.name, error) from error
            if not isinstance(piece, bytes):
                message = (
                    f"{self.name}: its read() returned {type(piece).__name__}, not bytes. Open it in binary mode, and blocking."
                )
                raise InputError(message)
            if not piece:
                break
            pieces.append(piece)
            missing -= len(piece)
        data = b"".join(pieces)
        self._sha256.update(data)
        return data


def line_fault(text: bytes, line: int) -> Reason | None:
    """Return what makes a line unreadable in any format, or `None` if it is readable."""
    if len(text) > LONGEST_LINE:
        return Reason(Cause.LINE_TOO_LONG)
    try:
        column = text.decode().find("\0") + 1
    except UnicodeDecodeError as error:
        column = len(text[: error.start].decode()) + 1
        return Reason(Cause.NOT_UTF8, places=(f"{text[error.start]:02X}", line, column))
    return Reason(Cause.NUL_BYTE, places=(line, column)) if column else None
