"""All of /apikey (contract C4)."""

import re
from typing import Final

from msgspec.structs import replace

from ..exchange import Incoming, Refusal, no_single_row, unknown_error
from ..parameters import body_only, query_only
from ..state.access import Binding, Key
from ..state.keys import digest
from ..state.world import uuid_like
from ..timestamps import micros, read_iso
from .call import Call
from .key_bindings import MODES, bindings_of_mode, read_bindings, read_global_permissions
from .key_rows import changed_row, created_row, listed_row, minted_row

_ID: Final = re.compile(r"[A-Za-z0-9._:-]{8,256}", re.ASCII)
_CHANGEABLE: Final = ("name", "expires_at", "regenerate", "bindings", "global_permissions")
_DAY: Final = 86_400.0


def list_keys(call: Call) -> object:
    """List the user's keys that the caller may manage, its own included, in no defined order."""
    _check_manages(call, "cannot_list_apikeys")
    keys = () if call.blind else (key for key in call.world.keys if key.user_id == call.caller.user_id)
    return call.enveloped([listed_row(call, key) for key in keys if _manages_all(call, key)])


def get_key(call: Call) -> object:
    """Return one key, by number or plain text."""
    sent = _well_formed(call.path["id"])
    _check_manages(call, "cannot_get_apikey")
    key = _found(call, sent)
    if key is None:
        raise Refusal(404, "failed_to_get_apikey", "Failed to get API key", {"supabaseError": no_single_row()})
    _check_manages(call, "cannot_get_apikey", key)
    return listed_row(call, key)


def create_key(call: Call) -> object:
    """Create a key. On modern servers only a signed-in user may; a key is refused before its body is read."""
    request, settings = call.parameters, call.settings
    if not isinstance(request, Incoming):
        raise unknown_error()
    if settings.generation == "seed":
        call = replace(call, parameters=query_only(request))
        return {"apikey": created_row(call, *_added_by_mode(call, f"{call.field('mode')} key"))}
    if settings.is_modern and isinstance(call.caller, Key):
        raise _cannot_create()
    call = replace(call, parameters=body_only(request))
    name = call.field("name")
    if not isinstance(name, str) or not name:
        raise Refusal(400, "name_is_required", "Name is required")
    if call.blind:
        raise Refusal(500, "failed_to_create_apikey", "Failed to create API key")
    if settings.is_modern:
        return created_row(call, *_added_by_bindings(call, name))
    add = _added_by_mode if call.field("bindings") is None else _added_by_bindings
    return {"apikey": created_row(call, *add(call, name))}


def update_key(call: Call) -> object:
    """Change a key's name, expiry or secret. With a user session, also its permissions."""
    sent = call.path.get("id") or call.field("id")
    if sent is None:
        raise Refusal(400, "api_key_id_required", "API key ID is required")
    key_id = _well_formed(str(sent))
    changes = {name: call.field(name) for name in _CHANGEABLE if call.sends(name)}
    if not _worth_something(changes):
        message = "No valid fields provided for update. Provide name, expires_at, bindings, global_permissions, or regenerate."
        raise Refusal(400, "no_valid_fields_provided_for_update", message, {"requestId": call.request_id})
    key = _found(call, key_id)
    if key is not None and key == call.caller:
        message = "API keys cannot update themselves"
        raise Refusal(401, "cannot_update_apikey", message, {"requestId": call.request_id, "apikeyId": key.key_id})
    _check_manages(call, "cannot_update_apikey")
    if key is None:
        more = {"requestId": call.request_id, "supabaseError": no_single_row()}
        raise Refusal(404, "api_key_not_found_or_access_denied", "API key not found or access denied", more)
    _check_manages(call, "cannot_update_apikey", key)
    return _changed(call, key, changes)


def delete_key(call: Call) -> object:
    """Revoke a key; except in the seed era, a key cannot revoke itself."""
    sent = call.path["id"]
    seed = call.settings.generation == "seed"
    if not seed:
        _well_formed(sent, "a valid UUID or number")
    # The seed era identified keys by their plain text alone (contract 0.2).
    key = call.world.keys.of(sent) if seed else _found(call, sent)
    if not seed and key is not None and key == call.caller:
        message = "API keys cannot delete themselves"
        raise Refusal(401, "cannot_delete_apikey", message, {"apikeyId": key.key_id})
    _check_manages(call, "cannot_delete_apikey")
    if key is None or key.user_id != call.caller.user_id:
        raise Refusal(404, "api_key_not_found", "API key not found", {"supabaseError": no_single_row()})
    _check_manages(call, "cannot_delete_apikey", key)
    call.world.keys.remove(key)
    return {"status": "ok"} if call.settings.is_modern else {"success": True}


def _well_formed(sent: str, expected: str = "a numeric ID, UUID key, or legacy key token") -> str:
    if not (sent.isascii() and sent.isdecimal()) and _ID.fullmatch(sent) is None:
        raise Refusal(400, "invalid_id_format", f"API key ID must be {expected}")
    return sent


def _found(call: Call, sent: str) -> Key | None:
    """Find a key of the same user by number or plain text; hashed keys only by number."""
    key = call.world.keys.numbered(int(sent)) if sent.isascii() and sent.isdecimal() else call.world.keys.of(sent)
    if call.blind or key is None or key.user_id != call.caller.user_id or (key.hashed and not sent.isdecimal()):
        return None
    return key


def _manages_all(call: Call, key: Key) -> bool:
    """Return whether the caller may manage the keys of every organization of a key; users may."""
    caller = call.caller
    return not isinstance(caller, Key) or all(_manages(caller, binding) for binding in key.bindings)


