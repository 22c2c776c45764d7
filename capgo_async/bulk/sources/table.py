"""Parses CSV, with a comma, a semicolon or a tab as delimiter."""

import csv
import inspect
import io
from collections.abc import Generator, Iterator, Sequence
from itertools import count, repeat
from typing import NamedTuple

from ...errors import InputError
from ..operations.forms import Form
from ..operations.operations import Row
from ..operations.reasons import Cause, Reason
from .blocks import Block
from .lines import LONGEST_LINE, Lines, line_fault
from .rows import Asked

_SHOWN = 80  # Characters of the first line that a message quotes


def table_rows(lines: Lines, asked: Asked, block: bytes, number: int) -> Iterator[Block]:
    """Yield the rows of a CSV file; `block` is its first, starting with line `number`."""
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
    if len(lines[0]) > LONGEST_LINE or b"\0" in lines[0]:
        fault = Reason(Cause.LINE_TOO_LONG if len(lines[0]) > LONGEST_LINE else Cause.NUL_BYTE)
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
        f"{where}: the first line must be a CSV header with a column {form.name}, or a JSON object; it is {found}."
        " Columns are separated by commas, semicolons or tabs."
    )
    raise InputError(message)


class _Strict(csv.excel):
    skipinitialspace = True
    strict = True


class _Table:
    """The rows of a CSV file, below its header.

    After a broken quoted field, only the row that begins it is bad; the next line begins the next row. The lines that the field
    seemed to span are then read one by one, as single rows. So no line is read more than a few times.
    """

    def __init__(self, lines: Lines, asked: Asked, columns: list[str], delimiter: str) -> None:
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
        if len(block) <= LONGEST_LINE and number >= self._fence and b"\0" not in block:
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
