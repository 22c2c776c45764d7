"""Devices (contract C7)."""

from typing import Final

import msgspec

from .channel import BundleReference

stored_id: Final = str.lower
"""Spells a device id as the server stores it: in lower case (contract A4)."""


class Device(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One device of the inventory.

    `channel` is the device's override; `None` when the server showed none. `version_id` and `version_name` are those of the
    bundle that it runs, in whichever way the server tells them (contract D17).
    """

    device_id: str
    app_id: str = ""
    custom_id: str | None = ""
    platform: str | None = None
    plugin_version: str | None = None
    os_version: str | None = None
    version_build: str | None = None
    is_prod: bool | None = None
    is_emulator: bool | None = None
    version_id: int | None = msgspec.field(name="version", default=None)
    version_name: str | None = None
    channel: str | None = None
    key_id: str | None = None
    install_source: str | None = None
    country_code: str | None = None
    updated_at: str | None = None


class SeedDevice(msgspec.Struct, frozen=True, kw_only=True):
    """A device as servers before 12.33.5 show it: `version` is an object."""

    device_id: str
    version: BundleReference | None = None
    app_id: str = ""
    custom_id: str | None = ""
    platform: str | None = None
    plugin_version: str | None = None
    os_version: str | None = None
    version_build: str | None = None
    is_prod: bool | None = None
    is_emulator: bool | None = None
    channel: str | None = None
    updated_at: str | None = None

    def normalised(self) -> Device:
        """Return the device in today's form."""
        told = msgspec.structs.asdict(self)
        bundle = told.pop("version")
        return Device(**told, version_id=bundle and bundle.id, version_name=bundle and bundle.name)


class DevicePage(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One page of devices since server 12.56.16; `next_cursor` is absent on the last one."""

    data: list[Device]
    has_more: bool | None = None
    next_cursor: str | None = None

    @property
    def goes_on(self) -> bool:
        """Tell whether the server announces more rows, be it only by a cursor."""
        return bool(self.next_cursor) if self.has_more is None else self.has_more
