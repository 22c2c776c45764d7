"""Log records on stderr, and in a file.

Warnings of other libraries are printed as notes; what this package logs is printed with --verbose.
"""

import contextlib
import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from ...bulk.clock import local_time
from ...errors import ConfigurationError
from ...printable import printable
from .line_file import LineFile
from .speech import Speech

_LEVELS: Final = (logging.CRITICAL, logging.INFO, logging.DEBUG)
"""What is printed of events, by how often --verbose is given. Without it nothing is: commands tell it."""
_BEGINNING: Final = b'{"at":'


class LogLine(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What every line of a log file begins with; the fields of an event follow. `at` is a time in UTC."""

    at: str
    level: str
    logger: str
    message: str
    exception: str = ""


class _Spoken(logging.Handler):
    """Prints records; otherwise Python writes those of other libraries to stderr as they are."""

    def __init__(self, speech: Speech, verbose: int) -> None:
        super().__init__()
        self._speech = speech
        self._verbose = verbose
        self._level = _LEVELS[min(verbose, len(_LEVELS) - 1)]

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record."""
        if record.levelno < (self._level if _event_of(record) is not None else logging.WARNING):
            return
        text = self.format(record)
        if self._verbose:
            text = f"{local_time(_time_of(record))} {record.levelname} {record.name}: {text}"
        self._speech.note(text)


class _Filed(logging.Handler):
    """Appends records to a file, as JSON Lines."""

    def __init__(self, path: Path, speech: Speech) -> None:
        super().__init__()
        _refuse_other_file(path)
        self._file = LineFile(str(path), "the log", "The command goes on without it", speech)

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        self._file.add(printable(line_of(record)))
        self._file.write()

    def close(self) -> None:
        """Write the rest, and close the file."""
        self._file.close()
        super().close()


@contextlib.contextmanager
def logged(speech: Speech, *, verbose: int = 0, path: Path | None = None) -> Iterator[None]:
    """Print what is logged within the block, and write it to `path`.

    Raises `ConfigurationError` if that file cannot be used.
    """
    ours, root = logging.getLogger("capgo_async"), logging.getLogger()
    handlers: list[logging.Handler] = [_Spoken(speech, verbose)]
    if path is not None:
        handlers.append(_Filed(path, speech))
    former = ours.level
    if verbose or path is not None:
        ours.setLevel(_LEVELS[min(verbose, len(_LEVELS) - 1)] if path is None else logging.DEBUG)
    for handler in handlers:
        root.addHandler(handler)
    try:
        yield
    finally:
        ours.setLevel(former)
        for handler in handlers:
            root.removeHandler(handler)
            handler.close()


def line_of(record: logging.LogRecord) -> str:
    """Return a record as one line of JSON."""
    line = LogLine(
        at=_time_of(record).isoformat(timespec="milliseconds"),
        level=record.levelname,
        logger=record.name,
        message=record.getMessage(),
        exception=logging.Formatter().formatException(record.exc_info) if record.exc_info else "",
    )
    told, event = msgspec.json.encode(line).decode(), _event_of(record)
    return told if event is None else f"{told[:-1]},{msgspec.json.encode(event)[1:].decode()}"


def _event_of(record: logging.LogRecord) -> object:
    return getattr(record, "capgo_event", None)


def _time_of(record: logging.LogRecord) -> datetime:
    return datetime.fromtimestamp(record.created, UTC)


def _refuse_other_file(path: Path) -> None:
    """Raise `ConfigurationError` if a file is there that is no log, such as a job or a list of devices."""
    if str(path) == "-":
        message = "stdout is for results: name a file for the log, or use -v to see it on stderr"
        raise ConfigurationError(message)
    # What cannot be read here cannot be opened later either, which then says why.
    with contextlib.suppress(OSError, ValueError):
        if path.is_file() and path.stat().st_size:
            with path.open("rb") as file:
                beginning = file.read(len(_BEGINNING))
            if beginning != _BEGINNING:
                message = f"{path} is there already, and is no log of this command; choose another name for the log"
                raise ConfigurationError(message)
