"""`client.members` (contract C2)."""

from typing import Final
from weakref import WeakValueDictionary

import anyio
from anyio.lowlevel import RunVar

from ...errors import ApiError, CapgoError, ListingError, TransportError, UnreadableAnswer, WouldWait
from ...http.effort import Effort
from ...http.requester import Requester
from ...http.waiting import as_one_call, in_turn
from ...http.wire import reads_many
from ...listing.listing import Listing
from ...listing.walks import Page, Position, WholeWalk
from ..endpoints import members as endpoints
from ..endpoints.arguments import confirmed
from ..models import Member
from ..models.member import stored_email
from ..words import MemberRole, Unlisted

_MANY: Final = reads_many(Member)


class Members:
    """Read, invite and remove the members of organizations."""

    def __init__(self, requester: Requester, base_url: str) -> None:
        self._requester = requester
        self._base_url = base_url

    def list(self, org_id: str) -> Listing[Member]:
        """List the members and the open invitations of an organization (contract C2).

        Raises `EmptyListing` if there is none: an organization always has a member (contract D50). Raises `PermissionDenied`.
        Only reads, and can be repeated.
        """
        call = endpoints.list_members(org_id)

        async def fetch(_position: Position) -> Page[Member]:
            return Page(await self._requester.call(call, _MANY))

        async def doubt() -> str:
            return "the server lists no member, but an organization always has one: it may be unable to read its data"

        return Listing(WholeWalk, fetch, doubt=doubt)

    async def invite(self, org_id: str, email: str, role: MemberRole | Unlisted) -> None:
        """Invite a user to an organization, with a role such as `org_member` (contract C2, E).

        Raises `NotFound` if no account has this address, and `PermissionDenied`. Raises `Conflict` for a member or an open
        invitation, and so when it is repeated; the role is then not changed (contract D29). Retries within the call take that
        for success.
        """
        await self._requester.settle(endpoints.invite_member(org_id, email, role))

    @as_one_call
    async def remove(self, org_id: str, email: str, *, confirm: str | None = None) -> None:
        """Remove a member, or an open invitation if the invited person has an account (contract C2).

        Raises `MemberNotFound`, or `NotFound` if nobody has an account with this address: this API cannot remove such an
        invitation.

        Removing the last super admin deletes the whole organization (contract D50). Raises `DangerousCall` for it, unless
        `confirm` is the id of the organization; also for a member with an unknown role, unless another super admin stays. The
        members are read before each attempt, and removed one at a time in the whole event loop. API keys of the removed member
        stop working for this organization. Repeating it raises `MemberNotFound`.
        """
        call = endpoints.remove_member(org_id, email)
        async with in_turn(_turn_of(self._base_url, org_id)):
            await self._look(org_id, email, confirm)
            effort = Effort()
            try:
                await self._requester.settle(call, effort)
            except CapgoError as error:
                if not self._requester.passes(error):
                    raise
                # The other admins may be gone by now, so the members are read again before a retry (contract G1).
                if await self._look_again(error, org_id, email, confirm) or not effort.in_doubt:
                    await self._requester.settle(call, effort)

    async def _look_again(self, error: CapgoError, org_id: str, email: str, confirm: str | None) -> bool:
        """Check again after a removal ended with `error`. Raise `error` if the members cannot be read."""
        try:
            return await self._look(org_id, email, confirm)
        except (ApiError, ListingError, TransportError, UnreadableAnswer, WouldWait) as unseen:
            raise error from unseen

    async def _look(self, org_id: str, email: str, confirm: str | None) -> bool:
        """Return whether the member exists; raise `DangerousCall` for a possible last super admin."""
        email = endpoints.address(email)
        members = await self.list(org_id).all()
        meant = [member for member in members if _is_of(member, email)]
        if not any(member.is_super_admin and not _is_of(member, email) for member in members) and not (
            meant and all(member.is_no_super_admin for member in meant)
        ):
            sure = "is" if any(member.is_super_admin for member in meant) else "may be"
            danger = f"{email} {sure} the last super admin of {org_id}: removing it deletes the organization and all its apps."
            confirmed(confirm, org_id, danger)
        return bool(meant)


def _is_of(member: Member, email: str) -> bool:
    return stored_email(member.email) == email


_TURNS: Final = RunVar[WeakValueDictionary[tuple[str, str], anyio.Lock]]("turns")
"""Locks by organization, shared by all clients, which do not know of each other."""


def _turn_of(base_url: str, org_id: str) -> anyio.Lock:
    """Return the lock of an organization, the same for every client of its server in this event loop."""
    turns = _TURNS.get(None)
    if turns is None:
        turns = WeakValueDictionary()
        _TURNS.set(turns)
    return turns.setdefault((base_url, org_id.strip().lower()), anyio.Lock())
