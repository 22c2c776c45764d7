"""The tables of an inventory: one flat table for each kind, derived from the fields of its model."""

import enum
import types
import typing
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import msgspec

from ...api.models import App, Bundle, BundleReference, Channel, Device
from ...api.models.device import stored_id


class InventoryKind(enum.StrEnum):
    """The kind of things in an inventory; also the name of its table."""

    DEVICES = "devices"
    CHANNELS = "channels"
    BUNDLES = "bundles"
    APPS = "apps"


class ColumnType(enum.StrEnum):
    """The type of a column's values. `JSON` columns hold nested values as text."""

    TEXT = "TEXT"
    INTEGER = "INTEGER"
    REAL = "REAL"
    BOOLEAN = "BOOLEAN"
    JSON = "JSON"


class Column(msgspec.Struct, frozen=True, kw_only=True):
    """One column, and how to read its value from a row."""

    name: str
    type: ColumnType
    read: Callable[[Any], Any]


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """The columns of one kind. The `key` columns come first and identify a row."""

    name: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    def values(self, app_id: str, row: msgspec.Struct) -> tuple[Any, ...]:
        """Return the values to store for `row`.

        `app_id` is the app that was listed. It is empty for the list of apps, whose rows name their own.
        """
        app, *others = (column.read(row) for column in self.columns)
        return (app_id or app, *others)

    def restored(self, values: Sequence[Any]) -> tuple[Any, ...]:
        """Return stored values with their own types: booleans are stored as numbers."""
        return tuple(
            bool(value) if column.type is ColumnType.BOOLEAN and value is not None else value
            for column, value in zip(self.columns, values, strict=True)
        )


def _columns(model: type[msgspec.Struct], key: Sequence[str], left_out: Sequence[str] = ()) -> tuple[Column, ...]:
    types_of = typing.get_type_hints(model)
    names = [*key, *(name for name in model.__struct_fields__ if name not in {*key, *left_out})]
    return tuple(column for name in names for column in _columns_of(name, types_of[name]))


def _columns_of(name: str, annotation: object) -> Iterator[Column]:
    found = set(typing.get_args(annotation)) if isinstance(annotation, types.UnionType) else {annotation}
    found.discard(types.NoneType)
    if found == {BundleReference}:
        for part, kind in (("id", ColumnType.INTEGER), ("name", ColumnType.TEXT)):
            yield Column(name=f"{name}_{part}", type=kind, read=_part(name, part))
        return
    of_python = {bool: ColumnType.BOOLEAN, int: ColumnType.INTEGER, float: ColumnType.REAL, str: ColumnType.TEXT}
    mixed = ColumnType.TEXT if str in found else ColumnType.JSON
    chosen = next((column for type_, column in of_python.items() if found == {type_}), mixed)
    yield Column(name=name, type=chosen, read=_field(name, chosen, mixed=len(found) > 1))


def _part(name: str, part: str) -> Callable[[Any], Any]:
    return lambda row: getattr(getattr(row, name), part, None)


def _field(name: str, chosen: ColumnType, *, mixed: bool) -> Callable[[Any], Any]:
    def as_json(row: Any) -> str | None:
        value = getattr(row, name)
        return value if value is None or (mixed and isinstance(value, str)) else msgspec.json.encode(value).decode()

    return as_json if chosen is ColumnType.JSON or mixed else lambda row: getattr(row, name)


_DEVICE_ID: Final = Column(name="device_id", type=ColumnType.TEXT, read=lambda row: stored_id(row.device_id))
_LOWEST_VERSION: Final = Column(name="min_update_version", type=ColumnType.TEXT, read=lambda row: row.min_update_version)
_SPELLINGS: Final = ("min_update_version_modern", "min_update_version_seed")

_APP, *_OTHERS_OF_DEVICE = _columns(Device, ("app_id",), left_out=("device_id",))

TABLES: Final = {
    InventoryKind.DEVICES: Table(name="devices", key=("app_id", "device_id"), columns=(_APP, _DEVICE_ID, *_OTHERS_OF_DEVICE)),
    InventoryKind.CHANNELS: Table(name="channels", key=("app_id", "id"), columns=_columns(Channel, ("app_id", "id", "name"))),
    InventoryKind.BUNDLES: Table(
        name="bundles",
        key=("app_id", "id"),
        columns=(*_columns(Bundle, ("app_id", "id", "name"), left_out=_SPELLINGS), _LOWEST_VERSION),
    ),
    InventoryKind.APPS: Table(name="apps", key=("app_id",), columns=_columns(App, ("app_id",))),
}
