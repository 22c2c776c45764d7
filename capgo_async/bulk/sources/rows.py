"""Turns the texts of a row into a row, or into the reason why it is rejected."""

import contextlib
import functools
import re
import unicodedata
from collections.abc import Collection, Sequence
from typing import Final, NamedTuple, Self

import msgspec

from ...api.endpoints.arguments import APP_ID, LONGEST_NAME
from ..operations.forms import Form
from ..operations.operations import Row
from ..operations.reasons import Cause, Reason
from .blocks import Block, Columns
from .layout import Layout, is_export

UUID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE | re.ASCII)

_BLANK: Final = frozenset(
    "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0"
    + "".join(map(chr, (*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))))
)
"""Characters that Python calls printable, but that show nothing: fillers, and selectors of glyphs."""
_JOINING: Final = frozenset("\u200d\ufe0e\ufe0f")
"""Characters that can be seen after a symbol: they join emoji, or choose their form."""

_MARKS: Final = frozenset("\"'`\u00b4\u201a\u201e\u2032\u2033\u300c\u300d\u300e\u300f\u301d\u301e\u301f\uff02\uff07")
"""Quotation marks, and what is typed in place of them, beside those that Unicode classifies as such."""


class RowError(Exception):
    """Raised when a row is bad. It never leaves this folder."""

    def __init__(self, cause: Cause, *details: str | int) -> None:
        super().__init__()
        self.reason = Reason(cause, details)


class Asked(NamedTuple):
    """What the caller asks for in every row. The values fill empty cells; other values there are errors."""

    form: Form
    app_id: str | None = None
    argument: str | None = None
    layout: Layout = Layout()
    exported: bool = False
    """Whether the rows are an export of devices."""

    def of_file(self, names: Collection[str]) -> tuple[Self, str | None]:
        """Return what is asked of a file with these columns, and a remark if one of them is not read."""
        argument = self.form.argument
        if argument is not None and self.argument is None and is_export(names):
            return self._replace(exported=True), None
        if argument is None or self.argument is None or argument in self.layout.ignored or not is_export(names):
            return self, None
        told = f"this is an export of devices. Its column {argument} says where they are now, so it was not read"
        layout = msgspec.structs.replace(self.layout, ignored=self.layout.ignored | {argument})
        return self._replace(layout=layout), told

    def row(self, line: int, name: str, app_id: str, argument: str) -> Row:
        form = self.form
        try:
            name = cell_text(form.name, form.stored(name), form.longest)
            if not name:
                return Row(line, None, Reason(Cause.MISSING_VALUE, (form.name,)))
            if form.name == "device_id":
                _check_marks(form.name, name)
            app_id = _agreed(form.app, app_id, self.app_id)
            check_app(form, app_id)
            if form.argument is not None:
                if self.exported and not argument.strip():
                    return Row(line, None, Reason(Cause.ONLY_EXPORTED, (form.argument,)))
                argument = _agreed(form.argument, argument, self.argument)
        except RowError as error:
            return Row(line, None, error.reason)
        return form.row(line, app_id, name, argument)

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
        text = "".join(names)
        plain = text.isascii() and text.isprintable() and not any(mark in text for mark in "\"'`")
        if not (plain and all(names) and len(max(names, key=len, default="")) <= form.longest):
            return None
        apps = {app_id: _agreed(form.app, app_id, self.app_id) for app_id in set(app_ids)}
        for app_id in apps.values():
            check_app(form, app_id)
        meant = {text: "" if form.argument is None else _agreed(form.argument, text, self.argument) for text in set(arguments)}
        return Columns(form, lines, names, list(map(apps.__getitem__, app_ids)), list(map(meant.__getitem__, arguments)))


def cell_text(column: str, value: str, longest: int = LONGEST_NAME) -> str:
    """Return the text of a cell, stripped and checked."""
    value = value.strip()
    if (found := _invisible(value)) is not None:
        raise RowError(Cause.INVISIBLE_CHARACTER, column, _named(found))
    if len(value) > longest:
        raise RowError(Cause.VALUE_TOO_LONG, column, longest)
    return value


def _check_marks(column: str, value: str) -> None:
    """Raise `RowError` if an id begins or ends with a quotation mark."""
    mark = next(filter(_is_mark, (value[0], value[-1])), None)
    if mark is not None:
        raise RowError(Cause.QUOTATION_MARK, column, _named(mark))


def _is_mark(character: str) -> bool:
    return character in _MARKS or unicodedata.category(character) in {"Pi", "Pf"}


def _named(character: str) -> str:
    name = unicodedata.name(character, "").lower()
    return f"U+{ord(character):04X}{name and f' ({name})'}"


def _invisible(text: str) -> str | None:
    """Return the first character that nobody can see, or tell from a space, if there is one."""
    if text.isascii() and text.isprintable():
        return None
    former = ""
    for each in text:
        hidden = not each.isprintable() or each in _BLANK
        if hidden and not (each in _JOINING and unicodedata.category(former or " ") in {"So", "Sk"}):
            return each
        former = former if hidden else each
    return None


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
        if not UUID.fullmatch(app_id):
            raise RowError(Cause.MALFORMED_ORG_ID, app_id)
    elif not APP_ID.fullmatch(app_id):
        raise RowError(Cause.MALFORMED_APP_ID, app_id)
