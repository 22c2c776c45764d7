"""Sources of rows: CSV, JSON Lines, stdin and iterables of operations, read in bounded memory.

Past 300 lines because both formats share the rules that tell a good row from a bad one.
"""

import csv
import functools
import hashlib
import inspect
import io
import operator
import os
import re
import sys
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, aclosing, contextmanager, suppress
from itertools import count, islice, repeat
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, Protocol, TypeVar, runtime_checkable

import msgspec
from anyio import lowlevel, to_thread

from capgo_async.bulk.forms import OF_DEVICES, Form, decoder_of, form_of
from capgo_async.bulk.json_faults import fault_of
from capgo_async.bulk.operations import LinkDevice, Operation, RenewDevice, Row, UnlinkDevice
from capgo_async.bulk.reasons import Cause, Reason
from capgo_async.bulk.report import storable
from capgo_async.bulk.stage import Block, Columns
from capgo_async.endpoints.call import APP_ID, LONGEST_NAME
from capgo_async.errors import ConfigurationError, InputError, JobError

if TYPE_CHECKING:
    from hashlib import _Hash

BATCH = 10_000
"""Default number of rows in a batch."""

DeviceChange = type[LinkDevice] | type[UnlinkDevice] | type[RenewDevice]
"""The operations that a list of devices can be read as. The list itself only names devices."""

T = TypeVar("T")

_PIECES = 12
"""Number of blocks of lines handed over at once: about `BATCH` rows of usual length."""
_LIMIT = 65_536  # Bytes of one row. Limits the memory that a file without line ends or closing quotes takes.
_READ = 32_768  # Bytes read at once. Half of `_LIMIT`, so that few blocks are so long that a line may exceed it.
_SHOWN = 80  # Characters of the first line that a message quotes
_ORG_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE | re.ASCII)
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_ADVICE: dict[type[Exception], str] = {
    FileNotFoundError: "there is no such file; check the path",
    IsADirectoryError: "this is a directory; name a file",
    PermissionError: "no permission to read it; check its owner and mode",
}


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
        """Return the values set for every row, by name. Equal rows with other values are another source."""

    def batches(self, size: int = BATCH) -> AsyncIterator[list[Row]]:
        """Read the rows, at most `size` at a time. Raises `InputError` if there are none, or on a read error.

        A path and a collection can be read again; a stream and an iterator cannot.
        """


@runtime_checkable
class SourceOfBlocks(Protocol):
    """A source that can also yield its rows as columns."""

    def blocks(self) -> AsyncGenerator[Block, None]:
        """Read the rows in blocks, otherwise as `batches` does."""


async def blocks_of(source: Source) -> AsyncGenerator[Block, None]:
    """Yield the rows of `source`, as columns where it has them."""
    if isinstance(source, SourceOfBlocks):
        async with aclosing(source.blocks()) as blocks:
            async for block in blocks:
                yield block
    else:
        async for batch in source.batches():
            yield Block(rows=batch)


def read_operations(
    source: str | os.PathLike[str] | BinaryIO,
    *,
    app_id: str | None = None,
    channel: str | None = None,
    kind: DeviceChange = LinkDevice,
) -> Source:
    """Read operations on devices from CSV or JSON Lines: a path, a binary stream, or "-" for stdin.

    The text is UTF-8. Columns or keys are `device_id`, `app_id` and `channel`. The arguments `app_id` and `channel` fill rows
    that leave these empty. Nothing is opened before the first batch is read. A stream is not closed.
    """
    return read_rows(source, OF_DEVICES[kind], app_id=app_id, argument=channel)


def read_rows(
    source: str | os.PathLike[str] | BinaryIO, form: Form, *, app_id: str | None = None, argument: str | None = None
) -> Source:
    """Read operations of any kind. `form` sets the columns; the rest is as in `read_operations`."""
    if source == "":
        message = "the source has an empty name: pass a path, or - for standard input."
        raise ConfigurationError(message)
    if app_id is not None and (fault := _malformed(form, app_id)):
        raise ConfigurationError(str(fault))
    if argument is not None:
        if form.argument is None:
            message = f"{argument!r} cannot be used: {form.kind} takes nothing but its target."
            raise ConfigurationError(message)
        try:
            argument = _text(form.argument, argument)
        except _RowError as error:
            raise ConfigurationError(str(error.reason)) from error
        if not argument:
            message = f"{form.argument} is blank: pass a name, or leave it out if every row has its own."
            raise ConfigurationError(message)
    return _File(source, _Asked(form=form, app_id=app_id, argument=argument))


