"""Devices (contract C7)."""

from typing import Final

import msgspec

from .channel import BundleReference

stored_id: Final = str.lower
"""Turns a device id into the form that the server stores: lower case (contract A4)."""


class Device(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A device of an app (contract C7).

    `channel` is the channel that the device is linked to, `None` if the server shows no link. `version_id` and `version_name`
    identify the bundle that the device runs (contract D17).
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
    """A device as servers before 12.33.5 return it: `version` is an object."""

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
        """Return the device in its current form."""
        return Device(
            device_id=self.device_id,
            app_id=self.app_id,
            custom_id=self.custom_id,
            platform=self.platform,
            plugin_version=self.plugin_version,
            os_version=self.os_version,
            version_build=self.version_build,
            is_prod=self.is_prod,
            is_emulator=self.is_emulator,
            version_id=self.version.id if self.version else None,
            version_name=self.version.name if self.version else None,
            channel=self.channel,
            updated_at=self.updated_at,
        )


class DevicePage(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A page of devices from server 12.56.16 or later; the last page has no `next_cursor`."""

    data: list[Device]
    has_more: bool | None = None
    next_cursor: str | None = None

    @property
    def goes_on(self) -> bool:
        """Whether more pages follow. A cursor is enough to say so."""
        return bool(self.next_cursor) if self.has_more is None else self.has_more
