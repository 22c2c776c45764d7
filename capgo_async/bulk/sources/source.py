"""Sources of rows: CSV, JSON Lines, stdin and iterables of operations, read in bounded memory."""

import hashlib
import os
import sys
import threading
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Collection,
    Generator,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import ExitStack, aclosing, contextmanager, suppress
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO, Literal, Protocol, TypeVar

from anyio import to_thread

from ...errors import ConfigurationError, InputError
from ..operations.forms import OF_DEVICES, Form
from ..operations.operations import LinkDevice, Operation, RenewDevice, Row, UnlinkDevice
from ..report import storable
from .blocks import BATCH, Block, check_size, known_digest, read_once
from .json_lines import json_rows
from .layout import Layout
from .lines import LONGEST_LINE, Lines, cannot_read
from .operations import Operations
from .rows import Asked, RowError, cell_text, check_app
from .table import table_rows
from .waiting import GivenUp, open_at_once, until

DeviceChange = type[LinkDevice] | type[UnlinkDevice] | type[RenewDevice]
"""The operations that a list of devices can be read as. The list itself only names devices."""

T = TypeVar("T")

_PIECES = 12
"""Number of blocks of lines handed over at once: about `BATCH` rows of usual length."""


class Source(Protocol):
    """The rows of a list of intended changes, from which a job is made."""

    @property
    def name(self) -> str:
        """Return the name used in messages: the file as it was given, "stdin", or "operations"."""

    @property
    def digest(self) -> str:
        """Return the SHA-256 of what was read, in hexadecimal. Raises `JobError` until all of it was read."""

    @property
    def asked(self) -> dict[str, str | None]:
        """Return the values set for every row, by name. They distinguish sources with the same rows."""

    def batches(self, size: int = BATCH) -> AsyncIterator[list[Row]]:
        """Read the rows, at most `size` at a time. Raises `InputError` if there are none, or on a read error.

        A path and a collection can be read again; a stream and an iterator cannot.
        """


async def blocks_of(source: Source) -> AsyncGenerator[Block, None]:
    """Yield the rows of `source`, as columns where it has them."""
    if isinstance(source, _File):
        async with aclosing(source.blocks()) as blocks:
            async for block in blocks:
                yield block
    else:
        async for batch in source.batches():
            yield Block(rows=batch)


def read_operations(  # noqa: PLR0913 - keyword-only options
    source: str | os.PathLike[str] | BinaryIO,
    *,
    app_id: str | None = None,
    channel: str | None = None,
    kind: DeviceChange = LinkDevice,
    by: Literal["device_id", "custom_id"] | None = None,
    columns: Mapping[str, str] = MappingProxyType({}),
    ignored: Collection[str] = (),
    header: Sequence[str] = (),
) -> Source:
    """Read operations on devices from CSV or JSON Lines: a path, a binary stream, or "-" for stdin.

    The text is UTF-8. Columns or keys are `device_id` or `custom_id`, `app_id` and `channel`. The arguments `app_id` and
    `channel` fill rows that leave these empty. Nothing is opened before the first batch is read. A stream is not closed.

    `by` is the column that names the devices: by default `device_id`, or `custom_id` in files that have only this one. The plan
    finds the device of each custom id, and rejects those that no device has, or several. `columns` maps columns to their names
    in the file, such as `{"device_id": "Device ID"}`. Columns that are `ignored` are not read. `header` names the columns of a
    table that has no header line. In an export of devices, `channel` is not read if one is given for all rows.

    Raises `ConfigurationError` for arguments that do not fit together.
    """
    layout = Layout(by=by, columns=dict(columns), ignored=frozenset(ignored), header=tuple(header))
    return read_rows(source, OF_DEVICES[kind], app_id=app_id, argument=channel, layout=layout)


def read_rows(
    source: str | os.PathLike[str] | BinaryIO,
    form: Form,
    *,
    app_id: str | None = None,
    argument: str | None = None,
    layout: Layout = Layout(),  # noqa: B008 - immutable
) -> Source:
    """Read operations of any kind, as `read_operations` does. `layout` says where the columns are."""
    if source == "":
        message = "the source has an empty name: pass a path, or - for standard input."
        raise ConfigurationError(message)
    layout.check(form)
    if argument is not None and form.argument is None:
        message = f"{argument!r} cannot be used: {form.kind} takes nothing but its target."
        raise ConfigurationError(message)
    try:
        if app_id is not None:
            check_app(form, app_id)
        if argument is not None and form.argument is not None:
            argument = cell_text(form.argument, argument)
    except RowError as error:
        raise ConfigurationError(str(error.reason)) from error
    if argument == "":
        message = f"{form.argument} is blank: pass a name, or leave it out if every row has its own."
        raise ConfigurationError(message)
    return _File(source, Asked(form=form, app_id=app_id, argument=argument, layout=layout))


