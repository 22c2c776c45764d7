"""`client.channels` (contract C6)."""

from functools import partial
from typing import Final

import msgspec

from ...errors import (
    BundleNotFound,
    CapgoError,
    ChannelNotFound,
    ConfigurationError,
    DangerousCall,
    NotApplied,
    PermissionDenied,
    Problem,
    ServerError,
)
from ...http.call import Call
from ...http.dialect import DELETION_OF_CHANNELS_IS_TOLD, SETTINGS_KEEP_THE_BUNDLE, Version, is_since
from ...http.effort import Effort
from ...http.requester import Requester
from ...http.retry import is_ambiguous
from ...http.waiting import as_one_call
from ...http.wire import Response, acknowledge, reads_many, reads_one, server_version
from ...listing.listing import Listing
from ...listing.walks import Page, PageWalk, Position, last_unless_full
from ..detection import note_channels
from ..endpoints import channels as endpoints
from ..endpoints.arguments import app_id_of, checked_app_id
from ..endpoints.channels import ChannelSettings
from ..models import Channel
from .apps import doubt_empty

_MANY: Final = reads_many(Channel)
_ONE: Final = reads_one(Channel)


class Channels:
    """Read, create, change and delete channels."""

    def __init__(self, requester: Requester) -> None:
        self._requester = requester

    def list(self, app_id: str) -> Listing[Channel]:
        """List the channels of an app that the key may read, oldest first (contract C6).

        Raises `EmptyListing` if there is none although the server counts links of devices to channels of this app, and
        `PermissionDenied`. Only reads, and can be repeated.
        """
        app_id = app_id_of(app_id, self._requester.generation.chosen)
        checked_app_id(app_id)

        async def fetch(position: Position) -> Page[Channel]:
            rows = await self._requester.call(endpoints.list_channels(app_id, int(position[0][1])), _MANY)
            note_channels(self._requester.generation, rows)
            return Page(rows)

        doubt = partial(doubt_empty, self._requester, app_id, "channel")
        walk = partial(PageWalk[Channel], lambda row: row.id, last=last_unless_full, tie=lambda row: row.created_at)
        return Listing(walk, fetch, doubt=doubt)

    async def get(self, app_id: str, name: str) -> Channel:
        """Get one channel by its exact name (contract C6, D12).

        Raises `ChannelNotFound` or `PermissionDenied`. Only reads, and can be repeated.
        """
        app_id = app_id_of(app_id, self._requester.generation.chosen)
        return (await self._get(app_id, name))[0]

    @as_one_call
    async def create(
        self,
        app_id: str,
        name: str,
        settings: ChannelSettings | None = None,
        *,
        metadata_as: str = "version_number",
    ) -> Channel:
        """Create a channel and return it (contract C6).

        Raises `ConfigurationError` if a channel of this name exists, and so does repeating it. That is checked first, because
        the server would change the existing channel. Raises `BundleNotFound`, `PermissionDenied` and `NotApplied` as `update`
        does; for `metadata_as`, see there, too. A public channel is created private and made public by a second write, which
        needs another right (contract C0, K9): if that is refused, the channel exists and is private.
        """
        app_id = app_id_of(app_id, self._requester.generation.chosen)
        public = settings is not None and settings.public is True
        if settings is not None and public:
            settings = msgspec.structs.replace(settings, public=msgspec.UNSET)
        if settings is None or settings == ChannelSettings():
            call = endpoints.create_channel(app_id, name)
        else:
            call = endpoints.write_channel(app_id, name, settings, metadata_as=metadata_as)
        if await self._find(app_id, name) is not None:
            message = f"app {app_id} already has a channel {name}; nothing was changed. Use update to change it."
            raise ConfigurationError(message)
        effort = Effort()
        try:
            await self._write(call, settings, effort)
        except PermissionDenied:
            # The retry of a creation is an update, for which the key may lack the permission (contract G1).
            if not effort.in_doubt or (created := await self._find(app_id, name)) is None:
                raise
        else:
            created = await self.get(app_id, name)
        _check_package(created, settings)
        if not public:
            return created
        try:
            await self.update(app_id, name, ChannelSettings(public=True))
        except PermissionDenied as error:
            error.hint = f"The channel was created and is private. {error.hint}"
            raise
        return await self.get(app_id, name)

    @as_one_call
    async def update(
        self,
        app_id: str,
        name: str,
        settings: ChannelSettings,
        *,
        metadata_as: str = "version_number",
        ends_rollout: int | None = None,
    ) -> None:
        """Change settings of an existing channel; its bundle stays unless `settings` names one (contract C6).

        Raises `ChannelNotFound`; that is checked first, because the server would create a missing channel. Servers before
        12.198 remove the bundle of a channel when its settings change. On these, and if the version is unknown, the current
        bundle is sent along (contract D15). `metadata_as` is the server's word for `disable_auto_update="metadata"`
        (contract D14). Raises `NotApplied` if the server did not store an `update_package` (contract D48), `BundleNotFound` and
        `PermissionDenied`. Repeating it changes nothing more, but for the time of a pause (`rollout_paused=True`), which is why
        such a call is not retried.

        Another bundle and `rollout_enabled=False` end the rollout of a channel (contract K2, K3). Raises `DangerousCall` in
        that case, unless `ends_rollout` is the `rollout_version` of the channel. The rollout is then ended on every server,
        also on those that would keep it.
        """
        app_id = app_id_of(app_id, self._requester.generation.chosen)
        endpoints.checked_settings(settings)
        present, version = await self._get(app_id, name)
        ends = endpoints.ends_rollout(present, settings)
        if ends:
            check_rollout(present, ends_rollout)
        bundle = (present.bundle_name or msgspec.UNSET) if settings.bundle is msgspec.UNSET else settings.bundle
        for part in endpoints.in_order(settings, present):
            # An earlier response may have come from a server of another version; that response is from just now.
            if part.bundle is msgspec.UNSET and not is_since(version, SETTINGS_KEEP_THE_BUNDLE):
                part = msgspec.structs.replace(part, bundle=bundle)  # noqa: PLW2901 - what is sent of the part
            await self._write(endpoints.write_channel(app_id, name, part, metadata_as=metadata_as), part, Effort())
        if settings.update_package is not msgspec.UNSET:
            _check_package(await self.get(app_id, name), settings)
        if ends:
            await finish_rollout(self._requester, app_id, await self.get(app_id, name), ends_rollout)

    @as_one_call
    async def roll_back(self, app_id: str, name: str) -> None:
        """End the rollout of a channel; its stable bundle stays (contract C6).

        Raises `ChannelNotFound`, `PermissionDenied`, and `ConfigurationError` if the channel has no rollout, as when it is
        repeated: a server without rollouts would remove the channel's bundle (contract D15).
        """
        app_id = app_id_of(app_id, self._requester.generation.chosen)
        await self._rolling_out(app_id, name)
        await self._requester.call(endpoints.end_rollout(app_id, name, "rollback"), acknowledge)

    @as_one_call
    async def promote_rollout(self, app_id: str, name: str) -> None:
        """Make the bundle of a channel's rollout its stable bundle (contract C6).

        Raises the same errors as `roll_back`, also when it is repeated. The call is not retried, because a second attempt is
        refused (contract G1). If the outcome is unclear, the channel is read instead.
        """
        app_id = app_id_of(app_id, self._requester.generation.chosen)
        present = await self._rolling_out(app_id, name)
        try:
            await self._requester.call(endpoints.end_rollout(app_id, name, "promoteToStable"), acknowledge)
        except CapgoError as error:
            if not is_ambiguous(error) or not _is_promoted(present, await self.get(app_id, name)):
                raise

    @as_one_call
    async def delete(self, app_id: str, name: str) -> None:
        """Delete a channel and the links of all devices to it; its bundles stay (contract C6).

        Raises `ChannelNotFound`, and `DangerousCall` for a public channel, which devices without a link follow; that is checked
        first. Servers before 12.199.4 may report success without deleting a channel that devices are linked to. On these, and
        if the version is unknown, the channel is looked up afterwards, and `NotApplied` is raised if it is still there.
        Repeating it raises `ChannelNotFound`; a retry within the call looks whether the channel is gone.
        """
        app_id = app_id_of(app_id, self._requester.generation.chosen)
        call = endpoints.delete_channel(app_id, name)
        endpoints.check_deletion(app_id, await self.get(app_id, name))
        effort = Effort()
        try:
            await self._requester.call(call, acknowledge, effort)
        except ChannelNotFound:
            # The server also says this to a key without access, so only a look tells (contract A7, G1).
            if not effort.in_doubt or await self._find(app_id, name) is not None:
                raise
            return
        told = self._requester.generation.is_since(DELETION_OF_CHANNELS_IS_TOLD)
        if not told and await self._find(app_id, name) is not None:
            message = f"channel {name} of {app_id}: the server reported success, but it still exists; unlink its devices first"
            raise NotApplied(message)

    async def _get(self, app_id: str, name: str) -> tuple[Channel, Version | None]:
        """Get a channel, and the version of the server from the same response."""
        try:
            channel, version = await self._requester.call(endpoints.get_channel(app_id, name), _read_with_version)
        except BundleNotFound as error:
            # The server's code and message name the bundle, although the channel is missing.
            raise error.as_kind(ChannelNotFound, "there is no such channel") from error
        note_channels(self._requester.generation, [channel])
        return channel, version

    async def _rolling_out(self, app_id: str, name: str) -> Channel:
        present = await self.get(app_id, name)
        if present.rollout_version is None:
            message = f"channel {name} of {app_id} has no rollout; nothing was changed"
            raise ConfigurationError(message)
        return present

    async def _find(self, app_id: str, name: str) -> Channel | None:
        try:
            return await self.get(app_id, name)
        except ChannelNotFound:
            return None

    async def _write(self, call: Call, settings: ChannelSettings | None, effort: Effort) -> None:
        try:
            await self._requester.call(call, acknowledge, effort)
        except ServerError as error:
            if settings is not None and error.code == "unknown_error":
                error.hint = _hint(settings)
            raise
        except PermissionDenied as error:
            if settings is not None and settings.public is True:
                error.hint = _PUBLIC_NEEDS
            raise


