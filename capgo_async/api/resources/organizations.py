"""`client.organizations` (contract C1, C3)."""

from collections.abc import Container
from typing import Final

import msgspec

from ...errors import (
    ApiError,
    CapgoError,
    InvalidRequest,
    NotApplied,
    NotFound,
    PermissionDenied,
    TransportError,
    UnreadableAnswer,
    WouldWait,
)
from ...http import wire
from ...http.dialect import Dialect
from ...http.effort import Effort
from ...http.requester import Requester
from ...http.waiting import as_one_call
from ...http.wire import reads, reads_first, reads_many, reads_one
from ...listing.listing import Doubt, Listing
from ...listing.walks import UNREADABLE, CompletedWalk, CountedWalk, Page, Position
from ..detection import Learner
from ..endpoints import organizations as endpoints
from ..endpoints.organizations import AuditFilter, NewOrganization, OrganizationSettings
from ..models import AuditEntry, AuditPage, Organization
from .apps import Apps


class _Updated(msgspec.Struct):
    data: Organization


class _SeedUpdated(msgspec.Struct):
    data: list[Organization]


class _Created(msgspec.Struct):
    id: str = ""


_MANY: Final = reads_many(Organization)
read_organization: Final = reads_one(Organization)
read_created: Final = reads(_Created, lambda answer: answer.id)
read_updated: Final = reads_first(
    reads(_Updated, lambda answer: [answer.data]),
    reads(_SeedUpdated, lambda answer: answer.data),
)
read_audit: Final = reads(AuditPage, lambda page: page)


