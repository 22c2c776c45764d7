"""`client.apps` (contract C5)."""

from typing import Final

from ...errors import Conflict, InvalidRequest, NeedsApiKey, NotFound, PermissionDenied, UnreadableAnswer
from ...http.effort import Effort
from ...http.requester import Requester
from ...http.waiting import as_one_call
from ...http.wire import acknowledge, reads_many, reads_one
from ...listing.listing import Listing
from ...listing.walks import NO_ORDER, Page, PageWalk, Position, last_below_smallest
from ..endpoints import apps as endpoints
from ..endpoints.apps import AppSettings, NewApp
from ..endpoints.arguments import app_id_of
from ..models import App

_ROWS: Final = 500
_MANY: Final = reads_many(App)
_ONE: Final = reads_one(App)


async def count_links(requester: Requester, app_id: str) -> int | None:
    """Return the number of linked devices that the server counts in an app; `None` if it does not say."""
    try:
        return (await Apps(requester).get(app_id)).channel_device_count
    except (PermissionDenied, NotFound, InvalidRequest, UnreadableAnswer):
        return None


async def doubt_empty(requester: Requester, app_id: str, what: str) -> str | None:
    """Return why an app cannot be without any `what`; `None` if nothing contradicts that (contract C7)."""
    links = await count_links(requester, app_id)
    if not links:
        return None
    return f"the server lists no {what}, but counts linked devices in this app ({links:,}): it may be unable to read its data"


class Apps:
    """Read, create, change and delete apps."""

    def __init__(self, requester: Requester) -> None:
        self._requester = requester

    def list(self, *, org_id: str | None = None) -> Listing[App]:
        """List the apps that the key can see, or those of one organization (contract C5).

        The server promises no order. If there is more than one page, the `caveats` of the listing say so. An empty list is
        taken for the truth: a key and an organization may have no app, and nothing counts them (contract C0, C5).

        Raises `PermissionDenied` for an organization without access, and `ListingError` if the list cannot be completed. Only
        reads, and can be repeated.
        """

        async def fetch(position: Position) -> Page[App]:
            call = endpoints.list_apps(int(position[0][1]), _ROWS, org_id)
            return Page(await self._requester.call(call, _MANY))

        return Listing(lambda: PageWalk(lambda app: app.app_id, last=last_below_smallest, caveat=NO_ORDER), fetch)

    async def get(self, app_id: str) -> App:
        """Get one app (contract C5).

        Raises `PermissionDenied`, also if the app does not exist (contract A7). Only reads, and can be repeated.
        """
        app_id = app_id_of(app_id, self._requester.generation.chosen)
        return await self._requester.call(endpoints.get_app(app_id), _ONE)

    @as_one_call
    async def create(self, app: NewApp) -> App:
        """Create an app and return it (contract C5).

        Raises `Conflict` if any customer has an app of this id, and `PermissionDenied`. Repeating it raises `Conflict`; a retry
        within the call returns the app if it is of the same organization.
        """
        effort = Effort()
        try:
            return await self._requester.call(endpoints.create_app(app), _ONE, effort)
        except Conflict as conflict:
            found = await self._find(app.app_id) if effort.in_doubt else None
            if found is None or found.owner_org != app.owner_org:
                raise conflict from None
            return found

    async def update(self, app_id: str, settings: AppSettings, *, confirm: str | None = None) -> App:
        """Change an app and return it (contract C5).

        A retention below one day deletes nearly every unused bundle (contract D45). Raises `DangerousCall` for it, before any
        I/O, unless `confirm` is the app id. Raises `PermissionDenied`, also if the app does not exist. Repeating it changes
        nothing more.
        """
        app_id = app_id_of(app_id, self._requester.generation.chosen)
        return await self._requester.call(endpoints.update_app(app_id, settings, confirm), _ONE)

    @as_one_call
    async def delete(self, app_id: str) -> None:
        """Delete an app with its channels, bundles and devices, which cannot be undone (contract C5).

        Raises `PermissionDenied`, also if the app does not exist. So does repeating it; a retry within the call looks whether
        the app is gone.
        """
        app_id = app_id_of(app_id, self._requester.generation.chosen)
        effort = Effort()
        try:
            await self._requester.call(endpoints.delete_app(app_id), acknowledge, effort)
        except PermissionDenied:
            if not effort.in_doubt or await self._find(app_id) is not None:
                raise

    async def _find(self, app_id: str) -> App | None:
        try:
            return await self.get(app_id)
        except (NeedsApiKey, PermissionDenied):
            return None
