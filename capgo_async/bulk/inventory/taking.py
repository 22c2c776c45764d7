"""Takes inventories: everything of one kind in many apps, although it changes meanwhile (contract G3).

Longer than 300 lines because the ways to read an app share what they store and check.
"""

import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, timedelta
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any, Final, NamedTuple

import msgspec

from ...api.endpoints.devices import DeviceFilter
from ...api.models import Device, parse_timestamp
from ...api.resources.apps import count_links
from ...api.resources.devices import OnUnreadable, list_in_parts
from ...client import requester_of
from ...concurrency import fan_out
from ...errors import ConfigurationError, DeviceNotFound, EmptyListing, ListingError, Problem, UnreadableAnswer
from ...http.received import raw_responses
from ...key_ring import KeyRing
from ...listing.listing import Listing
from ...listing.split_walk import Stretch
from ...listing.walks import MASKED_EMPTY, NO_ORDER, PAGE_ROWS
from ..spreading import PAGE, apps_at_once, cursors_each, page_of
from .columns import TABLES, InventoryKind
from .left_out import LeftOut
from .shelf import AppChecks, InventoryFile, ScanProgress

LIST_OF_APPS: Final = ""
"""Stands for the app id when the apps themselves are listed."""

_OVERLAP: Final = timedelta(minutes=2)
"""How far a pass over changes reaches back before the newest known change: writes may be visible late."""
_ROUNDS: Final = 5
"""Most passes over changed devices. Passes end when one finds no new device."""
_PASSES: Final = 3
"""Most readings of a list without a safe order. Reading ends when two in a row agree."""

UNSETTLED: Final = "every pass over recent changes found new devices, so some may be missing"
UNSTABLE: Final = "no two consecutive readings of the list agreed, so some rows may be missing"


class Tally:
    """Progress of an inventory, to be displayed."""

    def __init__(self) -> None:
        self.apps: tuple[str, ...] = ()
        self.settled = 0
        self.rows = 0


class _Taking(NamedTuple):
    shelf: InventoryFile
    client: KeyRing
    kind: InventoryKind
    tally: Tally
    cursors: int = 1
    on_unreadable: OnUnreadable | None = None
    page: int = PAGE
    only: Mapping[str, Sequence[str]] = {}

    async def add(self, app_id: str, rows: Sequence[msgspec.Struct], progress: ScanProgress | None = None) -> int:
        unseen = await self.shelf.add(app_id, rows, progress)
        self.tally.rows += unseen
        return unseen


async def take_inventory(  # noqa: PLR0913 - what to take, from where, and who hears of it
    shelf: InventoryFile,
    client: KeyRing,
    kind: InventoryKind,
    apps: Sequence[str],
    tally: Tally,
    *,
    on_unreadable: OnUnreadable | None = None,
    only: Mapping[str, Sequence[str]] = {},
) -> None:
    """Store everything of `kind` in `apps`, or in all apps that the keys can see.

    Apps that are already finished are not read again. The result is complete as far as responses can show; otherwise an error
    is raised or a caveat recorded. `AppChecks` records what was checked in each app. Several apps are read concurrently, and
    large ones with several cursors. The pacer keeps the limits. An empty list that something contradicts is recorded as not
    checked, with the reason as its caveat.

    A row that cannot be read is an error. With `on_unreadable`, such a device is left out, and this is called with its error.
    The list of its app is then recorded as not checked, too. Of the apps in `only`, just these devices are read, one by one.
    """
    if on_unreadable is not None and kind is not InventoryKind.DEVICES:
        message = f"only devices can be left out where they cannot be read, not {kind}"
        raise ConfigurationError(message)
    taking = _Taking(shelf, client, kind, tally, on_unreadable=on_unreadable, only=only)
    await client.prepare()
    settled = await shelf.settled()
    if kind is InventoryKind.APPS and not apps:
        tally.apps = (LIST_OF_APPS,)
    else:
        tally.apps = tuple(dict.fromkeys(apps)) or await _all_apps(taking)
    left = [app_id for app_id in tally.apps if app_id not in settled]
    tally.settled = len(tally.apps) - len(left)
    cursors = cursors_each(client, len(left)) if on_unreadable is None else 1
    taking = taking._replace(cursors=cursors, page=page_of(client))
    await fan_out(left, partial(_take, taking), apps_at_once(client))


