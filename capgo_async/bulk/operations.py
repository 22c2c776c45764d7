"""The operations of a job: intended changes as immutable data (contract C7, G1)."""

import enum

import msgspec


class Target(msgspec.Struct, frozen=True, gc=False):
    """What an operation changes. One target appears at most once in a plan."""

    kind: str
    app_id: str
    name: str


class Former(enum.StrEnum):
    """What is known of a device's override before the job touched it."""

    CHANNEL = "channel"
    NONE = "none"
    UNKNOWN = "unknown"


class FormerState(msgspec.Struct, frozen=True, gc=False):
    """The override that a device had when the plan was made; `channel` is set when `known` is `CHANNEL`."""

    known: Former = Former.UNKNOWN
    channel: str | None = None


class LinkDevice(msgspec.Struct, frozen=True, kw_only=True, gc=False, tag="link_device"):
    """Put one device on one channel: POST /device. Repeating it is harmless, 60 s after the last try (contract G1)."""

    app_id: str
    device_id: str
    channel: str

    @property
    def target(self) -> Target:
        """Return the device that this changes."""
        return Target("device", self.app_id, self.device_id)


class UnlinkDevice(msgspec.Struct, frozen=True, kw_only=True, gc=False, tag="unlink_device"):
    """Remove the override of one device: DELETE /device. Repeating it is harmless (contract G1)."""

    app_id: str
    device_id: str

    @property
    def target(self) -> Target:
        """Return the device that this changes."""
        return Target("device", self.app_id, self.device_id)


Operation = LinkDevice | UnlinkDevice


class Row(msgspec.Struct, frozen=True, gc=False):
    """One line of the input: an operation, or the reason why there is none. `line` counts from 1."""

    line: int
    operation: Operation | None
    reason: str = ""


def inverse(operation: Operation, former: FormerState) -> Operation | None:
    """Return what takes `operation` back, or `None` when the former state is unknown."""
    match former:
        case FormerState(Former.CHANNEL, str(channel)):
            return LinkDevice(app_id=operation.app_id, device_id=operation.device_id, channel=channel)
        case FormerState(Former.NONE):
            return UnlinkDevice(app_id=operation.app_id, device_id=operation.device_id)
        case _:
            return None
