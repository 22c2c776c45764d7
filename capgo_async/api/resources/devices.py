"""`client.devices` (contract C7)."""

import math
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from operator import attrgetter
from typing import Final

import msgspec

from ...errors import ConfigurationError, InvalidRequest, ListingError, Problem, UnreadableAnswer
from ...http import wire
from ...http.dialect import Dialect
from ...http.requester import Requester
from ...http.unreadable import name_of
from ...http.waiting import as_one_call
from ...http.wire import Response, reads, reads_first, reads_one
from ...listing.listing import Choice, Doubt, Listing
from ...listing.split_listing import SplitListing
from ...listing.split_walk import SplitWalk, Stretch
from ...listing.walks import BAD_ROWS, DeviceWalk, Page, Position
from ..endpoints import devices as endpoints
from ..endpoints.arguments import app_id_of, checked_app_id
from ..endpoints.devices import DeviceFilter
from ..models import Device, DevicePage, SeedDevice
from .apps import doubt_empty

_SEED_ONE: Final = reads_one(SeedDevice)
read_device: Final = reads_first(reads_one(Device), lambda response, operation: _SEED_ONE(response, operation).normalised())
"""Decodes a device from any generation of the server (contract C7, D17)."""
OnUnreadable = Callable[[UnreadableAnswer], None]
_ID: Final = attrgetter("device_id")
_NO_FILTER: Final = "the server does not filter by custom_id: all devices were read, and the others left out"
_CUSTOM_IDS: Final = "custom ids"


