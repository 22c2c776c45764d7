"""Compares what an operation wants with what the server shows of its target (contract C2, C6, C8).

Planning uses the result to decide whether a request is needed and what the former state was. Verification and undo use it, too.
Longer than 300 lines because all kinds are compared here, in one way.
"""

import enum
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import UNSET

from ...api.endpoints.bundles import BundleMetadata
from ...api.endpoints.channels import ChannelSettings, ends_rollout
from ...api.models import Bundle, BundleReference, Channel, Member
from .kinds import given, listed
from .operations import (
    DeleteBundle,
    DeleteChannel,
    FormerState,
    Operation,
    PromoteBundle,
    RemoveMember,
    SetBundleMetadata,
    UpdateChannel,
    ended_by,
    former_of,
    no_way_back,
)
from .reasons import Cause, Reason


class Shown(NamedTuple):
    """What the server shows of one app or organization, by name.

    `strangers` are those of `members` who are invited but have no account.
    """

    channels: Mapping[str, Channel] = {}
    bundles: Mapping[str, Bundle] = {}
    members: Mapping[str, Member] = {}
    strangers: frozenset[str] = frozenset()


class State(enum.Enum):
    """The state of a target, as seen from an operation on it."""

    AS_WANTED = enum.auto()
    OTHERWISE = enum.auto()
    IMPOSSIBLE = enum.auto()
    """The operation cannot or must not be done."""
    CANNOT_TELL = enum.auto()
    """The server does not show what the operation changes."""


class Sight(NamedTuple):
    """The result of comparing an operation with its target.

    `operation` has the server's ids filled in, and `former` is the state to restore. `reason` explains `AS_WANTED` and
    `IMPOSSIBLE`. `look` describes the target in other states, for people.
    """

    state: State
    operation: Operation
    former: FormerState = FormerState()
    reason: Reason | None = None
    look: str = ""

    def __str__(self) -> str:
        return self.look or str(self.reason)


_HIDDEN: Final = frozenset({"ios", "android", "electron"})
"""Settings that can be written; many servers or all of them do not show them (contract C6)."""
NAMED_CHANNELS: Final = 10
"""Greatest number of channels that a reason names."""
_SAME_WORD: Final[Mapping[object, str]] = {"metadata": "version_number"}
"""Two names of one update strategy: the vendor's and the server's (contract D14)."""


def compare(operation: Operation, shown: Shown) -> Sight:
    """Compare an operation on a channel, a bundle or a member with its target as shown."""
    match operation:
        case UpdateChannel():
            return _update(operation, shown)
        case PromoteBundle():
            return _promotion(operation, shown)
        case DeleteChannel(channel=name):
            return _deletion_of_channel(operation, shown.channels.get(name))
        case DeleteBundle():
            return _deletion_of_bundle(operation, shown)
        case SetBundleMetadata():
            return _description(operation, shown.bundles.get(operation.bundle))
        case RemoveMember():
            return _removal(operation, shown)
        case _:
            message = f"devices are compared with an inventory, not one by one: {type(operation).__name__}"
            raise TypeError(message)


def _update(operation: UpdateChannel, shown: Shown) -> Sight:
    channel = shown.channels.get(operation.channel)
    if channel is None:
        return _no_channel(operation, shown)
    wanted = given(operation.settings)
    if shown.bundles and isinstance(bundle := wanted.get("bundle"), str) and bundle not in shown.bundles:
        return _no_bundle(operation, bundle)
    if "update_package" in wanted and channel.update_package is None:
        return _impossible(operation, Cause.UNKNOWN_SETTING, "update_package")
    ended = ends_rollout(channel, operation.settings)
    operation = msgspec.structs.replace(operation, ends_rollout=channel.rollout if ended else None)
    present = {name: _present(channel, name, value) for name, value in wanted.items()}
    if UNSET in present.values():
        hidden = ", ".join(name for name, value in present.items() if value is UNSET)
        former = no_way_back(Cause.SETTING_NOT_SHOWN, hidden)
        return Sight(State.CANNOT_TELL, operation, former, look=f"the server does not show {hidden}")
    if all(_SAME_WORD.get(wanted[name], wanted[name]) == value for name, value in present.items()):
        return _as_wanted(operation, Cause.ALREADY_SET)
    # On newer servers, switching a rollout off takes its bundle away (contract C6).
    unlinks = operation.settings.rollout_enabled is True and channel.rollout_enabled is False
    settings = ChannelSettings(**{**present, **(_rollout_of(channel) if ended or unlinks else {})})
    back = UpdateChannel(app_id=operation.app_id, channel=channel.name, settings=settings)
    former = _lost_by(operation, channel, shown) or former_of(back)
    return Sight(State.OTHERWISE, operation, former, look=listed(present))


