"""The permissions of a new key: `bindings`, or the `mode` of the seed era and the docs (contract C4)."""

from collections.abc import Iterable
from typing import Final

from ..exchange import Refusal
from ..state.access import RANKS, Binding, Key
from .call import Call

MODES: Final = ("read", "upload", "write", "all")
_APP_ROLES: Final = {"read": "app_reader", "upload": "app_uploader", "write": "app_developer", "all": "app_admin"}
_SCOPES: Final = frozenset({"org", "app", "channel"})
_GLOBAL: Final = frozenset({"org.create"})


def read_bindings(call: Call, sent: object) -> tuple[Binding, ...]:
    """Parse `bindings` and check that the caller may grant each of them."""
    if not isinstance(sent, list) or not sent:
        raise Refusal(400, "invalid_bindings", "Invalid bindings")
    bindings = [_binding(call, one) for one in sent]
    if len({(binding.role, binding.org_id, binding.app_id) for binding in bindings}) < len(bindings):
        raise Refusal(409, "duplicate_binding", "Duplicate binding")
    return tuple(bindings)


def read_global_permissions(sent: object) -> tuple[str, ...]:
    """Parse `global_permissions`. The only known one is `org.create`."""
    if sent is None:
        return ()
    if not isinstance(sent, list) or not all(isinstance(name, str) and name in _GLOBAL for name in sent):
        raise Refusal(400, "invalid_global_permissions", "Invalid global permissions")
    return tuple(dict.fromkeys(sent))


def bindings_of_mode(call: Call, mode: str, org_ids: Iterable[str], app_ids: Iterable[str] = ()) -> tuple[Binding, ...]:
    """Return the roles closest to a mode, for organizations or for single apps."""
    bindings: list[Binding] = []
    for app_id in app_ids:
        app = call.world.apps.get(app_id)
        if app is not None:
            bindings.append(Binding(role=_APP_ROLES[mode], org_id=app.owner_org, app_id=app_id))
    for org_id in org_ids if not bindings else ():
        if mode == "all":
            rank = call.caller.rank(org_id)
            bindings.append(Binding(role="org_super_admin" if rank >= RANKS["org_super_admin"] else "org_admin", org_id=org_id))
        else:
            bindings += [Binding(role=role, org_id=org_id) for role in ("org_member", _APP_ROLES[mode])]
    return tuple(bindings)


def mode_of(key: Key) -> str:
    """Return the mode closest to the roles of a key."""
    highest = max((RANKS[binding.role] for binding in key.bindings if binding.role != "org_member"), default=0)
    if highest >= RANKS["app_admin"]:
        return "all"
    return next((mode for mode in ("write", "upload") if RANKS[_APP_ROLES[mode]] <= highest), "read")


def _binding(call: Call, sent: object) -> Binding:
    fields = sent if isinstance(sent, dict) else {}
    role, scope, org_id, app = (fields.get(name) for name in ("role_name", "scope_type", "org_id", "app_id"))
    if not isinstance(role, str) or scope not in _SCOPES or not isinstance(org_id, str):
        raise Refusal(400, "invalid_bindings", "Invalid bindings")
    if role not in RANKS:
        raise Refusal(404, "binding_failed", "Role not found")
    if (scope == "app") != role.startswith("app_"):
        raise Refusal(400, "binding_failed", "Role scope does not match binding scope")
    held = call.caller.rank(org_id)
    if not call.caller.permits("org.manage_apikeys", org_id=org_id) or RANKS[role] > held:
        raise Refusal(403, "forbidden_binding", "You cannot grant this binding")
    if scope == "org":
        return Binding(role=role, org_id=org_id)
    found = next((known for known in call.world.apps.values() if known.id == app and known.owner_org == org_id), None)
    if found is None:
        raise Refusal(404, "binding_failed", "App not found")
    return Binding(role=role, org_id=org_id, app_id=found.app_id)
