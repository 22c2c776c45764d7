"""A file or pipe to which lines are appended while a command goes on."""

import errno
import os
import select
from typing import Final

from ...errors import ConfigurationError
from .speech import Speech

_PATIENCE: Final = 5.0
"""Seconds that the reader of a pipe has to take the rest at the end."""
_MOST: Final = 1 << 26
"""Bytes that are kept for a reader that is slower than the command."""


class LineFile:
    """Appends lines without API keys to the file or pipe `to`, and waits for no reader but at the end.

    If it cannot be written any more, it is given up with a message, which says `what` the lines are, and that something goes on
    `all_the_same`. Raises `ConfigurationError` if it cannot be opened.
    """

    def __init__(self, to: str, what: str, all_the_same: str, speech: Speech) -> None:
        self._to = to
        self._what = what
        self._all_the_same = all_the_same
        self._speech = speech
        self._file = self._opened()
        self._rest = b""
        self._broken = False

    def add(self, line: str) -> None:
        """Take a line, which is written later."""
        if self._broken:
            return
        self._rest += f"{self._speech.masked(line)}\n".encode()
        if len(self._rest) > _MOST:
            self._give_up("its reader is too slow")

    def write(self) -> None:
        """Write what a reader takes now."""
        try:
            while self._rest:
                self._rest = self._rest[os.write(self._file, self._rest) :]
        except BlockingIOError:
            return
        except OSError as error:
            self._give_up(str(error.strerror))

    def close(self) -> None:
        """Write the rest, and close the file."""
        self.write()
        while self._rest and select.select((), (self._file,), (), _PATIENCE)[1]:
            self.write()
        if self._rest:
            self._give_up("its reader is too slow")
        os.close(self._file)

    def _give_up(self, why: str) -> None:
        self._broken, self._rest = True, b""
        self._speech.say(f"cannot write {self._what} to {self._to}: {why}. {self._all_the_same}")

    def _opened(self) -> int:
        try:
            # Not to wait for the reader of a pipe, neither now nor later.
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NONBLOCK", 0)
            return os.open(self._to, flags, 0o666)
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", error)
            if getattr(error, "errno", None) == errno.ENXIO:
                why = "nobody reads this pipe; start its reader first"
            message = f"cannot write {self._what} to {self._to}: {why}"
            raise ConfigurationError(message) from error