async def _take(taking: _Taking, app_id: str) -> None:
    begun = await taking.shelf.begin(app_id)
    if begun is not None and begun.left_out and taking.on_unreadable is None:
        # The rows that were left out are to be read, or to be an error.
        await taking.shelf.reopen([app_id])
        begun = await taking.shelf.begin(app_id)
    try:
        if app_id in taking.only:
            checks = await _take_each(taking, app_id)
        elif taking.kind is InventoryKind.DEVICES:
            left_out = None if taking.on_unreadable is None else LeftOut(taking.on_unreadable, begun)
            checks = await _with_links(taking, await _take_devices(taking, app_id, begun, left_out))
            checks = checks if left_out is None else left_out.noted_in(checks)
        elif taking.kind is InventoryKind.APPS and app_id:
            checks = await _take_app(taking, app_id)
        else:
            checks = await _take_list(taking, app_id)
    except UnreadableAnswer as error:
        if taking.kind is InventoryKind.DEVICES and error.row is not None:
            error.problem = Problem.ROW_UNREADABLE
        raise
    except EmptyListing as error:
        checks = AppChecks(app_id=app_id, changes_passed=False, end_checked=False, passes=1, caveats=(str(error),))
    except ListingError as error:
        message = f"{taking.kind} of {app_id}: {error}" if app_id else f"{taking.kind}: {error}"
        raise ListingError(message) from error
    await taking.shelf.settle(checks)
    taking.tally.settled += 1


async def _all_apps(taking: _Taking) -> tuple[str, ...]:
    """Return the apps that the keys can see, and delete stored apps that they no longer see.

    Raises `EmptyListing` if there are none.
    """
    await taking.shelf.begin(LIST_OF_APPS)
    checks, apps = await _agreeing(taking, InventoryKind.APPS, LIST_OF_APPS)
    if not apps:
        message = "the server lists no app that the keys can access"
        raise EmptyListing(message)
    await taking.shelf.settle(msgspec.structs.replace(checks, rows=len(apps)))
    if checks.changes_passed:
        await taking.shelf.keep_apps({LIST_OF_APPS, *apps})
    return tuple(sorted(apps))


async def _take_app(taking: _Taking, app_id: str) -> AppChecks:
    await taking.add(app_id, [await taking.client.client_of(app_id).apps.get(app_id)])
    return AppChecks(app_id=app_id, changes_passed=True, end_checked=True, passes=1)


async def _take_each(taking: _Taking, app_id: str) -> AppChecks:
    """Read single devices, without those that the server does not show.

    If it shows none of them, one page tells whether it shows any device of the app.
    """
    devices, found = taking.client.client_of(app_id).devices, 0

    async def read(device_id: str) -> None:
        nonlocal found
        with contextlib.suppress(DeviceNotFound):
            found += await taking.add(app_id, [await devices.get(app_id, device_id)])

    await fan_out(taking.only[app_id], read, taking.cursors)
    if not found:
        async for page in devices.list(app_id, DeviceFilter(limit=taking.page)).pages(1):
            await taking.add(app_id, page)
    return AppChecks(app_id=app_id, changes_passed=True, end_checked=True, passes=1)


async def _take_list(taking: _Taking, app_id: str) -> AppChecks:
    checks, keys = await _agreeing(taking, taking.kind, app_id, partial(taking.add, app_id))
    if checks.changes_passed:
        await taking.shelf.keep_only(app_id, keys)
    return checks


def _lists(taking: _Taking, kind: InventoryKind, app_id: str) -> tuple[Listing[Any], ...]:
    if kind is InventoryKind.APPS:
        return tuple(client.apps.list() for client in taking.client.clients)
    client = taking.client.client_of(app_id)
    return (client.channels.list(app_id) if kind is InventoryKind.CHANNELS else client.bundles.list(app_id),)


async def _agreeing(
    taking: _Taking, kind: InventoryKind, app_id: str, take: Callable[[Sequence[Any]], Awaitable[object]] | None = None
) -> tuple[AppChecks, set[Any]]:
    """Read lists without a safe order until two readings in a row agree (contract G3).

    A single page shows one moment and needs no second reading. Returns the checks, and the keys of the last reading. If no two
    readings agree, the keys are those of all readings.
    """
    key = TABLES[kind].key[-1]
    lists = _lists(taking, kind, app_id)
    every: set[Any] = set()
    former: set[Any] | None = None
    caveats: dict[str, None] = {}
    for number in range(1, _PASSES + 1):
        keys: set[Any] = set()
        longest = 0
        for listing in lists:
            count = 0
            async for rows in listing.pages():
                keys.update(getattr(row, key) for row in rows)
                count += len(rows)
                if take is not None:
                    await take(rows)
            caveats.update(dict.fromkeys(listing.caveats))
            longest = max(longest, count)
        if keys == former or (number == 1 and longest < PAGE_ROWS):
            checks = AppChecks(app_id=app_id, changes_passed=True, end_checked=True, passes=number, caveats=tuple(caveats))
            return checks, keys
        former = keys
        every |= keys
    caveats[UNSTABLE] = None
    return AppChecks(app_id=app_id, changes_passed=False, end_checked=False, passes=_PASSES, caveats=tuple(caveats)), every