class Organizations:
    """Read, create, change and delete organizations, and read their audit log."""

    def __init__(self, requester: Requester, learner: Learner) -> None:
        self._requester = requester
        self._learner = learner

    def list(self) -> Listing[Organization]:
        """List the organizations that the key can see (contract C1).

        The server shows at most 50. If it shows 50, the owners of the key's apps are added, as far as the key may read them;
        the `caveats` of the listing say so (contract D6).

        Raises `EmptyListing` if there is none although the key may read an owner of its apps. A key for apps alone may read
        none (contract C0). Only reads, and can be repeated.
        """

        async def doubt() -> str | None:
            try:
                owners = (await self._owners(())).rows
            except (InvalidRequest, NotFound, PermissionDenied):
                return None
            if not owners:
                return None
            shown = f"shows {owners[0].id}, which owns an app of the key"
            return f"the server lists no organization, but {shown}: it may be unable to read its data"

        return self._listing(doubt)

    async def get(self, org_id: str) -> Organization:
        """Get one organization (contract C1).

        Raises `PermissionDenied`, also if there is none (contract A7). Only reads, and can be repeated.
        """
        return await self._requester.call(endpoints.get_organization(org_id), read_organization)

    @as_one_call
    async def create(self, organization: NewOrganization) -> Organization:
        """Create an organization and return it (contract C1).

        Repeating it creates another one, because names are not unique, so it is never retried (contract G1). Raises
        `NotApplied` if no new organization is found afterwards, and `PermissionDenied`.
        """
        before = {row.id for row in await self._listing().all()}
        dialect = await self._learner.dialect()
        created = await self._create(organization, dialect)
        if dialect is Dialect.MODERN and created and created not in before:
            return await self.get(created)
        # Some servers respond with the user's id, or with none: look for an organization that was not there (contract D2).
        found = [row for row in await self._listing().all() if row.id not in before and row.name == organization.name]
        if len(found) != 1:
            shown = f"shows {len(found)} new organizations of that name"
            message = f"the server reported that it created {organization.name!r}, but {shown}"
            raise NotApplied(message)
        return found[0]

    @as_one_call
    async def update(self, org_id: str, settings: OrganizationSettings) -> Organization:
        """Change an organization and return it (contract C1).

        With the HTTP method of another generation, the server would create an organization (contract D1). So the generation is
        checked before each attempt, even if a dialect was set. Raises `DangerousCall` if the generation cannot be learned, or
        contradicts the dialect. Raises `NotApplied` if the response shows another organization, or none, and
        `PermissionDenied`. Repeating it changes nothing more.
        """
        endpoints.update_organization(org_id, settings, Dialect.MODERN)
        dialect = await self._learner.proven_dialect()
        try:
            return await self._update(org_id, settings, dialect)
        except CapgoError as error:
            if not self._requester.passes(error) or self._requester.options.retries < 1:
                raise
            dialect = await self._prove_again(error)
        return await self._update(org_id, settings, dialect)

    @as_one_call
    async def delete(self, org_id: str) -> None:
        """Delete an organization with its apps and members, which cannot be undone (contract C1).

        Raises `PermissionDenied`, also if there is none. So does repeating it; a retry within the call looks whether it is
        gone.
        """
        effort = Effort()
        try:
            await self._requester.call(endpoints.delete_organization(org_id), _acknowledge_deletion, effort)
        except PermissionDenied:
            if not effort.in_doubt or not await self._is_gone(org_id):
                raise

    def audit_log(
        self,
        org_id: str,
        filter: AuditFilter = AuditFilter(),  # noqa: A002, B008 - as users expect it to be called; immutable
    ) -> Listing[AuditEntry]:
        """List the changes in an organization in the last 90 days, newest first (contract C3).

        Raises `PermissionDenied`, and `ListingError` if the list cannot be completed. Only reads, and can be repeated.
        """
        endpoints.list_audit(org_id, filter, 0)

        async def fetch(position: Position) -> Page[AuditEntry]:
            page = int(position[0][1])
            try:
                found = await self._requester.call(endpoints.list_audit(org_id, filter, page), read_audit)
            except InvalidRequest as error:
                # A REST layer that refuses an offset beyond the end responds with this code (contract D11).
                if page == 0 or error.code != "cannot_get_audit_logs":
                    raise
                return Page((), has_more=False)
            seen = page * found.limit + (found.limit if found.data else 0)
            return Page(tuple(found.data), has_more=seen < found.total)

        return Listing(lambda: CountedWalk(lambda row: row.id), fetch)

    def _listing(self, doubt: Doubt | None = None) -> Listing[Organization]:
        async def fetch(position: Position) -> Page[Organization]:
            if not position:
                return Page(await self._requester.call(endpoints.list_organizations(), _MANY))
            return await self._owners({org_id for _, org_id in position})

        return Listing(lambda: CompletedWalk(lambda row: row.id), fetch, doubt=doubt)

    async def _owners(self, seen: Container[str]) -> Page[Organization]:
        """Get the organizations of the key's apps, without those that were `seen`."""
        owners = {app.owner_org: None async for app in Apps(self._requester).list()}
        found: list[Organization] = []
        caveats: tuple[str, ...] = ()
        for owner in owners:
            if owner is None or owner in seen:
                continue
            try:
                found.append(await self.get(owner))
            except PermissionDenied:
                caveats = (UNREADABLE,)
        return Page(tuple(found), caveats=caveats)

    async def _create(self, new: NewOrganization, dialect: Dialect) -> str:
        try:
            return await self._requester.call(endpoints.create_organization(new, dialect), read_created)
        except ApiError as error:
            if dialect is not Dialect.AUTO or error.code != "invalid_body":
                raise
            # Without orgId, the wrong method changes nothing, so the other method may be tried (contract C1.4).
            return await self._requester.call(endpoints.create_organization(new, Dialect.SEED), read_created)

    async def _update(self, org_id: str, settings: OrganizationSettings, dialect: Dialect) -> Organization:
        try:
            updated = await self._requester.call(endpoints.update_organization(org_id, settings, dialect), read_updated)
        except UnreadableAnswer as error:
            # This may be the response to a creation; another attempt would create a second organization.
            message = f"{error}: check whether organization {org_id} was updated, or a new one was created"
            raise NotApplied(message) from error
        if len(updated) != 1 or updated[0].id != org_id:
            shown = ", ".join(row.id for row in updated) or "none"
            message = (
                f"organization {org_id} was to be updated, but the response names {shown}: "
                f"check whether {org_id} was updated, or a new organization was created"
            )
            raise NotApplied(message)
        return updated[0]

    async def _prove_again(self, error: CapgoError) -> Dialect:
        """Learn the dialect again after an update ended with `error`. Raise `error` if that fails."""
        try:
            return await self._learner.proven_anew()
        except (ApiError, TransportError, UnreadableAnswer, WouldWait) as unseen:
            raise error from unseen

    async def _is_gone(self, org_id: str) -> bool:
        try:
            await self.get(org_id)
        except PermissionDenied:
            return True
        return False


def _acknowledge_deletion(response: wire.Response, operation: str) -> None:
    """Accept the acknowledgement of a deletion, also the sentence of servers before 12.100 (contract C1)."""
    if wire.read(response, _DELETION, operation).status != "Organization deleted":
        wire.acknowledge(response, operation)


_DELETION: Final = wire.decoder_of(wire.Acknowledgement)
