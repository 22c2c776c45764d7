"""From rows and what the server says now to a plan: which requests are really needed.

Sees the job file through a protocol, and the server through a client.
"""

import enum
import math
from collections.abc import Callable, Sequence
from typing import Final, Protocol

import msgspec

from ..endpoints.devices import DeviceFilter
from ..errors import ApiError, ChannelNotFound, InputError, ListingError, PermissionDenied
from ..models import Device
from ..ring import Caller
from .operations import Row
from .report import counted
from .sources import Source
from .staging import Pair

PAGE: Final = 200
"""Devices a page when an app is listed for a plan."""
KEPT_REASONS: Final = 100
"""Bad rows that an `InputError` holds; the others are heard of, but not kept."""
_CHUNK: Final = 1000
_NAMED_CHANNELS: Final = 10

Hear = Callable[[Sequence[tuple[int, str]]], None]
"""What is told of bad rows: their lines and reasons, some at a time."""


class Unknown(enum.StrEnum):
    """What to do with devices that the inventory does not know: the server links them all the same (contract C7)."""

    SEND = "send"
    SKIP = "skip"
    REFUSE = "refuse"


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How a plan is made: whether bad rows are left out instead of refusing the input, and what of unknown devices."""

    reject_bad_rows: bool = False
    unknown: Unknown = Unknown.SEND


class Stage(Protocol):
    """Where rows are kept while they are compared; `staging.Staging` is one."""

    async def add(self, rows: Sequence[Row]) -> None:
        """Stage rows."""
        ...

    async def compare_rows(self) -> None:
        """Reject contradictions, skip duplicates."""
        ...

    async def pairs(self) -> list[Pair]:
        """Return the apps and channels asked for."""
        ...

    async def reject(self, app_id: str, channel: str | None, reason: str) -> None:
        """Reject the rows of an app, or of one of its channels."""
        ...

    async def observe(self, app_id: str, devices: Sequence[tuple[str, str | None]]) -> None:
        """Note listed devices."""
        ...

    async def close_scan(self, app_id: str, *, complete: bool, saw_override: bool) -> None:
        """Note how far a listing went."""
        ...

    async def compare_with_inventory(self) -> None:
        """Skip what is so already."""
        ...

    async def unknown(self) -> int:
        """Count devices in no inventory."""
        ...

    async def skip_unknown(self) -> None:
        """Skip them."""
        ...

    async def rejected(self, after: int, most: int) -> list[tuple[int, str]]:
        """Return bad rows behind a line."""
        ...


async def draw_up(stage: Stage, source: Source, client: Caller, options: Options, hear: Hear) -> tuple[str, ...]:
    """Stage the rows of `source` and settle which need a request; return remarks on what could not be proven.

    Nothing but reads is sent. `hear` hears of all bad rows, some at a time. Raises `InputError` when rows are bad and `options`
    do not say to leave them out.
    """
    async for batch in source.batches():
        await stage.add(batch)
    await stage.compare_rows()
    await _refuse_bad_rows(stage, source, options, hear)
    await client.prepare()
    await _check_channels(stage, client)
    await _refuse_bad_rows(stage, source, options, hear)
    remarks: list[str] = []
    by_app: dict[str, int] = {}
    for pair in await stage.pairs():
        by_app[pair.app_id] = by_app.get(pair.app_id, 0) + pair.rows
    for app_id, rows in by_app.items():
        try:
            remarks += await _scan(stage, client, app_id, rows, options.unknown)
        except PermissionDenied as error:
            await stage.reject(app_id, None, _no_access(app_id, error))
    await _refuse_bad_rows(stage, source, options, hear)
    await _tell_bad_rows(stage, hear)
    await stage.compare_with_inventory()
    await _treat_unknown(stage, source, options)
    return tuple(dict.fromkeys(remarks))


async def _refuse_bad_rows(stage: Stage, source: Source, options: Options, hear: Hear) -> None:
    if options.reject_bad_rows:
        return
    first = await stage.rejected(0, KEPT_REASONS)
    if first:
        count = await _tell_bad_rows(stage, hear)
        message = f"{source.name}: {counted(count, 'bad row')}, nothing was sent"
        raise InputError(message, rejected=first, count=count, good=sum(pair.rows for pair in await stage.pairs()))


async def _tell_bad_rows(stage: Stage, hear: Hear) -> int:
    """Let `hear` hear of every bad row, however many they are, and return their number."""
    count = last = 0
    while chunk := await stage.rejected(last, _CHUNK):
        hear(chunk)
        count += len(chunk)
        last = chunk[-1][0]
    return count


async def _check_channels(stage: Stage, client: Caller) -> None:
    """Reject rows whose channel does not exist or is public, and those of an app that cannot be accessed."""
    lost: set[str] = set()
    for pair in await stage.pairs():
        if pair.channel is None or pair.app_id in lost:
            continue
        try:
            channel = await client.client_of(pair.app_id).channels.get(pair.app_id, pair.channel)
        except ChannelNotFound:
            reason = f"{pair.app_id} has no channel {pair.channel!r}{await _others(client, pair.app_id)}"
            await stage.reject(pair.app_id, pair.channel, reason)
        except PermissionDenied as error:
            lost.add(pair.app_id)
            await stage.reject(pair.app_id, None, _no_access(pair.app_id, error))
        else:
            if channel.public:
                reason = f"{pair.channel!r} of {pair.app_id} is public, and devices cannot be linked to it: use devices unlink"
                await stage.reject(pair.app_id, pair.channel, reason)


async def _others(client: Caller, app_id: str) -> str:
    """Say which channels an app has instead, if that can be told."""
    names: list[str] = []
    try:
        async for channel in client.client_of(app_id).channels.list(app_id):
            names.append(channel.name if len(names) < _NAMED_CHANNELS else "...")
            if len(names) > _NAMED_CHANNELS:
                break
    except (ApiError, ListingError):
        return ""
    return f"; it has {', '.join(names) or 'none'}"


def _no_access(app_id: str, error: PermissionDenied) -> str:
    return f"no access to {app_id}, or it does not exist ({error.code})"


async def _scan(stage: Stage, client: Caller, app_id: str, rows: int, unknown: Unknown) -> list[str]:
    """List an app into the stage, at most one page for each of its rows: a listing must not cost more than it can save.

    Where unknown devices are not just sent, only the whole list tells which they are.
    """
    budget = rows if unknown is Unknown.SEND else math.inf
    listing = client.client_of(app_id).devices.list(app_id, DeviceFilter(limit=PAGE))
    saw_override = False
    pages = 0
    async for page in listing.pages():
        pages += 1
        saw_override = saw_override or any(device.channel is not None for device in page)
        await stage.observe(app_id, [_observation(device) for device in page])
        if pages >= budget and not listing.complete:
            break
    # An empty app and a store that cannot be read look the same: then no device is known to be unknown.
    complete = listing.complete and pages > 0
    if unknown is Unknown.REFUSE and not complete:
        message = f"{app_id} shows no device at all, so nobody can tell which are unknown; send or skip them (--unknown)"
        raise InputError(message)
    await stage.close_scan(app_id, complete=complete, saw_override=saw_override)
    remarks = [f"{app_id}: {caveat}" for caveat in listing.caveats]
    if not listing.complete:
        part = f"{counted(pages, 'page')} of {PAGE}"
        remarks.append(f"{app_id} was listed in part ({part}): which of its devices are unknown cannot be told")
    return remarks


def _observation(device: Device) -> tuple[str, str | None]:
    return device.device_id.lower(), device.channel


async def _treat_unknown(stage: Stage, source: Source, options: Options) -> None:
    if options.unknown is Unknown.SKIP:
        await stage.skip_unknown()
    elif options.unknown is Unknown.REFUSE and (count := await stage.unknown()):
        devices = f"{counted(count, 'device')} {'is' if count == 1 else 'are'}"
        message = f"{source.name}: {devices} in no inventory; send or skip them (--unknown send, --unknown skip)"
        raise InputError(message, count=count)
