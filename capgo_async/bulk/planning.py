"""From rows and what the server says now to a plan: which requests are really needed.

Sees the job file through a protocol, and the server through a client.
"""

import enum
from collections.abc import Callable, Sequence
from typing import Final, Protocol

import msgspec

from ..endpoints.devices import DeviceFilter
from ..errors import ChannelNotFound, InputError, PermissionDenied
from ..limits import Limit, ScopeKind, spending_time
from ..models import Device
from ..ring import Caller
from .operations import Row
from .sources import Source
from .staging import Pair

EXPIRY: Final = "links expire after 30 days on self-hosted servers, 90 on the cloud; the same link again does not renew one"
"""What a plan says of the life of a link (contract C7)."""
PAGE: Final = 200
"""Devices a page when an app is listed for a plan."""
KEPT_REASONS: Final = 100
"""Bad rows that an `InputError` holds; the others are heard of, but not kept."""
_CHUNK: Final = 1000

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


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a job will do, what it will not and why, and what that costs.

    `requests` are those still to be sent; `seconds` is how long the client's limits make them last at least, `None` without a
    client. `unknown` devices are in no inventory, `apps` are those with operations still to be sent and how many. `remarks` are
    sentences for people.
    """

    rows: int
    planned: int
    skipped: int
    rejected: int
    unknown: int
    apps: tuple[tuple[str, int], ...]
    requests: int
    seconds: float | None = None
    remarks: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [
            f"{self.rows:,} rows: {self.planned:,} planned, {self.skipped:,} skipped, {self.rejected:,} rejected",
            f"{self.requests:,} requests to send, in {len(self.apps):,} apps",
        ]
        if self.seconds is not None:
            lines.append(f"at least {self.seconds:,.0f} s under the limits")
        if self.unknown:
            lines.append(f"{self.unknown:,} devices are in no inventory; they are sent all the same")
        return "\n".join((*lines, EXPIRY, *self.remarks))


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
            remarks += await _scan(stage, client, app_id, rows)
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
        message = f"{source.name}: {count} bad row{'s' if count > 1 else ''}, nothing was sent"
        raise InputError(message, rejected=first, count=count)


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
            await stage.reject(pair.app_id, pair.channel, f"{pair.app_id} has no channel {pair.channel!r}")
        except PermissionDenied as error:
            lost.add(pair.app_id)
            await stage.reject(pair.app_id, None, _no_access(pair.app_id, error))
        else:
            if channel.public:
                reason = f"{pair.channel!r} of {pair.app_id} is public, and devices cannot be linked to it: use devices unlink"
                await stage.reject(pair.app_id, pair.channel, reason)


def _no_access(app_id: str, error: PermissionDenied) -> str:
    return f"no access to {app_id}, or it does not exist ({error.code})"


async def _scan(stage: Stage, client: Caller, app_id: str, budget: int) -> list[str]:
    """List an app into the stage, at most one page for each of its rows: a listing must not cost more than it can save."""
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
    await stage.close_scan(app_id, complete=complete, saw_override=saw_override)
    return [f"{app_id}: {caveat}" for caveat in listing.caveats]


def _observation(device: Device) -> tuple[str, str | None]:
    return device.device_id.lower(), device.channel


async def _treat_unknown(stage: Stage, source: Source, options: Options) -> None:
    if options.unknown is Unknown.SKIP:
        await stage.skip_unknown()
    elif options.unknown is Unknown.REFUSE and (count := await stage.unknown()):
        devices = "1 device is" if count == 1 else f"{count} devices are"
        message = f"{source.name}: {devices} in no inventory; send or skip them (--unknown send, --unknown skip)"
        raise InputError(message, count=count)


def time_of(limits: Sequence[Limit], operations_by_app: Sequence[tuple[str, int]]) -> float:
    """Return the seconds that `limits` alone make the operations last (contract B2)."""
    total = sum(count for _, count in operations_by_app)
    by_scope = {
        ScopeKind.KEY: total,
        ScopeKind.APP_ADDRESS: max((count for _, count in operations_by_app), default=0),
    }
    return max((spending_time(limit.limiter, by_scope.get(limit.scope, 1)) for limit in limits), default=0.0)
