"""Reading what the server shows, to plan and to verify changes (contract C2, C6-C8)."""

import contextlib
import math
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import date
from typing import Final, NamedTuple

import msgspec

from ...api.endpoints.devices import DeviceFilter
from ...api.endpoints.organizations import AuditFilter
from ...api.models import Bundle, Device, Member
from ...api.models.device import stored_id
from ...api.models.member import stored_email
from ...api.resources.apps import count_links as counted_links
from ...client import CapgoClient, requester_of
from ...concurrency import fan_out
from ...errors import (
    DeviceNotFound,
    EmptyListing,
    InvalidRequest,
    NotFound,
    PermissionDenied,
    ServerError,
    SubscriptionRequired,
    UnreadableAnswer,
)
from ...key_ring import KeyRing
from ..jobfile.facts import Options
from ..jobfile.staging import Assessment, Staged, Staging
from ..operations.comparing import Shown, State, began_since, compare, displaced, replaced_rollout
from ..operations.kinds import KINDS
from ..operations.operations import Former, RemoveMember, TargetKind, UpdateChannel, ended_by
from ..operations.reasons import Cause, Reason
from ..plan import Displaced
from ..report import counted
from ..sources.rows import UUID
from ..spreading import cursors_each, page_of

_CHUNK: Final = 1000
_IDS: Final = 1 << 128
_MOST_GAPS: Final = 20
"""If the first id lies further from 0 than so many gaps, ids are not spread evenly."""
_MOST_DEVICES: Final = 1_000_000_000
"""No app has more devices: ids that say so are not spread evenly."""
_ANY_DAY: Final = date(2026, 7, 1)
"""Statistics are asked for only to learn whether the organization is paid."""

Take = Callable[[Sequence[tuple[str, str | None]]], Awaitable[None]]
"""Called with the devices of one response, each as its id and the channel that it is linked to."""


class Reach(NamedTuple):
    """How far a list is read.

    At most `requests` are sent, and only one if the list seems to have more than `pages`.
    """

    requests: float
    pages: float = math.inf


class ListedDevices(NamedTuple):
    """How far the listing of an app's devices went.

    `links` is how many links it showed. `extent` are the pages read, in words. `caveats` are sentences on what the responses
    could not prove. `contradicted` is whether something shows that an empty listing cannot be the truth; the caveats say what.
    """

    complete: bool
    pages: int
    links: int
    extent: str
    caveats: list[str]
    contradicted: bool = False

    @property
    def saw_override(self) -> bool:
        """Return whether it showed any link.

        If not, it cannot tell whether one device is linked (contract C7).
        """
        return self.links > 0

    @property
    def shows_all(self) -> bool:
        """Return whether devices that were not listed are unknown.

        An empty app cannot be told from a store that could not be read.
        """
        return self.complete and self.pages > 0


async def list_devices(client: KeyRing, app_id: str, reach: Reach, apps: int, take: Take) -> ListedDevices:
    """List the devices of one of `apps` apps. `take` is called with the devices of each page."""
    size = page_of(client)
    cursors = cursors_each(client, apps)
    listing = client.client_of(app_id).devices.list(app_id, DeviceFilter(limit=size), cursors=cursors)
    links = pages = 0
    try:
        async for page in listing.pages(reach.requests):
            pages += 1
            links += sum(device.channel is not None for device in page)
            await take([(stored_id(device.device_id), device.channel) for device in page])
            if pages == 1 and not listing.complete and (pages_in_all(page) or 0) > reach.pages:
                break
    except EmptyListing as error:
        return ListedDevices(
            complete=True, pages=0, links=0, extent="no page", caveats=[f"{app_id}: {error}"], contradicted=True
        )
    caveats = [f"{app_id}: {caveat}" for caveat in listing.caveats]
    return ListedDevices(listing.complete, pages, links, f"{counted(pages, 'page')} of {size} devices", caveats)


