"""Reading devices and their channels for a plan: an inventory of each app (contract C7)."""

from collections.abc import Awaitable, Callable, Mapping, Sequence, Set as AbstractSet
from functools import partial
from typing import Final, NamedTuple

from ...api.endpoints.devices import DeviceFilter
from ...concurrency import fan_out, results_of
from ...errors import ApiError, ChannelNotFound, ListingError, PermissionDenied
from ...key_ring import KeyRing
from ..jobfile.staging import Moved, Staging
from ..operations.comparing import NAMED_CHANNELS, no_channel
from ..operations.operations import Change, Former
from ..operations.reasons import Cause, Reason
from ..report import counted
from ..spreading import apps_at_once
from .looking import ListedDevices, Reach, count_links, list_devices, read_devices

_MOST_SHORTCUTS: Final = 5
"""Channels that are compared for shortcuts, which takes two requests each."""


async def check_channels(stage: Staging, client: KeyRing) -> None:
    """Reject rows whose channel is missing or public, and rows of apps that cannot be accessed."""
    asked: dict[str, list[Change]] = {}
    for pair in await stage.pairs():
        if pair.change.kind == "link_device":
            asked.setdefault(pair.app_id, []).append(pair.change)

    async def check(app_id: str) -> None:
        for change in asked[app_id]:
            try:
                channel = await client.client_of(app_id).channels.get(app_id, change.argument)
            except ChannelNotFound:
                await stage.reject(app_id, change, await _no_channel(client, app_id, change.argument))
            except PermissionDenied as error:
                await stage.reject(app_id, None, no_access(app_id, error))
                return
            else:
                if channel.public:
                    await stage.reject(app_id, change, Reason(Cause.LINK_TO_PUBLIC_CHANNEL, (channel.name, app_id)))

    await fan_out(asked, check, apps_at_once(client))


async def check_access(stage: Staging, client: KeyRing) -> None:
    """Reject rows of apps that `check_channels` does not look at and whose devices cannot be listed."""

    async def check(app_id: str) -> None:
        try:
            async for _ in client.client_of(app_id).devices.list(app_id, DeviceFilter(limit=1)).pages(1):
                pass
        except PermissionDenied as error:
            await stage.reject(app_id, None, no_access(app_id, error))

    unchecked = dict.fromkeys(pair.app_id for pair in await stage.pairs() if pair.change.kind != "link_device")
    await fan_out(unchecked, check, apps_at_once(client))


async def _no_channel(client: KeyRing, app_id: str, name: str) -> Reason:
    names: list[str] = []
    try:
        async for channel in client.client_of(app_id).channels.list(app_id):
            names.append(channel.name)
            if len(names) > NAMED_CHANNELS:
                break
    except (ApiError, ListingError):
        return no_channel(app_id, name, None)
    return no_channel(app_id, name, names)


def no_access(app_id: str, error: PermissionDenied) -> Reason:
    return Reason(Cause.NO_ACCESS, (app_id, error.code))


async def scan_apps(
    stage: Staging, client: KeyRing, budgets: Mapping[str, float], check: Callable[[str, ListedDevices], Awaitable[None]]
) -> list[str]:
    """List the devices of apps into the stage, each within its budget of requests, and return remarks.

    Of an app whose list is longer, the devices to change are read one by one, if that takes no more requests.
    The rows of an app that cannot be accessed are rejected. `check` is called with each app and its listing, and may raise.
    """
    remarks: dict[str, list[str]] = {app_id: [] for app_id in budgets}

    async def scan(app_id: str) -> None:
        try:
            listed = await _listed(stage, client, app_id, budgets[app_id], len(budgets))
        except PermissionDenied as error:
            await stage.reject(app_id, None, no_access(app_id, error))
            return
        await check(app_id, listed)
        await stage.close_scan(app_id, complete=listed.shows_all, saw_override=listed.saw_override, hidden=listed.contradicted)
        remarks[app_id] = listed.caveats
        if not listed.complete:
            remarks[app_id].append(
                f"{app_id} was listed in part ({listed.extent}), so it was not checked which ids are unknown"
            )

    await fan_out(budgets, scan, apps_at_once(client))
    return [remark for found in remarks.values() for remark in found]


