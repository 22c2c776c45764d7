"""Callers, their roles, and the permissions of each role (contract C0)."""

from collections.abc import Mapping
from typing import Final, Literal

import msgspec

Rights = Literal["readable", "denied", "unreadable"]

_READER: Final = frozenset({"app.read", "app.read_bundles", "app.read_channels", "app.read_devices"})
_UPLOADER: Final = _READER | {"app.upload_bundle", "channel.promote_bundle"}
_DEVELOPER: Final = _UPLOADER | {"app.create_channel", "app.manage_devices", "channel.manage_forced_devices"}
_APP_ADMIN: Final = _DEVELOPER | {"app.update_settings", "channel.update_settings", "bundle.delete", "channel.delete"}
_PREVIEW: Final = frozenset({"app.read", "app.read_bundles", "app.upload_bundle", "app.create_channel"})

_ORG_MEMBER: Final = frozenset({"org.read", "org.read_members", "org.create_app"})
_ORG_SETTINGS: Final = frozenset(
    {"org.update_settings", "org.invite_user", "org.update_user_roles", "org.manage_apikeys", "org.read_audit"}
)
_ORG_ADMIN: Final = _ORG_MEMBER | _ORG_SETTINGS | (_APP_ADMIN - {"bundle.delete", "channel.delete"})

ROLES: Final[Mapping[str, frozenset[str]]] = {
    "org_super_admin": _ORG_ADMIN | {"org.delete", "app.delete", "bundle.delete", "channel.delete"},
    "org_admin": _ORG_ADMIN,
    "org_member": _ORG_MEMBER,
    "org_billing_admin": frozenset({"org.read", "org.create_app"}),
    "apikey_manager": frozenset({"org.read", "org.manage_apikeys"}),
    "app_admin": _APP_ADMIN,
    "app_developer": _DEVELOPER,
    "app_uploader": _UPLOADER,
    "app_reader": _READER,
    "app_preview": _PREVIEW,
}

RANKS: Final[Mapping[str, int]] = {
    "org_super_admin": 95,
    "org_admin": 90,
    "org_billing_admin": 80,
    "apikey_manager": 78,
    "org_member": 75,
    "app_admin": 70,
    "app_preview": 69,
    "app_developer": 68,
    "app_uploader": 66,
    "app_reader": 65,
}
"""Rank of each role (contract E)."""


class Binding(msgspec.Struct, frozen=True, kw_only=True):
    """A role in one app, or without `app_id` in an organization and all of its apps."""

    role: str
    org_id: str
    app_id: str | None = None

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            message = f"unknown role {self.role!r}; known are {', '.join(ROLES)}"
            raise ValueError(message)


class RightsUnreadable(Exception):
    """Raised when a check of permissions cannot reach the database, where that is told (contract A7)."""

    def __init__(self, permission: str, scope: Mapping[str, str]) -> None:
        """Store what the response tells."""
        super().__init__(permission)
        self.permission = permission
        self.scope = scope


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """A user and the roles that apply to a request.

    `rights` tells whether they can be read: without a database, a check is denied or fails, depending on the server.
    """

    user_id: str
    bindings: tuple[Binding, ...]
    rights: Rights = "readable"

    def permits(self, permission: str, *, org_id: str, app_id: str | None = None) -> bool:
        """Return whether a binding to that organization, or to that app of it, includes the permission.

        Raises `RightsUnreadable` where the rights are unreadable.
        """
        if self.rights == "unreadable":
            raise RightsUnreadable(permission, {"orgId": org_id} if app_id is None else {"appId": app_id})
        return self.rights == "readable" and any(
            permission in ROLES[binding.role] and binding.org_id == org_id and binding.app_id in {None, app_id}
            for binding in self.bindings
        )

    def rank(self, org_id: str) -> int:
        """Return the rank of the highest role in an organization; 0 without one."""
        ranks = (RANKS[binding.role] for binding in self.bindings if binding.org_id == org_id and binding.app_id is None)
        return max(ranks, default=0)


class Session(Caller, frozen=True, kw_only=True):
    """A signed-in user, identified by a JWT; `bare` if it was sent without `Bearer`."""

    bare: bool = False


class Key(Caller, frozen=True, kw_only=True):
    """An API key. Of a hashed key, `secret` is the SHA-256 in hex and the plain text is not stored."""

    key_id: int
    secret: str
    name: str = ""
    created_at: int = 0
    updated_at: int = 0
    rbac_id: str = ""
    expires_at: float | None = None
    hashed: bool = False
    global_permissions: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Key({self.key_id})"

    def expired(self, now: float) -> bool:
        return self.expires_at is not None and self.expires_at <= now
