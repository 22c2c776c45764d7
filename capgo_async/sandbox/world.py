"""The server's state and its rules; moments are microseconds, `now` is epoch seconds (contract H2)."""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import blake2b, sha256
from itertools import islice
from typing import Final, Literal, NamedTuple

import msgspec

from .access import Binding, Key
from .timestamps import micros

Order = Literal["asc", "desc"]

RETENTION: Final = 2_592_000
BUILTIN_ID: Final = 1
"""The placeholder bundle `builtin`, which seed-era device rows name where modern ones have no number."""
UNKNOWN_ID: Final = 2
"""The placeholder bundle `unknown`, which seed-era channels name where modern ones have none."""


class Traits(msgspec.Struct, frozen=True, kw_only=True):
    """What many devices have in common, shared between them to save memory."""

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
    """One device of the inventory."""

    device_id: str
    updated_at: int
    traits: Traits
    custom_id: str = ""


class Override(NamedTuple):
    """The channel that a device was linked to."""

    channel: "Channel"
    written_at: int


@dataclass(slots=True, kw_only=True)
class Bundle:
    """One bundle; deleted ones keep their row and their name."""

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
    deleted: bool = False
    deleted_at: int | None = None


@dataclass(slots=True, kw_only=True)
class Channel:
    """One channel with its defaults (contract C6)."""

    id: int
    name: str
    created_at: int
    updated_at: int
    created_by: str
    rollout_id: str
    public: bool = False
    version: int | None = None
    disable_auto_update: str = "major"
    disable_auto_update_under_native: bool = True
    ios: bool = True
    android: bool = True
    electron: bool = True
    allow_device_self_set: bool = False
    allow_emulator: bool = True
    allow_device: bool = True
    allow_dev: bool = True
    allow_prod: bool = True


@dataclass(slots=True, kw_only=True)
class App:
    """One app with everything that belongs to it."""

    app_id: str
    id: str
    name: str
    owner_org: str
    user_id: str
    created_at: int
    updated_at: int | None = None
    last_version: str | None = None
    icon_url: str = ""
    retention: int = RETENTION
    default_upload_channel: str = "dev"
    channels: dict[str, Channel] = field(default_factory=dict)
    bundles: dict[int, Bundle] = field(default_factory=dict)
    devices: dict[str, Device] = field(default_factory=dict)
    overrides: dict[str, Override] = field(default_factory=dict)
    _ids: list[str] = field(default_factory=list)
    _moments: list[tuple[int, str]] | None = None

    def put_device(self, device: Device) -> None:
        """Add a device to the inventory, or replace what is known of it."""
        if device.device_id not in self.devices:
            insort(self._ids, device.device_id)
        self.devices[device.device_id] = device
        self._moments = None

    def load_devices(self, devices: Iterable[Device]) -> None:
        """Add many devices at once."""
        self.devices.update((device.device_id, device) for device in devices)
        self._ids = sorted(self.devices)
        self._moments = None

    def forget_device(self, device_id: str) -> None:
        """Take a device out of the inventory; its override stays."""
        del self.devices[device_id]
        self._ids = sorted(self.devices)
        self._moments = None

    def devices_after(self, device_id: str) -> Iterable[Device]:
        """Walk the inventory by id, from the first one above `device_id`."""
        start = bisect_right(self._ids, device_id)
        return (self.devices[found] for found in islice(self._ids, start, None))

    def devices_by_moment(self, order: Order, after: tuple[int, str] | None) -> Iterable[Device]:
        """Walk the inventory by (moment, id), from the first one beyond `after`."""
        if self._moments is None:
            self._moments = sorted((device.updated_at, device.device_id) for device in self.devices.values())
        moments = self._moments
        if order == "asc":
            chosen = range(0 if after is None else bisect_right(moments, after), len(moments))
        else:
            chosen = range((len(moments) if after is None else bisect_left(moments, after)) - 1, -1, -1)
        return (self.devices[moments[index][1]] for index in chosen)

    def link(self, device_id: str, channel: Channel, now: float) -> None:
        """Set a device's override; the same channel again writes nothing and so renews nothing (contract C7)."""
        present = self.overrides.get(device_id)
        if present is None or present.channel is not channel:
            self.overrides[device_id] = Override(channel, micros(now))

    def unlink(self, device_id: str) -> None:
        """Remove a device's override, if there is one."""
        self.overrides.pop(device_id, None)