def from_operations(operations: Iterable[Operation] | AsyncIterable[Operation], *, name: str = "operations") -> Source:
    """Return a source of operations from memory, a generator or an asynchronous iterable.

    They are checked and normalised like the rows of a file. The line of each is its position, from 1. An empty source is
    allowed. `name` is used in messages.
    """
    return _Operations(operations, name)


class _RowError(Exception):
    """Raised when a row is bad. It never leaves this module."""

    def __init__(self, cause: Cause, *details: str | int) -> None:
        super().__init__()
        self.reason = Reason(cause, details)


class _Asked(NamedTuple):
    """The values that the caller sets for every row. They fill empty cells; other values are errors."""

    form: Form
    app_id: str | None = None
    argument: str | None = None

    def row(self, line: int, name: str, app_id: str, argument: str) -> Row:
        """Return the row made of these texts."""
        form = self.form
        try:
            name = _text(form.name, form.stored(name))
            if not name:
                return Row(line, None, Reason(Cause.MISSING_VALUE, (form.name,)))
            app_id = _agreed(form.app, app_id, self.app_id)
            if fault := _malformed(form, app_id):
                return Row(line, None, fault)
            if form.argument is not None:
                argument = _agreed(form.argument, argument, self.argument)
        except _RowError as error:
            return Row(line, None, error.reason)
        return Row(line, form.make(app_id, name, argument))

    def block(self, lines: Sequence[int], names: list[str], app_ids: list[str], arguments: list[str]) -> Block:
        """Return the rows made of these texts, as columns unless one of them is bad."""
        try:
            columns = self._columns(lines, names, app_ids, arguments)
        except _RowError:
            columns = None
        if columns is None:
            return Block(rows=list(map(self.row, lines, names, app_ids, arguments)))
        return Block(columns=(columns,))

    def _columns(self, lines: Sequence[int], names: list[str], app_ids: list[str], arguments: list[str]) -> Columns | None:
        """Return the rows as columns, or `None` if one may be bad. Raises `_RowError` if one surely is."""
        form = self.form
        names = list(map(str.strip, map(form.stored, names)))
        # This checks all names at once and is stricter than the check of single rows, which then decides.
        if not all(names) or not "".join(names).isprintable() or len(max(names, key=len, default="")) > LONGEST_NAME:
            return None
        apps = {app_id: _agreed(form.app, app_id, self.app_id) for app_id in set(app_ids)}
        if any(_malformed(form, app_id) for app_id in apps.values()):
            return None
        meant = {text: "" if form.argument is None else _agreed(form.argument, text, self.argument) for text in set(arguments)}
        return Columns(form, lines, names, list(map(apps.__getitem__, app_ids)), list(map(meant.__getitem__, arguments)))


def _text(column: str, value: str) -> str:
    value = value.strip()
    if not value.isprintable() and (found := _UNPRINTABLE.search(value)):
        raise _RowError(Cause.CONTROL_CHARACTER, column, f"U+{ord(found[0]):04X}")
    if len(value) > LONGEST_NAME:
        raise _RowError(Cause.VALUE_TOO_LONG, column, LONGEST_NAME)
    return value


def _agreed(column: str, cell: str, given: str | None) -> str:
    value = _text(column, cell) if cell else cell
    if value == given:
        return value
    if not value:
        if given is None:
            raise _RowError(Cause.MISSING_VALUE, column)
        return given
    if given is not None:
        raise _RowError(Cause.CONFLICTING_VALUE, column, value, given)
    return value


@functools.lru_cache(maxsize=1024)
def _malformed(form: Form, app_id: str) -> Reason | None:
    """Return what is wrong with the id of an app or organization, or `None` if it is well-formed."""
    if form.app == "org_id":
        return None if _ORG_ID.fullmatch(app_id) else Reason(Cause.MALFORMED_ORG_ID, (app_id,))
    return None if APP_ID.fullmatch(app_id) else Reason(Cause.MALFORMED_APP_ID, (app_id,))


