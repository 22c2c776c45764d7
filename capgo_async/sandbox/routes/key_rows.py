"""An API key in the form of each server generation (contract C4)."""

from collections.abc import Callable

from ..state.access import Key
from ..timestamps import micros, row_format, text_format
from .call import Call
from .key_bindings import mode_of


def listed_row(call: Call, key: Key) -> dict[str, object]:
    """Return a key as listings show it: without its secret, except in the seed era."""
    if call.settings.generation == "seed":
        return _seed_row(key, key.secret)
    if call.settings.generation == "docs":
        return _docs_row(key, None)
    return changed_row(call, key) | {"global_permissions": list(key.global_permissions)}


def changed_row(call: Call, key: Key) -> dict[str, object]:
    """Return a key as updates show it, without its global permissions."""
    if call.settings.generation == "docs":
        return _docs_row(key, None)
    return {**_row(key, row_format), "is_hashed_key": key.hashed}


def created_row(call: Call, key: Key, secret: str) -> dict[str, object]:
    """Return a new key with its secret, which is shown only once."""
    if call.settings.generation == "seed":
        return _seed_row(key, secret)
    if call.settings.generation == "docs":
        return _docs_row(key, secret)
    return {**_row(key, text_format), **_secret(key, secret), "global_permissions": list(key.global_permissions)}


def minted_row(key: Key, secret: str) -> dict[str, object]:
    return {**_row(key, row_format), **_secret(key, secret), "is_hashed_key": key.hashed}


def _row(key: Key, told: Callable[[int], str]) -> dict[str, object]:
    return {
        "id": key.key_id,
        "created_at": told(key.created_at),
        "user_id": key.user_id,
        "updated_at": told(key.updated_at),
        "name": key.name,
        "expires_at": None if key.expires_at is None else told(micros(key.expires_at)),
        "rbac_id": key.rbac_id,
    }


def _secret(key: Key, secret: str) -> dict[str, object]:
    return {"key": secret, "key_hash": key.secret if key.hashed else None}


def _seed_row(key: Key, secret: str) -> dict[str, object]:
    return {
        "id": key.key_id,
        "created_at": row_format(key.created_at),
        "user_id": key.user_id,
        "key": secret,
        "mode": mode_of(key),
        "updated_at": row_format(key.updated_at),
        "name": key.name,
    }


def _docs_row(key: Key, secret: str | None) -> dict[str, object]:
    return {
        "id": key.key_id,
        "name": key.name,
        "key": secret,
        "mode": mode_of(key),
        "created_at": row_format(key.created_at),
        "updated_at": row_format(key.updated_at),
        "expires_at": None if key.expires_at is None else row_format(micros(key.expires_at)),
        "limited_to_orgs": sorted({binding.org_id for binding in key.bindings}),
        "limited_to_apps": sorted({binding.app_id for binding in key.bindings if binding.app_id is not None}),
    }