class World:
    """Everything that one server knows."""

    def __init__(self) -> None:
        """Start empty; the first numbers belong to the placeholder bundles of the seed era."""
        self.apps: dict[str, App] = {}
        self.device_store_readable = True
        self._keys: dict[str, Key] = {}
        self._last_id = UNKNOWN_ID
        self._last_moment = 0

    def add_app(self, app_id: str, *, org_id: str, user_id: str, now: float) -> App:
        """Create an app; its id is unique among all customers."""
        if app_id in self.apps:
            message = f"app {app_id} exists"
            raise ValueError(message)
        app = App(
            app_id=app_id,
            id=uuid_like("app", app_id),
            name=app_id,
            owner_org=org_id,
            user_id=user_id,
            created_at=self.moment(now),
        )
        self.apps[app_id] = app
        return app

    def add_channel(self, app: App, name: str, *, now: float, public: bool = False) -> Channel:
        """Create a channel; its name is unique within the app."""
        if name in app.channels:
            message = f"channel {name} exists in {app.app_id}"
            raise ValueError(message)
        moment = self.moment(now)
        channel = Channel(
            id=self.number(),
            name=name,
            created_at=moment,
            updated_at=moment,
            created_by=app.user_id,
            rollout_id=uuid_like("rollout", app.app_id, name),
            public=public,
        )
        app.channels[name] = channel
        return channel

    def add_bundle(self, app: App, name: str, *, now: float, external_url: str | None = None) -> Bundle:
        """Register a bundle; its name is unique within the app, deleted ones included."""
        if any(bundle.name == name for bundle in app.bundles.values()):
            message = f"bundle {name} exists in {app.app_id}"
            raise ValueError(message)
        moment = self.moment(now)
        bundle = Bundle(
            id=self.number(),
            name=name,
            created_at=moment,
            updated_at=moment,
            user_id=app.user_id,
            checksum=sha256(f"{app.app_id} {name}".encode()).hexdigest(),
            external_url=external_url or f"https://bundles.example.com/{app.app_id}/{name}.zip",
        )
        app.bundles[bundle.id] = bundle
        app.last_version = name
        return bundle

    def add_key(
        self, secret: str, *bindings: Binding, user_id: str, expires_at: float | None = None, hashed: bool = False
    ) -> Key:
        """Create an API key; of a hashed one only the SHA-256 is kept."""
        kept = _digest(secret) if hashed else secret
        key = Key(
            key_id=self.number(),
            secret=kept,
            user_id=user_id,
            bindings=bindings,
            expires_at=expires_at,
            hashed=hashed,
        )
        self._keys[kept] = key
        return key

    def remove_key(self, key: Key) -> None:
        """Forget an API key."""
        del self._keys[key.secret]

    def key_of(self, secret: str) -> Key | None:
        """Find a key by its plain text, compared byte for byte."""
        plain = self._keys.get(secret)
        if plain is not None:
            return None if plain.hashed else plain
        return self._keys.get(_digest(secret))

    def key_numbered(self, key_id: int) -> Key | None:
        """Find a key by its number."""
        return next((key for key in self._keys.values() if key.key_id == key_id), None)

    def app_permitting(self, key: Key, permission: str, app_id: str) -> App | None:
        """Return the app when it exists and the key holds the permission there; the server does not tell which failed."""
        app = self.apps.get(app_id)
        if app is None or not key.permits(permission, org_id=app.owner_org, app_id=app_id):
            return None
        return app

    def number(self) -> int:
        """Take the next id: they only ever grow."""
        self._last_id += 1
        return self._last_id

    def moment(self, now: float) -> int:
        """Take a creation time, later than every one before."""
        self._last_moment = max(micros(now), self._last_moment + 1)
        return self._last_moment


def uuid_like(*parts: object) -> str:
    """Make an id in the shape of a UUID that depends on nothing but its parts."""
    digest = blake2b(" ".join(map(str, parts)).encode(), digest_size=16).hexdigest()
    return f"{digest[:8]}-{digest[8:12]}-4{digest[13:16]}-8{digest[17:20]}-{digest[20:]}"


def _digest(secret: str) -> str:
    return sha256(secret.encode(errors="surrogateescape")).hexdigest()
