"""The output of the command: results on stdout, everything else on stderr, and the API key on neither.

Text of servers and devices may hold control characters, which a terminal would obey. A terminal gets them escaped; pipes and
files get results unchanged.
"""

import contextlib
import os
import sys
from collections.abc import Iterable
from typing import TextIO

import msgspec

from ...masking import Masks
from ...printable import printable


class Speech:
    """Prints for people and for programs.

    With `json`, results are JSON. With `quiet`, notes are dropped. `secrets` are masked everywhere. `heard` becomes false when
    stdout can no longer be written to; `lost` becomes true if that was an error, not a reader who stopped reading.
    """

    def __init__(self, *, json: bool = False, quiet: bool = False, secrets: Iterable[str] = ()) -> None:
        self.json = json
        self.quiet = quiet
        self.heard = sys.stdout is not None
        self.lost = False
        self._masks = Masks(secrets)
        self._aside = False

    def note(self, text: str) -> None:
        """Print a note, unless `quiet`."""
        if not self.quiet:
            self.say(text)

    def say(self, text: str) -> None:
        """Print a message on stderr. A closed stderr is no error."""
        if sys.stderr is None:
            return
        try:
            # Escaped in files, too: somebody reads a log on a terminal later.
            _write(sys.stderr, printable(self.masked(text)))
        except (OSError, ValueError):
            _abandon(sys.stderr)

    def step_aside(self) -> None:
        """Print results on stderr from now on, because stdout is for a stream."""
        self._aside = True

    def show(self, text: str) -> None:
        """Print a result."""
        if self._aside:
            self.say(text)
        else:
            self.stream(text)

    def stream(self, text: str) -> None:
        """Print a part of a stream on stdout."""
        self._print(self.masked(text))

    def done(self, text: str, document: msgspec.Struct) -> None:
        """Print that a change was made: `text` for people, `document` for programs."""
        if self.json:
            self.emit(document)
        else:
            self.show(text)

    def emit(self, document: msgspec.Struct) -> None:
        """Print a result as one line of JSON."""
        self.show(msgspec.json.encode(document).decode())

    def _print(self, text: str) -> None:
        if not self.heard:
            return
        try:
            _write(sys.stdout, text)
        except OSError as error:
            self.heard = False
            _abandon(sys.stdout)
            if not isinstance(error, BrokenPipeError):
                self.lost = True
                self.say(f"cannot write the result: {error.strerror}")

    def masked(self, text: str) -> str:
        """Return `text` without secrets."""
        return self._masks(text)


def is_terminal(stream: TextIO | None) -> bool:
    """Return whether `stream` is a terminal; it is `None` if it was closed before the start."""
    return stream is not None and stream.isatty() and os.environ.get("TERM") != "dumb"


def _abandon(stream: TextIO) -> None:
    """Discard what `stream` still holds; otherwise Python tries to write it again at exit."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _write(stream: TextIO, text: str) -> None:
    if stream.isatty():
        text = printable(text)
    encoding = stream.encoding or "utf-8"
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")
    stream.flush()
