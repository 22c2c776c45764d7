"""The settings of `POST /channel`, parsed and applied to a draft (contract C6)."""

from collections.abc import Mapping
from typing import Final

import msgspec

from .. import javascript
from ..exchange import Refusal, unknown_error
from ..state.channels import UPDATE_STRATEGIES, Channel
from .call import Call

_FLAGS: Final = (
    "public", "disableAutoUpdateUnderNative", "ios", "android", "electron",
    "allow_device_self_set", "allow_emulator", "allow_device", "allow_dev", "allow_prod",
)  # fmt: skip
_PACKAGES: Final = frozenset({"all", "zip", "delta", "zip_from_builtin", "delta_from_builtin"})
_ACTIONS: Final = frozenset({"pause", "rollback", "notify"})
_ALL: Final = 10_000
_WEEK: Final = 10_080
_LARGEST: Final = 2**53 - 1


class Whole(msgspec.Struct, frozen=True, kw_only=True):
    """A setting that is a whole number: its column, its bounds, and whether null is allowed."""

    column: str
    least: int = 0
    most: int = _LARGEST
    nullable: bool = False


_WHOLE: Final[Mapping[str, Whole]] = {
    "autoPauseWindowMinutes": Whole(column="window_minutes", least=1, most=_WEEK),
    "autoPauseFailureRateBps": Whole(column="failure_rate_bps", most=_ALL, nullable=True),
    "autoPauseMinAttempts": Whole(column="min_attempts", nullable=True),
    "autoPauseMinFailures": Whole(column="min_failures", nullable=True),
    "autoPauseCooldownMinutes": Whole(column="cooldown_minutes", most=_WEEK),
}


def sent(call: Call, name: str) -> bool:
    """Return whether a setting was sent, under its camelCase name or its snake_case alias."""
    return call.sends(name) or call.sends(_alias(name))


def value(call: Call, name: str) -> object:
    """Return a setting; the camelCase name takes precedence over the alias."""
    return call.field(name if call.sends(name) else _alias(name))


def flag(call: Call, name: str) -> bool | None:
    """Return a boolean; null counts as absent, and what the database cannot convert crashes the server."""
    found = value(call, name)
    if found is None:
        return None
    read = javascript.boolean(found)
    if read is None:
        raise unknown_error()
    return read


def apply_settings(call: Call, draft: Channel) -> None:
    """Apply the settings that were sent to a draft, except rollout and auto-pause."""
    for name in _FLAGS:
        switched = flag(call, name)
        if switched is not None:
            setattr(draft, _alias(name), switched)
    if call.field("electron") is None and flag(call, "public") and call.field("ios") != call.field("android"):
        draft.electron = False
    strategy = call.field("disableAutoUpdate")
    if strategy is not None:
        # The documented value is not in the database of 12.201.7 (contract D14).
        known = UPDATE_STRATEGIES | {"metadata"} if call.settings.generation == "docs" else UPDATE_STRATEGIES
        if not isinstance(strategy, str) or strategy not in known:
            raise unknown_error()
        draft.disable_auto_update = strategy
    package = value(call, "updatePackage")
    known_package = isinstance(package, str) and package in _PACKAGES
    if package is not None and not known_package and call.settings.is_newest:
        raise Refusal(400, "invalid_update_package", "Invalid update package", {})
    if isinstance(package, str) and known_package and call.settings.keeps_packages:
        draft.update_package = package


def apply_auto_pause(call: Call, draft: Channel) -> None:
    switched = flag(call, "autoPauseEnabled")
    if switched is not None:
        draft.auto_pause.enabled = switched
    confidence = value(call, "autoPauseConfidence")
    if confidence is not None:
        if isinstance(confidence, bool) or not isinstance(confidence, int | float) or not 0 < confidence < 1:
            message = "Auto-pause confidence must be greater than 0 and less than 1"
            raise Refusal(400, "invalid_auto_pause_confidence", message, {"autoPauseConfidence": confidence})
        draft.auto_pause.confidence = confidence
    action = value(call, "autoPauseAction")
    if action is not None:
        if not isinstance(action, str) or action not in _ACTIONS:
            message = "Auto-pause action must be pause, rollback, or notify"
            raise Refusal(400, "invalid_auto_pause_action", message, {"autoPauseAction": action})
        draft.auto_pause.action = action
    for name, whole in _WHOLE.items():
        if sent(call, name) and (whole.nullable or value(call, name) is not None):
            setattr(draft.auto_pause, whole.column, within(call, name, whole))


def within(call: Call, name: str, whole: Whole) -> int | None:
    """Return a whole number within its bounds; `None` if it is null or was not sent."""
    found = value(call, name)
    if found is None:
        return None
    number = None if isinstance(found, str) else javascript.whole(found)
    if number is None or not whole.least <= number <= whole.most:
        message = f"{name} must be an integer between {whole.least} and {whole.most}"
        more = {"field": name, "value": found, "min": whole.least, "max": whole.most}
        raise Refusal(400, "invalid_rollout_config", message, more)
    return number


def _alias(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)
