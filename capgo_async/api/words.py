"""Sets of words that the server takes (contract E), and the way to send one that is not in them.

A misspelt word is an error of the type checker. It is also refused before anything is sent, because the server either stores
it, responds with 500, or lists nothing (contract C3, C6). Responses may hold any word: their fields are plain text.
"""

import difflib
import enum
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, Union, get_args, get_type_hints

import msgspec

from ..errors import ConfigurationError, Problem

L = TypeVar("L")
W = TypeVar("W", bound=str)
S = TypeVar("S", bound=msgspec.Struct)
E = TypeVar("E", bound=enum.StrEnum)

UpdatePolicy = Literal["major", "minor", "patch", "metadata", "version_number", "none"]
"""Which updates a channel holds back (`disable_auto_update`)."""
UpdatePackage = Literal["all", "zip", "delta", "zip_from_builtin", "delta_from_builtin"]
"""What devices of a channel download."""
PauseAction = Literal["pause", "rollback", "notify"]
"""What a rollout does when too many devices fail."""
DeviceOrder = Literal["asc", "desc"]
"""The order of a listing of devices, by the time of their last change."""
AuditTable = Literal["orgs", "apps", "channels", "app_versions", "org_users"]
"""The table that a change in an audit log is of."""
AuditOperation = Literal["INSERT", "UPDATE", "DELETE"]
"""The kind of a change in an audit log."""
KeyMode = Literal["read", "upload", "write", "all"]
"""The rights of an API key on servers before 12.147.2."""
BindingScope = Literal["org", "app", "channel"]
"""What a role of an API key is for."""
BindingRole = Literal[
    "org_super_admin",
    "org_admin",
    "org_billing_admin",
    "apikey_manager",
    "org_member",
    "apikey_org_reader",
    "app_admin",
    "app_preview",
    "app_developer",
    "app_uploader",
    "app_reader",
    "app_notifications",
    "channel_preview",
    "channel_admin",
    "channel_developer",
    "channel_uploader",
    "channel_reader",
    "bundle_admin",
    "bundle_reader",
]
"""A role that an API key can have."""
GlobalPermission = Literal["org.create"]
"""What an API key may do outside organizations."""
MemberRole = Literal[
    "org_member", "org_billing_admin", "org_admin", "org_super_admin", "read", "upload", "write", "admin", "super_admin"
]
"""A role that a member can be invited to; those without `org_` are of servers of the seed era."""
Intent = Literal["ota", "builder", "both", "exploring", "unknown"]
"""What a new organization is for."""

AuthHeader = Literal["authorization", "capgkey"]
"""The header that carries the API key."""


class Unlisted(str):
    """A word that this release does not list, sent as it is: `disable_auto_update=Unlisted("weekly")`.

    Newer servers may take words that this release does not know. This is the one way to send such a word.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return f"Unlisted({str(self)!r})"


if TYPE_CHECKING:
    Word = Union[L, Unlisted]  # noqa: UP007 - a generic alias
else:

    class Word:
        """`Word[Literal["a", "b"]]`: the type of a field that holds one of the words, or any `Unlisted` one."""

        def __class_getitem__(cls, words: Any) -> Any:
            # The decoder takes any text, because job files hold unlisted words, too.
            return Annotated[str, msgspec.Meta(extra={"words": get_args(words)})]


def listed(word: W, words: Any, what: str) -> W:
    """Return `word` if the literal type `words` has it, or if it is `Unlisted`.

    Raises `ConfigurationError` for any other, with the nearest word. `what` is the name of the parameter.
    """
    known = get_args(words)
    if word in known or isinstance(word, Unlisted):
        return word
    raise _unlisted(word, known, what)


def one_of(word: W, words: Any, what: str) -> W:
    """Return `word` if the literal type `words` has it; raises `ConfigurationError` with the nearest word.

    For words of this package, of which a server can know no others.
    """
    known = get_args(words)
    if word not in known:
        message = _not_among(word, known, what)
        raise ConfigurationError(message)
    return word


def member(kind: type[E], value: str, what: str) -> E:
    """Return the member of an enumeration of this package.

    Raises `ConfigurationError` with the nearest value.
    """
    try:
        return kind(value)
    except ValueError:
        message = _not_among(value, [str(each) for each in kind], what)
        raise ConfigurationError(message) from None


def check_words(settings: msgspec.Struct) -> None:
    """Raise `ConfigurationError` if `settings`, or a struct in it, holds a word that is not listed."""
    for name, known in _words_of(type(settings)).items():
        for word in _texts_in(getattr(settings, name)):
            if word not in known and not isinstance(word, Unlisted):
                raise _unlisted(word, known, name)
    for value in msgspec.structs.asdict(settings).values():
        for each in value if isinstance(value, Sequence) and not isinstance(value, str) else (value,):
            if isinstance(each, msgspec.Struct):
                check_words(each)


def as_stored(settings: S) -> S:
    """Return `settings` from a file of ours: what is not listed there was `Unlisted` when it was written."""
    words = _words_of(type(settings))
    unlisted = {
        name: Unlisted(value)
        for name, known in words.items()
        if isinstance(value := getattr(settings, name), str) and value not in known
    }
    return msgspec.structs.replace(settings, **unlisted) if unlisted else settings


def has_words(type_: type[msgspec.Struct], field: str) -> bool:
    """Return whether a field holds one of a set of words."""
    return field in _words_of(type_)


def _unlisted(word: object, known: Sequence[str], what: str) -> ConfigurationError:
    message = f"{_not_among(word, known, what)} If a newer server takes it, pass Unlisted({word!r})."
    return ConfigurationError(message, problem=Problem.WORD_UNLISTED)


def _not_among(word: object, known: Sequence[str], what: str) -> str:
    close = difflib.get_close_matches(str(word), known, 1)
    nearest = f" Did you mean {close[0]!r}?" if close else ""
    return f"{what} {word!r} is not one of {', '.join(known)}.{nearest}"


def _texts_in(value: object) -> Iterator[object]:
    if isinstance(value, Sequence) and not isinstance(value, str):
        yield from value
    elif value is not None and value is not msgspec.UNSET:
        yield value


@functools.cache
def _words_of(type_: type[msgspec.Struct]) -> Mapping[str, Sequence[str]]:
    """Return the fields of a struct that hold words, with these."""
    hints = get_type_hints(type_, include_extras=True)
    return {name: words for name, hint in hints.items() if (words := _words_in(hint))}


def _words_in(hint: Any) -> Sequence[str]:
    for known in getattr(hint, "__metadata__", ()):
        if isinstance(known, msgspec.Meta) and known.extra is not None and "words" in known.extra:
            found: Sequence[str] = known.extra["words"]
            return found
    return next((words for part in get_args(hint) if (words := _words_in(part))), ())