def _read_with_version(response: Response, operation: str) -> tuple[Channel, Version | None]:
    return _ONE(response, operation), server_version(response.headers.get("x-worker-source"))


_PUBLIC_NEEDS: Final = "Since August 2026, making a channel public needs the right app.update_settings, which developers lack."
"""Contract C0, D59."""


async def finish_rollout(requester: Requester, app_id: str, channel: Channel, bundle_id: int | None) -> None:
    """Roll a channel back that still has the rollout of this bundle.

    Older servers keep a rollout that newer ones end (contract K2, K3).
    """
    if channel.rollout_version is not None and channel.rollout_version == bundle_id:
        await requester.call(endpoints.end_rollout(app_id, channel.name, "rollback"), acknowledge)


def check_rollout(channel: Channel, allowed: int | None) -> None:
    """Raise `DangerousCall` if the channel has a rollout of another bundle than `allowed` (contract K2)."""
    rollout = channel.rollout
    if rollout is not None and channel.rollout_version != allowed:
        message = (
            f"channel {channel.name} of {channel.app_id} has a rollout of {rollout.name or rollout.id}, which this would end."
            " Nothing was changed."
        )
        raise DangerousCall(message, problem=Problem.ENDS_ROLLOUT)


def _check_package(channel: Channel, settings: ChannelSettings | None) -> None:
    """Raise `NotApplied` if the server dropped `update_package` (contract D48)."""
    asked = settings.update_package if settings is not None else msgspec.UNSET
    if asked is msgspec.UNSET or channel.update_package == asked:
        return
    shown = (
        "does not know update_package" if channel.update_package is None else f"shows update_package {channel.update_package}"
    )
    message = f"channel {channel.name} of {channel.app_id}: the server reported success, but {shown}"
    raise NotApplied(message)


def _is_promoted(before: Channel, now: Channel) -> bool:
    return now.rollout_version is None and now.version is not None and now.version.id == before.rollout_version


def _hint(settings: ChannelSettings) -> str:
    """Name the settings that may have caused the server's error 500 (contract C6)."""
    suspects = []
    if isinstance(settings.bundle, str):
        suspects.append(f"that the app has a bundle {settings.bundle}")
    if isinstance(settings.disable_auto_update, str):
        suspects.append(f"that this server knows disable_auto_update {settings.disable_auto_update!r}")
    return f"Check {' and '.join(suspects)}: this server also answers 500 to unknown values." if suspects else ""
