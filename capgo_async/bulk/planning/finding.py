"""Finding the devices of rows that name them by custom ids (contract C7, K4)."""

from collections.abc import Mapping, Sequence
from typing import Final

from ...api.endpoints.devices import DeviceFilter
from ...api.models import Device
from ...api.models.device import stored_id
from ...api.resources.devices import check_readable
from ...concurrency import fan_out
from ...errors import PermissionDenied
from ...key_ring import KeyRing
from ..jobfile.staging import Staging
from ..report import counted
from ..spreading import apps_at_once, cursors_each, page_of
from ..storage.exported import Exported
from .looking import pages_in_all
from .scanning import no_access

_CHUNK: Final = 1000
_NAMED: Final = 5


async def find_devices(stage: Staging, client: KeyRing, known: Mapping[str, Exported]) -> list[str]:
    """Stage the rows that name their devices by custom ids, and return remarks.

    An inventory in `known` is used where it is complete. Otherwise the server is asked for each custom id, or lists all devices
    of the app: whichever takes fewer requests. Rows are rejected if no device has the custom id, or several have it. Raises
    `EmptyListing` if the server lists no device although something contradicts that.
    """
    wanted = await stage.wanted()
    if not wanted:
        return []
    await client.prepare()
    remarks: dict[str, Sequence[str]] = dict.fromkeys(wanted, ())

    async def find(app_id: str) -> None:
        inventory = known.get(app_id)
        if inventory is not None and inventory.held and inventory.rows > 0:
            await stage.add_known_bearers(app_id)
            return
        try:
            remarks[app_id] = await _Finding(stage, client, app_id, len(wanted)).find(wanted[app_id])
        except PermissionDenied as error:
            await stage.reject_wanted(app_id, no_access(app_id, error))

    await fan_out(wanted, find, apps_at_once(client))
    asked, found, named = await stage.stage_wanted(_NAMED)
    told = f"{found:,} of {counted(asked, 'custom id')} found"
    if named:
        shown = ", ".join(f"{custom_id!r} is device {device}" for custom_id, device in named)
        told += f": {shown}{f', and {found - len(named):,} more' if found > len(named) else ''}"
    return [*(remark for each in remarks.values() for remark in each), told]


class _Finding:
    """Finds the devices of one app. The plan also compares the rows with what the responses show."""

    def __init__(self, stage: Staging, client: KeyRing, app_id: str, apps: int) -> None:
        self._stage = stage
        self._app_id = app_id
        self._devices = client.client_of(app_id).devices
        self._page = page_of(client)
        self._cursors = cursors_each(client, apps)
        self._saw_override = False
        self._missed = False

    async def find(self, wanted: int) -> tuple[str, ...]:
        """Find the devices with `wanted` custom ids, and return the caveats of the listing."""
        if wanted == 1:
            await self._ask_for_each()
            return ()
        listing = self._devices.list(self._app_id, DeviceFilter(limit=self._page), cursors=self._cursors)
        read = 0
        expected: float | None = None
        async for page in listing.pages():
            read += 1
            self._saw_override |= any(device.channel is not None for device in page)
            await self._take(page)
            if read == 1:
                expected = pages_in_all(page)
            # Of a list of unknown length, as many pages are expected again as were read.
            left = read if expected is None else expected - read
            if left > wanted and not listing.complete and await self._devices.knows_custom_ids(self._app_id):
                await self._ask_for_each()
                return ()
        await self._stage.close_scan(self._app_id, complete=read > 0, saw_override=self._saw_override)
        return tuple(f"{self._app_id}: {caveat}" for caveat in listing.caveats)

    async def _ask_for_each(self) -> None:
        last = ""
        while custom_ids := await self._stage.wanted_of(self._app_id, last, _CHUNK):
            last = custom_ids[-1]
            await fan_out(custom_ids, self._ask, self._cursors)
        if self._missed:
            # A server that cannot read its devices finds nobody.
            await check_readable(self._devices, self._app_id)
        await self._stage.close_scan(self._app_id, complete=False, saw_override=self._saw_override)

    async def _ask(self, custom_id: str) -> None:
        found = await self._devices.find(self._app_id, custom_id, allow_several=True)
        self._missed |= not found
        await self._take(found)

    async def _take(self, devices: Sequence[Device]) -> None:
        await self._stage.observe(self._app_id, [(stored_id(device.device_id), device.channel) for device in devices])
        named = [(device.custom_id, stored_id(device.device_id)) for device in devices if device.custom_id]
        await self._stage.add_bearers(self._app_id, named)