class _File:
    """A file or stream, read in threads, so that a slow disk or pipe does not block the event loop."""

    def __init__(self, source: str | os.PathLike[str] | BinaryIO, asked: _Asked) -> None:
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
        form, app_id, argument = self._asked
        return {"kind": form.kind, form.app: app_id, "argument": argument, "settings": form.settings}

    async def batches(self, size: int = BATCH) -> AsyncIterator[list[Row]]:
        _check_size(size)
        async with aclosing(_in_threads(self._rows(), size)) as batches:
            async for batch in batches:
                yield batch

    async def blocks(self) -> AsyncGenerator[Block, None]:
        async with aclosing(_in_threads(self._blocks(), _PIECES)) as taken:
            async for pieces in taken:
                columns = tuple(columns for piece in pieces for columns in piece.columns)
                yield Block(columns, [row for piece in pieces for row in piece.rows])

    def _rows(self) -> Generator[Row, None, None]:
        for block in self._blocks():
            yield from block.in_order()

    def _blocks(self) -> Generator[Block, None, None]:
        self._digest = None
        sha256 = hashlib.sha256()
        empty = True
        with self._opened() as stream:
            for block in _parsed(_Lines(self.name, stream, sha256), self._asked):
                if block:
                    empty = False
                    yield block
        if empty:
            message = f"{self.name}: there is a header but no rows, so nothing would change."
            raise InputError(message)
        self._digest = sha256.hexdigest()

    @contextmanager
    def _opened(self) -> Iterator[BinaryIO]:
        source = self._source
        if isinstance(source, str | os.PathLike) and source != "-":
            with ExitStack() as stack:
                try:
                    stream = stack.enter_context(Path(source).open("rb"))
                except (OSError, ValueError) as error:
                    raise _cannot_read(self.name, error) from error
                yield stream
            return
        if self._spent:
            raise _read_once(self.name)
        self._spent = True
        if not isinstance(source, str | os.PathLike):
            yield source
        elif (stdin := getattr(sys.stdin, "buffer", None)) is not None:
            yield stdin
        else:
            message = "stdin: this process has no binary standard input. Name a file."
            raise InputError(message)


class _Operations:
    """Operations from the caller. The iterable runs in the caller's thread."""

    def __init__(self, operations: Iterable[Operation] | AsyncIterable[Operation], name: str) -> None:
        self.name = name
        self._operations = operations
        self._spent = False
        self._digest: str | None = None

    @property
    def digest(self) -> str:
        return known_digest(self.name, self._digest)

    @property
    def asked(self) -> dict[str, str | None]:
        return {}

    async def batches(self, size: int = BATCH) -> AsyncIterator[list[Row]]:
        _check_size(size)
        if self._spent:
            raise _read_once(self.name)
        self._spent = isinstance(self._operations, Iterator | AsyncIterator)
        self._digest = None
        sha256 = hashlib.sha256()
        encode = msgspec.json.Encoder().encode
        line = 0
        batch: list[Row] = []
        async with aclosing(_each(self._operations)) as operations:
            async for operation in operations:
                line += 1
                row = _normalised(line, operation)
                sha256.update(encode(row))
                batch.append(row)
                if len(batch) == size:
                    await lowlevel.checkpoint()
                    yield batch
                    batch = []
        if batch:
            yield batch
        self._digest = sha256.hexdigest()


def _normalised(line: int, operation: Operation) -> Row:
    form, argument = form_of(operation)
    target = operation.target
    return _Asked(form).row(line, target.name, target.app_id, argument)


async def _each(operations: Iterable[Operation] | AsyncIterable[Operation]) -> AsyncGenerator[Operation, None]:
    if isinstance(operations, AsyncIterable):
        async for operation in operations:
            yield operation
    else:
        for operation in operations:
            yield operation


async def _in_threads(items: Generator[T, None, None], size: int) -> AsyncGenerator[list[T], None]:
    """Yield the items of a generator in lists of up to `size`, each produced in a thread."""
    try:
        while taken := await to_thread.run_sync(_take, items, size, abandon_on_cancel=True):
            yield taken
    finally:
        # After a cancellation a thread may still run the generator. The file is then closed when that thread ends.
        with suppress(ValueError):
            items.close()