class Devices:
    """Read devices, and link or unlink them."""

    def __init__(self, requester: Requester) -> None:
        self._requester = requester

    def list(
        self,
        app_id: str,
        filter: DeviceFilter = DeviceFilter(),  # noqa: A002, B008 - as users expect it to be called; immutable
        *,
        cursors: int = 1,
        on_unreadable: OnUnreadable | None = None,
    ) -> Listing[Device]:
        """List the devices of an app that were active in the last 90 days (contract C7).

        Devices are listed by id unless `filter` names an order. With several `cursors`, a large app is read in parts at the
        same time: the devices are the same, but sorted only within each part. A single cursor reads if `filter` names an order,
        or if the server cannot start a listing in the middle.

        A row that cannot be read is an error. With `on_unreadable` the listing leaves it out, calls this with its error, and
        says so in its `caveats`; a single cursor reads then.

        A server that cannot read its devices responds as if the app had none. If nothing is listed although the server counts
        links in the app, the listing raises `EmptyListing`; otherwise its `caveats` say so.

        Raises `ConfigurationError` for invalid arguments, `PermissionDenied`, and `ListingError` if the list cannot be
        completed. Only reads, and can be repeated.
        """
        app_id = app_id_of(app_id, self._requester.generation.chosen)
        if cursors < 1:
            message = f"cursors must be at least 1, not {cursors}"
            raise ConfigurationError(message)
        expected = self._requester.generation.chosen
        whole = filter.order is None and filter.custom_id is None and on_unreadable is None
        if cursors > 1 and whole and expected is not Dialect.SEED:
            return list_in_parts(self._requester, app_id, filter, cursors)
        fetch = _pages_of(self._requester, app_id, filter, on_unreadable)
        choice = None if filter.custom_id is None else Choice(partial(_has, filter.custom_id.strip()), _NO_FILTER)
        doubt = _doubt_of(self._requester, app_id, filter)
        walk = partial(DeviceWalk[Device], _ID, unordered=filter.order is not None, expected=expected)
        return Listing(walk, fetch, choice, doubt)

    @as_one_call
    async def find(
        self, app_id: str, custom_id: str, *, allow_several: bool = False, max_pages: float = math.inf
    ) -> tuple[Device, ...]:
        """Return the devices with this custom id, or none (contract K4).

        Raises `ConfigurationError` if more than one device has it, unless `allow_several`, and `EmptyListing` as `list` does.
        Servers before August 2026 list all devices of the app: at most `max_pages` pages are read, and `ListingError` is raised
        if more are left. Only reads, and can be repeated.
        """
        app_id = app_id_of(app_id, self._requester.generation.chosen)
        listing = self.list(app_id, DeviceFilter(custom_id=custom_id))
        found = tuple([device async for page in listing.pages(max_pages) for device in page])
        if not listing.complete:
            message = f"this server cannot look for the custom id {custom_id!r}, and {app_id} has more devices than were read"
            raise ListingError(message)
        if len(found) > 1 and not allow_several:
            message = f"{len(found)} devices of {app_id} have the custom id {custom_id!r}: {', '.join(map(_ID, found[:5]))}"
            raise ConfigurationError(message, problem=Problem.SEVERAL_DEVICES)
        return found

    async def knows_custom_ids(self, app_id: str) -> bool:
        """Return whether the server can list the devices with a given custom id (contract K0).

        Others list all devices. One request tells it; repeated for the same server it needs none. Raises `PermissionDenied`.
        """
        app_id = app_id_of(app_id, self._requester.generation.chosen)
        features = self._requester.generation.features
        if _CUSTOM_IDS not in features:
            try:
                await self._requester.call(endpoints.probe_custom_id_filter(app_id), read_page)
            except InvalidRequest as error:
                if error.code != "invalid_custom_id":
                    raise
                features[_CUSTOM_IDS] = True
            else:
                features[_CUSTOM_IDS] = False
        return features[_CUSTOM_IDS]

    async def get(self, app_id: str, device_id: str) -> Device:
        """Get one device (contract C7).

        Raises `DeviceNotFound` if the server has never seen the device, even if it is linked to a channel, and
        `PermissionDenied`. Only reads; repeated for the same device, it waits for the server's limit (contract B2).
        """
        app_id = app_id_of(app_id, self._requester.generation.chosen)
        return await self._requester.call(endpoints.get_device(app_id, device_id), read_device)

    async def link(self, app_id: str, device_id: str, *, channel: str) -> None:
        """Link a device to a channel that is not public (contract C7).

        The device need not have been seen before. The link may expire from 30 days on: some servers keep it for 30 days, others
        for 90, newer ones for good. Linking again to the same channel does not renew it; on newer servers it makes a link
        permanent that the device had set itself. A repeat may wait for the server's limit: up to 60 s, or 5 s since August 2026
        (contract B2).

        Raises `ChannelNotFound`, `PublicChannelOverride` or `PermissionDenied`.
        """
        app_id = app_id_of(app_id, self._requester.generation.chosen)
        await self._requester.call(endpoints.link_device(app_id, device_id, channel), wire.acknowledge)

    async def link_to_bundle(self, app_id: str, device_id: str, *, version_id: str) -> None:
        """Link a device to a bundle, which only servers until 2024-12-24 accept (contract C7, D18).

        Raises `ConfigurationError` unless the client was created with `dialect="seed"`. Repeating it changes nothing more.
        """
        app_id = app_id_of(app_id, self._requester.generation.chosen)
        call = endpoints.link_device_to_bundle(app_id, device_id, version_id)
        if self._requester.generation.chosen is not Dialect.SEED:
            message = "servers since 2024-12-24 link devices to channels only; for an older server, set dialect='seed'"
            raise ConfigurationError(message)
        await self._requester.call(call, wire.acknowledge)

    async def unlink(self, app_id: str, device_id: str) -> None:
        """Remove the link of a device. The server reports success even if there was none (contract C7).

        Raises `PermissionDenied`. Repeating it changes nothing more; it may wait for the server's limit, as in `link`.
        """
        app_id = app_id_of(app_id, self._requester.generation.chosen)
        await self._requester.call(endpoints.unlink_device(app_id, device_id), wire.acknowledge)


async def check_readable(devices: Devices, app_id: str) -> None:
    """Raise `EmptyListing` if the server lists no device of an app, but counts links in it (contract C7)."""
    async for _ in devices.list(app_id, DeviceFilter(limit=1)).pages():
        return


