"""`client.api_keys` (contract C4)."""

from typing import Final

from ..endpoints import api_keys as endpoints
from ..endpoints.api_keys import ApiKeySettings, NewApiKey
from ..models import ApiKey, CreatedApiKey
from ..paging import Listing, Page, Position, WholeWalk
from ..requester import Requester
from ..wire import reads, reads_first, reads_many, reads_one

_MANY: Final = reads_many(ApiKey)
_ONE: Final = reads_one(ApiKey)
_CREATED: Final = reads_first(_ONE, reads(CreatedApiKey, lambda created: created.key))


class ApiKeys:
    """Read, make, change and revoke API keys."""

    def __init__(self, requester: Requester) -> None:
        self._requester = requester

    def list(self) -> Listing[ApiKey]:
        """List the keys of the caller's user all of whose organizations it may manage (contract C4)."""

        async def fetch(_position: Position) -> Page[ApiKey]:
            return Page(await self._requester.call(endpoints.list_api_keys(), _MANY))

        return Listing(WholeWalk, fetch)

    async def get(self, key_id: int) -> ApiKey:
        """Get one key by its number. Raises `NotFound` or `PermissionDenied` (contract C4)."""
        return await self._requester.call(endpoints.get_api_key(key_id), _ONE)

    async def create(self, new: NewApiKey) -> ApiKey:
        """Make a key, and return it with its secret, which the server tells this once; never tried twice (contract C4, G1).

        On modern servers only a user session may do this: raises `NeedsUserSession`. After an error that leaves it open, look
        for the name with `list`, delete the orphan and create again.
        """
        return await self._requester.call(endpoints.create_api_key(new), _CREATED)

    async def update(self, key_id: int, settings: ApiKeySettings) -> ApiKey:
        """Change a key, and return it. A key cannot change itself: raises `PermissionDenied` (contract C4)."""
        return await self._requester.call(endpoints.update_api_key(key_id, settings), _ONE)

    async def regenerate(self, key_id: int) -> ApiKey:
        """Give a key another secret, and return it with that; the old one stops working, and this is never tried twice.

        After an error that leaves it open the old secret may be dead: regenerate once more (contract C4, G1).
        """
        return await self._requester.call(endpoints.regenerate_api_key(key_id), _ONE)

    async def delete(self, key_id: int) -> None:
        """Revoke a key by its number. A key cannot revoke itself: raises `PermissionDenied` (contract C4)."""
        await self._requester.settle(endpoints.delete_api_key(key_id))

    async def delete_by_secret(self, secret: str) -> None:
        """Revoke a key by the key itself: servers before 2025-02-24 know no other way (contract C4)."""
        await self._requester.settle(endpoints.delete_api_key_by_secret(secret))