def pages_in_all(first: Sequence[Device]) -> float | None:
    """Return how many pages a list has in all, judged by its first page.

    Returns `None` if that cannot be judged. The list is sorted by ids. Random UUIDs are
    spread evenly; other ids, such as those that begin with a time, are not.
    """
    lowest, highest = first[0].device_id, first[-1].device_id
    if not (len(first) > 1 and UUID.fullmatch(lowest) and UUID.fullmatch(highest)):
        return None
    begins, ends = _number(lowest), _number(highest)
    even = begins <= _MOST_GAPS * (ends - begins) / (len(first) - 1)
    pages = _IDS / (ends + 1)
    return pages if even and pages * len(first) <= _MOST_DEVICES else None


def _number(device_id: str) -> int:
    return int(device_id.replace("-", ""), 16)


async def read_devices(client: KeyRing, app_id: str, device_ids: Sequence[str], apps: int, take: Take) -> None:
    """Read devices of one of `apps` apps one by one, without those that the server does not show."""

    async def read(device_id: str) -> None:
        with contextlib.suppress(DeviceNotFound):
            device = await client.client_of(app_id).devices.get(app_id, device_id)
            await take([(stored_id(device.device_id), device.channel)])

    await fan_out(device_ids, read, cursors_each(client, apps))


async def count_links(client: KeyRing, app_id: str) -> int | None:
    """Return how many devices of an app have a link, listed or not; `None` if the server does not tell.

    The server counts them apart from its listings (contract C5), so 0 proves that a device listed without a link has none.
    """
    return await counted_links(requester_of(client.client_of(app_id)), app_id)


async def look(client: KeyRing, app_id: str, kinds: Collection[str]) -> tuple[Shown, list[str]]:
    """List the channels, bundles or members that operations of these kinds are compared with.

    `app_id` is an app or an organization. Also returns the caveats of the listings.
    """
    targets = {KINDS[kind].target for kind in kinds}
    capgo = client.client_of(app_id)
    if TargetKind.MEMBER in targets:
        members = {stored_email(member.email): member async for member in capgo.members.list(app_id)}
        strangers, remarks = await _strangers(capgo, app_id, members)
        return Shown(members=members, strangers=strangers), remarks
    channels = capgo.channels.list(app_id)
    shown = Shown(channels={channel.name: channel async for channel in channels})
    caveats = list(channels.caveats)
    if TargetKind.BUNDLE in targets or "promote_bundle" in kinds:
        bundles = capgo.bundles.list(app_id)
        shown = shown._replace(bundles={bundle.name: _kept(bundle) async for bundle in bundles})
        caveats += bundles.caveats
    if shown.channels and not any(channel.bundle_name for channel in shown.channels.values()):
        caveats += await _why_empty(capgo, app_id)
    return shown, [f"{app_id}: {caveat}" for caveat in caveats]


async def _strangers(capgo: CapgoClient, org_id: str, members: Mapping[str, Member]) -> tuple[frozenset[str], list[str]]:
    """Return those who are invited but have no account (contract C2).

    The audit log, read only if somebody is invited, shows the invitations of all others. Also returns a remark if it cannot be
    read.
    """
    invited = {member.uid: email for email, member in members.items() if member.is_tmp}
    if not invited:
        return frozenset(), []
    try:
        async for entry in capgo.organizations.audit_log(org_id, AuditFilter(table="org_users", operation="INSERT")):
            if isinstance(entry.new_record, dict):
                invited.pop(str(entry.new_record.get("user_id")), None)
    except (InvalidRequest, NotFound, PermissionDenied):
        remark = (
            f"{org_id}: its audit log cannot be read; the invitation of somebody without an account will fail to be removed"
        )
        return frozenset(), [remark]
    return frozenset(invited.values()), []


async def _why_empty(capgo: CapgoClient, app_id: str) -> list[str]:
    """Return a caveat if the organization of an app without bundles in its channels is unpaid.

    The server takes the bundles of such organizations away (contract K12).
    """
    try:
        await capgo.statistics.app(app_id, _ANY_DAY, _ANY_DAY)
    except SubscriptionRequired:
        return ["no channel has a bundle, and the organization is unpaid: the server deletes the bundles of such organizations"]
    except (PermissionDenied, NotFound, InvalidRequest, ServerError, UnreadableAnswer):
        # Any other refusal says nothing about payment.
        return []
    return []


