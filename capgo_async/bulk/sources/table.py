"""Parses CSV, with a comma, a semicolon or a tab as delimiter."""

import csv
import inspect
import io
import re
from collections.abc import Collection, Generator, Iterator, Sequence
from itertools import count, repeat
from typing import Final, NamedTuple

from ...errors import InputError, Problem
from ..operations.forms import Form
from ..operations.operations import Row
from ..operations.reasons import Cause, Reason
from ..report import counted
from .blocks import Block
from .lines import LONGEST_LINE, Lines, line_fault
from .rows import UUID, Asked

_SHOWN = 80  # Characters of the first line that a message quotes
_SEPARATOR: Final = re.compile(rb"\"?sep=([^\w\s\"]|\t)\"?\s*", re.IGNORECASE)
"""The first line of a file from Excel that names its delimiter."""
_DELIMITERS: Final = ",;\t"


def table_rows(lines: Lines, asked: Asked, block: bytes, number: int) -> Iterator[Block]:
    """Yield the rows of a CSV file; `block` is its first, starting with line `number`."""
    first = block.splitlines(keepends=True)
    delimiters = _DELIMITERS
    if separator := _SEPARATOR.fullmatch(first[0]):
        delimiters = separator[1].decode("ascii", "replace")
        first, number = first[1:] or [b""], number + 1
    found = _header(f"{lines.name}, line {number}", first, asked, delimiters)
    asked, remark = asked._replace(form=found.form).of_file(found.columns)
    if remark is not None:
        yield Block(remarks=(f"{lines.name}: {remark}",))
    table = _Table(lines, asked, found)
    number += found.span
    block = b"".join(first[found.span :]) or lines.block()
    while block:
        rows, number = table.block(block, number)
        yield rows
        block = lines.block()


class _Header(NamedTuple):
    """What the header says: the form of the list, its columns, their delimiter, and the number of lines.

    `mark` is in every line that repeats it, if the line is in lower case.
    """

    form: Form
    columns: list[str]
    delimiter: str
    span: int
    mark: bytes


def _header(where: str, lines: Sequence[bytes], asked: Asked, delimiters: str) -> _Header:
    """Return what the header says. Without a header line, it has no lines."""
    if len(lines[0]) > LONGEST_LINE or b"\0" in lines[0]:
        fault = Reason(Cause.LINE_TOO_LONG if len(lines[0]) > LONGEST_LINE else Cause.NUL_BYTE)
        message = f"{where}: {fault}, so this is not a table. Save it as CSV in UTF-8."
        raise InputError(message)
    layout = asked.layout
    read = [(delimiter, *_record(lines, 0, len(lines), delimiter)) for delimiter in delimiters]
    firsts = [(delimiter, cells, span) for delimiter, cells, span in read if not isinstance(cells, _Broken)]
    if layout.header and firsts:
        delimiter, cells, _ = max(firsts, key=lambda first: len(first[1]))
        if len(cells) != len(layout.header):
            named = counted(len(layout.header), "column")
            message = f"{where}: this line has {counted(len(cells), 'cell')}, but the given header names {named}."
            raise InputError(message)
        firsts = [(delimiter, list(layout.header), 0)]
    for delimiter, cells, span in firsts:
        columns = [_spelt(cell) for cell in cells]
        for form in layout.forms(asked.form):
            name, *others = layout.names(form)
            if name is not None and _spelt(name) in columns:
                _check_columns(where, columns, [name, *filter(None, others)], layout.columns.values())
                mark = cells[columns.index(_spelt(name))].strip().encode("utf-8", "surrogateescape").lower()
                return _Header(form, columns, delimiter, span, mark)
    raise _no_header(where, lines[0], max((cells for _, cells, _ in firsts), key=len, default=[]), asked)


def _spelt(column: str) -> str:
    """Return the name of a column as headers are compared."""
    return column.strip().lower()