def _has(custom_id: str, device: Device) -> bool:
    return device.custom_id == custom_id


def list_in_parts(  # noqa: PLR0913 - what to list, how, and where to continue
    requester: Requester,
    app_id: str,
    chosen: DeviceFilter,
    cursors: int,
    walked: Sequence[Stretch] = (),
    *,
    on_unreadable: OnUnreadable | None = None,
) -> SplitListing[Device]:
    """List devices by id with several cursors; continues after each part that was `walked` before.

    With `on_unreadable`, use a single cursor: several find their places by the first row of a page.
    """
    expected = requester.generation.chosen
    app_id = app_id_of(app_id, expected)
    doubt = None if walked else _doubt_of(requester, app_id, chosen)
    if len(walked) == 1:
        # A walk requests the first page again if that was empty, so it has to start there, too.
        chosen = msgspec.structs.replace(chosen, after=walked[0].before_last or None)
    fetch = _pages_of(requester, app_id, chosen, on_unreadable)

    def split() -> SplitWalk[Device]:
        return SplitWalk(_ID, endpoints.behind, cursors, expected=expected, walked=walked)

    return SplitListing(split, fetch, cursors, doubt)


def _doubt_of(requester: Requester, app_id: str, chosen: DeviceFilter) -> Doubt | None:
    """Return the doubt of a listing; `None` for one of changes, or of later ids, which may be empty."""
    if chosen.changed_since is not None or chosen.after is not None:
        return None
    if chosen.custom_id is None and not chosen.custom_ids_only:
        return partial(doubt_empty, requester, app_id, "device")

    async def doubt() -> None:
        # If the server lists no device at all, this listing raises `EmptyListing`.
        async for _ in Devices(requester).list(app_id, DeviceFilter(limit=1)).pages():
            return

    return doubt


def _pages_of(
    requester: Requester, app_id: str, chosen: DeviceFilter, on_unreadable: OnUnreadable | None = None
) -> Callable[[Position], Awaitable[Page[Device]]]:
    checked_app_id(app_id)
    read = read_page if on_unreadable is None else partial(_read_good_rows, on_unreadable)

    async def fetch(position: Position) -> Page[Device]:
        return await requester.call(endpoints.list_devices(app_id, chosen, position), read)

    return fetch


def _read_good_rows(on_unreadable: OnUnreadable, response: Response, operation: str) -> Page[Device]:
    """Decode a page as `read_page` does, without the rows that cannot be read."""
    try:
        return read_page(response, operation)
    except UnreadableAnswer as error:
        if error.row is None:
            raise
    page = _read_raw(response, operation)
    good: list[Device] = []
    for number, raw in enumerate(page.rows, 1):
        row = Response(status=200, headers={}, body=bytes(raw))
        name = name_of(row.json())
        try:
            good.append(read_device(row, f"{operation}, row {number}{name}"))
        except UnreadableAnswer as error:
            error.row, error.name = number, name.strip(" ()")
            on_unreadable(error)
    return Page(tuple(good), page.has_more, page.next_cursor, (BAD_ROWS,))


class _RawPage(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    data: Sequence[msgspec.Raw]
    has_more: bool | None = None
    next_cursor: str | None = None


_read_raw: Final = reads_first(
    reads(
        _RawPage,
        lambda page: Page(
            tuple(page.data), bool(page.next_cursor) if page.has_more is None else page.has_more, page.next_cursor
        ),
    ),
    reads(list[msgspec.Raw], lambda rows: Page(tuple(rows))),
)
read_page: Final = reads_first(
    reads(DevicePage, lambda page: Page(tuple(page.data), page.goes_on, page.next_cursor)),
    reads(list[Device], lambda devices: Page(tuple(devices))),
    # Without an envelope: an envelope holds a cursor, and servers of the seed era have none.
    reads(list[SeedDevice], lambda devices: Page(tuple(device.normalised() for device in devices))),
)
"""Decodes a page of devices from any generation; `has_more` is `None` without cursors (contract C7)."""