async def survey(
    stage: Staging, client: KeyRing, app_id: str, kinds: Collection[str], options: Options
) -> tuple[list[str], list[Displaced]]:
    """Compare the staged rows of an app with what the server shows, and store the results.

    Rows that end a rollout are rejected unless `options` allow it. Returns remarks, and the public channels that lose their
    place. Each removal of a member counts for the rows after it: in any order of rows, the last super admin stays.
    """
    shown, remarks = await look(client, app_id, kinds)
    made_public = rollouts = 0
    lost: list[Displaced] = []
    last = 0
    while rows := await stage.staged(app_id, last, _CHUNK):
        assessments: list[Assessment] = []
        for row in rows:
            assessment = _assessed(row, shown, options)
            operation = assessment.operation
            restorable = assessment.former.known is Former.STATE
            rollouts += not assessment.fate and restorable and ended_by(operation) is not None
            if not assessment.fate and isinstance(operation, RemoveMember):
                left = {email: member for email, member in shown.members.items() if email != operation.email}
                shown = shown._replace(members=left)
            if not assessment.fate and isinstance(operation, UpdateChannel) and operation.settings.public is True:
                made_public += 1
                names = displaced(operation, shown.channels)
                lost += (Displaced(app_id=app_id, channel=name, by=operation.channel) for name in names)
            assessments.append(assessment)
        await stage.settle(assessments)
        last = rows[-1].line
    if rollouts:
        back = f"undoing this brings back {counted(rollouts, 'rollout')}, but the server chooses the devices anew"
        remarks.append(f"{app_id}: {back}")
    if made_public and any(channel.update_package is not None for channel in shown.channels.values()):
        remarks.append("making a channel public needs the right app.update_settings, which developers lack")
    if made_public > 1:
        remarks.append(
            f"{made_public} channels of {app_id} become public: of those that share a platform, only the last stays public"
        )
    return remarks, lost


def _assessed(row: Staged, shown: Shown, options: Options) -> Assessment:
    sight = compare(row.operation, shown)
    fate, reason = _FATES[sight.state], sight.reason
    rollout = ended_by(sight.operation)
    if not fate and rollout is not None and not options.end_rollouts:
        target = sight.operation.target
        fate, reason = "rejected", Reason(Cause.ENDS_ROLLOUT, (target.name, target.app_id, rollout.name or str(rollout.id)))
    losing = displaced(row.operation, shown.channels) if isinstance(row.operation, UpdateChannel) and not fate else []
    if not fate and row.expected is not None:
        expected = compare(row.expected, shown)
        if expected.state in {State.OTHERWISE, State.IMPOSSIBLE}:
            fate, reason = "skipped", Reason(Cause.CHANGED_SINCE, (str(expected),))
        elif losing:
            fate, reason = "skipped", Reason(Cause.OTHER_PUBLIC_CHANNEL_SINCE)
        elif (other := began_since(row.operation, row.expected, shown)) is not None:
            fate, reason = "skipped", Reason(Cause.CHANGED_SINCE, (f"with a rollout of {other}",))
    app_id = row.operation.app_id
    protected = [name for name in losing if {name, f"{app_id}/{name}"} & set(options.protected)]
    if not fate and protected:
        fate, reason = "rejected", Reason(Cause.PROTECTED, (protected[0], app_id, options.protected_by))
    operation = sight.operation
    if not fate and row.expected is not None and (begun := replaced_rollout(row.operation, shown)) is not None:
        operation = msgspec.structs.replace(operation, ends_rollout=begun)
    return Assessment(row.line, fate, reason, operation, sight.former)


_FATES: Final = {State.AS_WANTED: "skipped", State.IMPOSSIBLE: "rejected", State.OTHERWISE: "", State.CANNOT_TELL: ""}


def _kept(bundle: Bundle) -> Bundle:
    """Drop large fields that are not compared."""
    return msgspec.structs.replace(bundle, manifest=None, native_packages=None)
