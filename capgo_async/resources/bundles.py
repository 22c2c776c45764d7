"""`client.bundles` (contract C8)."""

from typing import Final

from .. import endpoints
from ..errors import ApiError, PermissionDenied
from ..models import Bundle
from ..paging import Listing, Page, PageWalk, Position, last_unless_full
from ..requester import Requester
from ..wire import reads_many

_MANY: Final = reads_many(Bundle)


class Bundles:
    """Read bundles."""

    def __init__(self, requester: Requester) -> None:
        self._requester = requester

    def list(self, app_id: str) -> Listing[Bundle]:
        """List the bundles of an app that are not deleted, newest first (contract C8)."""
        endpoints.checked_app_id(app_id)

        async def fetch(position: Position) -> Page[Bundle]:
            try:
                return Page(await self._requester.call(endpoints.list_bundles(app_id, int(position[0][1])), _MANY))
            except ApiError as error:
                if is_empty_page(error):
                    return Page(())
                if is_no_access(error):
                    raise error.as_kind(PermissionDenied) from error
                raise

        return Listing(lambda: PageWalk(lambda row: row.id, last=last_unless_full, tie=lambda row: row.created_at), fetch)


def is_empty_page(error: ApiError) -> bool:
    """Tell the answer that means "no bundles" from the two real failures of the same code (contract C8, D9)."""
    nothing_failed = error.details.get("supabaseError") is None and error.details.get("error") is None
    return _is_refusal(error) and error.message == "Cannot get bundle" and nothing_failed


def is_no_access(error: ApiError) -> bool:
    """Tell the answer that means "no access to this app, or no such app" from the others of the same code (contract C8)."""
    return _is_refusal(error) and "app_id" in error.details and "supabaseError" not in error.details


def _is_refusal(error: ApiError) -> bool:
    return error.status == 400 and error.code == "cannot_get_bundle"  # noqa: PLR2004 - a failing server says nothing of the list
