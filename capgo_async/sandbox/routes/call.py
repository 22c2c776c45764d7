"""The call of a route: the request, the world and the caller, and the checks that come first."""

from collections.abc import Mapping

import msgspec

from .. import parameters
from ..exchange import Refusal
from ..settings import Settings
from ..state.access import Caller, Key, Session
from ..state.apps import App
from ..state.audit import Operation, Row
from ..state.channels import Channel, stored_row
from ..state.organizations import Organization
from ..state.world import World


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One request in its route; `number` counts the server's requests, `caller` is who sent it."""

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
        """The caller as an API key, which it always is on key-only routes."""
        if not isinstance(self.caller, Key):
            message = "a signed-in user has no key: use `caller` on routes that are open to users"
            raise TypeError(message)
        return self.caller

    @property
    def blind(self) -> bool:
        """Whether the database shows the caller no rows, whatever the permissions (contract A2)."""
        return isinstance(self.caller, Session) and self.caller.bare

    def field(self, name: str) -> object:
        return parameters.field(self.parameters, name)

    def sends(self, name: str) -> bool:
        """Return whether a parameter was sent, even as null."""
        return isinstance(self.parameters, dict) and name in self.parameters

    def app_id(self) -> str:
        """Return the app id, which must be present and, on modern servers, well-formed (contract A4)."""
        return self.checked(parameters.required(self.parameters, "app_id"))

    def checked(self, app_id: object) -> str:
        """Check the form of an app id; the seed era accepted anything."""
        if self.settings.generation == "seed":
            return str(app_id)
        return parameters.app_id(app_id)

    def app(self, permission: str, app_id: str, *, status: int = 400, code: str = "cannot_access_app") -> App:
        """Return the app; refused with the route's code if it is missing or the caller has no access."""
        app = self.world.app_permitting(self.caller, permission, app_id)
        if app is None:
            raise cannot_access_app(app_id, status=status, code=code)
        return app

    def may(self, permission: str, app: App, *, made_with: int | None = None) -> bool:
        """Return whether the caller has a permission in an app (contract C0).

        A preview key has it over what it created: `made_with` is the number of the key that created the channel.
        """
        if self.caller.permits(permission, org_id=app.owner_org, app_id=app.app_id):
            return True
        own = made_with is not None and isinstance(self.caller, Key) and made_with == self.caller.key_id
        return own and self.previews(app)

    def previews(self, app: App) -> bool:
        return any(
            binding.role == "app_preview" and binding.org_id == app.owner_org and binding.app_id in {None, app.app_id}
            for binding in self.caller.bindings
        )

    def stored(self, app: App, channel: Channel) -> Row:
        """Return a channel as the audit log stores it; servers until 12.201.7 have no `update_package`."""
        row = dict(stored_row(app.app_id, channel))
        if not self.settings.is_newest:
            del row["update_package"]
        return row

    def record(self, app: App, table: str, record_id: object, old: Row | None, new: Row | None) -> None:
        """Record a change of one row of an app in the audit log, as made by the caller.

        The newest servers leave out updates that changed nothing but the time of the update (contract C3).
        """
        operation: Operation = "INSERT" if old is None else "DELETE" if new is None else "UPDATE"
        if self.settings.is_newest and _is_noise(old, new):
            return
        self.world.record(app.owner_org, table, operation, str(record_id), old, new, key=self.caller, now=self.now)

    def organization(self, permission: str, org_id: object, refusal: Refusal | None = None) -> Organization:
        """Return the organization if it exists and the caller, under its rules for keys, has the permission.

        Otherwise raises the `refusal` of the route (contract A7). A key that must be hashed and is not has no access; one that
        must expire and does not is refused (contract A2).
        """
        key = self.caller if isinstance(self.caller, Key) else None
        found = self.world.organizations.get(org_id)
        if (
            found is None
            or not self.caller.permits(permission, org_id=found.id)
            or (found.enforce_hashed_api_keys and key is not None and not key.hashed)
        ):
            message = "You can't access this organization"
            raise refusal or Refusal(400, "cannot_access_organization", message, {"orgId": org_id})
        if found.require_apikey_expiration and key is not None and key.expires_at is None:
            message = "This organization requires API keys with an expiration date"
            raise Refusal(401, "org_requires_expiring_key", message, {"orgId": found.id})
        return found

    def enveloped(self, shown: object) -> object:
        """Wrap what a route shows in `data`, as in the vendor's documentation."""
        return {"data": shown} if self.settings.generation == "docs" else shown


def _is_noise(old: Row | None, new: Row | None) -> bool:
    return old is not None and new is not None and {**old, "updated_at": None} == {**new, "updated_at": None}


def invalid_organization(org_id: object) -> Refusal:
    """Return the refusal for an organization without access, as on the routes that read one."""
    return Refusal(400, "invalid_org_id", "You can't access this organization", {"org_id": org_id})


def cannot_access_app(
    app_id: object, more: Mapping[str, object] | None = None, *, status: int = 400, code: str = "cannot_access_app"
) -> Refusal:
    """Return the refusal for an app without access, with the code of the route (contract A7)."""
    return Refusal(status, code, "You can't access this app", {"app_id": app_id, **(more or {})})


def columns(record: object, names: str) -> dict[str, object]:
    """Return the columns of a record that a row shows unchanged; `names` are separated by spaces."""
    return {name: getattr(record, name) for name in names.split()}
