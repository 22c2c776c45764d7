"""Builds the world of a rehearsal: the server's state as far as a job file knows it.

This includes the changes that the job has already made.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Final

import msgspec

from ..api.endpoints.channels import METADATA_AS, ChannelSettings
from ..bulk.jobfile.facts import Survey
from ..bulk.jobfile.seen import Seen
from ..bulk.operations.operations import (
    DeleteBundle,
    DeleteChannel,
    Former,
    FormerState,
    LinkDevice,
    Operation,
    PromoteBundle,
    RemoveMember,
    RenewDevice,
    SetBundleMetadata,
    UnlinkDevice,
    UpdateChannel,
    operation_of,
    restoring,
)
from ..bulk.spreading import PAGE
from ..sandbox import App, Binding, Bundle, Channel, Device, Traits, World
from ..sandbox.seeding import ORG_ID, SUPER_ADMIN_KEY, USER_EMAIL, USER_ID, add_people
from ..sandbox.state.apps import Override
from ..sandbox.state.world import uuid_like
from ..sandbox.timestamps import micros

_STABLE: Final = "the bundle before"
"""Name for an unknown current bundle of a channel. Nearly every channel has one."""
_ELSEWHERE: Final = "another channel"
"""Name for a channel that the job does not touch. Nearly every app has one.

