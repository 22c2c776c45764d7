"""Compares what a job did with fresh listings (contract C7, G4).

This takes one request per page, not one per device.
"""

import math
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Final

from ...concurrency import fan_out
from ...errors import DeviceNotFound
from ...key_ring import KeyRing
from ..jobfile import verdicts
from ..jobfile.journal import Journal
from ..jobfile.schema import Verdict
from ..jobfile.seen import Seen, with_verdict
from ..jobfile.verdicts import Extent
from ..operations.comparing import State, compare
from ..operations.kinds import KINDS
from ..operations.operations import TargetKind, UnlinkDevice
from ..planning.looking import ListedDevices, Reach, count_links, list_devices, look
from ..spreading import apps_at_once

SECOND_LOOK_SECONDS: Final = 60.0
"""Seconds until a contradicted target is checked again: others may be writing, and reads may lag."""
_CHUNK: Final = 1000

Pause = Callable[[float], Awaitable[None]]


async def verify(journal: Journal, client: KeyRing, pause: Pause, apps: Collection[str] | None = None) -> tuple[str, ...]:
    """Give every done operation a verdict from fresh listings.

    Returns remarks on what the listings cannot prove. Contradicted operations are checked a second time after `pause`. A device
    that no listing shows is `cannot_tell`: the inventory holds only devices that have contacted the server (contract C7). It is
    `missing` if the plan saw it, or if no device is listed at all. If the listing of an app fails, its operations keep
    their earlier verdicts and the error is raised. With `apps`, only operations in these apps are checked.
    """
    await client.prepare()
    done = _by_app(await journal.database.run(verdicts.done_by_app, contradicted=False), apps)
    first = _Look(journal, client, done)
    await fan_out(done, first.take, apps_at_once(client))
    contradicted = _by_app(await journal.database.run(verdicts.done_by_app, contradicted=True), apps)
    if contradicted:
        await pause(SECOND_LOOK_SECONDS)
        second = _Look(journal, client, contradicted)
        await fan_out(contradicted, partial(second.take_again, pages=first.pages), apps_at_once(client))
    return tuple(dict.fromkeys(remark for app_id in done for remark in first.remarks.get(app_id, ())))


class _Look:
    """One pass of verification over apps, with the number of operations of each kind."""

    def __init__(self, journal: Journal, client: KeyRing, apps: Mapping[str, Mapping[str, int]]) -> None:
        self.remarks: dict[str, list[str]] = {}
        self.pages: dict[str, int] = {}
        self._journal = journal
        self._database = journal.database
        self._client = client
        self._apps = apps

    async def take(self, app_id: str) -> None:
        """Check an app for the first time.

        Devices are listed with at most one request per operation. Those that the listing did not reach are read one by one.
        """
        kinds = self._apps[app_id]
        await self._database.run(verdicts.begin, app_id, anew=True)
        if not _are_devices(kinds):
            await self._compare(app_id, kinds, Verdict.UNCHECKED)
        else:
            listed = await self._list(app_id, sum(kinds.values()))
            if not listed.complete:
                await self._look_at_each(app_id, Verdict.UNCHECKED)
            await self._database.run(verdicts.settle_unlisted, app_id, listed=listed.pages > 0)
        await self._journal.note(verdicts.end, app_id)

    async def take_again(self, app_id: str, pages: Mapping[str, int]) -> None:
        """Check the contradicted operations of an app again.

        `pages` are the pages that each app had. Devices are read one by one where that takes fewer requests than a listing.
        """
        kinds = self._apps[app_id]
        await self._database.run(verdicts.begin, app_id, anew=False)
        if not _are_devices(kinds):
            await self._compare(app_id, kinds, Verdict.CONTRADICTED)
        elif sum(kinds.values()) <= pages.get(app_id, 0):
            await self._look_at_each(app_id, Verdict.CONTRADICTED)
        else:
            await self._list(app_id, math.inf)
        await self._journal.note(verdicts.end, app_id)

    async def _list(self, app_id: str, budget: float) -> ListedDevices:
        """List the devices of an app with at most `budget` requests, and store verdicts."""

        async def judge(page: Sequence[tuple[str, str | None]]) -> None:
            await self._database.run(verdicts.judge, app_id, page)

        listed = await list_devices(self._client, app_id, Reach(budget), len(self._apps), judge)
        self.pages[app_id] = listed.pages
        extent = await self._extent(app_id, listed)
        await self._database.run(verdicts.close, app_id, extent)
        self.remarks[app_id] = listed.caveats
        if extent in {Extent.NO_LINKS, Extent.LINKS_HIDDEN}:
            self.remarks[app_id].append(
                f"{app_id} shows no link of any device, so the listing cannot tell whether one device is linked"
            )
        elif extent is Extent.SOME_LINKS_HIDDEN:
            self.remarks[app_id].append(
                f"{app_id} shows fewer links than the server counts, so a page without links does not tell who has one"
            )
        return listed

    async def _extent(self, app_id: str, listed: ListedDevices) -> Extent:
        if not await self._database.run(verdicts.in_doubt, app_id):
            return Extent.LINKS
        if not listed.complete:
            return Extent.PART
        links = await count_links(self._client, app_id)
        if links is None:
            return Extent.LINKS if listed.saw_override else Extent.NO_LINKS
        if links <= listed.links:
            return Extent.LINKS
        return Extent.SOME_LINKS_HIDDEN if listed.saw_override else Extent.LINKS_HIDDEN

    async def _look_at_each(self, app_id: str, verdict: Verdict) -> None:
        last = 0
        while planned := await self._database.run(with_verdict, app_id, verdict, last, _CHUNK):
            last = planned[-1].id
            for each in planned:
                await self._database.run(verdicts.settle, [(each.id, await self._look_at(each, verdict))])

    async def _look_at(self, planned: Seen, verdict: Verdict) -> Verdict:
        """Return the verdict of a single look-up. It stays as it is if the server does not show the device."""
        operation = planned.operation
        try:
            device = await self._client.client_of(operation.app_id).devices.get(operation.app_id, operation.target.name)
        except DeviceNotFound:
            return verdict
        wanted = None if isinstance(operation, UnlinkDevice) else getattr(operation, "channel", None)
        return Verdict.VERIFIED if device.channel == wanted else Verdict.CONTRADICTED

    async def _compare(self, app_id: str, kinds: Iterable[str], verdict: Verdict) -> None:
        """Compare operations on channels, bundles or members with listings of them."""
        shown, remarks = await look(self._client, app_id, tuple(kinds))
        self.remarks[app_id] = remarks
        last = 0
        while planned := await self._database.run(with_verdict, app_id, verdict, last, _CHUNK):
            last = planned[-1].id
            states = ((each.id, compare(each.operation, shown).state) for each in planned)
            await self._database.run(verdicts.settle, [(number, _VERDICTS[state]) for number, state in states])


_VERDICTS: Final[Mapping[State, Verdict]] = {
    State.AS_WANTED: Verdict.VERIFIED,
    State.OTHERWISE: Verdict.CONTRADICTED,
    State.IMPOSSIBLE: Verdict.CONTRADICTED,
    State.CANNOT_TELL: Verdict.CANNOT_TELL,
}


def _by_app(counts: Iterable[tuple[str, str, int]], apps: Collection[str] | None) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for app_id, kind, operations in counts:
        if apps is None or app_id in apps:
            found.setdefault(app_id, {})[kind] = operations
    return found


def _are_devices(kinds: Iterable[str]) -> bool:
    return any(KINDS[kind].target is TargetKind.DEVICE for kind in kinds)
