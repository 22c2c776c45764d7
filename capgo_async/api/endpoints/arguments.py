"""The checks of arguments that endpoints share. All run before any I/O."""

import inspect
import re
import warnings
from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Final, TypeVar

import msgspec
from msgspec import Meta

from ...errors import ConfigurationError, DangerousCall
from ...http.dialect import Dialect
from ...http.wire import encode, plain
from ..words import check_words

S = TypeVar("S", bound=msgspec.Struct)

LONGEST_NAME: Final = 255
Name = Annotated[str, Meta(max_length=LONGEST_NAME)]
Url = Annotated[str, Meta(max_length=2048)]
Comment = Annotated[str, Meta(max_length=10_000)]
"""Greatest lengths of texts. The server sets none, but a request must not grow without limit."""

APP_ID: Final = re.compile(r"[a-z0-9]+(\.[a-z0-9_-]+)+", re.IGNORECASE | re.ASCII)
"""The form that the server requires of app ids (contract A4); use with `fullmatch`."""


def _callers_level() -> int:
    """Return how many frames above its caller the code is that uses this package, for a warning."""
    frame, level = inspect.currentframe(), 0
    while frame is not None and frame.f_globals.get("__name__", "").startswith("capgo_async."):
        frame, level = frame.f_back, level + 1
    return level


class UnusualAppId(str):
    """An app id in a form that only servers of the seed era accept (contract D44)."""

    __slots__ = ()


def app_id_of(app_id: str, chosen: Dialect) -> str:
    """Return `app_id`, in any form with the dialect `seed`; warns if newer servers refuse it."""
    if chosen is not Dialect.SEED or isinstance(app_id, UnusualAppId) or not app_id.strip() or APP_ID.fullmatch(app_id):
        return app_id
    message = f"app id {app_id!r} is not in reverse-domain form: servers newer than the seed era refuse it"
    warnings.warn(message, stacklevel=_callers_level())
    return UnusualAppId(app_id)


@lru_cache(maxsize=256, typed=True)
def checked_app_id(app_id: str) -> str:
    """Return `app_id` if its form is valid, else raise `ConfigurationError` (contract A4)."""
    if isinstance(app_id, UnusualAppId):
        return str(named(app_id, "app id"))
    if not APP_ID.fullmatch(app_id):
        message = f"app id {app_id!r} is not in reverse-domain form, such as com.example.app"
        raise ConfigurationError(message)
    return app_id


def named(value: str, what: str) -> str:
    """Return `value` if it can be sent as a name, else raise `ConfigurationError` (contract F).

    An empty parameter means something else to the server: "all", for example (contract C6, C7).
    """
    if not value.strip():
        message = f"the {what} cannot be empty"
        raise ConfigurationError(message)
    if len(value) > LONGEST_NAME:
        message = f"the {what} has {len(value)} characters; at most {LONGEST_NAME} are allowed"
        raise ConfigurationError(message)
    try:
        value.encode()
    except UnicodeEncodeError as error:
        message = f"the {what} {value!r} cannot be sent as text: {error.reason}"
        raise ConfigurationError(message) from None
    return value


def checked(settings: S) -> S:
    """Return `settings` if the type and range of every field are valid, else raise `ConfigurationError`.

    The server checks few of them: it takes any text for true, and answers 500 to a number out of range (contract C6).
    """
    check_words(settings)
    try:
        msgspec.convert(msgspec.to_builtins(settings, enc_hook=plain), type(settings))
    except msgspec.ValidationError as error:
        message = f"{type(settings).__name__}: {error}"
        raise ConfigurationError(message) from None
    if not any(value is not msgspec.UNSET for value in msgspec.structs.asdict(settings).values()):
        message = f"{type(settings).__name__}: no field is set, so nothing would change"
        raise ConfigurationError(message)
    return settings


def body_of(identity: Mapping[str, str | int], settings: msgspec.Struct) -> bytes:
    """Return a JSON body with the identity of the target and the fields of `settings` that are set."""
    return encode({**identity, **msgspec.to_builtins(settings, enc_hook=plain)})


def confirmed(confirm: str | None, what: str, danger: str) -> None:
    """Raise `DangerousCall` unless `confirm` repeats `what`, the id of what would be destroyed."""
    if confirm != what:
        raise DangerousCall(danger, confirm=what)
