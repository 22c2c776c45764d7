"""`client.channels` (contract C6)."""

from typing import Final

from .. import endpoints
from ..errors import ApiError, ChannelNotFound
from ..models import Channel
from ..paging import Listing, Page, PageWalk, Position, last_unless_full
from ..requester import Requester
from ..wire import reads_many, reads_one

_MANY: Final = reads_many(Channel)
_ONE: Final = reads_one(Channel)


class Channels:
    """Read channels."""

    def __init__(self, requester: Requester) -> None:
        self._requester = requester

    def list(self, app_id: str) -> Listing[Channel]:
        """List the channels of an app that the key may read, oldest first (contract C6)."""
        endpoints.checked_app_id(app_id)

        async def fetch(position: Position) -> Page[Channel]:
            return Page(await self._requester.call(endpoints.list_channels(app_id, int(position[0][1])), _MANY))

        return Listing(lambda: PageWalk(lambda row: row.id, last=last_unless_full, tie=lambda row: row.created_at), fetch)

    async def get(self, app_id: str, name: str) -> Channel:
        """Get one channel by its exact name. Raises `ChannelNotFound` (contract C6, D12)."""
        try:
            return await self._requester.call(endpoints.get_channel(app_id, name), _ONE)
        except ApiError as error:
            # The server's code for this is misnamed, and its seed-era sentence makes the same code.
            if error.code == "cannot_find_version":
                raise error.as_kind(ChannelNotFound) from error
            raise
