"""What a route is handed, and what it checks first."""

from collections.abc import Mapping

import msgspec

from .. import parameters
from ..exchange import Refusal
from ..settings import Settings
from ..state.access import Caller, Key
from ..state.audit import Operation, Row
from ..state.organizations import Organization
from ..state.world import App, World


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One request on its way through a route; `number` counts the server's requests, `caller` is who asks."""

    world: World
    settings: Settings
    now: float
    number: int
    path: Mapping[str, str]
    parameters: object = None
    caller: Caller
    request_id: str = ""
    masked: bool = False

    @property
    def key(self) -> Key:
        """Take the caller for the key that it must be on key-only routes."""
        if not isinstance(self.caller, Key):
            message = "a signed-in user holds no key: this route is open to users, so ask for the caller"
            raise TypeError(message)
        return self.caller

    def field(self, name: str) -> object:
        """Look up a parameter."""
        return parameters.field(self.parameters, name)

    def app_id(self) -> str:
        """Take the app id: it must be there, and on modern servers have the form of one (contract A4)."""
        return self.checked(parameters.required(self.parameters, "app_id"))

    def checked(self, app_id: object) -> str:
        """Check the form of an app id; the seed era took anything."""
        if self.settings.dialect == "seed":
            return str(app_id)
        return parameters.app_id(app_id)

    def app(self, permission: str, app_id: str) -> App:
        """Return the app, or refuse as most routes do when the key has no access to it or it does not exist."""
        app = self.world.app_permitting(self.caller, permission, app_id)
        if app is None:
            raise cannot_access_app(app_id)
        return app

    def may(self, permission: str, app: App, *, made_with: int | None = None) -> bool:
        """Tell whether a permission is held in an app; preview keys hold it over what they made (contract C0).

        `made_with` is the number of the key that made the channel in question, where that matters.
        """
        if self.caller.permits(permission, org_id=app.owner_org, app_id=app.app_id):
            return True
        own = made_with is not None and isinstance(self.caller, Key) and made_with == self.caller.key_id
        return own and self.previews(app)

    def previews(self, app: App) -> bool:
        """Tell whether the caller is there to preview that app."""
        return any(
            binding.role == "app_preview" and binding.org_id == app.owner_org and binding.app_id in {None, app.app_id}
            for binding in self.caller.bindings
        )

    def record(self, app: App, table: str, record_id: object, old: Row | None, new: Row | None) -> None:
        """Write a change of one row of an app into the audit log, in the name of the caller."""
        operation: Operation = "INSERT" if old is None else "DELETE" if new is None else "UPDATE"
        self.world.record(app.owner_org, table, operation, str(record_id), old, new, key=self.caller, now=self.now)

    def organization(self, permission: str, org_id: object) -> Organization | None:
        """Return the organization when it exists, the permission is held there and its rules for keys are kept.

        Raises when the key should expire and does not; one that should be hashed and is not has no access (contract A2).
        """
        found = self.world.organizations.get(org_id)
        if found is None or not self.caller.permits(permission, org_id=found.id):
            return None
        if isinstance(self.caller, Key):
            if found.enforce_hashed_api_keys and not self.caller.hashed:
                return None
            if found.require_apikey_expiration and self.caller.expires_at is None:
                message = "This organization requires API keys with an expiration date"
                raise Refusal(401, "org_requires_expiring_key", message, {"orgId": found.id})
        return found


def cannot_access_organization(org_id: object) -> Refusal:
    """Build the refusal for an organization without access, as most routes tell it (contract A7)."""
    return Refusal(400, "cannot_access_organization", "You can't access this organization", {"orgId": org_id})


def cannot_access_app(app_id: object, *, status: int = 400, code: str = "cannot_access_app") -> Refusal:
    """Build the refusal for an app without access, under the code of the route (contract A7)."""
    return Refusal(status, code, "You can't access this app", {"app_id": app_id})
