"""`client.members` (contract C2)."""

from typing import Final

import anyio

from ..endpoints import members as endpoints
from ..endpoints.call import confirmed
from ..errors import ApiError, CapgoError, TransportError, UnreadableAnswer
from ..models import Member
from ..paging import Listing, Page, Position, WholeWalk
from ..requester import Effort, Requester
from ..retry import is_ambiguous
from ..wire import reads_many

_MANY: Final = reads_many(Member)


class Members:
    """Read, invite and remove the members of organizations."""

    def __init__(self, requester: Requester, removing: anyio.Lock) -> None:
        self._requester = requester
        self._removing = removing

    def list(self, org_id: str) -> Listing[Member]:
        """List the members and the open invitations of an organization (contract C2)."""
        call = endpoints.list_members(org_id)

        async def fetch(_position: Position) -> Page[Member]:
            return Page(await self._requester.call(call, _MANY))

        return Listing(WholeWalk, fetch)

    async def invite(self, org_id: str, email: str, role: str) -> None:
        """Invite somebody with an account, with a role such as `org_member` (contract C2, E).

        Raises `Conflict` for a member or an open invitation, whose role this does not change (contract D29), `NotFound` for an
        address without an account.
        """
        await self._requester.settle(endpoints.invite_member(org_id, email, role))

    async def remove(self, org_id: str, email: str, *, confirm: str | None = None) -> None:
        """Remove a member, or an open invitation.

        Removing the last super admin deletes the whole organization: that needs the organization's id as `confirm`, or
        `DangerousCall` is raised. Members are looked at first, and removed one at a time (contract C2, D50). Keys of the
        removed member stop working here. Raises `NotFound`.
        """
        call = endpoints.remove_member(org_id, email)
        async with self._removing:
            await self._look(org_id, email, confirm)
            effort = Effort()
            try:
                await self._requester.settle(call, effort)
            except CapgoError as error:
                if not is_ambiguous(error):
                    raise
                # Others may have removed the other admins meanwhile: never again without another look (contract G1).
                if await self._look_again(error, org_id, email, confirm):
                    await self._requester.settle(call, effort)

    async def _look_again(self, error: CapgoError, org_id: str, email: str, confirm: str | None) -> bool:
        """Look as before the removal that ended with `error`, which is raised where nothing can be seen."""
        try:
            return await self._look(org_id, email, confirm)
        except (ApiError, TransportError, UnreadableAnswer) as unseen:
            raise error from unseen

    async def _look(self, org_id: str, email: str, confirm: str | None) -> bool:
        """Return whether the member is there; raise `DangerousCall` for the last super admin."""
        members = await self.list(org_id).all()
        admins = [member.email.lower() for member in members if member.is_super_admin]
        if admins == [email.lower()]:
            danger = f"{email} is the last super admin of {org_id}: removing it deletes the organization and all its apps."
            confirmed(confirm, org_id, danger)
        return any(member.email.lower() == email.lower() for member in members)
