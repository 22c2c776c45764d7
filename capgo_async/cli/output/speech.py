"""Where the command speaks: results on stdout, everything else on stderr, the API key on neither."""

import contextlib
import os
import sys
from collections.abc import Iterable
from typing import Final, TextIO

import msgspec

_KEPT: Final = frozenset("\n\t")
_SHORTEST_SECRET: Final = 8
"""A shorter key is no secret, and cutting it out would spoil the text."""


class Speech:
    """Say things to people and to programs.

    With `json` results are JSON; with `quiet` notes are dropped. `secrets` are cut out of all that is said. Once nobody
    reads stdout any more, `heard` turns false and results go nowhere; `lost` tells that somebody waits for them in vain.
    """

    def __init__(self, *, json: bool = False, quiet: bool = False, secrets: Iterable[str] = ()) -> None:
        self.json = json
        self.quiet = quiet
        self.heard = sys.stdout is not None
        self.lost = False
        self._secrets = tuple(secrets)

    def note(self, text: str) -> None:
        """Tell people how it goes, unless they want quiet."""
        if not self.quiet:
            self.say(text)

    def say(self, text: str) -> None:
        """Tell people what they must know; a run does not end because nobody listens."""
        if sys.stderr is None:
            return
        try:
            _write(sys.stderr, self._safe(text))
        except (OSError, ValueError):
            _abandon(sys.stderr)

    def show(self, text: str) -> None:
        """Print a result for people."""
        self.show_as_it_is(printable(text))

    def show_as_it_is(self, text: str) -> None:
        """Print a result for people that was made printable before, such as a table with its colours."""
        self._print(self._without_secret(text))

    def done(self, text: str, **told: object) -> None:
        """Print that a change was made: a sentence for people, `told` for programs."""
        if self.json:
            self.emit(told)
        else:
            self.show(text)

    def emit(self, value: object) -> None:
        """Print a result as one line of JSON."""
        self._print(self._without_secret(msgspec.json.encode(value).decode()))

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

    def _safe(self, text: str) -> str:
        return printable(self._without_secret(text))

    def _without_secret(self, text: str) -> str:
        return without(self._secrets, text)


def without(secrets: Iterable[str], text: str) -> str:
    """Return `text` with none of `secrets` in it."""
    for secret in secrets:
        if len(secret) >= _SHORTEST_SECRET:
            text = text.replace(secret, "[API key]")
    return text


def printable(text: str) -> str:
    """Return `text` without what would move a terminal's cursor or worse: devices name themselves."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() or character in _KEPT else character.encode("unicode_escape").decode()
        for character in text
    )


def is_terminal(stream: TextIO | None) -> bool:
    """Tell whether a person reads `stream`; one that was closed before the start is `None`."""
    return stream is not None and stream.isatty() and os.environ.get("TERM") != "dumb"


def _abandon(stream: TextIO) -> None:
    """Let what `stream` still holds go nowhere, or Python fails to write it once more at the very end."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _write(stream: TextIO, text: str) -> None:
    encoding = stream.encoding or "utf-8"
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")
    stream.flush()
