"""The properties of each kind of operation, as one table (contract B2, G1, G2), and texts for changes."""

import enum
from collections.abc import Mapping
from typing import Final

import msgspec

from ...api.models import BundleReference
from ...errors import BundleNotFound, ChannelNotFound, MemberNotFound, NotFound
from ...http.wire import encode
from ...limits.models import ScopeKind
from .operations import (
    Change,
    LinkDevice,
    PromoteBundle,
    RenewDevice,
    SetBundleMetadata,
    TargetKind,
    UpdateChannel,
    operation_of,
)


class InDoubt(enum.Enum):
    """What to do about an operation that an earlier process may have completed (contract G1)."""

    REPEAT = enum.auto()
    """Repeating is harmless."""
    REPEAT_UNTIL_GONE = enum.auto()
    """Repeating is harmless. If the target is gone then, the operation succeeded."""
    LOOK_FIRST = enum.auto()
    """Others may have changed the target since. Look, and repeat only if it still is as the plan saw it."""


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """The properties of all operations of one kind.

    `requests` are sent in this order, each as method and path. `limits` are the scopes that count them. `gone` is the error by
    which the server reports a missing target. `destroys` is whether it deletes something for good. `one_at_a_time` is whether
    the operations of one app or organization follow one another (contract G2). No job deletes bundles and promotes them,
    because a job has one kind of targets.
    """

    target: TargetKind
    verb: str
    requests: tuple[str, ...]
    limits: tuple[ScopeKind, ...] = (ScopeKind.KEY,)
    in_doubt: InDoubt = InDoubt.REPEAT
    gone: type[NotFound] | None = None
    one_at_a_time: bool = False
    destroys: bool = False


_DEVICE_LIMITS: Final = (ScopeKind.KEY, ScopeKind.APP_ADDRESS, ScopeKind.DEVICE_OPERATION)
_LINK_LIMITS: Final = (*_DEVICE_LIMITS, ScopeKind.DEVICE_CHANNEL)

KINDS: Final[Mapping[str, Kind]] = {
    "link_device": Kind(target=TargetKind.DEVICE, verb="link", requests=("POST /device",), limits=_LINK_LIMITS),
    "unlink_device": Kind(target=TargetKind.DEVICE, verb="unlink", requests=("DELETE /device",), limits=_DEVICE_LIMITS),
    "renew_device": Kind(
        target=TargetKind.DEVICE,
        verb="renew",
        requests=("GET /device", "DELETE /device", "POST /device"),
        limits=_LINK_LIMITS,
        in_doubt=InDoubt.LOOK_FIRST,
    ),
    "update_channel": Kind(target=TargetKind.CHANNEL, verb="update", requests=("GET /channel", "POST /channel")),
    "promote_bundle": Kind(
        target=TargetKind.CHANNEL,
        verb="promote",
        requests=("GET /channel", "PUT /bundle", "GET /channel"),
        in_doubt=InDoubt.LOOK_FIRST,
    ),
    "delete_channel": Kind(
        target=TargetKind.CHANNEL,
        verb="delete",
        requests=("GET /channel", "DELETE /channel"),
        in_doubt=InDoubt.REPEAT_UNTIL_GONE,
        gone=ChannelNotFound,
        destroys=True,
    ),
    "delete_bundle": Kind(
        target=TargetKind.BUNDLE,
        verb="delete",
        requests=("DELETE /bundle",),
        in_doubt=InDoubt.REPEAT_UNTIL_GONE,
        gone=BundleNotFound,
        destroys=True,
    ),
    "set_bundle_metadata": Kind(target=TargetKind.BUNDLE, verb="describe", requests=("POST /bundle/metadata",)),
    "remove_member": Kind(
        target=TargetKind.MEMBER,
        verb="remove",
        requests=("GET /organization/members", "DELETE /organization/members"),
        in_doubt=InDoubt.REPEAT_UNTIL_GONE,
        gone=MemberNotFound,
        one_at_a_time=True,
        destroys=True,
    ),
}
"""Kinds by the tag of their operations."""


def describe(change: Change) -> str:
    """Return a phrase for a change, such as "link to beta"."""
    return f"{KINDS[change.kind].verb} {object_of(change)}".rstrip()


def object_of(change: Change) -> str:
    """Return the phrase for a change without its verb, such as "to beta"; often an empty string."""
    match operation_of(change, "", ""):
        case LinkDevice(channel=channel):
            return f"to {channel}"
        case RenewDevice(channel=channel) if channel:
            return f"on {channel}"
        case UpdateChannel(settings=settings, ends_rollout=ended):
            # Only an undo plans both: it sets the rollout back to what it was before the job.
            begun = ended is not None and settings.rollout_bundle is not msgspec.UNSET
            return f"({listed(given(settings))}){_ending(ended)}{', which the job began' if begun else ''}"
        case PromoteBundle(bundle=bundle, ends_rollout=ended):
            return f"to bundle {bundle}{_ending(ended)}"
        case SetBundleMetadata(metadata=metadata):
            return f"({listed(given(metadata))})"
        case _:
            return ""


def _ending(rollout: BundleReference | None) -> str:
    return "" if rollout is None else f", ending the rollout of {rollout.name or rollout.id}"


def given(settings: msgspec.Struct) -> dict[str, object]:
    """Return the fields of a struct that are set, by name."""
    return {name: value for name, value in msgspec.structs.asdict(settings).items() if value is not msgspec.UNSET}


def listed(values: Mapping[str, object]) -> str:
    """Return values by name as text, such as `public=true, ios=false`."""
    return ", ".join(f"{name}={encode(value).decode()}" for name, value in values.items())