def _check_columns(where: str, columns: Sequence[str], names: Sequence[str], needed: Collection[str]) -> None:
    for name in names:
        times = columns.count(_spelt(name))
        if times > 1:
            message = f"{where}: {times} columns are named {name}. Keep one."
            raise InputError(message)
        if not times and name in needed:
            message = f"{where}: no column is named {name!r}; the columns are {', '.join(columns)}."
            raise InputError(message)


def _no_header(where: str, line: bytes, cells: Sequence[str], asked: Asked) -> InputError:
    """Return the error for a file without the column that names the targets."""
    wanted = " or ".join(str(asked.layout.names(form)[0]) for form in asked.layout.forms(asked.form))
    if asked.layout.header:
        return InputError(f"{where}: the given header has no column {wanted}.")
    found = line.decode("utf-8", "replace").strip()
    found = repr(found[:_SHOWN]) + ("..." if len(found) > _SHOWN else "")
    lone = cells[0].strip() if len(cells) == 1 else ""
    if any(UUID.fullmatch(cell.strip()) for cell in cells) or any(map(str.isdecimal, lone)):
        message = f"{where}: this looks like a list without a header; its first line is {found}."
        return InputError(message, problem=Problem.NO_HEADER)
    message = (
        f"{where}: the first line must be a CSV header with a column {wanted}, or a JSON object; it is {found}."
        " Columns are separated by commas, semicolons or tabs."
    )
    return InputError(message, problem=Problem.NO_SUCH_COLUMN)


class _Strict(csv.excel):
    skipinitialspace = True
    strict = True


class _Table:
    """The rows of a CSV file, below its header.

    After a broken quoted field, only the row that begins it is bad; the next line begins the next row. The lines that the field
    seemed to span are then read one by one, as single rows. So no line is read more than a few times.
    """

    def __init__(self, lines: Lines, asked: Asked, header: _Header) -> None:
        self._lines = lines
        self._asked = asked
        self._width = len(header.columns)
        self._delimiter = header.delimiter
        self._header = header
        places = [
            None if name is None or _spelt(name) not in header.columns else header.columns.index(_spelt(name))
            for name in asked.layout.names(asked.form)
        ]
        self._name = places[0] or 0
        self._app = places[1]
        self._argument = places[2] if asked.form.argument is not None else None
        self._opened = 0
        self._fence = 0  # The first line after those that the broken field on line `_opened` seemed to span

    def block(self, block: bytes, number: int) -> tuple[Block, int]:
        """Return the rows of a block that begins with line `number`, and the number of the next line."""
        plain = b"\0" not in block and self._header.mark not in block.lower()
        if len(block) <= LONGEST_LINE and number >= self._fence and plain:
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
        rows = len(columns[0])
        nothing = [""] * rows
        return self._asked.block(
            range(number, number + rows),
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
                rows.append(Row(line, None, line_fault(lines[at], line) or self._misquoted(line, span, cells)))
                if not alone:
                    self._opened, self._fence = line, line + span - (not unclosed)
                span = 1
            elif not _is_blank(cells):
                fault = next(filter(None, map(line_fault, lines[at : at + span], count(line))), None)
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
        if self._is_header(line, cells):
            return Row(line, None, Reason(Cause.REPEATED_HEADER))
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

    def _is_header(self, line: int, cells: Sequence[str]) -> bool:
        """Return whether a row is the header of a file that was joined to this one.

        Raises `InputError` if that file has other columns, because its rows cannot be read by the first header.
        """
        names = [cell.strip("\ufeff \t").lower() for cell in cells]
        columns = self._header.columns
        if columns[self._name] not in names or len(names) <= self._name or names[self._name] not in columns:
            return False
        if names[self._name] != columns[self._name]:
            message = f"{self._lines.name}, line {line}: a header begins here whose columns have another order. Split the file."
            raise InputError(message)
        return True


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
    if len(lines[at]) > LONGEST_LINE:
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
        if size > LONGEST_LINE:
            return
        yield lines[index].decode("utf-8", "surrogateescape")
