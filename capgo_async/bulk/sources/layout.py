"""Layouts: where a file holds the columns of a form."""

from collections.abc import Collection, Mapping
from typing import Final

import msgspec

from ...errors import ConfigurationError
from ..operations.forms import Form, with_custom_ids

_STATES: Final = frozenset({"device_id", "channel", "platform", "version_name", "updated_at"})
"""Columns that together only an export of devices has."""


class Layout(msgspec.Struct, frozen=True, kw_only=True):
    """How a file differs from the columns of its form.

    - `by`: the column that names the devices, `device_id` or `custom_id`. By default the one that the file has; `device_id` if
      it has both.
    - `columns`: for a column of the form, its name in the file.
    - `ignored`: columns of the form that are not read.
    - `header`: the names of the columns, for a table without a header line.
    """

    by: str | None = None
    columns: Mapping[str, str] = msgspec.field(default_factory=dict)
    ignored: frozenset[str] = frozenset()
    header: tuple[str, ...] = ()

    def check(self, form: Form) -> None:
        """Raise `ConfigurationError` if the layout does not fit a list in `form`."""
        names = [each.name for each in (form, with_custom_ids(form)) if each is not None]
        if self.by is not None and self.by not in names:
            message = f"{self.by!r} names no target: use {' or '.join(names)}"
            raise ConfigurationError(message)
        known = [*names, *form.columns[1:]]
        for name in (*self.columns, *self.ignored):
            if name not in known:
                message = f"{name!r} is none of the columns that are read: {', '.join(known)}"
                raise ConfigurationError(message)
        for name in self.ignored:
            if name in names or name in self.columns:
                why = "it is given another name" if name in self.columns else "it names the targets"
                message = f"the column {name} cannot be ignored: {why}"
                raise ConfigurationError(message)
        read = list(self.columns.values())
        if blank := [name for name, column in self.columns.items() if not column.strip()]:
            message = f"the column for {blank[0]} has an empty name"
            raise ConfigurationError(message)
        if len(set(read)) < len(read):
            message = "one column of the file cannot be read as two columns"
            raise ConfigurationError(message)

    def forms(self, form: Form) -> tuple[Form, ...]:
        """Return the forms that a list may have, the preferred one first."""
        forms = [each for each in (form, with_custom_ids(form)) if each is not None]
        meant = [each for each in forms if each.name == self.by or (self.by is None and each.name in self.columns)]
        return tuple(meant or forms)

    def names(self, form: Form) -> tuple[str | None, ...]:
        """Return the name in the file of each column of `form`, `None` for those that are not read."""
        return tuple(None if name in self.ignored else self.columns.get(name, name) for name in form.columns)

    def told(self) -> dict[str, str | None]:
        """Return what is set, as text, for the record of a job."""
        given = {name: value for name, value in msgspec.to_builtins(self).items() if value}
        return {} if not given else {"layout": msgspec.json.encode(given, order="sorted").decode()}


def is_export(names: Collection[str]) -> bool:
    """Return whether a file with these columns is an export of devices."""
    return _STATES.issubset(names)
