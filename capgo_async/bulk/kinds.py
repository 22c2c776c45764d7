"""What holds for all operations of a kind, as one table (contract B2, G1, G2), and what a change is called."""

import enum
from collections.abc import Mapping
from typing import Final

import msgspec

from ..errors import BundleNotFound, ChannelNotFound, NotFound
from ..limits import ScopeKind
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
    """What to do about an operation that may have been processed, when a later process comes to it (contract G1)."""

    REPEAT = enum.auto()
    """Repeating is harmless."""
    REPEAT_UNTIL_GONE = enum.auto()
    """Repeating is harmless, and that the target is gone then means success."""
    LOOK_FIRST = enum.auto()
    """Others may have changed the target since: look at it, and repeat only what is still as the plan saw it."""


class Apart(enum.Enum):
    """What an operation must not run beside, other than operations on the same target (contract G2)."""

    DELETIONS_OF_BUNDLES = enum.auto()
    """Those of the same app. A job has one kind of targets, so that promotions and deletions are never in one."""
    PROMOTIONS = enum.auto()
    """Those of the same app."""
    PUBLIC_CHANNELS = enum.auto()
    """Other changes of `public` in the same app: done one after the other."""
    REMOVALS = enum.auto()
    """Those from the same organization: done one after the other, each after a look at the members."""


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """What holds for all operations of one kind.

    `requests` are sent in this order, as method and path; `limits` count them. `gone` is how the server says that the target is
    not there. `inverse`: whether there is an operation that takes it back, from a former state that is known.
    """

    target: TargetKind
    verb: str
    requests: tuple[str, ...]
    limits: tuple[ScopeKind, ...] = (ScopeKind.KEY,)
    in_doubt: InDoubt = InDoubt.REPEAT
    gone: type[NotFound] | None = None
    inverse: bool = True
    apart: Apart | None = None
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
        inverse=False,
    ),
    "update_channel": Kind(
        target=TargetKind.CHANNEL, verb="update", requests=("GET /channel", "POST /channel"), apart=Apart.PUBLIC_CHANNELS
    ),
    "promote_bundle": Kind(
        target=TargetKind.CHANNEL,
        verb="promote",
        requests=("PUT /bundle",),
        in_doubt=InDoubt.LOOK_FIRST,
        apart=Apart.DELETIONS_OF_BUNDLES,
    ),
    "delete_channel": Kind(
        target=TargetKind.CHANNEL,
        verb="delete",
        requests=("GET /channel", "DELETE /channel"),
        in_doubt=InDoubt.REPEAT_UNTIL_GONE,
        gone=ChannelNotFound,
        inverse=False,
        destroys=True,
    ),
    "delete_bundle": Kind(
        target=TargetKind.BUNDLE,
        verb="delete",
        requests=("DELETE /bundle",),
        in_doubt=InDoubt.REPEAT_UNTIL_GONE,
        gone=BundleNotFound,
        inverse=False,
        apart=Apart.PROMOTIONS,
        destroys=True,
    ),
    "set_bundle_metadata": Kind(target=TargetKind.BUNDLE, verb="describe", requests=("POST /bundle/metadata",)),
    "remove_member": Kind(
        target=TargetKind.MEMBER,
        verb="remove",
        requests=("GET /organization/members", "DELETE /organization/members"),
        in_doubt=InDoubt.REPEAT_UNTIL_GONE,
        gone=NotFound,
        inverse=False,
        apart=Apart.REMOVALS,
        destroys=True,
    ),
}
"""By the tag of the operations."""


def said(change: Change) -> str:
    """Return what a change does, such as "link to beta"."""
    return f"{KINDS[change.kind].verb} {object_of(change)}".rstrip()


def object_of(change: Change) -> str:
    """Return what a change does without its verb, such as "to beta"; often nothing."""
    match operation_of(change, "", ""):
        case LinkDevice(channel=channel):
            return f"to {channel}"
        case RenewDevice(channel=channel) if channel:
            return f"on {channel}"
        case UpdateChannel(settings=settings):
            return f"({_said(settings)})"
        case PromoteBundle(bundle=bundle):
            return f"to bundle {bundle}"
        case SetBundleMetadata(metadata=metadata):
            return f"({_said(metadata)})"
        case _:
            return ""


def _said(settings: msgspec.Struct) -> str:
    given = ((name, value) for name, value in msgspec.structs.asdict(settings).items() if value is not msgspec.UNSET)
    return ", ".join(f"{name}={msgspec.json.encode(value).decode()}" for name, value in given)
