"""Settings as `NAME=VALUE` arguments: one form for everything that has some."""

import types
import typing
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Final, TypeVar

import msgspec
import typer

from ...errors import ConfigurationError

S = TypeVar("S", bound=msgspec.Struct)

Settings = Annotated[
    list[str], typer.Argument(metavar="NAME=VALUE...", help="What changes; null takes a value away.", show_default=False)
]
SomeSettings = Annotated[
    list[str] | None, typer.Argument(metavar="NAME=VALUE...", help="What differs from the server's defaults.")
]


_SHOWN: Final = {"yes": True, "no": False}


def names_of(type_: type[msgspec.Struct]) -> str:
    """Return the names of all settings, for a help text."""
    return "Settings: " + ", ".join(field.name for field in msgspec.structs.fields(type_)) + "."


def read_settings(texts: Sequence[str], type_: type[S]) -> S:
    """Return the settings that `texts` give; raises `ConfigurationError` for an unknown name or a value of the wrong form."""
    # What a command shows bears the server's names: they are taken, too.
    fields = {name: field for field in msgspec.structs.fields(type_) for name in (field.encode_name, field.name)}
    given: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        field = fields.get(name.replace("-", "_")) or fields.get(name)
        if field is None or not equals:
            message = f"{text!r} is no setting of the form NAME=VALUE. {names_of(type_)}"
            raise ConfigurationError(message)
        given[field.encode_name] = None if value == "null" else _value(value, field)
    try:
        return msgspec.convert(given, type_, strict=False)
    except msgspec.ValidationError as error:
        message = f"these settings cannot be: {error}"
        raise ConfigurationError(message) from None


def _value(text: str, field: msgspec.structs.FieldInfo) -> object:
    """Read JSON where a setting is a list or an object; no word of the API begins with a bracket.

    A boolean may be given as it is shown, and digits are a number where a name would do as well: no bundle is called so.
    """
    kinds = list(_kinds_of(field.type))
    if bool in kinds and text.lower() in _SHOWN:
        return _SHOWN[text.lower()]
    if int in kinds and str in kinds and text.isascii() and text.isdecimal():
        return int(text)
    if not text.startswith(("[", "{")):
        return text
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        message = f"{text!r} is no JSON: {error}"
        raise ConfigurationError(message) from None


def _kinds_of(kind: Any) -> Iterator[Any]:
    """Yield the types of a union, their bounds left out."""
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        for one in typing.get_args(kind):
            yield from _kinds_of(one)
    elif typing.get_origin(kind) is Annotated:
        yield from _kinds_of(typing.get_args(kind)[0])
    else:
        yield kind