def _lost_by(operation: UpdateChannel, channel: Channel, shown: Shown) -> FormerState | None:
    """Return the former state of a channel if nothing restores it, else `None`."""
    settings = operation.settings
    if others := displaced(operation, shown.channels):
        return no_way_back(Cause.OTHERS_MADE_PRIVATE, " and ".join(others))
    stable = None if settings.bundle is UNSET else channel.bundle_name
    ended = None if operation.ends_rollout is None else operation.ends_rollout.name
    for used in (stable, ended):
        if used is not None and shown.bundles and used not in shown.bundles:
            return no_way_back(Cause.BUNDLE_DELETED, used)
    # Another rollout ends a pause.
    if settings.rollout_bundle is not UNSET and channel.rollout_paused_at is not None:
        return no_way_back(Cause.PAUSE_ENDED)
    return None


def _rollout_of(channel: Channel) -> dict[str, Any]:
    """Return the settings that bring the rollout of a channel back, if it has one.

    The server chooses its devices anew (contract G4).
    """
    if channel.rollout is None:
        return {}
    values = {
        "rollout_bundle": channel.rollout.name or channel.rollout_version,
        "rollout_percentage_bps": channel.rollout_percentage_bps,
        "rollout_enabled": channel.rollout_enabled,
        "rollout_paused": channel.rollout_paused_at is not None or None,
        "rollout_pause_reason": channel.rollout_pause_reason,
    }
    return {name: value for name, value in values.items() if value is not None}


def began_since(back: Operation, undone: Operation, shown: Shown) -> str | None:
    """Return the rollout that others began after a change ended another one, if `back` would end it."""
    channel = shown.channels.get(back.target.name)
    if not isinstance(back, UpdateChannel) or ended_by(undone) is None or channel is None or channel.rollout is None:
        return None
    rollout = channel.rollout
    return None if back.settings.rollout_bundle in {rollout.id, rollout.name} else str(rollout.name or rollout.id)


def replaced_rollout(back: Operation, shown: Shown) -> BundleReference | None:
    """Return the rollout that a job began, if `back`, which undoes the job, would end it."""
    channel = shown.channels.get(back.target.name)
    if not isinstance(back, UpdateChannel) or channel is None or channel.rollout is None:
        return None
    stays = back.settings.rollout_bundle in {UNSET, channel.rollout.id, channel.rollout.name}
    return None if stays else channel.rollout


def displaced(operation: UpdateChannel, channels: Mapping[str, Channel]) -> list[str]:
    """Return the public channels that lose their place if a channel becomes public (contract C6).

    Those that share no platform with it stay public, but servers do not show all platforms.
    """
    becomes = operation.settings.public is True
    return [name for name, other in channels.items() if becomes and other.public and name != operation.channel]


def _present(channel: Channel, name: str, wanted: object) -> object:
    """Return a channel's value of a setting, or `UNSET` if the server does not show it."""
    if name in _HIDDEN:
        shown = getattr(channel, name, None)
        return UNSET if shown is None else shown
    if name == "bundle":
        return channel.bundle_name
    if name == "rollout_paused":
        return channel.rollout_paused_at is not None
    if name == "rollout_bundle":
        info = channel.rollout_version_info
        return info.name if info is not None and not isinstance(wanted, int) else channel.rollout_version
    value = getattr(channel, name)
    # The oldest servers return a boolean here, which cannot be written (contract D13).
    shown = value is not None or name in _NULLABLE
    return value if shown and not (name == "disable_auto_update" and isinstance(value, bool)) else UNSET


_NULLABLE: Final = frozenset(
    {"rollout_pause_reason", "auto_pause_failure_rate_bps", "auto_pause_min_attempts", "auto_pause_min_failures"}
)


def _promotion(operation: PromoteBundle, shown: Shown) -> Sight:
    channel = shown.channels.get(operation.channel)
    bundle = shown.bundles.get(operation.bundle)
    if channel is None:
        return _no_channel(operation, shown)
    if bundle is None:
        return _no_bundle(operation, operation.bundle)
    operation = msgspec.structs.replace(operation, version_id=bundle.id)
    if channel.version is not None and channel.version.id == bundle.id:
        return _as_wanted(operation, Cause.ALREADY_ON_BUNDLE, bundle.name)
    name, rollout = channel.bundle_name, channel.rollout
    operation = msgspec.structs.replace(operation, ends_rollout=rollout)
    look = "without a bundle" if name is None else f"on {name}"
    if rollout is not None:
        look += f" with a rollout of {rollout.name or rollout.id}"
    for used in (name, None if rollout is None else rollout.name):
        if used is not None and used not in shown.bundles:
            return Sight(State.OTHERWISE, operation, no_way_back(Cause.BUNDLE_DELETED, used), look=look)
    back: Operation
    if name is None or rollout is not None:
        settings = ChannelSettings(**{"bundle": name, **_rollout_of(channel)})
        back = UpdateChannel(app_id=operation.app_id, channel=channel.name, settings=settings)
    else:
        back = msgspec.structs.replace(operation, bundle=name, version_id=shown.bundles[name].id)
    return Sight(State.OTHERWISE, operation, former_of(back), look=look)


