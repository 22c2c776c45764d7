"""The operations of a job: intended changes as immutable data (contract C2, C6-C8, G1)."""

import enum
from typing import Final, NamedTuple

import msgspec

from ..endpoints.bundles import BundleMetadata
from ..endpoints.channels import ChannelSettings
from .reasons import Reason


class TargetKind(enum.StrEnum):
    """What an operation changes."""

    DEVICE = "device"
    CHANNEL = "channel"
    BUNDLE = "bundle"
    MEMBER = "member"


class Target(msgspec.Struct, frozen=True, gc=False):
    """What an operation changes. One target appears at most once in a plan; `app_id` is the organization of a member."""

    kind: TargetKind
    app_id: str
    name: str


class _OfDevice(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    app_id: str
    device_id: str

    @property
    def target(self) -> Target:
        """Return the device that this changes."""
        return Target(TargetKind.DEVICE, self.app_id, self.device_id)


class LinkDevice(_OfDevice, frozen=True, kw_only=True, gc=False, tag="link_device"):
    """Put one device on one channel (contract C7)."""

    channel: str


class UnlinkDevice(_OfDevice, frozen=True, kw_only=True, gc=False, tag="unlink_device"):
    """Remove the override of one device (contract C7)."""


class RenewDevice(_OfDevice, frozen=True, kw_only=True, gc=False, tag="renew_device"):
    """Remove the override of one device and set the same again, so that it expires later.

    An empty `channel` is the present one; a link that others changed since the plan is left alone. The same link alone renews
    nothing (contract C7). Between the two writes the device is without an override.
    """

    channel: str = ""


class _OfChannel(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    app_id: str
    channel: str

    @property
    def target(self) -> Target:
        """Return the channel that this changes."""
        return Target(TargetKind.CHANNEL, self.app_id, self.channel)


class UpdateChannel(_OfChannel, frozen=True, kw_only=True, gc=False, tag="update_channel"):
    """Change settings of one channel that exists, and leave its bundle alone unless they name one (contract C6)."""

    settings: ChannelSettings


class PromoteBundle(_OfChannel, frozen=True, kw_only=True, gc=False, tag="promote_bundle"):
    """Give one channel a bundle (contract C8). The numbers are the server's for both; 0 before the plan has looked them up."""

    bundle: str
    version_id: int = 0
    channel_id: int = 0


class DeleteChannel(_OfChannel, frozen=True, kw_only=True, gc=False, tag="delete_channel"):
    """Delete one channel with the links of all devices to it (contract C6)."""


class _OfBundle(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    app_id: str
    bundle: str

    @property
    def target(self) -> Target:
        """Return the bundle that this changes."""
        return Target(TargetKind.BUNDLE, self.app_id, self.bundle)


class DeleteBundle(_OfBundle, frozen=True, kw_only=True, gc=False, tag="delete_bundle"):
    """Delete one bundle that no channel and no rollout uses (contract C8)."""


class SetBundleMetadata(_OfBundle, frozen=True, kw_only=True, gc=False, tag="set_bundle_metadata"):
    """Set the link or the comment of one bundle (contract C8). The number is the server's; 0 before the plan looked it up."""

    metadata: BundleMetadata
    version_id: int = 0


class RemoveMember(msgspec.Struct, frozen=True, kw_only=True, gc=False, tag="remove_member"):
    """Remove one member, or one open invitation, from one organization; never its last super admin (contract C2)."""

    org_id: str
    email: str

    @property
    def app_id(self) -> str:
        """Return the organization: whose key speaks for it is looked up as for apps."""
        return self.org_id

    @property
    def target(self) -> Target:
        """Return the member that this changes."""
        return Target(TargetKind.MEMBER, self.org_id, self.email)


Operation = (
    LinkDevice
    | UnlinkDevice
    | RenewDevice
    | UpdateChannel
    | PromoteBundle
    | DeleteChannel
    | DeleteBundle
    | SetBundleMetadata
    | RemoveMember
)


class Planned(NamedTuple):
    """One operation of the plan and its number there."""

    id: int
    operation: Operation


class Change(msgspec.Struct, frozen=True, gc=False):
    """What an operation does, whatever its target: its kind and the rest as text, so that many operations share one."""

    kind: str
    argument: str = ""


_NUMBERED: Final = msgspec.json.Decoder(tuple[str, int, int])
_SETTINGS: Final = msgspec.json.Decoder(ChannelSettings)
_METADATA: Final = msgspec.json.Decoder(tuple[int, BundleMetadata])


def change_of(operation: Operation) -> Change:  # noqa: PLR0911 - one for each kind
    """Return what `operation` does, without its target."""
    match operation:
        case LinkDevice(channel=channel):
            return Change("link_device", channel)
        case UnlinkDevice():
            return Change("unlink_device")
        case RenewDevice(channel=channel):
            return Change("renew_device", channel)
        case UpdateChannel(settings=settings):
            return Change("update_channel", msgspec.json.encode(settings).decode())
        case PromoteBundle(bundle=bundle, version_id=version, channel_id=channel):
            return Change("promote_bundle", msgspec.json.encode((bundle, version, channel)).decode())
        case DeleteChannel():
            return Change("delete_channel")
        case DeleteBundle():
            return Change("delete_bundle")
        case SetBundleMetadata(metadata=metadata, version_id=version):
            return Change("set_bundle_metadata", msgspec.json.encode((version, metadata)).decode())
        case RemoveMember():
            return Change("remove_member")


def operation_of(change: Change, app_id: str, name: str) -> Operation:  # noqa: PLR0911 - one for each kind
    """Return the operation that does `change` to a target. Raises `ValueError` for a kind that is none."""
    argument = change.argument
    match change.kind:
        case "link_device":
            return LinkDevice(app_id=app_id, device_id=name, channel=argument)
        case "unlink_device":
            return UnlinkDevice(app_id=app_id, device_id=name)
        case "renew_device":
            return RenewDevice(app_id=app_id, device_id=name, channel=argument)
        case "update_channel":
            return UpdateChannel(app_id=app_id, channel=name, settings=_SETTINGS.decode(argument))
        case "promote_bundle":
            bundle, version, channel = _NUMBERED.decode(argument)
            return PromoteBundle(app_id=app_id, channel=name, bundle=bundle, version_id=version, channel_id=channel)
        case "delete_channel":
            return DeleteChannel(app_id=app_id, channel=name)
        case "delete_bundle":
            return DeleteBundle(app_id=app_id, bundle=name)
        case "set_bundle_metadata":
            version, metadata = _METADATA.decode(argument)
            return SetBundleMetadata(app_id=app_id, bundle=name, metadata=metadata, version_id=version)
        case "remove_member":
            return RemoveMember(org_id=app_id, email=name)
        case kind:
            message = f"{kind!r} is no kind of operation"
            raise ValueError(message)


class Former(enum.StrEnum):
    """What is known of a target before the job touched it."""

    CHANNEL = "channel"
    """A device was linked to a channel."""
    NONE = "none"
    """A device had no override."""
    STATE = "state"
    """What an operation changes had other values."""
    UNKNOWN = "unknown"


class FormerState(msgspec.Struct, frozen=True, gc=False):
    """What a target was like when the plan was made.

    `value` is the channel's name when `known` is `CHANNEL`, and the change that would bring it back when it is `STATE`.
    """

    known: Former = Former.UNKNOWN
    value: str | None = None


_CHANGE: Final = msgspec.json.Decoder(Change)


def former_of(inverse: Operation | None) -> FormerState:
    """Return the former state that `inverse` would bring back; unknown without one."""
    if inverse is None:
        return FormerState()
    return FormerState(Former.STATE, msgspec.json.encode(change_of(inverse)).decode())


def restoring(former: FormerState) -> Change:
    """Return the change that would bring a former state of the kind `STATE` back."""
    return _CHANGE.decode(former.value or "")


def inverse(operation: Operation, former: FormerState) -> Operation | None:
    """Return what takes `operation` back, or `None` when the former state is unknown or nothing can."""
    target = operation.target
    match former:
        case FormerState(Former.CHANNEL, str(channel)) if not isinstance(operation, RenewDevice):
            return LinkDevice(app_id=target.app_id, device_id=target.name, channel=channel)
        case FormerState(Former.NONE):
            return UnlinkDevice(app_id=target.app_id, device_id=target.name)
        case FormerState(Former.STATE):
            return operation_of(restoring(former), target.app_id, target.name)
        case _:
            return None


class Row(msgspec.Struct, frozen=True, gc=False):
    """One line of the input: an operation, or the reason why there is none. `line` counts from 1.

    With `expected` the operation is only for a target that is as this other operation leaves it. `skipped` says that the
    operation needs no request, for that `reason`.
    """

    line: int
    operation: Operation | None
    reason: Reason | None = None
    expected: Operation | None = None
    skipped: bool = False
