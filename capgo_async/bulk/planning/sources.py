"""Sources: CSV, JSON Lines, standard input and iterables of operations become rows, in bounded memory.

Past 300 lines because what tells a good row from a bad one stands in one place: the two formats share all of it.
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
"""How many rows a batch has at most, unless the reader asks for another number."""

DeviceChange = type[LinkDevice] | type[UnlinkDevice] | type[RenewDevice]
"""What the rows of a list of devices ask for; the list itself only says of which."""

T = TypeVar("T")

_PIECES = 12
"""How many blocks of lines are handed over at once: some `BATCH` rows of a usual length."""
_LIMIT = 65_536  # bytes of one row: so a file without line ends or closing quotes takes no more memory than others
_READ = 32_768  # bytes read at once: half of `_LIMIT`, so that few blocks are longer and can hold too long a line
_SHOWN = 80  # characters of a first line that a message shows
_ORG_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE | re.ASCII)
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_ADVICE: dict[type[Exception], str] = {
    FileNotFoundError: "there is no such file; check the path",
    IsADirectoryError: "this is a directory; name a file",
    PermissionError: "no permission to read it; check its owner and mode",
}


class Source(Protocol):
    """What a job is made from: the rows of a list of intended changes."""

    @property
    def name(self) -> str:
        """Return what messages call it: the file as it was given, "stdin", "operations"."""

    @property
    def digest(self) -> str:
        """Return the SHA-256, in hexadecimal, of what was read; raise `JobError` before `batches` is exhausted."""

    @property
    def asked(self) -> dict[str, str | None]:
        """Return what was asked for every row, by name: the same rows may ask for something else."""

    def batches(self, size: int = BATCH) -> AsyncIterator[list[Row]]:
        """Read the rows, at most `size` at a time; raise `InputError` for a source that has none or cannot be read.

        A file named by its path and a collection can be read again; a stream and an iterator cannot.
        """


@runtime_checkable
class SourceOfBlocks(Protocol):
    """A source that has its rows at hand as columns, too."""

    def blocks(self) -> AsyncGenerator[Block, None]:
        """Read the rows as `batches` does, in blocks."""


async def blocks_of(source: Source) -> AsyncGenerator[Block, None]:
    """Yield the rows of `source` as columns, as far as it has them at hand."""
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
    """Read operations on devices from a CSV or JSON Lines file in UTF-8, by path, as a binary stream, or "-" for stdin.

    Columns or keys: `device_id`, `app_id`, `channel`; the arguments fill the last two where a row leaves them empty.
    Nothing is opened before the first batch is asked for; a stream is not closed.
    """
    return read_rows(source, OF_DEVICES[kind], app_id=app_id, argument=channel)


def read_rows(
    source: str | os.PathLike[str] | BinaryIO, form: Form, *, app_id: str | None = None, argument: str | None = None
) -> Source:
    """Read operations of any kind as `read_operations` does; `form` says which columns there are."""
    if source == "":
        message = "the source has an empty name: name a file, or - for standard input."
        raise ConfigurationError(message)
    if app_id is not None and (fault := _malformed(form, app_id)):
        raise ConfigurationError(str(fault))
    if argument is not None:
        if form.argument is None:
            message = f"{argument!r} has no meaning here: {form.kind} takes nothing beside its target."
            raise ConfigurationError(message)
        try:
            argument = _text(form.argument, argument)
        except _RowError as error:
            raise ConfigurationError(str(error.reason)) from error
        if not argument:
            message = f"{form.argument} is blank: name one, or leave it out when every row names its own."
            raise ConfigurationError(message)
    return _File(source, _Asked(form=form, app_id=app_id, argument=argument))


def from_operations(operations: Iterable[Operation] | AsyncIterable[Operation], *, name: str = "operations") -> Source:
    """Take operations from memory, a generator or an asynchronous iterable; a row's line is its place, from 1.

    They are checked and normalised as the rows of a file are. None at all is no error. `name` is what messages call them.
    """
    return _Operations(operations, name)


class _RowError(Exception):
    """Raised when a row is bad; never leaves this module."""

    def __init__(self, cause: Cause, *details: str | int) -> None:
        super().__init__()
        self.reason = Reason(cause, details)


class _Asked(NamedTuple):
    """What the caller asked for every row: it fills empty cells, and no cell may say something else."""

    form: Form
    app_id: str | None = None
    argument: str | None = None

    def row(self, line: int, name: str, app_id: str, argument: str) -> Row:
        """Return the row that these texts make."""
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
        """Return the rows that these texts make: as columns, unless one of them is bad."""
        try:
            columns = self._columns(lines, names, app_ids, arguments)
        except _RowError:
            columns = None
        if columns is None:
            return Block(rows=list(map(self.row, lines, names, app_ids, arguments)))
        return Block(columns=(columns,))

    def _columns(self, lines: Sequence[int], names: list[str], app_ids: list[str], arguments: list[str]) -> Columns | None:
        """Return the rows as columns, `None` where one may be bad; raises `_RowError` where one surely is."""
        form = self.form
        names = list(map(str.strip, map(form.stored, names)))
        # All at once; what this does not let pass may be good, and is looked at row by row.
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
    """Return what is wrong with the id of an app or organization, `None` for a good one."""
    if form.app == "org_id":
        return None if _ORG_ID.fullmatch(app_id) else Reason(Cause.MALFORMED_ORG_ID, (app_id,))
    return None if APP_ID.fullmatch(app_id) else Reason(Cause.MALFORMED_APP_ID, (app_id,))


class _File:
    """A file or stream. Threads read it, one batch each, so that a slow disk or pipe holds up nobody else."""

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
            message = f"{self.name}: there are columns but no rows. Nothing would change."
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
            message = "stdin: this process has no standard input of bytes. Name a file."
            raise InputError(message)


class _Operations:
    """Operations of the caller's own making, taken in the caller's own thread."""

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
    """Yield what a generator gives, up to `size` at a time, each time out of a thread."""
    try:
        while taken := await to_thread.run_sync(_take, items, size, abandon_on_cancel=True):
            yield taken
    finally:
        # After a cancellation a thread may still be in it; the file is then closed when that thread lets go of it.
        with suppress(ValueError):
            items.close()


def _take(items: Iterator[T], size: int) -> list[T]:
    return list(islice(items, size))


def _check_size(size: int) -> None:
    if size < 1:
        message = f"size is {size}: a batch has at least 1 row."
        raise ConfigurationError(message)


def known_digest(name: str, digest: str | None) -> str:
    """Return the digest of a source; raises `JobError` before its last batch was read."""
    if digest is None:
        message = f"{name}: there is no digest before the last batch was read."
        raise JobError(message)
    return digest


def _read_once(name: str) -> InputError:
    return InputError(f"{name}: it was read already and cannot be read again. Save it to a file, or make a new source.")


def _cannot_read(name: str, error: Exception) -> InputError:
    return InputError(f"{name}: {_ADVICE.get(type(error)) or getattr(error, 'strerror', None) or error}.")


class _Lines:
    """The bytes of a stream, in blocks of whole lines.

    A line ends with LF, CR LF or CR. One that is longer than `_LIMIT` is cut short, but not so short that this is lost.
    """

    def __init__(self, name: str, stream: BinaryIO, sha256: "_Hash") -> None:
        self.name = name
        self.final = False
        self._stream = stream
        self._sha256 = sha256
        self._rest = b""

    def block(self, at_least: int = 1) -> bytes:
        """Return the next lines, `at_least` so many bytes unless the end is met; nothing at the end."""
        while not self.final:
            data = self._read()
            self.final = not data
            held = self._rest + data
            # CR as the last byte may be half of CR LF.
            end = len(held) if self.final else max(held.rfind(b"\n"), held.rfind(b"\r", 0, -1)) + 1
            self._rest = held[end:]
            if len(self._rest) > _LIMIT + 1:
                self._rest = self._rest[: _LIMIT + 1] + (b"\r" if self._rest.endswith(b"\r") else b"")
            if self.final or end >= at_least:
                return held[:end]
            self._rest = held[:end] + self._rest
        return b""

    def put_back(self, lines: bytes) -> None:
        """Take back the last lines of a block, to return them with more."""
        self._rest = lines + self._rest

    def _read(self) -> bytes:
        """Return `_READ` bytes, fewer only at the end: a pipe may give them in small pieces."""
        pieces: list[bytes] = []
        missing = _READ
        while missing:
            try:
                piece: object = self._stream.read(missing)
            except (OSError, ValueError) as error:
                raise _cannot_read(self.name, error) from error
            if not isinstance(piece, bytes):
                message = f"{self.name}: it gives {type(piece).__name__}, not bytes. Open it in binary mode, and blocking."
                raise InputError(message)
            if not piece:
                break
            pieces.append(piece)
            missing -= len(piece)
        data = b"".join(pieces)
        self._sha256.update(data)
        return data


def _parsed(lines: _Lines, asked: _Asked) -> Iterator[Block]:
    """Tell the format by the first character that is no white space, and parse it."""
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
        message = f"{lines.name}: there is nothing in it, so nothing would change."
        raise InputError(message)
    blank = block[: -len(block.lstrip())]
    blank = blank[: max(blank.rfind(b"\n"), blank.rfind(b"\r")) + 1]
    number += len(blank.splitlines())
    block = block[len(blank) :]
    if block.lstrip().startswith(b"{"):
        return _json_rows(lines, asked, block, number)
    return _table_rows(lines, asked, block, number)


def _fault(text: bytes, line: int) -> Reason | None:
    """Return what makes a line unreadable in any format, `None` for a readable line."""
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
    """Return the columns, the delimiter that shows them, and how many lines they take."""
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
    message = (
        f"{where}: the first line must name the columns, {form.name} among them, or be a JSON object as all others then; "
        f"it is {found}."
    )
    raise InputError(message)


class _Strict(csv.excel):
    skipinitialspace = True
    strict = True


class _Table:
    """The rows of a CSV file, below its header.

    Where a quoted field goes wrong only the row that begins it is bad, and the next line begins the next row. The lines
    that the field seemed to hold are read alone then, without a look at what follows them: so none is read often.
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
        self._fence = 0  # the first line below what the field that went wrong on line `_opened` seemed to hold

    def block(self, block: bytes, number: int) -> tuple[Block, int]:
        """Return the rows of a block that begins with line `number`, and the number of the line after them."""
        if len(block) <= _LIMIT and number >= self._fence and b"\0" not in block:
            if columns := self._unquoted(block):
                return self._of_columns(columns, number), number + len(columns[0])
            try:
                reader = csv.reader(io.StringIO(block.decode(), newline=""), _Strict, delimiter=self._delimiter)
                records = list(reader)
            except (UnicodeDecodeError, csv.Error):
                records = []
            if records and reader.line_num == len(records):  # so each is one line
                return self._of_single_lines(records, number), number + len(records)
        rows: list[Row] = []
        number = self._one_by_one(block.splitlines(keepends=True), number, rows)
        return Block(rows=rows), number

    def _unquoted(self, block: bytes) -> list[list[str]] | None:
        """Return the columns of a block in which nothing is quoted and each line has all cells; `None` for any other."""
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
        # A row is blank that is a single cell, and that blank.
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
        """Add the rows of these lines, the first of which is `number`; return the number of the line after them."""
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
    """Why a record has no cells: the csv module's message, and whether the input ended within a quoted field."""

    error: str
    unclosed: bool = False


def _record(lines: Sequence[bytes], at: int, end: int, delimiter: str) -> tuple[list[str] | _Broken, int]:
    """Return the cells of the record that begins at `at`, or why there are none, and how many lines it took."""
    if len(lines[at]) > _LIMIT:
        return _Broken("too long"), 1
    texts = _within_limit(lines, at, end)
    reader = csv.reader(texts, _Strict, delimiter=delimiter)
    try:
        return next(reader), reader.line_num
    except csv.Error as error:
        # A reader that has asked for more than there is was within a quoted field.
        return _Broken(str(error), unclosed=inspect.getgeneratorstate(texts) == inspect.GEN_CLOSED), reader.line_num


def _within_limit(lines: Sequence[bytes], at: int, end: int) -> Generator[str, None, None]:
    size = 0
    for index in range(at, end):
        size += len(lines[index])
        if size > _LIMIT:
            return
        yield lines[index].decode("utf-8", "surrogateescape")
