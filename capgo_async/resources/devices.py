"""`client.devices` (contract C7)."""

from collections.abc import Awaitable, Callable, Sequence
from operator import attrgetter
from typing import Final

import msgspec

from .. import wire
from ..dialect import Dialect
from ..endpoints import devices as endpoints
from ..endpoints.call import app_id_of, checked_app_id
from ..endpoints.devices import DeviceFilter
from ..errors import ConfigurationError, UnreadableAnswer
from ..models import Device, DevicePage, SeedDevice
from ..paging import DeviceWalk, Listing, Page, Position
from ..ranges import SplitWalk, Stretch
from ..requester import Requester
from ..splitting import SplitListing
from ..wire import Response, reads_one

_PAGE: Final = wire.decoder_of(list[Device] | DevicePage)
_SEED_PAGE: Final = wire.decoder_of(list[SeedDevice])
"""Bare only: what stands in an envelope has a cursor, and a seed-era server has none."""
_ONE: Final = reads_one(Device)
_SEED_ONE: Final = reads_one(SeedDevice)
_ID: Final = attrgetter("device_id")


class Devices:
    """Read devices, and link or unlink them."""

    def __init__(self, requester: Requester) -> None:
        self._requester = requester

    def list(
        self,
        app_id: str,
        chosen: DeviceFilter = DeviceFilter(),  # noqa: B008 - immutable
        *,
        cursors: int = 1,
    ) -> Listing[Device]:
        """List the devices of an app that were seen in the last 90 days, by device id unless `chosen` names an order.

        Several `cursors` read a large app at several places at once: the same devices, in an order by parts. Where `chosen`
        names an order, or the server does not let its list be begun anywhere, one of them reads alone.

        What cannot be proven stands in the listing's `caveats`: a server that cannot read its devices answers like an empty
        app (contract C7).
        """
        app_id = app_id_of(app_id, self._requester.generation.chosen)
        if cursors < 1:
            message = f"a list is not read with {cursors} cursors"
            raise ConfigurationError(message)
        expected = self._requester.generation.chosen
        if cursors > 1 and chosen.order is None and expected is not Dialect.SEED:
            return list_in_parts(self._requester, app_id, chosen, cursors)
        fetch = _pages_of(self._requester, app_id, chosen)
        return Listing(lambda: DeviceWalk(_ID, unordered=chosen.order is not None, expected=expected), fetch)

    async def get(self, app_id: str, device_id: str) -> Device:
        """Get one device. Raises `DeviceNotFound` where the inventory does not know it, override or not (contract C7)."""
        app_id = app_id_of(app_id, self._requester.generation.chosen)
        return await self._requester.call(endpoints.get_device(app_id, device_id), read_device)

    async def link(self, app_id: str, device_id: str, *, channel: str) -> None:
        """Put a device on a channel that is not public, also a device that nobody has seen yet (contract C7).

        The link expires after 30 days on self-hosted servers, after 90 on the cloud; an identical link does not renew it.
        A repeat within 60 s waits for the server's limit. Raises `ChannelNotFound`, `PublicChannelOverride` or
        `PermissionDenied`.
        """
        app_id = app_id_of(app_id, self._requester.generation.chosen)
        await self._requester.call(endpoints.link_device(app_id, device_id, channel), wire.acknowledge)

    async def link_to_bundle(self, app_id: str, device_id: str, *, version_id: str) -> None:
        """Put a device on a bundle of its own, which servers took until 2024-12-24 (contract C7, D18).

        Raises `ConfigurationError` unless the client was made with `dialect="seed"`: newer servers refuse it.
        """
        app_id = app_id_of(app_id, self._requester.generation.chosen)
        call = endpoints.link_device_to_bundle(app_id, device_id, version_id)
        if self._requester.generation.chosen is not Dialect.SEED:
            message = "servers since 2024-12-24 link devices to channels only; for an older one set dialect='seed'"
            raise ConfigurationError(message)
        await self._requester.call(call, wire.acknowledge)

    async def unlink(self, app_id: str, device_id: str) -> None:
        """Remove a device's override, if it has one; the server says ok in any case (contract C7)."""
        app_id = app_id_of(app_id, self._requester.generation.chosen)
        await self._requester.call(endpoints.unlink_device(app_id, device_id), wire.acknowledge)


def list_in_parts(
    requester: Requester, app_id: str, chosen: DeviceFilter, cursors: int, walked: Sequence[Stretch] = ()
) -> SplitListing[Device]:
    """List devices by id with several cursors; where parts of the list were `walked` before, it goes on behind each of them."""
    expected = requester.generation.chosen
    app_id = app_id_of(app_id, expected)
    if len(walked) == 1:
        # A walk asks for the first page again where that was empty: it begins there, too.
        chosen = msgspec.structs.replace(chosen, after=walked[0].before_last or None)
    fetch = _pages_of(requester, app_id, chosen)
    return SplitListing(lambda: SplitWalk(_ID, endpoints.behind, cursors, expected=expected, walked=walked), fetch, cursors)


def _pages_of(requester: Requester, app_id: str, chosen: DeviceFilter) -> Callable[[Position], Awaitable[Page[Device]]]:
    checked_app_id(app_id)

    async def fetch(position: Position) -> Page[Device]:
        return await requester.call(endpoints.list_devices(app_id, chosen, position), read_page)

    return fetch


def read_page(response: Response, operation: str) -> Page[Device]:
    """Decode one page of devices of any generation; `has_more` is `None` where the server has no cursor (contract C7)."""
    try:
        found = wire.read(response, _PAGE, operation)
    except UnreadableAnswer:
        return Page(tuple(device.normalised() for device in wire.read(response, _SEED_PAGE, operation)))
    if isinstance(found, DevicePage):
        return Page(tuple(found.data), found.goes_on, found.next_cursor)
    return Page(tuple(found))


def read_device(response: Response, operation: str) -> Device:
    """Decode one device of any generation (contract C7, D17)."""
    try:
        return _ONE(response, operation)
    except UnreadableAnswer as error:
        if not isinstance(error.__cause__, msgspec.ValidationError):
            raise
        return _SEED_ONE(response, operation).normalised()
