"""Turns the texts of a row into a row, or into the reason why it is rejected."""

import contextlib
import functools
import re
from collections.abc import Sequence
from typing import NamedTuple

from ...api.endpoints.arguments import APP_ID, LONGEST_NAME
from ..operations.forms import Form
from ..operations.operations import Row
from ..operations.reasons import Cause, Reason
from .blocks import Block, Columns

_ORG_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE | re.ASCII)
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


class RowError(Exception):
    """Raised when a row is bad. It never leaves this folder."""

    def __init__(self, cause: Cause, *details: str | int) -> None:
        super().__init__()
        self.reason = Reason(cause, details)


class Asked(NamedTuple):
    """The values that the caller sets for every row. They fill empty cells; other values are errors."""

    form: Form
    app_id: str | None = None
    argument: str | None = None

    def row(self, line: int, name: str, app_id: str, argument: str) -> Row:
        form = self.form
        try:
            name = cell_text(form.name, form.stored(name))
            if not name:
                return Row(line, None, Reason(Cause.MISSING_VALUE, (form.name,)))
            app_id = _agreed(form.app, app_id, self.app_id)
            check_app(form, app_id)
            if form.argument is not None:
                argument = _agreed(form.argument, argument, self.argument)
        except RowError as error:
            return Row(line, None, error.reason)
        return Row(line, form.make(app_id, name, argument))

    def block(self, lines: Sequence[int], names: list[str], app_ids: list[str], arguments: list[str]) -> Block:
        """Return the rows made of these texts, as columns unless one of them is bad."""
        with contextlib.suppress(RowError):
            if columns := self._columns(lines, names, app_ids, arguments):
                return Block(columns=(columns,))
        return Block(rows=list(map(self.row, lines, names, app_ids, arguments)))

    def _columns(self, lines: Sequence[int], names: list[str], app_ids: list[str], arguments: list[str]) -> Columns | None:
        """Return the rows as columns, or `None` if one may be bad. Raises `RowError` if one surely is."""
        form = self.form
        names = list(map(str.strip, map(form.stored, names)))
        # This checks all names at once and is stricter than the check of single rows, which then decides.
        if not all(names) or not "".join(names).isprintable() or len(max(names, key=len, default="")) > LONGEST_NAME:
            return None
        apps = {app_id: _agreed(form.app, app_id, self.app_id) for app_id in set(app_ids)}
        for app_id in apps.values():
            check_app(form, app_id)
        meant = {text: "" if form.argument is None else _agreed(form.argument, text, self.argument) for text in set(arguments)}
        return Columns(form, lines, names, list(map(apps.__getitem__, app_ids)), list(map(meant.__getitem__, arguments)))


def cell_text(column: str, value: str) -> str:
    """Return the text of a cell, stripped and checked."""
    value = value.strip()
    if not value.isprintable() and (found := _UNPRINTABLE.search(value)):
        raise RowError(Cause.CONTROL_CHARACTER, column, f"U+{ord(found[0]):04X}")
    if len(value) > LONGEST_NAME:
        raise RowError(Cause.VALUE_TOO_LONG, column, LONGEST_NAME)
    return value


def _agreed(column: str, cell: str, given: str | None) -> str:
    value = cell_text(column, cell) if cell else cell
    if value == given:
        return value
    if not value:
        if given is None:
            raise RowError(Cause.MISSING_VALUE, column)
        return given
    if given is not None:
        raise RowError(Cause.CONFLICTING_VALUE, column, value, given)
    return value


@functools.lru_cache(maxsize=1024)
def check_app(form: Form, app_id: str) -> None:
    """Raise `RowError` if the id of an app or organization is malformed."""
    if form.app == "org_id":
        if not _ORG_ID.fullmatch(app_id):
            raise RowError(Cause.MALFORMED_ORG_ID, app_id)
    elif not APP_ID.fullmatch(app_id):
        raise RowError(Cause.MALFORMED_APP_ID, app_id)
