"""`client.api_keys` (contract C4)."""

from typing import Final

from ...http.requester import Requester
from ...http.wire import reads, reads_first, reads_many, reads_one
from ...listing.listing import Listing
from ...listing.walks import Page, Position, WholeWalk
from ..endpoints import api_keys as endpoints
from ..endpoints.api_keys import ApiKeySettings, NewApiKey
from ..models import ApiKey, CreatedApiKey

_MANY: Final = reads_many(ApiKey)
read_key: Final = reads_one(ApiKey)
read_created: Final = reads_first(read_key, reads(CreatedApiKey, lambda created: created.key))


class ApiKeys:
    """Read, create, change and delete API keys."""

    def __init__(self, requester: Requester) -> None:
        self._requester = requester

    def list(self) -> Listing[ApiKey]:
        """List the keys of the caller's user (contract C4).

        Keys are left out if the caller may not manage all of their organizations. Newer servers may add keys of organizations,
        and keys that a sign-in created.

        Raises `EmptyListing` if there is none, because the list holds the calling key, unless that may not manage the keys of
        one of its own organizations. A user who calls with a session token may have no key. Only reads, and can be repeated.
        """

        async def fetch(_position: Position) -> Page[ApiKey]:
            return Page(await self._requester.call(endpoints.list_api_keys(), _MANY))

        async def doubt() -> str | None:
            if self._requester.identity.is_token:
                return None
            return (
                "the server lists no API key, not even the one that asks: it may be unable to read its data,"
                " or the key may not manage the keys of all its organizations"
            )

        return Listing(WholeWalk, fetch, doubt=doubt)

    async def get(self, key_id: int) -> ApiKey:
        """Get one key by its number (contract C4).

        Raises `NotFound` or `PermissionDenied`. Only reads, and can be repeated.
        """
        return await self._requester.call(endpoints.get_api_key(key_id), read_key)

    async def create(self, api_key: NewApiKey) -> ApiKey:
        """Create a key and return it with its secret, which the server shows only once (contract C4).

        Raises `NeedsUserSession` on modern servers, where only a user session may create keys, and `Conflict` or `NotFound` for
        bindings that cannot be. Repeating it creates another key, so it is never retried (contract G1): if it is unclear
        whether the key was created, `list` the keys before and after, delete the new one by its id and create it again. A name
        proves nothing: others may have given it to their keys (contract K11).
        """
        return await self._requester.call(endpoints.create_api_key(api_key), read_created)

    async def update(self, key_id: int, settings: ApiKeySettings) -> ApiKey:
        """Change a key and return it (contract C4).

        Raises `NotFound`, and `PermissionDenied` also if the key is the caller's own. Repeating it changes nothing more.
        """
        return await self._requester.call(endpoints.update_api_key(key_id, settings), read_key)

    async def regenerate(self, key_id: int) -> ApiKey:
        """Give a key a new secret and return it; the old secret stops working (contract C4).

        Raises `NotFound` or `PermissionDenied`. Repeating it makes yet another secret, so it is never retried (contract G1): if
        it is unclear whether it succeeded, the old secret may be invalid already. Regenerate once more.
        """
        return await self._requester.call(endpoints.regenerate_api_key(key_id), read_key)

    async def delete(self, key_id: int) -> None:
        """Delete a key by its number (contract C4).

        Raises `PermissionDenied` if the key is the caller's own, and `NotFound` if there is none. Repeating it raises
        `NotFound`; retries within the call take that for success.
        """
        await self._requester.settle(endpoints.delete_api_key(key_id))

    async def delete_by_secret(self, secret: str) -> None:
        """Delete a key by its secret: the only way on servers before 2025-02-24 (contract C4).

        Raises and repeats as `delete` does. No message contains the secret.
        """
        await self._requester.settle(endpoints.delete_api_key_by_secret(secret))
