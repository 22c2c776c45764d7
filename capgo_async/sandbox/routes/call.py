"""What a route is handed, and what it checks first."""

from collections.abc import Mapping

import msgspec

from .. import parameters
from ..access import Key
from ..exchange import Refusal
from ..settings import Settings
from ..world import App, World


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One request on its way through a route; `number` counts the server's requests, `key` is there on keyed routes."""

    world: World
    settings: Settings
    now: float
    number: int
    path: Mapping[str, str]
    parameters: object = None
    key: Key
    masked: bool = False

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
        app = self.world.app_permitting(self.key, permission, app_id)
        if app is None:
            raise cannot_access_app(app_id)
        return app


def cannot_access_app(app_id: object, *, status: int = 400, code: str = "cannot_access_app") -> Refusal:
    """Build the refusal for an app without access, under the code of the route (contract A7)."""
    return Refusal(status, code, "You can't access this app", {"app_id": app_id})