async def _take_devices(taking: _Taking, app_id: str, begun: ScanProgress | None, left_out: LeftOut | None) -> AppChecks:
    """Scan an app by device id, then check changes and the end until no new device appears (contract C7)."""
    devices = taking.client.client_of(app_id).devices
    progress, listing, pages = await _scan(taking, app_id, begun, left_out)
    if begun is None and pages <= 1 and NO_ORDER not in listing.caveats:
        # A single page shows one moment: nothing can have changed during the scan.
        return AppChecks(app_id=app_id, changes_passed=True, end_checked=True, passes=1, caveats=listing.caveats)
    caveats = dict.fromkeys(listing.caveats)
    changes_passed = end_checked = False
    passes = 1
    while passes <= _ROUNDS and not (changes_passed and end_checked):
        passes += 1
        recent = DeviceFilter(limit=taking.page, changed_since=progress.since)
        changed = devices.list(app_id, recent, on_unreadable=left_out)
        changes_passed = end_checked = await _shows_nobody_unseen(taking, app_id, changed)
        caveats.update(dict.fromkeys(changed.caveats))
        if progress.since is not None:
            end_checked = True
            for after in progress.ends:
                end = devices.list(app_id, DeviceFilter(limit=taking.page, after=after), on_unreadable=left_out)
                end_checked &= await _shows_nobody_unseen(taking, app_id, end)
                caveats.update(dict.fromkeys(end.caveats))
    if not (changes_passed and end_checked) and MASKED_EMPTY not in caveats:
        caveats[UNSETTLED] = None
    return AppChecks(
        app_id=app_id, changes_passed=changes_passed, end_checked=end_checked, passes=passes, caveats=tuple(caveats)
    )


async def _with_links(taking: _Taking, checks: AppChecks) -> AppChecks:
    """Return the checks, which have failed if no link is listed although the server counts some."""
    if not await taking.shelf.lacks_links(checks.app_id):
        return checks
    links = await count_links(requester_of(taking.client.client_of(checks.app_id)), checks.app_id)
    if not links:
        return checks
    caveat = f"no device is listed with its channel, but the server counts linked devices in this app ({links:,})"
    return msgspec.structs.replace(checks, changes_passed=False, end_checked=False, caveats=(*checks.caveats, caveat))


async def _scan(
    taking: _Taking, app_id: str, begun: ScanProgress | None, left_out: LeftOut | None
) -> tuple[ScanProgress, Listing[Device], int]:
    """Scan an app, or resume its scan; return the progress, the listing and the number of pages read.

    Devices that appear in a part that was already read are found among the changes.
    """
    walked = begun.walked if begun else ()
    requester = requester_of(taking.client.client_of(app_id))
    listing = list_in_parts(requester, app_id, DeviceFilter(limit=taking.page), taking.cursors, walked, on_unreadable=left_out)
    progress, pages = begun, 0
    with raw_responses() as answers:

        async def take(page: tuple[Device, ...], walked: tuple[Stretch, ...]) -> None:
            nonlocal progress, pages
            # No other page is requested before the first one has arrived.
            since = progress.since if progress else moment_before(page, answers[-1].headers.get("date", ""))
            answers.clear()
            progress = ScanProgress(since, walked, tuple(left_out.names) if left_out else ())
            pages += 1
            await taking.add(app_id, page, progress)

        walked = await listing.hand_over(take)
    return ScanProgress(progress.since if progress else None, walked), listing, pages


async def _shows_nobody_unseen(taking: _Taking, app_id: str, look: Listing[Device]) -> bool:
    """Store the devices of `look`, and return whether there were some and all were known.

    `look` is meant to show at least one known device. An empty listing proves nothing.
    """
    unseen = seen = 0
    async for page in look.pages():
        seen += len(page)
        unseen += await taking.add(app_id, page)
    return seen > 0 and unseen == 0


def moment_before(first: Sequence[Device], date: str) -> str | None:
    """Return a time before the first page was made, by the clock that stamps devices.

    The newest change on the first page is close to the newest of all, and using it needs no comparison of clocks. The date of
    the response caps it, in case a device carries a time in the future. Returns `None` if no device carries a time.
    """
    stamps = [moment for device in first if (moment := parse_timestamp(device.updated_at))]
    if not stamps:
        return None
    with contextlib.suppress(ValueError):
        stamps = [min(max(stamps), parsedate_to_datetime(date).astimezone(UTC))]
    return f"{(max(stamps) - _OVERLAP).replace(tzinfo=None).isoformat('T', 'seconds')}Z"
