"""Blocks of rows, and what every source checks."""

from collections.abc import Sequence
from typing import NamedTuple

from ...errors import ConfigurationError, InputError, JobError
from ..operations.forms import Form
from ..operations.operations import Row


class Columns(NamedTuple):
    """Valid rows of one form, stored as columns so that no object is created per row."""

    form: Form
    lines: Sequence[int]
    names: Sequence[str]
    app_ids: Sequence[str]
    arguments: Sequence[str]


class Block(NamedTuple):
    """Rows that were read together, some as columns and some one by one.

    `remarks` are sentences on how the file was read.
    """

    columns: tuple[Columns, ...] = ()
    rows: Sequence[Row] = ()
    remarks: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return any(columns.lines for columns in self.columns) or bool(self.rows)

    def in_order(self) -> list[Row]:
        """Return all rows, ordered by line."""
        rows = list(self.rows)
        for form, lines, *texts in self.columns:
            rows += (form.row(line, app, name, text) for line, name, app, text in zip(lines, *texts, strict=True))
        return sorted(rows, key=lambda row: row.line)


BATCH = 10_000
"""Default number of rows in a batch."""


def check_size(size: int) -> None:
    if size < 1:
        message = f"size is {size}: a batch must have at least 1 row."
        raise ConfigurationError(message)


def known_digest(name: str, digest: str | None) -> str:
    """Return the digest of a source. Raises `JobError` until its last batch was read."""
    if digest is None:
        message = f"{name}: the digest is known only once the last batch was read."
        raise JobError(message)
    return digest


def read_once(name: str) -> InputError:
    """Return the error for a second reading of a stream or iterator."""
    return InputError(
        f"{name}: this source was read already and cannot be read again. Save it to a file, or make a new source."
    )
