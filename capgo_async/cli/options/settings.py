"""Settings as `NAME=VALUE` arguments."""

import difflib
import types
import typing
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Final, TypeVar

import msgspec
import typer

from ...api.words import Unlisted, check_words, has_words
from ...errors import ConfigurationError

S = TypeVar("S", bound=msgspec.Struct)

Settings = Annotated[
    list[str], typer.Argument(metavar="NAME=VALUE...", help="The settings to change; null clears a value.", show_default=False)
]
SomeSettings = Annotated[
    list[str] | None, typer.Argument(metavar="NAME=VALUE...", help="Settings other than the server's defaults.")
]


_UNLISTED: Final = "unlisted:"
_SHOWN: Final = {"yes": True, "no": False}
_BOOLEANS: Final = {*_SHOWN, "true", "false", "1", "0"}


def names_of(type_: type[msgspec.Struct]) -> str:
    """Return the names of all settings, for a help text."""
    return "Settings: " + ", ".join(field.name for field in msgspec.structs.fields(type_)) + "."


def read_settings(texts: Sequence[str], type_: type[S]) -> S:
    """Return the settings in `texts`; raises `ConfigurationError` for none or an invalid one."""
    if not texts:
        message = f"pass at least one NAME=VALUE. {names_of(type_)}"
        raise ConfigurationError(message)
    # Accept the server's names as well, because the output shows them.
    fields = {name: field for field in msgspec.structs.fields(type_) for name in (field.encode_name, field.name)}
    given: dict[str, Any] = {}
    unlisted: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        field = fields.get(name.replace("-", "_")) or fields.get(name)
        if not equals:
            message = f"{text!r} is not a setting of the form NAME=VALUE. {names_of(type_)}"
            raise ConfigurationError(message)
        if field is None:
            close = difflib.get_close_matches(name, fields, 1)
            message = f"there is no setting {name}. {f'Did you mean {fields[close[0]].name}?' if close else names_of(type_)}"
            raise ConfigurationError(message)
        given[field.encode_name] = None if value == "null" else _value(value, field)
        if has_words(type_, field.name) and isinstance(word := word_of(value), Unlisted):
            unlisted[field.name] = given[field.encode_name] = word
    try:
        settings = msgspec.structs.replace(msgspec.convert(given, type_, strict=False), **unlisted)
    except msgspec.ValidationError as error:
        message = f"invalid settings: {error}"
        raise ConfigurationError(message) from None
    check_words(settings)
    return settings


def word_of(text: str) -> str:
    """Return a word as it was typed, `Unlisted` with the prefix `unlisted:`."""
    return Unlisted(text.removeprefix(_UNLISTED)) if text.startswith(_UNLISTED) else text


def _value(text: str, field: msgspec.structs.FieldInfo) -> object:
    """Read the value of a setting.

    A value that starts with a bracket is JSON, because no word of the API does.

    A boolean can be given as it is shown. Digits are a number, even where a name is possible: no bundle has such a name.
    """
    kinds = list(_kinds_of(field.type))
    if bool in kinds and text.lower() in _SHOWN:
        return _SHOWN[text.lower()]
    if set(kinds) <= {bool, types.NoneType, msgspec.UnsetType} and text.lower() not in _BOOLEANS:
        message = f"{field.name} must be true or false, not {text!r}"
        raise ConfigurationError(message)
    if int in kinds and str in kinds and text.isascii() and text.isdecimal():
        return int(text)
    if not text.startswith(("[", "{")):
        return text
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        message = f"{text!r} is not JSON: {error}"
        raise ConfigurationError(message) from None


def _kinds_of(kind: Any) -> Iterator[Any]:
    """Yield the types of a union, without their bounds."""
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        for one in typing.get_args(kind):
            yield from _kinds_of(one)
    elif typing.get_origin(kind) is Annotated:
        yield from _kinds_of(typing.get_args(kind)[0])
    else:
        yield kind