def from_operations(operations: Iterable[Operation] | AsyncIterable[Operation], *, name: str = "operations") -> Source:
    """Return a source of operations from memory, a generator or an asynchronous iterable.

    They are checked and normalised like the rows of a file. The line of each is its position, from 1. An empty source is
    allowed. `name` is used in messages.
    """
    return Operations(operations, name)


class _File:
    """A file or stream, read in threads, so that a slow disk or pipe does not block the event loop."""

    def __init__(self, source: str | os.PathLike[str] | BinaryIO, asked: Asked) -> None:
        self._source = source
        self._asked = asked
        self._spent = False
        self._digest: str | None = None
        match source:
            case "-":
                name: object = "stdin"
            case str() | os.PathLike():
                name = os.fspath(source)
            case _:
                name = getattr(source, "name", None)
        self.name = storable(name) if isinstance(name, str) else "stream"

    @property
    def digest(self) -> str:
        return known_digest(self.name, self._digest)

    @property
    def asked(self) -> dict[str, str | None]:
        form, app_id, argument, layout, _ = self._asked
        return {"kind": form.kind, form.app: app_id, "argument": argument, "settings": form.settings, **layout.told()}

    async def batches(self, size: int = BATCH) -> AsyncIterator[list[Row]]:
        check_size(size)
        async with aclosing(_in_threads(self._rows, size)) as batches:
            async for batch in batches:
                yield batch

    async def blocks(self) -> AsyncGenerator[Block, None]:
        async with aclosing(_in_threads(self._blocks, _PIECES)) as taken:
            async for pieces in taken:
                columns = tuple(columns for piece in pieces for columns in piece.columns)
                remarks = tuple(remark for piece in pieces for remark in piece.remarks)
                yield Block(columns, [row for piece in pieces for row in piece.rows], remarks)

    def _rows(self, given_up: threading.Event) -> Generator[Row, None, None]:
        for block in self._blocks(given_up):
            yield from block.in_order()

    def _blocks(self, given_up: threading.Event) -> Generator[Block, None, None]:
        self._digest = None
        sha256 = hashlib.sha256()
        empty = True
        with self._opened(given_up) as stream:
            for block in _parsed(Lines(self.name, stream, sha256), self._asked):
                empty = empty and not block
                if block or block.remarks:
                    yield block
        if empty:
            message = f"{self.name}: there is a header but no rows, so nothing would change."
            raise InputError(message)
        self._digest = sha256.hexdigest()

    @contextmanager
    def _opened(self, given_up: threading.Event) -> Iterator[BinaryIO]:
        source = self._source
        if isinstance(source, str | os.PathLike) and source != "-":
            with ExitStack() as stack:
                try:
                    stream = stack.enter_context(open_at_once(Path(source)))
                except (OSError, ValueError) as error:
                    raise cannot_read(self.name, error) from error
                yield until(given_up, stream)
            return
        if self._spent:
            raise read_once(self.name)
        self._spent = True
        if not isinstance(source, str | os.PathLike):
            yield source
        elif (stdin := getattr(sys.stdin, "buffer", None)) is not None:
            yield until(given_up, stdin)
        else:
            message = "stdin: this process has no binary standard input. Name a file."
            raise InputError(message)


async def _in_threads(
    produce: Callable[[threading.Event], Generator[T, None, None]], size: int
) -> AsyncGenerator[list[T], None]:
    """Yield the items of a generator in lists of up to `size`, each produced in a thread.

    The generator gets an event that is set when nobody needs more items.
    """
    given_up = threading.Event()
    items = produce(given_up)

    def take() -> list[T]:
        with suppress(GivenUp):
            return list(islice(items, size))
        return []

    try:
        while taken := await to_thread.run_sync(take, abandon_on_cancel=True):
            yield taken
    finally:
        given_up.set()
        # After a cancellation a thread may still run the generator. The file is then closed when that thread ends.
        with suppress(ValueError):
            items.close()


def _parsed(lines: Lines, asked: Asked) -> Iterator[Block]:
    """Detect the format by the first character that is not white space, and parse the lines."""
    block = lines.block(LONGEST_LINE)
    if block.startswith((b"\xff\xfe", b"\xfe\xff")):
        message = f"{lines.name}: this is UTF-16 text. Save it as UTF-8 (in a spreadsheet: CSV UTF-8)."
        raise InputError(message)
    block = block.removeprefix(b"\xef\xbb\xbf")
    number = 1
    while block and not block.strip():
        number += len(block.splitlines())
        block = lines.block(LONGEST_LINE)
    if not block:
        message = f"{lines.name}: it is empty, so nothing would change."
        raise InputError(message)
    blank = block[: -len(block.lstrip())]
    blank = blank[: max(blank.rfind(b"\n"), blank.rfind(b"\r")) + 1]
    number += len(blank.splitlines())
    block = block[len(blank) :]
    if not block.lstrip().startswith(b"{"):
        return table_rows(lines, asked, block, number)
    if asked.layout.header:
        message = f"{lines.name}: this is JSON, whose lines name their columns themselves: leave the header out."
        raise InputError(message)
    return json_rows(lines, asked, block, number)
