"""The operations of a job: intended changes as immutable data (contract C2, C6-C8, G1).

Longer than 300 lines because an operation, its stored form and its way back are changed together.
"""

import enum
from typing import Final, NamedTuple

import msgspec

from ...api.endpoints.bundles import BundleMetadata
from ...api.endpoints.channels import ChannelSettings
from ...api.models import BundleReference
from ...api.words import as_stored
from ...http.wire import encode
from .reasons import Cause, Reason


class TargetKind(enum.StrEnum):
    """The kind of thing that an operation changes."""

    DEVICE = "device"
    CHANNEL = "channel"
    BUNDLE = "bundle"
    MEMBER = "member"


class Target(msgspec.Struct, frozen=True, gc=False):
    """What an operation changes. A plan has at most one operation on a target.

    For a member, `app_id` is the organization.
    """

    kind: TargetKind
    app_id: str
    name: str


class _OfDevice(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    app_id: str
    device_id: str

    @property
    def target(self) -> Target:
        return Target(TargetKind.DEVICE, self.app_id, self.device_id)


class LinkDevice(_OfDevice, frozen=True, kw_only=True, gc=False, tag="link_device"):
    """Link one device to one channel (contract C7)."""

    channel: str


class UnlinkDevice(_OfDevice, frozen=True, kw_only=True, gc=False, tag="unlink_device"):
    """Remove the link of one device (contract C7)."""


class RenewDevice(_OfDevice, frozen=True, kw_only=True, gc=False, tag="renew_device"):
    """Remove the link of one device and set it again, so that it expires later.

    An empty `channel` stands for the present one. If others changed the link after the plan, it is left alone. Setting the same
    link without removing it renews nothing (contract C7). Between the two writes, the device has no link.
    """

    channel: str = ""


class _OfChannel(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    app_id: str
    channel: str

    @property
    def target(self) -> Target:
        return Target(TargetKind.CHANNEL, self.app_id, self.channel)


class UpdateChannel(_OfChannel, frozen=True, kw_only=True, gc=False, tag="update_channel"):
    """Change settings of one existing channel. Its bundle stays unless they name one (contract C6).

    `ends_rollout` is the bundle of the rollout that this ends. The plan looks it up.
    """

    settings: ChannelSettings
    ends_rollout: BundleReference | None = None


class PromoteBundle(_OfChannel, frozen=True, kw_only=True, gc=False, tag="promote_bundle"):
    """Set the stable bundle of one channel (contract C8).

    The plan looks up the server's id of the bundle, which is 0 before. `ends_rollout` is as in `UpdateChannel`.
    """

    bundle: str
    version_id: int = 0
    ends_rollout: BundleReference | None = None


class DeleteChannel(_OfChannel, frozen=True, kw_only=True, gc=False, tag="delete_channel"):
    """Delete one channel, together with the links of all devices to it (contract C6)."""


class _OfBundle(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    app_id: str
    bundle: str

    @property
    def target(self) -> Target:
        return Target(TargetKind.BUNDLE, self.app_id, self.bundle)


class DeleteBundle(_OfBundle, frozen=True, kw_only=True, gc=False, tag="delete_bundle"):
    """Delete one bundle that no channel and no rollout uses (contract C8)."""


class SetBundleMetadata(_OfBundle, frozen=True, kw_only=True, gc=False, tag="set_bundle_metadata"):
    """Set the link or the comment of one bundle (contract C8).

    The plan looks up the server's id; before that it is 0.
    """

    metadata: BundleMetadata
    version_id: int = 0


class RemoveMember(msgspec.Struct, frozen=True, kw_only=True, gc=False, tag="remove_member"):
    """Remove a member or open invitation from an organization; never the last super admin (contract C2)."""

    org_id: str
    email: str

    @property
    def app_id(self) -> str:
        """The organization id. Key rings look keys up by `app_id`."""
        return self.org_id

    @property
    def target(self) -> Target:
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


def ended_by(operation: Operation) -> BundleReference | None:
    """Return the bundle of the rollout that an operation ends, if it ends one."""
    return operation.ends_rollout if isinstance(operation, UpdateChannel | PromoteBundle) else None


class Planned(NamedTuple):
    """One operation of the plan, with its id in the job file."""

    id: int
    operation: Operation


class Change(msgspec.Struct, frozen=True, gc=False):
    """What an operation does, without its target. Many operations share one change.

    `argument` is everything but the kind, as text.
    """

    kind: str
    argument: str = ""


_PROMOTION: Final = msgspec.json.Decoder(tuple[str, int, BundleReference | None])
_UPDATE: Final = msgspec.json.Decoder(tuple[ChannelSettings, BundleReference | None])
_METADATA: Final = msgspec.json.Decoder(tuple[int, BundleMetadata])


def change_of(operation: Operation) -> Change:
    """Return what `operation` does, without its target."""
    kind = str(operation.__struct_config__.tag)
    match operation:
        case LinkDevice(channel=channel) | RenewDevice(channel=channel):
            return Change(kind, channel)
        case UpdateChannel(settings=settings, ends_rollout=ended):
            return Change(kind, encode((settings, ended)).decode())
        case PromoteBundle(bundle=bundle, version_id=version, ends_rollout=ended):
            return Change(kind, msgspec.json.encode((bundle, version, ended)).decode())
        case SetBundleMetadata(metadata=metadata, version_id=version):
            return Change(kind, msgspec.json.encode((version, metadata)).decode())
        case _:
            return Change(kind)


def operation_of(change: Change, app_id: str, name: str) -> Operation:  # noqa: PLR0911 - one for each kind
    """Return the operation that applies `change` to a target. Raises `ValueError` for an unknown kind."""
    argument = change.argument
    match change.kind:
        case "link_device":
            return LinkDevice(app_id=app_id, device_id=name, channel=argument)
        case "unlink_device":
            return UnlinkDevice(app_id=app_id, device_id=name)
        case "renew_device":
            return RenewDevice(app_id=app_id, device_id=name, channel=argument)
        case "update_channel":
            settings, ended = _UPDATE.decode(argument)
            return UpdateChannel(app_id=app_id, channel=name, settings=as_stored(settings), ends_rollout=ended)
        case "promote_bundle":
            bundle, version, ended = _PROMOTION.decode(argument)
            return PromoteBundle(app_id=app_id, channel=name, bundle=bundle, version_id=version, ends_rollout=ended)
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
            message = f"unknown kind of operation: {kind!r}"
            raise ValueError(message)


class Former(enum.StrEnum):
    """What is known of the state of a target before the job."""

    CHANNEL = "channel"
    """A device was linked to a channel."""
    NONE = "none"
    """A device had no link."""
    SHOWN_UNLINKED = "shown_unlinked"
    """A device was shown without a link, in a response without any link.

    It had none if the run adds a link for each device, or if listings of this page size show links (contract C7).
    """
    STATE = "state"
    """The target had other values, which a change can restore."""
    UNKNOWN = "unknown"


class FormerState(msgspec.Struct, frozen=True, gc=False):
    """The state of a target when the plan was made.

    `value` is the channel's name if `known` is `CHANNEL`, the change that restores the state if it is `STATE`, and the reason
    why nothing restores it if it is `UNKNOWN`.
    """

    known: Former = Former.UNKNOWN
    value: str | None = None


_CHANGE: Final = msgspec.json.Decoder(Change)
_WORDS: Final = msgspec.json.Decoder(tuple[str, ...])


def former_of(inverse: Operation) -> FormerState:
    """Return the former state that `inverse` restores."""
    return FormerState(Former.STATE, msgspec.json.encode(change_of(inverse)).decode())


def no_way_back(cause: Cause, *details: str) -> FormerState:
    """Return a former state that nothing restores, for this reason."""
    return FormerState(Former.UNKNOWN, msgspec.json.encode((cause, *details)).decode())


def why_no_way_back(former: FormerState) -> Reason:
    """Return why nothing restores a former state of the kind `UNKNOWN`."""
    cause, *details = _WORDS.decode(former.value or "")
    return Reason(Cause(cause), tuple(details))


def restoring(former: FormerState) -> Change:
    """Return the change that restores a former state of the kind `STATE`."""
    return _CHANGE.decode(former.value or "")


def inverse(operation: Operation, former: FormerState) -> Operation | None:
    """Return the operation that undoes `operation`; `None` if there is none or the state is unknown."""
    target = operation.target
    match former:
        case FormerState(Former.CHANNEL, str(channel)) if not isinstance(operation, RenewDevice):
            return LinkDevice(app_id=target.app_id, device_id=target.name, channel=channel)
        case FormerState(Former.NONE | Former.SHOWN_UNLINKED):
            return UnlinkDevice(app_id=target.app_id, device_id=target.name)
        case FormerState(Former.STATE):
            return operation_of(restoring(former), target.app_id, target.name)
        case _:
            return None


class Row(msgspec.Struct, frozen=True, gc=False):
    """One line of the input: an operation, or the reason why there is none.

    `line` counts from 1. With `expected`, the operation is meant only for a target that is as this other operation leaves it.
    If `skipped`, the operation needs no request, for that `reason`. With a `custom_id`, the operation is meant for the device
    that has it; its own `device_id` is empty until the plan finds that device.
    """

    line: int
    operation: Operation | None
    reason: Reason | None = None
    expected: Operation | None = None
    skipped: bool = False
    custom_id: str | None = None
