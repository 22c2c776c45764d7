"""Apps with their channels, bundles and devices; times are in microseconds (contract H2)."""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import islice
from typing import Final, Literal, NamedTuple

import msgspec
from msgspec.structs import replace

from ..timestamps import micros
from .channels import Channel

Order = Literal["asc", "desc"]

RETENTION: Final = 2_592_000
BUILTIN_ID: Final = 1
"""The placeholder bundle `builtin`: the version of seed-era device rows that have none in modern ones."""
UNKNOWN_ID: Final = 2
"""The placeholder bundle `unknown`: the bundle of seed-era channels that have none in modern ones."""


class Traits(msgspec.Struct, frozen=True, kw_only=True):
    """Attributes that many devices share, kept once to save memory."""

    platform: str = "ios"
    plugin_version: str = "7.4.0"
    os_version: str | None = "18.1"
    version_build: str | None = "1.0.0"
    is_prod: bool | None = True
    is_emulator: bool | None = False
    version_name: str | None = "builtin"
    version: int | None = None
    key_id: str | None = None
    country_code: str | None = None


class Device(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    device_id: str
    updated_at: int
    traits: Traits
    custom_id: str = ""


class Override(NamedTuple):
    """The channel that a device is linked to.

    The newest servers note whether the device did that itself (contract C7).
    """

    channel: Channel
    written_at: int
    by_device: bool = False


@dataclass(slots=True, kw_only=True)
class Bundle:
    """A bundle; deleted ones keep row and name. `created_with` is the number of the key that created it."""

    id: int
    name: str
    created_at: int
    updated_at: int
    user_id: str
    checksum: str | None = None
    external_url: str | None = None
    session_key: str | None = None
    key_id: str | None = None
    link: str | None = None
    comment: str | None = None
    storage_provider: str = "external"
    r2_path: str | None = None
    min_update_version: str | None = None
    created_with: int | None = None
    manifest_count: int = 0
    deleted: bool = False
    deleted_at: int | None = None

    @property
    def has_zip(self) -> bool:
        return self.external_url is not None or self.r2_path is not None


@dataclass(slots=True, kw_only=True)
class App:
    """An app and its contents.

    `pinned` maps a device id to the `version_id` that a seed-era request set.
    """

    app_id: str
    id: str
    name: str | None
    owner_org: str
    user_id: str
    created_at: int
    updated_at: int | None = None
    last_version: str | None = None
    icon_url: str = ""
    retention: int = RETENTION
    default_upload_channel: str = "dev"
    expose_metadata: bool = False
    allow_device_custom_id: bool = True
    need_onboarding: bool = False
    existing_app: bool = False
    block_provider_infra_requests: bool = True
    ios_store_url: str | None = None
    android_store_url: str | None = None
    channels: dict[str, Channel] = field(default_factory=dict)
    bundles: dict[int, Bundle] = field(default_factory=dict)
    devices: dict[str, Device] = field(default_factory=dict)
    overrides: dict[str, Override] = field(default_factory=dict)
    pinned: dict[str, str] = field(default_factory=dict)
    _ids: list[str] = field(default_factory=list)
    _moments: list[tuple[int, str]] | None = None

    def put_device(self, device: Device) -> None:
        if device.device_id not in self.devices:
            insort(self._ids, device.device_id)
        self.devices[device.device_id] = device
        self._moments = None

    def load_devices(self, devices: Iterable[Device]) -> None:
        self.devices.update((device.device_id, device) for device in devices)
        self._ids = sorted(self.devices)
        self._moments = None

    def forget_device(self, device_id: str) -> None:
        """Remove a device from the inventory; its override remains."""
        del self.devices[device_id]
        self._ids = sorted(self.devices)
        self._moments = None

    def check_in(self, device_id: str, now: float, *, runs: Bundle | None = None) -> None:
        """Let a device contact the server. It reports that it `runs` a bundle, or what it reported before."""
        device = self.devices[device_id]
        if runs is not None:
            device = replace(device, traits=replace(device.traits, version_name=runs.name, version=runs.id))
        self.put_device(replace(device, updated_at=micros(now)))

    def served_to(self, device_id: str) -> Bundle | None:
        """Return the bundle that a device gets (contract C6).

        That is the one of its override, or of a public channel for its platform. A rollout that is on gets its share of the
        devices, always the same ones.
        """
        override, platform = self.overrides.get(device_id), self.devices[device_id].traits.platform
        public = (channel for channel in self.channels.values() if channel.public and getattr(channel, platform))
        channel = override.channel if override is not None else next(public, None)
        if channel is None:
            return None
        rollout = channel.rollout
        share = int.from_bytes(sha256(f"{rollout.id} {device_id}".encode()).digest()) % 10_000
        chosen = rollout.enabled and rollout.paused_at is None and share < rollout.percentage_bps
        return self.bundle_numbered(rollout.version if chosen else channel.version)

    def devices_after(self, device_id: str) -> Iterable[Device]:
        """Iterate over the inventory by id, from the first above `device_id`."""
        start = bisect_right(self._ids, device_id)
        return (self.devices[found] for found in islice(self._ids, start, None))

    def devices_by_moment(self, order: Order, after: tuple[int, str] | None) -> Iterable[Device]:
        """Iterate over the inventory by (time, id), from the first beyond `after`."""
        if self._moments is None:
            self._moments = sorted((device.updated_at, device.device_id) for device in self.devices.values())
        moments = self._moments
        if order == "asc":
            chosen = range(0 if after is None else bisect_right(moments, after), len(moments))
        else:
            chosen = range((len(moments) if after is None else bisect_left(moments, after)) - 1, -1, -1)
        return (self.devices[moments[index][1]] for index in chosen)

    def link(self, device_id: str, channel: Channel, now: float) -> None:
        """Set a device's override; the same channel again writes and renews nothing (contract C7)."""
        present = self.overrides.get(device_id)
        if present is None or present.channel is not channel or present.by_device:
            self.overrides[device_id] = Override(channel, micros(now))

    def expire(self, moment: int, *, own: bool) -> None:
        """Remove the overrides written before `moment`, with `own` only those that a device has set itself."""
        self.overrides = {
            device_id: override
            for device_id, override in self.overrides.items()
            if override.written_at >= moment or (own and not override.by_device)
        }

    def unlink(self, device_id: str) -> None:
        """Remove a device's override and its seed-era bundle, if any."""
        self.overrides.pop(device_id, None)
        self.pinned.pop(device_id, None)

    def fall_behind(self, now: float) -> None:
        """Delete all bundles and empty all channels: the organization does not pay (contract C5)."""
        for bundle in self.bundles.values():
            if not bundle.deleted:
                bundle.deleted, bundle.deleted_at = True, micros(now)
        for channel in self.channels.values():
            channel.version = None
            channel.rollout.end()

    def bundle_named(self, name: object) -> Bundle | None:
        """Return a bundle that is not deleted by name."""
        return next((bundle for bundle in self.bundles.values() if bundle.name == name and not bundle.deleted), None)

    def bundle_numbered(self, number: int | None) -> Bundle | None:
        """Return a bundle that is not deleted by id."""
        bundle = None if number is None else self.bundles.get(number)
        return None if bundle is None or bundle.deleted else bundle

    def channel_numbered(self, number: int | None) -> Channel | None:
        return next((channel for channel in self.channels.values() if channel.id == number), None)

    def serves(self, bundle: Bundle) -> bool:
        return any(channel.serves(bundle.id) for channel in self.channels.values())

    def is_overridden_to(self, channel: Channel) -> bool:
        return any(override.channel is channel for override in self.overrides.values())

    def drop_channel(self, channel: Channel) -> None:
        """Delete a channel and the overrides to it."""
        del self.channels[channel.name]
        self.overrides = {name: override for name, override in self.overrides.items() if override.channel is not channel}
