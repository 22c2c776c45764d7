"""Drift: what others changed since the plan, for pending operations (contract C2, C6-C8)."""

from collections.abc import Collection, Iterable, Sequence
from typing import Final

import msgspec

from ...concurrency import fan_out
from ...errors import ListingError, PermissionDenied
from ...key_ring import KeyRing
from ..jobfile.reaches import reaches
from ..jobfile.schema import Which
from ..jobfile.seen import Seen, index_names, pending_among, pending_of
from ..operations.comparing import State, compare
from ..operations.kinds import KINDS
from ..operations.operations import Former, LinkDevice, Operation, TargetKind, UnlinkDevice
from ..report import counted
from ..spreading import apps_at_once
from ..storage.database import Database
from .looking import Reach, list_devices, look

_CHUNK: Final = 1000
_NAMED: Final = 5
_LINKS: Final = frozenset({Former.CHANNEL, Former.NONE, Former.SHOWN_UNLINKED})
"""Former states that tell what a device was linked to. The channel is their value."""


class Drift(msgspec.Struct, frozen=True, kw_only=True):
    """How the targets of pending operations look now.

    `changed` counts targets that differ both from what the plan saw and from what is wanted. `needless` counts targets that
    already are as wanted. `first` names some of the changed ones. `remarks` are sentences on what could not be seen.
    """

    pending: int
    changed: int
    needless: int
    first: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    def __str__(self) -> str:
        pending = counted(self.pending, "pending operation")
        if not self.changed and not self.needless:
            text = f"since the plan was made: no change by others in the targets of {pending}, as far as listings show"
        else:
            text = f"since the plan was made, of {pending}: {self.changed:,} with a target changed by others"
            text += f", {self.needless:,} no longer needed"
        more = ["  ..."] if self.changed > len(self.first) > 0 else []
        return "\n".join((text, *(f"  {name}" for name in self.first), *more, *self.remarks))


class _Tally:
    """Counts for one app, or for some of its devices."""

    def __init__(self) -> None:
        self.changed = self.needless = 0
        self.first: list[str] = []

    def change(self, planned: Seen, now: str) -> None:
        self.changed += 1
        if len(self.first) < _NAMED:
            target = planned.operation.target
            self.first.append(f"{target.app_id}/{target.name}: {now}")


_Found = tuple[Iterable[_Tally], Sequence[str]]


async def find_drift(database: Database, client: KeyRing) -> Drift:
    """Compare every pending operation with fresh listings. Only reads are sent.

    Listing an app takes at most as many requests as it has pending operations. A target that no listing shows counts as
    unchanged.
    """
    kinds: dict[str, set[str]] = {}
    pending: dict[str, int] = {}
    for app_id, kind, operations, _ in await database.run(reaches, 0, None, Which.OPEN):
        kinds.setdefault(app_id, set()).add(kind)
        pending[app_id] = pending.get(app_id, 0) + operations
    found: dict[str, _Found] = dict.fromkeys(kinds, ((), ()))
    await database.run(index_names)

    async def compare_app(app_id: str) -> None:
        asked = kinds[app_id]
        try:
            if any(KINDS[kind].target is TargetKind.DEVICE for kind in asked):
                found[app_id] = await _devices(database, client, app_id, pending[app_id], len(kinds))
            else:
                found[app_id] = await _others(database, client, app_id, asked)
        except (PermissionDenied, ListingError) as error:
            found[app_id] = (), (f"{app_id} could not be compared with the plan: {error}",)

    await fan_out(kinds, compare_app, apps_at_once(client))
    tallies = [tally for seen, _ in found.values() for tally in seen]
    return Drift(
        pending=sum(pending.values()),
        changed=sum(tally.changed for tally in tallies),
        needless=sum(tally.needless for tally in tallies),
        first=tuple(name for tally in tallies for name in tally.first)[:_NAMED],
        remarks=tuple(remark for _, remarks in found.values() for remark in remarks),
    )


async def _devices(database: Database, client: KeyRing, app_id: str, budget: int, apps: int) -> _Found:
    tally = _Tally()

    async def take(page: Sequence[tuple[str, str | None]]) -> None:
        shown = dict(page)
        # A device without a link counts as unlinked only where the page shows links (contract C7).
        if not any(shown.values()):
            return
        for planned in await database.run(pending_among, app_id, list(shown)):
            channel = shown[planned.operation.target.name]
            if _is_needless(planned.operation, channel):
                tally.needless += 1
            elif planned.former.known in _LINKS and planned.former.value != channel:
                tally.change(planned, "now without a link" if channel is None else f"now linked to {channel}")

    listed = await list_devices(client, app_id, Reach(budget), apps, take)
    remarks = listed.caveats
    if listed.contradicted:
        remarks.append(f"{app_id} could not be compared with the plan")
    if not listed.complete:
        remarks.append(f"{app_id} was listed in part ({listed.extent}): the rest was not compared")
    return (tally,), remarks


def _is_needless(operation: Operation, channel: str | None) -> bool:
    match operation:
        case LinkDevice(channel=wanted):
            return wanted == channel
        case UnlinkDevice():
            return channel is None
        case _:
            return False


async def _others(database: Database, client: KeyRing, app_id: str, kinds: Collection[str]) -> _Found:
    tally = _Tally()
    shown, remarks = await look(client, app_id, kinds)
    last = 0
    while chunk := await database.run(pending_of, app_id, last, _CHUNK):
        last = chunk[-1].id
        for planned in chunk:
            sight = compare(planned.operation, shown)
            if sight.state is State.AS_WANTED:
                tally.needless += 1
            elif sight.state is State.IMPOSSIBLE or sight.former != planned.former:
                tally.change(planned, f"now {sight}")
    return (tally,), remarks
