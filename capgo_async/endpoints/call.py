"""What a call is, and the checks that every endpoint makes of its arguments before any I/O."""

import re
import warnings
from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Final, TypeVar

import msgspec
from msgspec import Meta

from ..dialect import Dialect
from ..errors import ApiError, ConfigurationError, DangerousCall
from ..limits import Scope
from ..retry import Repeat
from ..wire import Request, encode

S = TypeVar("S", bound=msgspec.Struct)

LONGEST_NAME: Final = 255
Name = Annotated[str, Meta(max_length=LONGEST_NAME)]
Url = Annotated[str, Meta(max_length=2048)]
Comment = Annotated[str, Meta(max_length=10_000)]
"""How long texts may be: the server has no bounds of its own, requests have (contract F)."""

APP_ID: Final = re.compile(r"[a-z0-9]+(\.[a-z0-9_-]+)+", re.IGNORECASE | re.ASCII)
"""The form of an app id that the server enforces (contract A4); use with `fullmatch`."""


class Call(msgspec.Struct, frozen=True, gc=False):
    """A request that knows its name, what limits count it, and whether repeating it is harmless.

    `settled_by` are errors that mean success when an earlier attempt of the same call may have been processed (contract G1).
    """

    name: str
    request: Request
    scopes: tuple[Scope, ...] = ()
    repeat: Repeat = Repeat.HARMLESS
    keyed: bool = True
    settled_by: tuple[type[ApiError], ...] = ()


class UnusualAppId(str):
    """An app id in a form that only servers of the seed era take; what it means elsewhere is left to them (contract D44)."""

    __slots__ = ()


def app_id_of(app_id: str, chosen: Dialect) -> str:
    """Return `app_id` as a server of the dialect that the user set takes it; warns of a form that newer ones refuse."""
    if chosen is not Dialect.SEED or isinstance(app_id, UnusualAppId) or not app_id.strip() or APP_ID.fullmatch(app_id):
        return app_id
    message = f"app id {app_id!r} is not in reverse-domain form: servers newer than the seed era refuse it"
    warnings.warn(message, stacklevel=3)
    return UnusualAppId(app_id)


@lru_cache(maxsize=256, typed=True)
def checked_app_id(app_id: str) -> str:
    """Return `app_id` if the server would take its form, else raise `ConfigurationError` before any I/O (contract A4)."""
    if isinstance(app_id, UnusualAppId):
        return str(named(app_id, "app id"))
    if not APP_ID.fullmatch(app_id):
        message = f"app id {app_id!r} is not in reverse-domain form, such as com.example.app"
        raise ConfigurationError(message)
    return app_id


def named(value: str, what: str) -> str:
    """Return a non-blank `value`: an empty parameter means something else to the server (contract C6, C7, F)."""
    if not value.strip():
        message = f"the {what} cannot be empty"
        raise ConfigurationError(message)
    if len(value) > LONGEST_NAME:
        message = f"the {what} has {len(value)} characters, more than {LONGEST_NAME}"
        raise ConfigurationError(message)
    try:
        value.encode()
    except UnicodeEncodeError as error:
        message = f"{what} {value!r} is not text that can be sent: {error.reason}"
        raise ConfigurationError(message) from None
    return value


def checked(settings: S) -> S:
    """Return `settings` if every field has the type and the range that the server takes, else raise `ConfigurationError`.

    The server checks few of them: a boolean sent as text counts as true, a number out of range is a 500 (contract C6).
    """
    try:
        msgspec.convert(msgspec.to_builtins(settings), type(settings))
    except msgspec.ValidationError as error:
        message = f"{type(settings).__name__}: {error}"
        raise ConfigurationError(message) from None
    if not any(value is not msgspec.UNSET for value in msgspec.structs.asdict(settings).values()):
        message = f"{type(settings).__name__}: nothing to change was given"
        raise ConfigurationError(message)
    return settings


def body_of(identity: Mapping[str, str | int], settings: msgspec.Struct) -> bytes:
    """Return a body of what is changed and the settings that were given."""
    return encode({**identity, **msgspec.to_builtins(settings)})


def confirmed(confirm: str | None, what: str, danger: str) -> None:
    """Raise `DangerousCall` unless the caller repeated the id of `what` is destroyed."""
    if confirm != what:
        raise DangerousCall(danger, confirm=what)
