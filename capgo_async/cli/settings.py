"""Settings as `NAME=VALUE` arguments: one form for everything that has some."""

from collections.abc import Sequence
from typing import Annotated, Any, TypeVar

import msgspec
import typer

from ..errors import ConfigurationError

S = TypeVar("S", bound=msgspec.Struct)

Settings = Annotated[
    list[str], typer.Argument(metavar="NAME=VALUE...", help="What changes; null takes a value away.", show_default=False)
]
SomeSettings = Annotated[
    list[str] | None, typer.Argument(metavar="NAME=VALUE...", help="What differs from the server's defaults.")
]


def names_of(type_: type[msgspec.Struct]) -> str:
    """Return the names of all settings, for a help text."""
    return "Settings: " + ", ".join(field.name for field in msgspec.structs.fields(type_)) + "."


def read_settings(texts: Sequence[str], type_: type[S]) -> S:
    """Return the settings that `texts` give; raises `ConfigurationError` for an unknown name or a value of the wrong form."""
    fields = {field.name: field for field in msgspec.structs.fields(type_)}
    given: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        field = fields.get(name.replace("-", "_"))
        if field is None or not equals:
            message = f"{text!r} is no setting of the form NAME=VALUE. {names_of(type_)}"
            raise ConfigurationError(message)
        given[field.encode_name] = None if value == "null" else _value(value)
    try:
        return msgspec.convert(given, type_, strict=False)
    except msgspec.ValidationError as error:
        message = f"these settings cannot be: {error}"
        raise ConfigurationError(message) from None


def _value(text: str) -> object:
    """Read JSON where a setting is a list or an object; no word of the API begins with a bracket."""
    if not text.startswith(("[", "{")):
        return text
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        message = f"{text!r} is no JSON: {error}"
        raise ConfigurationError(message) from None