def _deletion_of_channel(operation: DeleteChannel, channel: Channel | None) -> Sight:
    if channel is None:
        return _as_wanted(operation, Cause.ALREADY_GONE, "channel")
    if channel.public:
        return _impossible(operation, Cause.DELETION_OF_PUBLIC_CHANNEL, channel.name, operation.app_id)
    return Sight(State.OTHERWISE, operation, no_way_back(Cause.IRREVERSIBLE), look="still there")


def _deletion_of_bundle(operation: DeleteBundle, shown: Shown) -> Sight:
    if operation.bundle not in shown.bundles:
        return _as_wanted(operation, Cause.ALREADY_GONE, "bundle")
    user = users_of(shown).get(operation.bundle)
    if user is not None:
        return _impossible(operation, Cause.BUNDLE_IN_USE, user, operation.app_id, operation.bundle)
    return Sight(State.OTHERWISE, operation, no_way_back(Cause.IRREVERSIBLE), look="still there")


def users_of(shown: Shown) -> dict[str, str]:
    """Return the bundles in use by a channel or its rollout, each with the name of one such channel."""
    used: dict[str, str] = {}
    for channel in shown.channels.values():
        for bundle in (channel.version, channel.rollout_version_info):
            if bundle is not None and bundle.name is not None:
                used.setdefault(bundle.name, channel.name)
    return used


def _description(operation: SetBundleMetadata, bundle: Bundle | None) -> Sight:
    if bundle is None:
        return _no_bundle(operation, operation.bundle)
    operation = msgspec.structs.replace(operation, version_id=bundle.id)
    wanted = given(operation.metadata)
    present = {name: getattr(bundle, name) for name in wanted}
    if present == wanted:
        return _as_wanted(operation, Cause.ALREADY_SET)
    # The server accepts text only.
    never_set = " and a ".join(name for name, value in present.items() if value is None)
    if never_set:
        return Sight(State.OTHERWISE, operation, no_way_back(Cause.TEXT_NOT_REMOVABLE, never_set), look=listed(present))
    back = msgspec.structs.replace(operation, metadata=BundleMetadata(**present))
    return Sight(State.OTHERWISE, operation, former_of(back), look=listed(present))


def _removal(operation: RemoveMember, shown: Shown) -> Sight:
    member = shown.members.get(operation.email)
    if member is None:
        return _as_wanted(operation, Cause.NOT_A_MEMBER, operation.org_id)
    if operation.email in shown.strangers:
        return _impossible(operation, Cause.INVITED_WITHOUT_ACCOUNT, operation.email, operation.org_id)
    others = (other for email, other in shown.members.items() if email != operation.email)
    if not member.is_no_super_admin and not any(other.is_super_admin for other in others):
        cause = Cause.LAST_SUPER_ADMIN if member.is_super_admin else Cause.MAYBE_LAST_SUPER_ADMIN
        return _impossible(operation, cause, operation.email, operation.org_id)
    return Sight(State.OTHERWISE, operation, no_way_back(Cause.IRREVERSIBLE), look="still a member")


def _no_channel(operation: UpdateChannel | PromoteBundle, shown: Shown) -> Sight:
    reason = no_channel(operation.app_id, operation.channel, list(shown.channels))
    return Sight(State.IMPOSSIBLE, operation, reason=reason)


def no_channel(app_id: str, name: str, others: Sequence[str] | None) -> Reason:
    """Return the reason that an app has no such channel. `others` are its channels; `None` if unknown."""
    named = ", ".join([*others[:NAMED_CHANNELS], *(["..."] if len(others) > NAMED_CHANNELS else [])]) if others else "none"
    return Reason(Cause.NO_CHANNEL, (app_id, name, "unknown" if others is None else named))


def _no_bundle(operation: Operation, name: str) -> Sight:
    return _impossible(operation, Cause.NO_BUNDLE, operation.app_id, name)


def _as_wanted(operation: Operation, cause: Cause, *details: str) -> Sight:
    return Sight(State.AS_WANTED, operation, reason=Reason(cause, details))


def _impossible(operation: Operation, cause: Cause, *details: str) -> Sight:
    return Sight(State.IMPOSSIBLE, operation, reason=Reason(cause, details))
