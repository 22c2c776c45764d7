"""Channels (contract C6)."""

from typing import Final

import msgspec


class BundleReference(msgspec.Struct, frozen=True):
    """The id and the name of a bundle."""

    id: int | None = None
    name: str | None = None


_CAMEL: Final = ("auto_pause_", "disable_", "rollout_", "update_package")
_SNAKE: Final = frozenset({"rollout_id", "rollout_version", "rollout_version_info"})


def wire_name(field: str) -> str:
    """Return the name that the server gives to a field of a channel: some are in camel case (contract C6)."""
    if field in _SNAKE or not field.startswith(_CAMEL):
        return field
    first, *others = field.split("_")
    return first + "".join(map(str.capitalize, others))


class Channel(msgspec.Struct, frozen=True, kw_only=True, rename=wire_name):
    """A channel of an app, with its bundle, its rollout and its auto-pause settings (contract C6).

    `disable_auto_update` is one of the words in contract E. The oldest servers return a boolean instead (contract D13).
    `update_package` is `None` on servers that do not know this setting, `ios` and `android` on servers that do not show them.
    `rollout_version` is the number of the bundle that a rollout gives to some devices.
    """

    id: int
    name: str
    app_id: str = ""
    public: bool = False
    version: BundleReference | None = None
    created_at: str | None = None
    updated_at: str | None = None
    created_by: str | None = None
    disable_auto_update: str | bool | None = None
    disable_auto_update_under_native: bool | None = None
    allow_emulator: bool | None = None
    allow_dev: bool | None = None
    allow_device: bool | None = None
    allow_prod: bool | None = None
    allow_device_self_set: bool | None = None
    ios: bool | None = None
    android: bool | None = None
    update_package: str | None = None
    rollout_version: int | None = None
    rollout_id: str | None = None
    rollout_version_info: BundleReference | None = None
    rollout_percentage_bps: int | None = None
    rollout_enabled: bool | None = None
    rollout_paused_at: str | None = None
    rollout_pause_reason: str | None = None
    rollout_cache_ttl_seconds: int | None = None
    auto_pause_enabled: bool | None = None
    auto_pause_window_minutes: int | None = None
    auto_pause_failure_rate_bps: int | None = None
    auto_pause_confidence: float | None = None
    auto_pause_min_attempts: int | None = None
    auto_pause_min_failures: int | None = None
    auto_pause_action: str | None = None
    auto_pause_cooldown_minutes: int | None = None
    auto_pause_last_triggered_at: str | None = None
    auto_pause_last_checked_at: str | None = None

    @property
    def bundle_name(self) -> str | None:
        """Return the name of the channel's bundle; an old server's placeholder is none (contract C6)."""
        name = self.version.name if self.version else None
        return None if name in {None, "unknown", "builtin"} else name

    @property
    def rollout(self) -> BundleReference | None:
        """Return the bundle of the channel's rollout; it has one even while it is paused or switched off."""
        if self.rollout_version is None:
            return None
        return self.rollout_version_info or BundleReference(id=self.rollout_version)
