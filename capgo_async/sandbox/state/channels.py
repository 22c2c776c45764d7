"""Channels, which point devices at bundles, with gradual rollouts and their auto-pause (contract C6)."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass, field, fields
from typing import Final, Self

from ..timestamps import row_format

UPDATE_STRATEGIES: Final = frozenset({"major", "minor", "patch", "version_number", "none"})
"""Values of `disableAutoUpdate` that the database accepts (contract E)."""

_ITS_OWN: Final = frozenset({"id", "name", "created_at", "updated_at", "created_by", "created_with"})


@dataclass(slots=True, kw_only=True)
class Rollout:
    """A second bundle for a share of the devices; `paused_at` is in microseconds."""

    id: str
    version: int | None = None
    percentage_bps: int = 0
    enabled: bool = False
    paused_at: int | None = None
    pause_reason: str | None = None
    cache_ttl_seconds: int = 2_592_000

    def end(self) -> None:
        self.version = None
        self.percentage_bps = 0
        self.enabled = False
        self.resume()

    def drop(self, new_id: str) -> None:
        """Unlink the bundle; the share of the devices is kept."""
        self.id = new_id
        self.version = None
        self.enabled = False
        self.resume()

    def resume(self) -> None:
        self.paused_at = None
        self.pause_reason = None


@dataclass(slots=True, kw_only=True)
class AutoPause:
    """The conditions under which a failing rollout is paused."""

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
    """A channel with its defaults; `created_with` is the number of the key that created it."""

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
        """Return a copy, so that settings can be tried before any is written."""
        return deepcopy(self)

    def take(self, draft: "Channel") -> None:
        """Take over all settings of a draft; the identity of the channel remains."""
        for one in fields(self):
            if one.name not in _ITS_OWN:
                setattr(self, one.name, getattr(draft, one.name))

    def serves(self, bundle_id: int) -> bool:
        """Return whether the channel serves a bundle, to all devices or to a share."""
        return bundle_id in {self.version, self.rollout.version}

    def shares_platform(self, other: "Channel") -> bool:
        return (self.ios and other.ios) or (self.android and other.android) or (self.electron and other.electron)


def stored_row(app_id: str, channel: Channel) -> Mapping[str, object]:
    """Return a channel as the database row that the audit log stores."""
    row: dict[str, object] = {"app_id": app_id, **asdict(channel)}
    for hidden in ("created_with", "rollout", "auto_pause"):
        del row[hidden]
    row["created_at"], row["updated_at"] = row_format(channel.created_at), row_format(channel.updated_at)
    rollout, paused_at = asdict(channel.rollout), channel.rollout.paused_at
    rollout["paused_at"] = None if paused_at is None else row_format(paused_at)
    row.update((f"rollout_{name}", value) for name, value in rollout.items())
    row.update((f"auto_pause_{name}", value) for name, value in asdict(channel.auto_pause).items())
    return row