def _manages(caller: Key, binding: Binding) -> bool:
    return caller.permits("org.manage_apikeys", org_id=binding.org_id)


def _check_manages(call: Call, code: str, key: Key | None = None) -> None:
    """Refuse a caller that may not manage `key` or, without one, the keys of any organization."""
    caller = call.caller
    if not isinstance(caller, Key):
        return
    manages = any(_manages(caller, binding) for binding in caller.bindings) if key is None else _manages_all(call, key)
    if not manages:
        message = "API key management requires RBAC org role management permission"
        traced = {"requestId": call.request_id} if code == "cannot_update_apikey" else {}
        raise Refusal(401, code, message, {**traced, "apikeyId": caller.key_id})


def _cannot_create() -> Refusal:
    return Refusal(400, "cannot_create_apikey", "API keys cannot create other API keys")


def _added_by_bindings(call: Call, name: str) -> tuple[Key, str]:
    sent = call.field("bindings")
    if not isinstance(sent, list) or not sent:
        raise Refusal(400, "bindings_required", "API key bindings are required")
    expires_at = _expiry(call, call.field("expires_at"))
    granted = read_global_permissions(call.field("global_permissions"))
    bindings = read_bindings(call, sent)
    _check_policies(call, {binding.org_id for binding in bindings}, expires_at)
    secret = _mint(call)
    key = call.world.add_key(
        secret,
        *bindings,
        user_id=call.caller.user_id,
        name=name,
        expires_at=expires_at,
        hashed=call.field("hashed") is True,
        global_permissions=granted,
        now=call.now,
    )
    return key, secret


def _added_by_mode(call: Call, name: str) -> tuple[Key, str]:
    mode = call.field("mode")
    if not isinstance(mode, str) or mode not in MODES:
        raise Refusal(400, "invalid_mode", "Invalid mode")
    org_ids = _words(call.field("limited_to_orgs") or [call.field("org_id")])
    app_ids = _words(call.field("limited_to_apps") or [call.field("app_id")])
    held = [one.id for one in call.world.organizations if call.caller.permits("org.manage_apikeys", org_id=one.id)]
    apps = [call.world.apps.get(app_id) for app_id in app_ids]
    if not held or not set(org_ids) <= set(held) or any(app is None or app.owner_org not in held for app in apps):
        raise _cannot_create() if call.settings.generation == "docs" else Refusal(400, "no_access", "Org not found")
    expires_at = _expiry(call, call.field("expires_at"))
    secret = _mint(call)
    bindings = bindings_of_mode(call, mode, org_ids or held, app_ids)
    user_id = call.caller.user_id
    key = call.world.add_key(secret, *bindings, user_id=user_id, name=name, expires_at=expires_at, now=call.now)
    return key, secret


def _words(sent: object) -> list[str]:
    return [one for one in sent if isinstance(one, str) and one] if isinstance(sent, list) else []


def _mint(call: Call) -> str:
    return uuid_like("secret", call.world.number())


def _expiry(call: Call, sent: object) -> float | None:
    if sent is None:
        return None
    moment = read_iso(sent) if isinstance(sent, str) else None
    if moment is None:
        raise Refusal(400, "invalid_expiration_date", "Invalid expiration date format")
    if moment <= micros(call.now):
        raise Refusal(400, "invalid_expiration_date", "Expiration date must be in the future")
    return moment / 1_000_000


def _check_policies(call: Call, org_ids: set[str], expires_at: float | None) -> None:
    for org_id in org_ids:
        organization = call.world.organizations.get(org_id)
        if organization is None:
            continue
        if organization.require_apikey_expiration and expires_at is None:
            raise Refusal(400, "expiration_required", "This organization requires API keys to have an expiration date")
        days = organization.max_apikey_expiration_days
        if days is not None and expires_at is not None and expires_at > call.now + days * _DAY:
            raise Refusal(400, "expiration_exceeds_max", f"API key expiration cannot exceed {days} days")


def _worth_something(changes: dict[str, object]) -> bool:
    return (
        (isinstance(changes.get("name"), str) and bool(changes["name"]))
        or changes.get("regenerate") is True
        or any(name in changes for name in ("expires_at", "bindings", "global_permissions"))
    )


def _changed(call: Call, key: Key, changes: dict[str, object]) -> object:
    by_user = not isinstance(call.caller, Key)
    if not by_user and ("bindings" in changes or "global_permissions" in changes):
        raise Refusal(403, "forbidden_binding", "API keys cannot change bindings or global permissions")
    if not key.bindings and "bindings" not in changes:
        raise Refusal(409, "apikey_missing_rbac_bindings", "API key has no RBAC bindings")
    changed = replace(key, updated_at=call.world.moment(call.now))
    name = changes.get("name")
    if isinstance(name, str) and name:
        changed = replace(changed, name=name)
    if "bindings" in changes:
        changed = replace(changed, bindings=read_bindings(call, changes["bindings"]))
    if "expires_at" in changes:
        expires_at = _expiry(call, changes["expires_at"])
        _check_policies(call, {binding.org_id for binding in changed.bindings}, expires_at)
        changed = replace(changed, expires_at=expires_at)
    if "global_permissions" in changes:
        changed = replace(changed, global_permissions=read_global_permissions(changes["global_permissions"]))
    if changes.get("regenerate") is True:
        secret = _mint(call)
        changed = replace(changed, secret=digest(secret) if key.hashed else secret)
        call.world.keys.replace(key, changed)
        return minted_row(changed, secret)
    call.world.keys.replace(key, changed)
    row = changed_row(call, changed)
    if "global_permissions" in changes:
        row["global_permissions"] = list(changed.global_permissions)
    return row
