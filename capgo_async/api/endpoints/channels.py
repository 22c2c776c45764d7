"""Channels (contract C6)."""

from typing import Annotated, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from ...errors import ConfigurationError, DangerousCall
from ...http.call import Call
from ...http.retry import Repeat
from ...http.wire import Request, encode
from ..models.channel import Channel, wire_name
from ..words import PauseAction, UpdatePackage, UpdatePolicy, Word
from .arguments import Comment, Name, body_of, checked, checked_app_id, named

_Bps = Annotated[int, Meta(ge=0, le=10_000)]
_Count = Annotated[int, Meta(ge=0)]

METADATA_AS: Final = "version_number"
"""The database's name for the update policy that the vendor calls `metadata` (contract D14)."""
_RESERVED: Final = frozenset({"builtin", "unknown"})
_WIRE: Final = {"bundle": "version", "rollout_bundle": "rolloutVersion"}
"""The server's names for the bundles of a channel."""


class ChannelSettings(msgspec.Struct, frozen=True, kw_only=True, rename=lambda field: _WIRE.get(field) or wire_name(field)):
    """Changes to a channel; fields that are left out stay as they are (contract C6).

    - `bundle`: the name of a bundle. `None` removes the channel's bundle; so would an empty or reserved name on the server,
      which is refused here.
    - `public`: `True` makes the other public channels of the same platforms private.
    - `disable_auto_update`: which updates are held back; `Unlisted` sends a word that is not listed (contract E).
    - `update_package`: what devices download; servers before August 2026 do not know it.
    - `rollout_bundle`: the name or the number of a bundle.
    - `rollout_percentage_bps`: hundredths of a percent, up to 10000.
    - `rollout_enabled`: `False` ends a rollout (contract K3); `rollout_paused=True` stops one that can go on later.
    - `rollout_cache_ttl_seconds`: 60 to 31536000.
    - `ios`, `android`, `electron`: can be set; only newer servers show `ios` and `android`, and none shows `electron`.
    """

    bundle: Name | UnsetType | None = UNSET
    public: bool | UnsetType = UNSET
    disable_auto_update: Word[UpdatePolicy] | UnsetType = UNSET
    disable_auto_update_under_native: bool | UnsetType = UNSET
    ios: bool | UnsetType = UNSET
    android: bool | UnsetType = UNSET
    electron: bool | UnsetType = UNSET
    allow_device_self_set: bool | UnsetType = UNSET
    allow_emulator: bool | UnsetType = UNSET
    allow_device: bool | UnsetType = UNSET
    allow_dev: bool | UnsetType = UNSET
    allow_prod: bool | UnsetType = UNSET
    update_package: Word[UpdatePackage] | UnsetType = UNSET
    rollout_bundle: Name | int | UnsetType | None = UNSET
    rollout_percentage_bps: _Bps | UnsetType = UNSET
    rollout_enabled: bool | UnsetType = UNSET
    rollout_paused: bool | UnsetType = UNSET
    rollout_pause_reason: Comment | UnsetType | None = UNSET
    rollout_cache_ttl_seconds: Annotated[int, Meta(ge=60, le=31_536_000)] | UnsetType = UNSET
    auto_pause_enabled: bool | UnsetType = UNSET
    auto_pause_window_minutes: Annotated[int, Meta(ge=1, le=10_080)] | UnsetType = UNSET
    auto_pause_failure_rate_bps: _Bps | UnsetType | None = UNSET
    auto_pause_confidence: Annotated[float, Meta(gt=0, lt=1)] | UnsetType = UNSET
    auto_pause_min_attempts: _Count | UnsetType | None = UNSET
    auto_pause_min_failures: _Count | UnsetType | None = UNSET
    auto_pause_action: Word[PauseAction] | UnsetType = UNSET
    auto_pause_cooldown_minutes: Annotated[int, Meta(ge=0, le=10_080)] | UnsetType = UNSET


def list_channels(app_id: str, page: int) -> Call:
    """List one page of channels; the first page is 0 (contract C6)."""
    query = (("app_id", checked_app_id(app_id)), ("page", str(page)))
    return Call(f"list channels of {app_id}", Request(method="GET", path="/channel", query=query), app=app_id)


def get_channel(app_id: str, name: str) -> Call:
    """Get one channel by its exact name (contract C6)."""
    query = (("app_id", checked_app_id(app_id)), ("channel", named(name, "channel")))
    return Call(f"get channel {name} of {app_id}", Request(method="GET", path="/channel", query=query), app=app_id)