async def _listed(stage: Staging, client: KeyRing, app_id: str, budget: float, apps: int) -> ListedDevices:
    take = partial(stage.observe, app_id)
    listed = await list_devices(client, app_id, Reach(budget, budget), apps, take)
    if listed.complete:
        return listed
    # The first page was read to learn how long the list is.
    most = int(budget) - listed.pages + 1
    left = await stage.not_reached(app_id, most + 1)
    if not 0 < len(left) <= most:
        return listed
    await read_devices(client, app_id, left, apps, take)
    return listed._replace(extent=f"{listed.extent}, and {counted(len(left), 'device')} by id")


async def settle_unlinked(stage: Staging, client: KeyRing) -> tuple[dict[str, int], list[str]]:
    """Find out whether devices have no link that were shown without one, in a response without any.

    The server may fail to look links up and say nothing (contract C7). The devices have no link if all links that the server
    counts in the app were shown, and neither have those that a listing in part did not reach. If it does not tell the count,
    listings of the same page size tell: those of any app now, or of this app after the run. If it counts links that were not
    shown, the run tells: none of the devices had a link if the count rises by their number. Returns the counts of these apps,
    and a remark on each.
    """
    doubtful = await stage.find_shown()
    shows_links = await stage.shows_links()
    counts: dict[str, int] = {}
    remarks: dict[str, str] = {}

    async def settle(app_id: str) -> None:
        links, doubt = await count_links(client, app_id), doubtful[app_id]
        if links == doubt.links or (links is None and doubt.devices and shows_links):
            await stage.settle_unlinked(app_id, Former.NONE, linkless=links == doubt.links)
        elif doubt.devices:
            await stage.settle_unlinked(app_id, Former.SHOWN_UNLINKED, linkless=False)
            if links is not None:
                counts[app_id] = links
                remarks[app_id] = (
                    f"{app_id}: the server counts {counted(links, 'link')} and shows {doubt.links or 'none'};"
                    f" {counted(doubt.devices, 'device')} may have one that was not shown,"
                    " and an undo takes them for unlinked only if the run proves it"
                )

    await fan_out(doubtful, settle, apps_at_once(client))
    return counts, [remarks[app_id] for app_id in sorted(remarks)]


async def shortcuts(stage: Staging, client: KeyRing, protected: AbstractSet[str]) -> list[str]:
    """Return remarks on channels where promoting one bundle would do the same as the plan.

    There is one remark for each pair of channels, whatever the number of apps.
    """

    async def look(moved: Moved) -> _Shortcut | None:
        app_id, name, goal, devices = moved
        if protected & {name, f"{app_id}/{name}"}:
            return None
        channels = client.client_of(app_id).channels
        try:
            channel, wanted = await channels.get(app_id, name), await channels.get(app_id, goal)
        except (ChannelNotFound, PermissionDenied):
            return None
        # Devices without a link follow a public channel, so promoting to it would change more devices than the plan does. A
        # channel with a rollout has two bundles.
        if channel.public or not {channel.rollout_version, wanted.rollout_version} <= {None}:
            return None
        if wanted.bundle_name is None or wanted.bundle_name == channel.bundle_name:
            return None
        return _Shortcut(name, goal, app_id, devices, wanted.bundle_name)

    found = await results_of(await stage.moved_together(_MOST_SHORTCUTS), look, apps_at_once(client))
    alike: dict[tuple[str, str], list[_Shortcut]] = {}
    for shortcut in found:
        if shortcut is not None:
            alike.setdefault((shortcut.channel, shortcut.goal), []).append(shortcut)
    return [_in_words(shortcuts) for shortcuts in alike.values()]


class _Shortcut(NamedTuple):
    """One promotion that would do the same as linking all devices of a channel to another one."""

    channel: str
    goal: str
    app_id: str
    devices: int
    bundle: str


def _in_words(shortcuts: Sequence[_Shortcut]) -> str:
    """Return a remark on shortcuts between the same two channels, in one or several apps."""
    channel, goal, app_id, _, bundle = shortcuts[0]
    devices = counted(sum(shortcut.devices for shortcut in shortcuts), "device")
    if len(shortcuts) == 1:
        return f"all {devices} on {channel} of {app_id} go to {goal}: promoting bundle {bundle} to {channel} is one request"
    bundles = {shortcut.bundle for shortcut in shortcuts}
    what = f"bundle {bundle}" if len(bundles) == 1 else f"the bundle of {goal}"
    apps = ", ".join(shortcut.app_id for shortcut in shortcuts)
    return f"all {devices} on {channel} of {apps} go to {goal}: promoting {what} to {channel} is one request for each app"
