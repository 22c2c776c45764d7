"""API keys (contract C4)."""

import re
from collections.abc import Sequence
from typing import Final
from urllib.parse import quote

import msgspec
from msgspec import UNSET, UnsetType

from ..errors import ConfigurationError, NotFound
from ..retry import Repeat
from ..wire import Request, encode
from .call import Call, Name, checked, named

_SECRET: Final = re.compile(r"[A-Za-z0-9._:-]{8,256}", re.ASCII)
"""A key as a path may hold it (contract A4); digits alone are a key's number to the server."""


class Binding(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A role that a key holds: `scope_type` is `org`, `app` or `channel`; `app_id` is the app's internal UUID (contract C4)."""

    role_name: str
    scope_type: str
    org_id: str
    app_id: str | None = None
    channel_id: str | None = None
    reason: str | None = None


class NewApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """A new key, for every generation: modern servers read `bindings`, older ones `mode` and `org_id` (contract C4, D34).

    `expires_at` is ISO 8601 in the future. Of a `hashed` key the server keeps only a digest.
    """

    name: Name
    bindings: Sequence[Binding] | UnsetType = UNSET
    org_id: str | UnsetType = UNSET
    mode: str | UnsetType = UNSET
    limited_to_orgs: Sequence[str] | UnsetType = UNSET
    limited_to_apps: Sequence[str] | UnsetType = UNSET
    expires_at: str | UnsetType = UNSET
    hashed: bool | UnsetType = UNSET
    global_permissions: Sequence[str] | UnsetType = UNSET


class ApiKeySettings(msgspec.Struct, frozen=True, kw_only=True):
    """What changes in a key; `expires_at=None` lets it live for ever. The last two need a user session (contract C4)."""

    name: Name | UnsetType = UNSET
    expires_at: str | UnsetType | None = UNSET
    bindings: Sequence[Binding] | UnsetType = UNSET
    global_permissions: Sequence[str] | UnsetType = UNSET


def list_api_keys() -> Call:
    """Ask for the keys of the caller's user; not paged (contract C4)."""
    return Call("list API keys", Request(method="GET", path="/apikey"))


def get_api_key(key_id: int) -> Call:
    """Ask for one key by its number (contract C4)."""
    return Call(f"get API key {key_id}", Request(method="GET", path=_path(key_id)))


def create_api_key(new: NewApiKey) -> Call:
    """Create a key, never twice: the secret is shown once (contract C4, G1).

    The seed era reads the query, everything since the body, and neither looks at the other.
    """
    named(new.name, "name")
    seed = (("org_id", new.org_id), ("mode", new.mode))
    query = tuple((name, value) for name, value in seed if isinstance(value, str))
    request = Request(method="POST", path="/apikey", query=query, body=encode(checked(new)))
    return Call(f"create API key {new.name}", request, repeat=Repeat.NEVER)


def update_api_key(key_id: int, settings: ApiKeySettings) -> Call:
    """Change a key; no key can change itself (contract C4)."""
    request = Request(method="PUT", path=_path(key_id), body=encode(checked(settings)))
    return Call(f"update API key {key_id}", request)


def regenerate_api_key(key_id: int) -> Call:
    """Give a key another secret, never twice (contract C4, G1)."""
    request = Request(method="PUT", path=_path(key_id), body=encode({"regenerate": True}))
    return Call(f"regenerate API key {key_id}", request, repeat=Repeat.NEVER)


def delete_api_key(key_id: int) -> Call:
    """Delete a key by its number; no key can delete itself (contract C4, D35)."""
    return Call(f"delete API key {key_id}", Request(method="DELETE", path=_path(key_id)), settled_by=(NotFound,))


def delete_api_key_by_secret(secret: str) -> Call:
    """Delete a key by the key itself, as the seed era wants it; the path is shown nowhere (contract C4)."""
    if not _SECRET.fullmatch(secret) or secret.isdecimal():
        # What is wrong with it is not said: it may be a key.
        message = "a key is 8 to 256 letters, digits or ._:-, and a number would name another one: delete that by its number"
        raise ConfigurationError(message)
    request = Request(method="DELETE", path=f"/apikey/{quote(secret, safe='')}", shown_path="/apikey/[API key]")
    return Call("delete API key", request, settled_by=(NotFound,))


def _path(key_id: int) -> str:
    if type(key_id) is not int or key_id < 1:
        message = "an API key is named by its number, a positive integer"
        raise ConfigurationError(message)
    return f"/apikey/{key_id}"