def _take(items: Iterator[T], size: int) -> list[T]:
    return list(islice(items, size))


def _check_size(size: int) -> None:
    if size < 1:
        message = f"size is {size}: a batch must have at least 1 row."
        raise ConfigurationError(message)


def known_digest(name: str, digest: str | None) -> str:
    """Return the digest of a source. Raises `JobError` until its last batch was read."""
    if digest is None:
        message = f"{name}: the digest is known only once the last batch was read."
        raise JobError(message)
    return digest


def _read_once(name: str) -> InputError:
    return InputError(
        f"{name}: this source was read already and cannot be read again. Save it to a file, or make a new source."
    )


def _cannot_read(name: str, error: Exception) -> InputError:
    return InputError(f"{name}: {_ADVICE.get(type(error)) or getattr(error, 'strerror', None) or error}.")


class _Lines:
    """The bytes of a stream, in blocks of whole lines.

    A line ends with LF, CR LF or CR. A line longer than `_LIMIT` is cut, but stays longer than `_LIMIT`, so that it is
    rejected.
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
            if len(self._rest) > _LIMIT + 1:
                self._rest = self._rest[: _LIMIT + 1] + (b"\r" if self._rest.endswith(b"\r") else b"")
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
                raise _cannot_read(self.name, error) from error
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


def _parsed(lines: _Lines, asked: _Asked) -> Iterator[Block]:
    """Detect the format by the first character that is not white space, and parse the lines."""
    block = lines.block(_LIMIT)
    if block.startswith((b"\xff\xfe", b"\xfe\xff")):
        message = f"{lines.name}: this is UTF-16 text. Save it as UTF-8 (in a spreadsheet: CSV UTF-8)."
        raise InputError(message)
    block = block.removeprefix(b"\xef\xbb\xbf")
    number = 1
    while block and not block.strip():
        number += len(block.splitlines())
        block = lines.block(_LIMIT)
    if not block:
        message = f"{lines.name}: it is empty, so nothing would change."
        raise InputError(message)
    blank = block[: -len(block.lstrip())]
    blank = blank[: max(blank.rfind(b"\n"), blank.rfind(b"\r")) + 1]
    number += len(blank.splitlines())
    block = block[len(blank) :]
    if block.lstrip().startswith(b"{"):
        return _json_rows(lines, asked, block, number)
    return _table_rows(lines, asked, block, number)


def _fault(text: bytes, line: int) -> Reason | None:
    """Return what makes a line unreadable in any format, or `None` if it is readable."""
    if len(text) > _LIMIT:
        return Reason(Cause.LINE_TOO_LONG)
    try:
        column = text.decode().find("\0") + 1
    except UnicodeDecodeError as error:
        column = len(text[: error.start].decode()) + 1
        return Reason(Cause.NOT_UTF8, places=(f"{text[error.start]:02X}", line, column))
    return Reason(Cause.NUL_BYTE, places=(line, column)) if column else None


def _fault_in(lines: Sequence[bytes], line: int) -> Reason | None:
    return next(filter(None, map(_fault, lines, count(line))), None)


def _json_rows(lines: _Lines, asked: _Asked, block: bytes, number: int) -> Iterator[Block]:
    form = asked.form
    decode = decoder_of(form.columns).decode
    texts_of = operator.attrgetter(*form.columns)
    while block:
        clean = len(block) <= _LIMIT and not _fault(block, number)
        texts = block.splitlines(keepends=True)
        good: list[tuple[int, str, str, str]] = []
        bad: list[Row] = []
        for line, text in enumerate(texts, number):
            if text.isspace():
                continue
            if not clean and (fault := _fault(text, line)):
                bad.append(Row(line, None, fault))
                continue
            try:
                name, app_id, *argument = texts_of(decode(text))
            except msgspec.DecodeError as error:
                bad.append(Row(line, None, fault_of(error, text)))
            except RecursionError:
                bad.append(Row(line, None, Reason(Cause.NOT_JSON, ("nested too deeply",))))
            else:
                good.append((line, name, app_id or "", (argument and argument[0]) or ""))
        if good:
            found, *columns = map(list, zip(*good, strict=True))
            in_row = len(good) == len(texts)
            rows = asked.block(range(number, number + len(texts)) if in_row else found, *columns)
            yield Block(rows.columns, [*rows.rows, *bad])
        else:
            yield Block(rows=bad)
        number += len(texts)
        block = lines.block()


def _table_rows(lines: _Lines, asked: _Asked, block: bytes, number: int) -> Iterator[Block]:
    first = block.splitlines(keepends=True)
    columns, delimiter, span = _header(f"{lines.name}, line {number}", first, asked.form)
    table = _Table(lines, asked, columns, delimiter)
    number += span
    block = b"".join(first[span:]) or lines.block()
    while block:
        rows, number = table.block(block, number)
        yield rows
        block = lines.block()


def _header(where: str, lines: Sequence[bytes], form: Form) -> tuple[list[str], str, int]:
    """Return the columns, the delimiter, and the number of lines of the header."""
    if len(lines[0]) > _LIMIT or b"\0" in lines[0]:
        fault = Reason(Cause.LINE_TOO_LONG if len(lines[0]) > _LIMIT else Cause.NUL_BYTE)
        message = f"{where}: {fault}, so this is not a table. Save it as CSV in UTF-8."
        raise InputError(message)
    for delimiter in ",;\t":
        cells, span = _record(lines, 0, len(lines), delimiter)
        columns = [] if isinstance(cells, _Broken) else [cell.strip().lower() for cell in cells]
        if form.name not in columns:
            continue
        for name in form.columns:
            if columns.count(name) > 1:
                message = f"{where}: {columns.count(name)} columns are named {name}. Keep one."
                raise InputError(message)
        return columns, delimiter, span
    found = lines[0].decode("utf-8", "replace").strip()
    found = repr(found[:_SHOWN]) + ("..." if len(found) > _SHOWN else "")
    message = f"{where}: the first line must be a CSV header with a column {form.name}, or a JSON object; it is {found}."
    raise InputError(message)


class _Strict(csv.excel):
    skipinitialspace = True
    strict = True


class _Table:
    """The rows of a CSV file, below its header.

    After a broken quoted field, only the row that begins it is bad; the next line begins the next row. The lines that the field
    seemed to span are then read one by one, as single rows. So no line is read more than a few times.
    """

    def __init__(self, lines: _Lines, asked: _Asked, columns: list[str], delimiter: str) -> None:
        self._lines = lines
        self._asked = asked
        self._width = len(columns)
        self._delimiter = delimiter
        form = asked.form
        self._name = columns.index(form.name)
        self._app = columns.index(form.app) if form.app in columns else None
        self._argument = columns.index(form.argument) if form.argument in columns else None
        self._opened = 0
        self._fence = 0  # The first line after those that the broken field on line `_opened` seemed to span

    def block(self, block: bytes, number: int) -> tuple[Block, int]:
        """Return the rows of a block that begins with line `number`, and the number of the next line."""
        if len(block) <= _LIMIT and number >= self._fence and b"\0" not in block:
            if columns := self._unquoted(block):
                return self._of_columns(columns, number), number + len(columns[0])
            try:
                reader = csv.reader(io.StringIO(block.decode(), newline=""), _Strict, delimiter=self._delimiter)
                records = list(reader)
            except (UnicodeDecodeError, csv.Error):
                records = []
            if records and reader.line_num == len(records):  # So each record is one line
                return self._of_single_lines(records, number), number + len(records)
        rows: list[Row] = []
        number = self._one_by_one(block.splitlines(keepends=True), number, rows)
        return Block(rows=rows), number

    def _unquoted(self, block: bytes) -> list[list[str]] | None:
        """Return the columns of a block without quotes whose lines have all cells, or `None` for other blocks."""
        if b'"' in block or b"\r" in block:
            return None
        try:
            text = block.decode().removesuffix("\n")
        except UnicodeDecodeError:
            return None
        lines = text.split("\n")
        if set(map(str.count, lines, repeat(self._delimiter))) != {self._width - 1}:
            return None
        if self._width == 1:
            return [lines] if all(map(str.strip, lines)) else None
        cells = text.replace("\n", self._delimiter).split(self._delimiter)
        return [cells[place :: self._width] for place in range(self._width)]

    def _of_single_lines(self, records: Sequence[list[str]], number: int) -> Block:
        whole = not any(map(self._width.__ne__, map(len, records)))
        columns = list(map(list, zip(*records, strict=True))) if whole else []
        # A row with a single, blank cell is a blank line.
        if not whole or (self._width == 1 and not all(map(str.strip, columns[0]))):
            rows = (self._row(line, cells) for line, cells in enumerate(records, number) if not _is_blank(cells))
            return Block(rows=list(rows))
        return self._of_columns(columns, number)

    def _of_columns(self, columns: Sequence[list[str]], number: int) -> Block:
        count = len(columns[0])
        nothing = [""] * count
        return self._asked.block(
            range(number, number + count),
            columns[self._name],
            columns[self._app] if self._app is not None else nothing,
            columns[self._argument] if self._argument is not None else nothing,
        )

    def _one_by_one(self, lines: Sequence[bytes], number: int, rows: list[Row]) -> int:
        """Add the rows of these lines, which begin with line `number`, and return the number of the next line."""
        at = 0
        while at < len(lines):
            line = number + at
            alone = line < self._fence
            cells, span = _record(lines, at, at + 1 if alone else len(lines), self._delimiter)
            unclosed = isinstance(cells, _Broken) and cells.unclosed
            if unclosed and at + span == len(lines) and not alone and not self._lines.final:
                self._lines.put_back(b"".join(lines[at:]))
                return line
            if isinstance(cells, _Broken):
                rows.append(Row(line, None, _fault(lines[at], line) or self._misquoted(line, span, cells)))
                if not alone:
                    self._opened, self._fence = line, line + span - (not unclosed)
                span = 1
            elif not _is_blank(cells):
                fault = _fault_in(lines[at : at + span], line)
                rows.append(Row(line, None, fault) if fault else self._row(line, cells))
            at += span
        return number + at

    def _misquoted(self, line: int, span: int, broken: "_Broken") -> Reason:
        if line < self._fence:
            return Reason(Cause.UNPAIRED_QUOTE, places=(self._opened,))
        if broken.unclosed:
            return Reason(Cause.UNCLOSED_QUOTE)
        if span > 1:
            return Reason(Cause.MISPLACED_QUOTE, places=(line + span - 1,))
        return Reason(Cause.NOT_CSV, (broken.error,))

    def _row(self, line: int, cells: list[str]) -> Row:
        if missing := self._width - len(cells):
            if missing < 0:
                return Row(line, None, Reason(Cause.CELL_COUNT, (len(cells), self._width)))
            cells += [""] * missing
        return self._asked.row(
            line,
            cells[self._name],
            cells[self._app] if self._app is not None else "",
            cells[self._argument] if self._argument is not None else "",
        )


def _is_blank(cells: list[str]) -> bool:
    return not cells or (len(cells) == 1 and not cells[0].strip())


class _Broken(NamedTuple):
    """Why a record has no cells.

    `error` is the message of the csv module. `unclosed` is whether the input ended within a quoted field.
    """

    error: str
    unclosed: bool = False


def _record(lines: Sequence[bytes], at: int, end: int, delimiter: str) -> tuple[list[str] | _Broken, int]:
    """Return the cells of the record that begins at `at`, or why it has none, and its number of lines."""
    if len(lines[at]) > _LIMIT:
        return _Broken("too long"), 1
    texts = _within_limit(lines, at, end)
    reader = csv.reader(texts, _Strict, delimiter=delimiter)
    try:
        return next(reader), reader.line_num
    except csv.Error as error:
        # If the reader asked for more lines than there are, it was within a quoted field.
        return _Broken(str(error), unclosed=inspect.getgeneratorstate(texts) == inspect.GEN_CLOSED), reader.line_num


def _within_limit(lines: Sequence[bytes], at: int, end: int) -> Generator[str, None, None]:
    size = 0
    for index in range(at, end):
        size += len(lines[index])
        if size > _LIMIT:
            return
        yield lines[index].decode("utf-8", "surrogateescape")