The client doubts a list without any channel, which takes further requests.
"""
_TRAITS: Final = Traits()

Read = Callable[[], AsyncIterator[Sequence[Seen]]]
"""Returns the operations of a job in chunks, from the start at each call."""


async def world_of(read: Read, survey: Survey, now: float, *, filled: bool) -> World:
    """Return a world with the targets of all operations; `now` is in epoch seconds.

    `SUPER_ADMIN_KEY` has access to all of it. Apps and organizations hold only what operations name, but each app has one more
    channel. A device without a former state is in no inventory, unless the listing of its app ended before it or showed no link
    of any device. If `filled`, apps also hold as many devices as `survey` counted, because the run will list them.
    """
    builder = _Builder(survey, now, filled=filled)
    last = 0
    async for chunk in read():
        last = max(last, *map(_number_in, chunk))
    builder.world.leave_numbers(last)
    async for chunk in read():
        for seen in chunk:
            builder.add(seen)
    return builder.finished()


def _number_in(seen: Seen) -> int:
    """Return the largest server-side number that an operation names."""
    numbers = [0]
    for operation in (seen.operation, _back(seen)):
        match operation:
            case PromoteBundle(version_id=number) | SetBundleMetadata(version_id=number):
                numbers.append(number)
            case UpdateChannel(settings=ChannelSettings(rollout_bundle=int(number))):
                numbers.append(number)
    return max(numbers)


def _back(seen: Seen) -> Operation | None:
    """Return the operation that restores the former state, if that is known."""
    if seen.former.known is not Former.STATE:
        return None
    target = seen.operation.target
    return operation_of(restoring(seen.former), target.app_id, target.name)


class _Devices:
    """The planned devices of one app, divided into those that planning saw and the others."""

    def __init__(self) -> None:
        self.known: list[str] = []
        self.unknown: list[str] = []
        self.linked = 0
        """Number of planned devices that had a link."""


class _Builder:
    def __init__(self, survey: Survey, now: float, *, filled: bool) -> None:
        self.world = World()
        self._survey = survey
        self._filled = filled
        self._now = now
        self._devices: dict[str, _Devices] = {}
        self._bundles: dict[tuple[str, str], Bundle] = {}
        self._links: dict[tuple[str, str], Override] = {}
        add_people(self.world, now)

    def add(self, seen: Seen) -> None:
        """Add the target of an operation in its current state."""
        match seen.operation:
            case LinkDevice() | UnlinkDevice() | RenewDevice():
                self._add_device(seen.operation, seen.former, done=seen.done)
            case UpdateChannel() | PromoteBundle():
                self._add_channel(seen, seen.operation)
            case SetBundleMetadata():
                self._add_metadata(seen, seen.operation)
            case RemoveMember(org_id=org_id, email=email):
                self._add_member(org_id, None if seen.done else email)
            case DeleteChannel(app_id=app_id, channel=name) if not seen.done:
                self._channel(app_id, name)
            case DeleteBundle(app_id=app_id, bundle=name) if not seen.done:
                self._bundle(app_id, name)

    def finished(self) -> World:
        """Return the world with its inventories and an all-powerful key."""
        for app_id, devices in self._devices.items():
            app = self._app(app_id)
            app.load_devices(_device(name, self._now) for name in self._shown(app, devices))
        owned = (Binding(role="org_super_admin", org_id=each.id) for each in self.world.organizations)
        self.world.add_key(SUPER_ADMIN_KEY, *owned, user_id=USER_ID)
        return self.world

    def _add_device(self, operation: LinkDevice | UnlinkDevice | RenewDevice, former: FormerState, *, done: bool) -> None:
        app = self._app(operation.app_id)
        name = operation.device_id
        goal = "" if isinstance(operation, UnlinkDevice) else operation.channel
        link = goal if done else former.value if former.known is Former.CHANNEL else ""
        if link:
            app.overrides[name] = self._link(app, link)
        if goal:
            self._link(app, goal)
        devices = self._devices.setdefault(app.app_id, _Devices())
        (devices.unknown if former.known is Former.UNKNOWN else devices.known).append(name)
        devices.linked += former.known is Former.CHANNEL

    def _link(self, app: App, channel: str) -> Override:
        found = self._links.get((app.app_id, channel))
        if found is None:
            found = self._links[app.app_id, channel] = Override(self._channel(app.app_id, channel), micros(self._now))
        return found

    def _shown(self, app: App, devices: _Devices) -> Iterable[str]:
        """Return the devices that a listing of an app shows."""
        whole, part = self._survey.listed.get(app.app_id, 0), self._survey.listed_in_part.get(app.app_id)
        shown = devices.known
        if part is not None:
            # The listing stopped before its end, so more than a page of devices is left beyond it.
            shown, whole = [*shown, *devices.unknown], part + PAGE + 1
        elif not shown:
            shown = devices.unknown[:whole]
        count = whole - len(shown) if self._filled else 0
        others = [uuid_like(app.app_id, "beside", index) for index in range(count)]
        linked = others[: max(0, self._survey.linked.get(app.app_id, 0) - devices.linked)]
        app.overrides.update(dict.fromkeys(linked, self._link(app, _ELSEWHERE)) if linked else {})
        return (*shown, *others)

    def _add_channel(self, seen: Seen, operation: UpdateChannel | PromoteBundle) -> None:
        app_id = operation.app_id
        channel = self._channel(app_id, operation.channel)
        match _back(seen):
            case UpdateChannel(settings=settings):
                self._set(app_id, channel, settings)
            case PromoteBundle(bundle=name, version_id=version):
                channel.version = self._bundle(app_id, name, version).id
        if isinstance(operation, UpdateChannel):
            self._prepare(app_id, channel, operation.settings)
            if seen.done:
                self._set(app_id, channel, operation.settings)
        else:
            bundle = self._bundle(app_id, operation.bundle, operation.version_id)
            channel.version = bundle.id if seen.done else channel.version
        if seen.done and operation.ends_rollout is not None:
            channel.rollout.version, channel.rollout.enabled, channel.rollout.paused_at = None, False, None

    def _prepare(self, app_id: str, channel: Channel, settings: ChannelSettings) -> None:
        """Add the bundles that new settings need."""
        if isinstance(settings.bundle, str):
            self._bundle(app_id, settings.bundle)
        if isinstance(settings.rollout_bundle, str | int):
            self._rollout_bundle(app_id, settings.rollout_bundle)
            if channel.version is None:
                # A rollout needs one (contract C6).
                channel.version = self._bundle(app_id, _STABLE).id

    def _set(self, app_id: str, channel: Channel, settings: ChannelSettings) -> None:
        for name, value in msgspec.structs.asdict(settings).items():
            if value is msgspec.UNSET:
                continue
            if name == "bundle":
                channel.version = None if value is None else self._bundle(app_id, value).id
            elif name == "rollout_bundle":
                channel.rollout.version = None if value is None else self._rollout_bundle(app_id, value).id
            elif name == "rollout_paused":
                channel.rollout.paused_at = micros(self._now) if value else None
            elif name == "disable_auto_update":
                channel.disable_auto_update = METADATA_AS if value == "metadata" else value
            elif name.startswith("rollout_"):
                setattr(channel.rollout, name.removeprefix("rollout_"), value)
            elif name.startswith("auto_pause_"):
                setattr(channel.auto_pause, name.removeprefix("auto_pause_"), value)
            else:
                setattr(channel, name, value)

    def _add_metadata(self, seen: Seen, operation: SetBundleMetadata) -> None:
        bundle = self._bundle(operation.app_id, operation.bundle, operation.version_id)
        back = _back(seen)
        told = operation.metadata if seen.done else back.metadata if isinstance(back, SetBundleMetadata) else None
        for name, value in msgspec.structs.asdict(told).items() if told is not None else ():
            if value is not msgspec.UNSET:
                setattr(bundle, name, value)

    def _add_member(self, org_id: str, email: str | None) -> None:
        organizations = self.world.organizations
        organization = organizations.get(org_id)
        if organization is None:
            owner = organizations.users[USER_EMAIL]
            organization = self.world.add_organization(org_id, owner=owner, now=self._now, org_id=org_id)
        if email is not None:
            organization.join(organizations.users.get(email) or self.world.add_user(email), "org_member")

    def _app(self, app_id: str) -> App:
        app = self.world.apps.get(app_id)
        if app is None:
            app = self.world.add_app(app_id, org_id=ORG_ID, user_id=USER_ID, now=self._now)
            self._channel(app_id, _ELSEWHERE)
        return app

    def _channel(self, app_id: str, name: str) -> Channel:
        app = self._app(app_id)
        channel = app.channels.get(name)
        if channel is None:
            channel = self.world.add_channel(app, name, now=self._now)
            channel.version = self._bundle(app_id, _STABLE).id
        return channel

    def _bundle(self, app_id: str, name: str, number: int = 0) -> Bundle:
        """Return a bundle of an app, with its number on the server if that is known."""
        app = self._app(app_id)
        bundle = self._bundles.get((app_id, name))
        if bundle is None:
            bundle = self._bundles[app_id, name] = self.world.add_bundle(app, name, now=self._now)
            bundle.manifest_count = 1  # what a bundle contains is not known: it serves channels of any update package
        if number and bundle.id != number:
            del app.bundles[bundle.id]
            for channel in app.channels.values():
                channel.version = number if channel.version == bundle.id else channel.version
            bundle.id = number
            app.bundles[number] = bundle
        return bundle

    def _rollout_bundle(self, app_id: str, named: str | int) -> Bundle:
        if isinstance(named, str):
            return self._bundle(app_id, named)
        return self._app(app_id).bundles.get(named) or self._bundle(app_id, f"bundle {named}", named)


def _device(name: str, now: float) -> Device:
    return Device(device_id=name, updated_at=micros(now), traits=_TRAITS)
