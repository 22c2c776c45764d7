"""API keys (contract C4)."""

import re
from collections.abc import Sequence
from typing import Final
from urllib.parse import quote

import msgspec
from msgspec import UNSET, UnsetType

from ...errors import ConfigurationError, NotFound
from ...http.call import Call
from ...http.retry import Repeat
from ...http.wire import Request, encode
from ..words import BindingRole, BindingScope, GlobalPermission, KeyMode, Word
from .arguments import Name, checked, named

_SECRET: Final = re.compile(r"[A-Za-z0-9._:-]{8,256}", re.ASCII)
"""The form of a key in a path (contract A4). The server reads digits alone as the number of a key."""


class Binding(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A role of an API key for one organization, app or channel; `app_id` is a UUID (contract C4)."""

    role_name: Word[BindingRole]
    scope_type: Word[BindingScope]
    org_id: str
    app_id: str | None = None
    channel_id: str | None = None
    reason: str | None = None


class NewApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of a new API key (contract C4, D34).

    Modern servers read `bindings`, older ones read `mode` and `org_id`. `expires_at` is an ISO 8601 time in the future. The
    server stores only a digest of a `hashed` key.
    """

    name: Name
    bindings: Sequence[Binding] | UnsetType = UNSET
    org_id: str | UnsetType = UNSET
    mode: Word[KeyMode] | UnsetType = UNSET
    limited_to_orgs: Sequence[str] | UnsetType = UNSET
    limited_to_apps: Sequence[str] | UnsetType = UNSET
    expires_at: str | UnsetType = UNSET
    hashed: bool | UnsetType = UNSET
    global_permissions: Sequence[Word[GlobalPermission]] | UnsetType = UNSET


class ApiKeySettings(msgspec.Struct, frozen=True, kw_only=True):
    """Changes to an API key; fields that are left out stay as they are (contract C4).

    With `expires_at=None` the key never expires. `bindings` and `global_permissions` need a user session.
    """

    name: Name | UnsetType = UNSET
    expires_at: str | UnsetType | None = UNSET
    bindings: Sequence[Binding] | UnsetType = UNSET
    global_permissions: Sequence[Word[GlobalPermission]] | UnsetType = UNSET


def list_api_keys() -> Call:
    """List the keys of the caller's user, all in one response (contract C4)."""
    return Call("list API keys", Request(method="GET", path="/apikey"), takes_tokens=True)


def get_api_key(key_id: int) -> Call:
    return Call(f"get API key {key_id}", Request(method="GET", path=_path(key_id)), takes_tokens=True)


def create_api_key(new: NewApiKey) -> Call:
    """Create a key, never retried: its secret is shown only once (contract C4, G1).

    Servers of the seed era read the query and ignore the body; later ones read the body and ignore the query.
    """
    named(new.name, "name")
    seed = (("org_id", new.org_id), ("mode", new.mode))
    query = tuple((name, value) for name, value in seed if isinstance(value, str))
    request = Request(method="POST", path="/apikey", query=query, body=encode(checked(new)))
    return Call(f"create API key {new.name}", request, repeat=Repeat.NEVER, takes_tokens=True)


def update_api_key(key_id: int, settings: ApiKeySettings) -> Call:
    """Change a key (contract C4). A key cannot change itself."""
    request = Request(method="PUT", path=_path(key_id), body=encode(checked(settings)))
    return Call(f"update API key {key_id}", request, takes_tokens=True)


def regenerate_api_key(key_id: int) -> Call:
    """Give a key a new secret (contract C4). It is never retried (contract G1)."""
    request = Request(method="PUT", path=_path(key_id), body=encode({"regenerate": True}))
    return Call(f"regenerate API key {key_id}", request, repeat=Repeat.NEVER, takes_tokens=True)


def delete_api_key(key_id: int) -> Call:
    """Delete a key by its number (contract C4, D35). A key cannot delete itself."""
    request = Request(method="DELETE", path=_path(key_id))
    return Call(f"delete API key {key_id}", request, settled_by=(NotFound,), takes_tokens=True)


def delete_api_key_by_secret(secret: str) -> Call:
    """Delete a key by its secret, as in the seed era; the path is never shown (contract C4)."""
    if not _SECRET.fullmatch(secret) or secret.isdecimal():
        # The value may be a real key, so the message does not show it.
        message = "not an API key: expected 8 to 256 letters, digits or ._:-, and not digits alone, which are a key's number"
        raise ConfigurationError(message)
    request = Request(method="DELETE", path=f"/apikey/{quote(secret, safe='')}", shown_path="/apikey/[API key]")
    return Call("delete API key", request, settled_by=(NotFound,), takes_tokens=True)


def _path(key_id: int) -> str:
    if type(key_id) is not int or key_id < 1:
        message = "the number of an API key must be a positive integer"
        raise ConfigurationError(message)
    return f"/apikey/{key_id}"