def write_channel(app_id: str, name: str, settings: ChannelSettings, *, metadata_as: str = METADATA_AS) -> Call:
    """Create a channel, or change it if it exists; the server has one call for both (contract C6).

    `metadata_as` is sent in place of the update policy `metadata` (contract D14). A server error is retried once only, because
    the server also answers 500 to an unknown bundle or word.
    """
    checked_settings(settings)
    if settings.disable_auto_update == "metadata":
        settings = msgspec.structs.replace(settings, disable_auto_update=metadata_as)
    # A pause stores its time, so pausing twice is not the same as pausing once (contract G1).
    repeat = Repeat.NEVER if settings.rollout_paused is True else Repeat.ONCE
    body = body_of({"app_id": checked_app_id(app_id), "channel": named(name, "channel")}, settings)
    return _write(app_id, f"write channel {name} of {app_id}", body, repeat)


def checked_settings(settings: ChannelSettings) -> ChannelSettings:
    """Return valid `settings`; raises `ConfigurationError` for any others (contract C6)."""
    for field, bundle in (("bundle", settings.bundle), ("rollout_bundle", settings.rollout_bundle)):
        if isinstance(bundle, str) and named(bundle, field).strip().lower() in _RESERVED:
            message = f"{field} {bundle!r} means 'no bundle' to the server; to remove the bundle, set it to None (null)"
            raise ConfigurationError(message)
    return checked(settings)


def ends_rollout(channel: Channel, settings: ChannelSettings) -> bool:
    """Return whether `settings` would end the rollout on any server (contract C6, K2, K3).

    Settings that name a rollout bundle say themselves what becomes of the rollout.
    """
    if channel.rollout is None or settings.rollout_bundle is not UNSET:
        return False
    return settings.rollout_enabled is False or (settings.bundle is not UNSET and settings.bundle != channel.bundle_name)


def check_deletion(app_id: str, channel: Channel) -> None:
    """Raise `DangerousCall` for a public channel, which devices without a link follow (contract C6)."""
    if channel.public:
        message = f"{channel.name} of {app_id} is public; make another channel public first. Nothing was deleted."
        raise DangerousCall(message)


def in_order(settings: ChannelSettings, channel: Channel) -> list[ChannelSettings]:
    """Return the settings in the parts that must follow one another as single writes (contract C6, G4).

    A new stable bundle ends a rollout, and so does switching it off; linking a rollout bundle clears a pause.
    """
    if not isinstance(settings.rollout_bundle, str | int):
        return [settings]
    keeps_bundle = settings.bundle in {UNSET, channel.bundle_name}
    if keeps_bundle and settings.rollout_enabled is not False and settings.rollout_paused is not True:
        return [settings]
    if not keeps_bundle and settings.rollout_enabled is UNSET and channel.rollout is not None and channel.rollout_enabled:
        settings = msgspec.structs.replace(settings, rollout_enabled=True)
    values = {name: value for name, value in msgspec.structs.asdict(settings).items() if value is not UNSET}
    rollout = {"rollout_bundle": values.pop("rollout_bundle")}
    switches = ("rollout_percentage_bps", "rollout_enabled", "rollout_paused", "rollout_pause_reason")
    last = {name: values.pop(name) for name in switches if values.get(name, False) is not False}
    return [ChannelSettings(**part) for part in (values, rollout, last) if part]


def create_channel(app_id: str, name: str) -> Call:
    """Create a channel with the server's defaults (contract C6)."""
    identity = {"app_id": checked_app_id(app_id), "channel": named(name, "channel")}
    return _write(app_id, f"create channel {name} of {app_id}", encode(identity), Repeat.ONCE)


def end_rollout(app_id: str, name: str, action: Literal["rollback", "promoteToStable"]) -> Call:
    """End a rollout (contract C6). A second promotion is refused (contract G1)."""
    body = encode({"app_id": checked_app_id(app_id), "channel": named(name, "channel"), action: True})
    repeat = Repeat.ONCE if action == "rollback" else Repeat.NEVER
    return _write(app_id, f"end the rollout of channel {name} of {app_id}", body, repeat)


def delete_channel(app_id: str, name: str) -> Call:
    """Delete a channel and the links of all devices to it; its bundles stay (contract C6)."""
    query = (("app_id", checked_app_id(app_id)), ("channel", named(name, "channel")))
    return Call(f"delete channel {name} of {app_id}", Request(method="DELETE", path="/channel", query=query), app=app_id)


def _write(app_id: str, name: str, body: bytes, repeat: Repeat) -> Call:
    return Call(name, Request(method="POST", path="/channel", body=body), repeat=repeat, app=app_id)
