"""Channels: what points devices at bundles, with gradual rollouts and their automatic pause (contract C6)."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass, field, fields
from typing import Final, Self

from ..timestamps import row_format

UPDATE_STRATEGIES: Final = frozenset({"major", "minor", "patch", "version_number", "none"})
"""What the database takes for `disableAutoUpdate` (contract E)."""

_ITS_OWN: Final = frozenset({"id", "name", "created_at", "updated_at", "created_by", "created_with"})


@dataclass(slots=True, kw_only=True)
class Rollout:
    """A second bundle that a share of the devices gets; `paused_at` is microseconds."""

    id: str
    version: int | None = None
    percentage_bps: int = 0
    enabled: bool = False
    paused_at: int | None = None
    pause_reason: str | None = None
    cache_ttl_seconds: int = 2_592_000

    def end(self) -> None:
        """Give up the second bundle."""
        self.version = None
        self.percentage_bps = 0
        self.enabled = False
        self.resume()

    def resume(self) -> None:
        """End a pause."""
        self.paused_at = None
        self.pause_reason = None


@dataclass(slots=True, kw_only=True)
class AutoPause:
    """When a rollout that goes wrong is stopped."""

    enabled: bool = False
    window_minutes: int = 60
    failure_rate_bps: int | None = None
    confidence: float = 0.95
    min_attempts: int | None = None
    min_failures: int | None = None
    action: str = "pause"
    cooldown_minutes: int = 60


@dataclass(slots=True, kw_only=True)
class Channel:
    """One channel with its defaults; `created_with` is the number of the key that made it."""

    id: int
    name: str
    created_at: int
    updated_at: int
    created_by: str
    rollout: Rollout
    created_with: int | None = None
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
    update_package: str = "all"
    auto_pause: AutoPause = field(default_factory=AutoPause)

    def draft(self) -> Self:
        """Copy the channel, so that settings can be tried before any is written."""
        return deepcopy(self)

    def take(self, draft: "Channel") -> None:
        """Write all settings of a draft; who the channel is stays."""
        for one in fields(self):
            if one.name not in _ITS_OWN:
                setattr(self, one.name, getattr(draft, one.name))

    def serves(self, bundle_id: int) -> bool:
        """Tell whether the channel hands out that bundle, to all or to a share."""
        return bundle_id in {self.version, self.rollout.version}

    def shares_platform(self, other: "Channel") -> bool:
        """Tell whether both are for one platform at least."""
        return (self.ios and other.ios) or (self.android and other.android) or (self.electron and other.electron)


def columns(app_id: str, channel: Channel) -> Mapping[str, object]:
    """Write a channel as the database row that the audit log keeps."""
    row: dict[str, object] = {"app_id": app_id, **asdict(channel)}
    for hidden in ("created_with", "rollout", "auto_pause", "update_package"):
        del row[hidden]
    row["created_at"], row["updated_at"] = row_format(channel.created_at), row_format(channel.updated_at)
    rollout, paused_at = asdict(channel.rollout), channel.rollout.paused_at
    rollout["paused_at"] = None if paused_at is None else row_format(paused_at)
    row.update((f"rollout_{name}", value) for name, value in rollout.items())
    row.update((f"auto_pause_{name}", value) for name, value in asdict(channel.auto_pause).items())
    return row
