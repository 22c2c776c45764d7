"""What is wrong with a response that cannot be decoded: the row and the field, or what it is."""

import re
from collections.abc import Callable
from typing import Any, Final

import msgspec

from ..errors import UnreadableAnswer

UNDECODABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What decoding raises; `RecursionError` for a body that is nested too deeply."""
_PLACE: Final = re.compile(r" - at `\$(?P<path>[^`]*)`$", re.ASCII)
_ROW: Final = re.compile(r"(?P<list>[^\[]*)\[(?P<index>\d+)\]\.?(?P<field>.*)", re.ASCII)
_NAMES: Final = ("device_id", "app_id", "name", "id", "uid")
"""Fields that name a row, the best first."""
_HTML: Final = re.compile(rb"\s*(<!doctype html|<html|<head|<body)", re.IGNORECASE)


def unreadable(body: bytes, operation: str, why: str, value: Callable[[], object]) -> UnreadableAnswer:
    """Return the error for a body that cannot be decoded, with the row and the field.

    `why` is the message of msgspec, which ends with the place. `value` decodes the body without types.
    """
    if _HTML.match(body[:200]):
        text = " ".join(re.sub(r"<[^>]*>", " ", body[:400].decode("utf-8", "replace")).split())[:120]
        message = f"{operation}: the response is an HTML page and not from the API: {text}"
        return UnreadableAnswer(message)
    expected = f"{operation}: the response does not have the expected form"
    if (place := _PLACE.search(why)) is None:
        return UnreadableAnswer(f"{expected}: {why}")
    what = why[: place.start()]
    if (found := _ROW.fullmatch(place["path"])) is None:
        field = place["path"].lstrip(".")
        return UnreadableAnswer(f"{expected}: {field}: {what}", field=field)
    row, field = int(found["index"]) + 1, found["field"]
    message = f"{expected}: row {row}{_name_of(value(), found['list'], row - 1)}{f', {field}' if field else ''}: {what}"
    return UnreadableAnswer(message, row=row, field=field)


def _name_of(rows: Any, path: str, index: int) -> str:
    try:
        for key in filter(None, path.split(".")):
            rows = rows[key]
        return name_of(rows[index])
    except (LookupError, TypeError):
        return ""


def name_of(row: object) -> str:
    """Return what names a row in messages, such as ` (device_id d2)`, or nothing."""
    found = row if isinstance(row, dict) else {}
    return next((f" ({name} {found[name]})" for name in _NAMES if isinstance(found.get(name), str | int)), "")
