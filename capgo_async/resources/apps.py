"""`client.apps` (contract C5)."""

from typing import Final

from .. import endpoints
from ..models import App
from ..paging import NO_ORDER, Listing, Page, PageWalk, Position, last_below_smallest
from ..requester import Requester
from ..wire import reads_many, reads_one

_ROWS: Final = 500
_MANY: Final = reads_many(App)
_ONE: Final = reads_one(App)


class Apps:
    """Read apps."""

    def __init__(self, requester: Requester) -> None:
        self._requester = requester

    def list(self, *, org_id: str | None = None) -> Listing[App]:
        """List the apps that the key can see, or those of one organization (contract C5).

        The server names no order: with more than one page the listing's `caveats` say so.
        """

        async def fetch(position: Position) -> Page[App]:
            call = endpoints.list_apps(int(position[0][1]), _ROWS, org_id)
            return Page(await self._requester.call(call, _MANY))

        return Listing(lambda: PageWalk(lambda app: app.app_id, last=last_below_smallest, caveat=NO_ORDER), fetch)

    async def get(self, app_id: str) -> App:
        """Get one app. Raises `PermissionDenied` also for one that does not exist (contract A7, C5)."""
        return await self._requester.call(endpoints.get_app(app_id), _ONE)
