"""Output formats of inventories: JSON Lines, CSV, SQLite, Parquet."""

import csv
import enum
import importlib.util
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from ...errors import ConfigurationError, Problem
from .columns import ColumnType, Table

Batch = Sequence[tuple[Any, ...]]


class Format(enum.StrEnum):
    """Output format of an inventory. `SPREADSHEET` is CSV in which no cell is a formula."""

    JSONL = "jsonl"
    CSV = "csv"
    SPREADSHEET = "spreadsheet"
    SQLITE = "sqlite"
    PARQUET = "parquet"


_SUFFIXES: Final[Mapping[str, Format]] = {
    ".jsonl": Format.JSONL,
    ".csv": Format.CSV,
    ".sqlite": Format.SQLITE,
    ".db": Format.SQLITE,
    ".parquet": Format.PARQUET,
}


_CRLF: Final = "\r\n"
_FORMULA: Final = re.compile(r"^(?=[\t\r\n])|(?:^|(?<=[;\t\r\n]))(?=[\s\"]*[=+\-@\uff1d\uff0b\uff0d\uff20])")
"""Where a formula can begin.

That is the start of a cell. Within a cell it is what follows a character that some program takes for the end of a cell or row.
"""


def format_of(path: Path) -> Format:
    """Return the format for a file name. Raises `ConfigurationError` if the suffix is unknown."""
    found = _SUFFIXES.get(path.suffix.lower())
    if found is None:
        message = f"{path} does not end with {', '.join([*_SUFFIXES][:-1])} or {[*_SUFFIXES][-1]}, so its format is unknown"
        raise ConfigurationError(message, problem=Problem.FORMAT_UNKNOWN)
    return found


def check_format(chosen: Format) -> None:
    """Raise `ConfigurationError` if a package that the format needs is not installed."""
    if chosen is Format.PARQUET and importlib.util.find_spec("pyarrow") is None:
        message = "Parquet output needs pyarrow, which is not installed: pip install 'capgo-async[parquet]'"
        raise ConfigurationError(message)


def lines_of(chosen: Format, table: Table) -> "JsonLines | CsvLines":
    return JsonLines(table) if chosen is Format.JSONL else CsvLines(chosen, table.names)


class JsonLines:
    """Encodes each row as a JSON object. Nested values stay nested."""

    head: Sequence[str] = ()

    def __init__(self, table: Table) -> None:
        self._names = table.names
        self._nested = [place for place, column in enumerate(table.columns) if column.type is ColumnType.JSON]
        self._encode = msgspec.json.Encoder().encode

    def __call__(self, rows: Batch) -> Iterator[str]:
        for row in rows:
            values = list(row)
            for place in self._nested:
                values[place] = None if values[place] is None else msgspec.Raw(values[place].encode())
            yield self._encode(dict(zip(self._names, values, strict=True))).decode()


class CsvLines:
    """Encodes each row as a CSV record (RFC 4180). Null is an empty field."""

    def __init__(self, chosen: Format, names: Sequence[str]) -> None:
        self.head = (",".join(names),)
        self._cell = _for_spreadsheets if chosen is Format.SPREADSHEET else _cell

    def __call__(self, rows: Batch) -> Iterator[str]:
        text = io.StringIO()
        # Only characters of the terminator are quoted, before Python 3.13.
        writer = csv.writer(text, lineterminator=_CRLF)
        for row in rows:
            writer.writerow(map(self._cell, row))
            yield text.getvalue().removesuffix(_CRLF)
            text.seek(0)
            text.truncate()


def _cell(value: object) -> object:
    return ("true" if value else "false") if isinstance(value, bool) else value


def _for_spreadsheets(value: object) -> object:
    """Return the cell with `'` before whatever a spreadsheet would take for a formula."""
    return _FORMULA.sub("'", value) if isinstance(value, str) else _cell(value)


class TextWriter:
    """Writes encoded rows to a text file."""

    def __init__(self, path: Path, lines: JsonLines | CsvLines) -> None:
        self._lines = lines
        self._file = path.open("w", encoding="utf-8", newline="")
        self._put(lines.head)

    def write(self, rows: Batch) -> None:
        self._put(self._lines(rows))

    def close(self) -> None:
        self._file.close()

    def _put(self, lines: Iterable[str]) -> None:
        self._file.writelines(f"{line}\n" for line in lines)


class ParquetWriter:
    """Writes row groups to a Parquet file, with the summary in its metadata under `capgo_async`."""

    def __init__(self, path: Path, table: Table, metadata: bytes) -> None:
        import pyarrow as pa  # noqa: PLC0415 - large, and part of an extra
        from pyarrow import parquet  # noqa: PLC0415 - optional, and slow to import

        types = {ColumnType.INTEGER: pa.int64(), ColumnType.REAL: pa.float64(), ColumnType.BOOLEAN: pa.bool_()}
        columns = [(column.name, types.get(column.type, pa.string())) for column in table.columns]
        self._schema: pa.Schema = pa.schema(columns, metadata={"capgo_async": metadata})
        self._table = pa.Table
        self._array = pa.array
        self._writer = parquet.ParquetWriter(path, self._schema, compression="zstd")

    def write(self, rows: Batch) -> None:
        arrays = [self._array(values, type_) for values, type_ in zip(zip(*rows, strict=True), self._schema.types, strict=True)]
        self._writer.write_table(self._table.from_arrays(arrays, schema=self._schema))

    def close(self) -> None:
        """Write the footer and close the file."""
        self._writer.close()
