"""Adoption: how many of the devices that a job moved run the bundle of their channel."""

import enum
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec


class Doubt(enum.StrEnum):
    """Why it cannot be told whether a device runs the bundle of its channel."""

    UNLINKED = "unlinked"
    HIDDEN = "hidden"
    NO_CHANNEL = "no_channel"
    NO_BUNDLE = "no_bundle"
    MISSING = "missing"
    INCOMPLETE = "incomplete"
    NOT_REPORTED = "not_reported"

    @property
    def sentence(self) -> str:
        """Return the sentence that explains this doubt to people."""
        return _SENTENCES[self]


_SENTENCES: Final[Mapping[Doubt, str]] = {
    Doubt.UNLINKED: "unlinked, and the server does not show which channel a device without a link follows",
    Doubt.HIDDEN: "the server lists no device of the app, although the job has moved some: it may be unable to read its data",
    Doubt.NO_CHANNEL: "their channel no longer exists",
    Doubt.NO_BUNDLE: "their channel has no bundle",
    Doubt.MISSING: "listed when the job was planned, and no longer",
    Doubt.INCOMPLETE: "not listed, and the list cannot be proven complete",
    Doubt.NOT_REPORTED: "listed without a bundle",
}


class Uptake(msgspec.Struct, frozen=True, kw_only=True):
    """Devices by what they run: `devices = taken + behind + unlisted + cannot_tell`.

    `taken` report the bundle of their channel, or that of its rollout. `behind` report another one. `unlisted` are unknown to
    the server, as devices are that never contacted it, or not for 90 days (contract C7).
    """

    devices: int
    taken: int
    behind: int
    unlisted: int
    cannot_tell: int


class AppUptake(Uptake, frozen=True, kw_only=True):
    """The devices of one app."""

    app_id: str


class DayUptake(Uptake, frozen=True, kw_only=True):
    """The listed devices whose last contact was on this day, in UTC; `None` if the server does not tell."""

    day: str | None


class DoubtCount(msgspec.Struct, frozen=True, kw_only=True):
    """The number of devices of an app of which the same cannot be told."""

    app_id: str
    doubt: Doubt
    devices: int


class Adoption(Uptake, frozen=True, kw_only=True):
    """What the devices that a job moved run, by app and by day of last contact.

    `as_of` is when the listing of the devices began, in ISO 8601. `remarks` are sentences on what listings could not prove.
    """

    as_of: str
    apps: Sequence[AppUptake]
    days: Sequence[DayUptake]
    doubts: Sequence[DoubtCount]
    remarks: Sequence[str] = ()


class Straggler(msgspec.Struct, frozen=True, kw_only=True):
    """A moved device that does not run the bundle of its channel.

    `channel` is where the job moved it, `linked_to` the channel that the server shows now. `version_name` is the bundle that it
    reports, and `updated_at` its last contact. Of a device that the server does not list, the last four are `None`.
    """

    app_id: str
    device_id: str
    channel: str
    custom_id: str | None
    linked_to: str | None
    version_name: str | None
    updated_at: str | None
