"""Operations made without a list (contract C8).

Either one change in every app or organization, or deletions of old bundles.
"""

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Sequence
from datetime import datetime

import msgspec

from ...api.models import Bundle, parse_timestamp
from ...api.models.member import stored_email
from ...concurrency import results
from ...errors import InputError, PermissionDenied
from ...key_ring import KeyRing
from ..operations.comparing import Shown, users_of
from ..operations.kinds import KINDS
from ..operations.operations import DeleteBundle, Operation, PromoteBundle, RemoveMember, TargetKind, change_of
from ..spreading import apps_at_once
from .looking import look


async def apps_of(caller: KeyRing, chosen: Sequence[str] = ()) -> AsyncIterator[str]:
    """Yield the chosen apps, or all that the keys can access. Raises `InputError` if there are none."""
    await caller.prepare()
    seen: set[str] = set()
    for app_id in chosen:
        if app_id not in seen:
            seen.add(app_id)
            yield app_id
    for client in () if chosen else caller.clients:
        async for app in client.apps.list():
            if app.app_id not in seen:
                seen.add(app.app_id)
                yield app.app_id
    if not seen:
        message = "the server lists no app that the keys can access"
        raise InputError(message)


async def in_every_app(
    caller: KeyRing, make: Callable[[str], Operation], chosen: Sequence[str] = ()
) -> AsyncIterator[Operation]:
    """Yield `make(app_id)` for each app that has the target. Raises `InputError` if no app has it."""

    async def look_in(app_id: str) -> Operation | None:
        operation = make(app_id)
        shown, _ = await look(caller, app_id, (change_of(operation).kind,))
        return operation if _has(shown, operation) else None

    nowhere = f"no app that the key can access has {_needed(make(''))}"
    async for operation in _found(results(apps_of(caller, chosen), look_in, apps_at_once(caller)), nowhere):
        yield operation


def _needed(operation: Operation) -> str:
    target = operation.target
    bundle = f" and a bundle {operation.bundle}" if isinstance(operation, PromoteBundle) else ""
    return f"a {target.kind} {target.name}{bundle}"


async def in_every_organization(caller: KeyRing, email: str) -> AsyncIterator[Operation]:
    """Yield the removal of a member from each accessible organization that has this member."""

    async def look_in(org_id: str) -> Operation | None:
        operation = RemoveMember(org_id=org_id, email=stored_email(email))
        try:
            shown, _ = await look(caller, org_id, ("remove_member",))
        except PermissionDenied:
            # The plan will reject this row and name the organization.
            return operation
        return operation if operation.email in shown.members else None

    nowhere = f"no organization that the keys can access has a member {email}"
    async for operation in _found(results(_organizations_of(caller), look_in, apps_at_once(caller)), nowhere):
        yield operation


async def _found(operations: AsyncIterable[Operation | None], nowhere: str) -> AsyncIterator[Operation]:
    """Yield the operations that are not `None`. Raises `InputError(nowhere)` if all are."""
    found = False
    async for operation in operations:
        if operation is not None:
            found = True
            yield operation
    if not found:
        raise InputError(nowhere)


async def _organizations_of(caller: KeyRing) -> AsyncIterator[str]:
    await caller.prepare()
    seen: set[str] = set()
    for client in caller.clients:
        async for organization in client.organizations.list():
            if organization.id not in seen:
                seen.add(organization.id)
                yield organization.id


class Pruning(msgspec.Struct, frozen=True, kw_only=True):
    """Which bundles of an app are old: all but the newest `keep`, if created before `before`."""

    keep: int = 0
    before: datetime | None = None


async def old_bundles(caller: KeyRing, pruning: Pruning, chosen: Sequence[str] = ()) -> AsyncIterator[Operation]:
    """Yield the deletion of each old bundle, oldest first, except those that a channel or a rollout uses."""

    async def look_in(app_id: str) -> list[Operation]:
        shown, _ = await look(caller, app_id, ("delete_bundle",))
        used = users_of(shown)
        return [
            DeleteBundle(app_id=app_id, bundle=name)
            for made_at, name in _oldest_first(shown.bundles.values(), pruning.keep)
            if name not in used and (pruning.before is None or made_at < pruning.before)
        ]

    async for operations in results(apps_of(caller, chosen), look_in, apps_at_once(caller)):
        for operation in operations:
            yield operation


def _oldest_first(bundles: Iterable[Bundle], keep: int) -> list[tuple[datetime, str]]:
    """Return all but the newest `keep` bundles, oldest first. Bundles without a date are left out."""
    dated = ((parse_timestamp(bundle.created_at), bundle.id, bundle.name) for bundle in bundles)
    ordered = sorted((made_at, number, name) for made_at, number, name in dated if made_at is not None)
    return [(made_at, name) for made_at, _, name in ordered[: max(0, len(ordered) - keep)]]


def _has(shown: Shown, operation: Operation) -> bool:
    name = operation.target.name
    if isinstance(operation, PromoteBundle):
        return name in shown.channels and operation.bundle in shown.bundles
    if KINDS[change_of(operation).kind].target is TargetKind.CHANNEL:
        return name in shown.channels
    return name in shown.bundles
