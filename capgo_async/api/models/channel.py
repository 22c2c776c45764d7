"""Channels (contract C6)."""

import msgspec


class BundleReference(msgspec.Struct, frozen=True):
    """The id and the name of a bundle."""

    id: int | None = None
    name: str | None = None


class Channel(msgspec.Struct, frozen=True, kw_only=True):
    """A channel of an app, with its bundle, its rollout and its auto-pause settings (contract C6).

    `disable_auto_update` is one of the words in contract E. The oldest servers return a boolean instead (contract D13).
    """

    id: int
    name: str
    app_id: str = ""
    public: bool = False
    version: BundleReference | None = None
    created_at: str | None = None
    updated_at: str | None = None
    created_by: str | None = None
    disable_auto_update: str | bool | None = msgspec.field(name="disableAutoUpdate", default=None)
    disable_auto_update_under_native: bool | None = msgspec.field(name="disableAutoUpdateUnderNative", default=None)
    allow_emulator: bool | None = None
    allow_dev: bool | None = None
    allow_device: bool | None = None
    allow_prod: bool | None = None
    allow_device_self_set: bool | None = None
    update_package: str | None = msgspec.field(name="updatePackage", default=None)
    rollout_version: int | None = None
    rollout_id: str | None = None
    rollout_version_info: BundleReference | None = None
    rollout_percentage_bps: int | None = msgspec.field(name="rolloutPercentageBps", default=None)
    rollout_enabled: bool | None = msgspec.field(name="rolloutEnabled", default=None)
    rollout_paused_at: str | None = msgspec.field(name="rolloutPausedAt", default=None)
    rollout_pause_reason: str | None = msgspec.field(name="rolloutPauseReason", default=None)
    rollout_cache_ttl_seconds: int | None = msgspec.field(name="rolloutCacheTtlSeconds", default=None)
    auto_pause_enabled: bool | None = msgspec.field(name="autoPauseEnabled", default=None)
    auto_pause_window_minutes: int | None = msgspec.field(name="autoPauseWindowMinutes", default=None)
    auto_pause_failure_rate_bps: int | None = msgspec.field(name="autoPauseFailureRateBps", default=None)
    auto_pause_confidence: float | None = msgspec.field(name="autoPauseConfidence", default=None)
    auto_pause_min_attempts: int | None = msgspec.field(name="autoPauseMinAttempts", default=None)
    auto_pause_min_failures: int | None = msgspec.field(name="autoPauseMinFailures", default=None)
    auto_pause_action: str | None = msgspec.field(name="autoPauseAction", default=None)
    auto_pause_cooldown_minutes: int | None = msgspec.field(name="autoPauseCooldownMinutes", default=None)
    auto_pause_last_triggered_at: str | None = msgspec.field(name="autoPauseLastTriggeredAt", default=None)
    auto_pause_last_checked_at: str | None = msgspec.field(name="autoPauseLastCheckedAt", default=None)

    @property
    def bundle_name(self) -> str | None:
        """Return the name of the channel's bundle, `None` if it has none.

        Older servers show a placeholder in that case (contract C6).
        """
        name = self.version.name if self.version else None
        return None if name in {None, "unknown", "builtin"} else name
