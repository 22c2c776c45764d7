"""`client.bundles` (contract C8)."""

from collections.abc import Mapping
from functools import partial
from typing import Final

import msgspec

from ...errors import (
    ApiError,
    BundleLinked,
    BundleNotFound,
    Conflict,
    DangerousCall,
    InvalidRequest,
    NotApplied,
    PermissionDenied,
)
from ...http.call import Call
from ...http.dialect import LINKED_BUNDLES_ARE_SAFE
from ...http.effort import Effort
from ...http.requester import Requester
from ...http.waiting import as_one_call
from ...http.wire import Acknowledgement, Response, acknowledge, decoder_of, read, reads, reads_first, reads_many
from ...listing.listing import Listing
from ...listing.walks import Page, PageWalk, Position, last_unless_full
from ..detection import Learner
from ..endpoints import bundles as endpoints
from ..endpoints.arguments import app_id_of, checked_app_id, confirmed
from ..endpoints.bundles import BundleMetadata, NewBundle
from ..models import Bundle
from .channels import Channels, check_rollout, finish_rollout


class _Created(msgspec.Struct):
    bundle: Bundle


class _Assigned(msgspec.Struct, rename="camel"):
    assignment_target: str | None = None


class Deleted(msgspec.Struct, frozen=True, kw_only=True):
    """The names of deleted bundles, and of those `kept` because a channel or rollout uses them."""

    deleted: tuple[str, ...]
    kept: tuple[str, ...]


_MANY: Final = reads_many(Bundle)
read_created: Final = reads_first(
    reads(_Created, lambda answer: answer.bundle),
    # The vendor's documentation promises no more than an acknowledgement.
    reads(Acknowledgement, lambda _: None),
)


_ASSIGNED: Final["msgspec.json.Decoder[_Assigned]"] = decoder_of(_Assigned)


def read_target(response: Response, operation: str) -> str | None:
    """Return `stable` or `rollout`: what the bundle became; `None` if not told (contract K1)."""
    acknowledge(response, operation)
    return read(response, _ASSIGNED, operation).assignment_target


class Bundles:
    """Read, register, promote, describe and delete bundles."""

    def __init__(self, requester: Requester, learner: Learner) -> None:
        self._requester = requester
        self._learner = learner

    def list(self, app_id: str) -> Listing[Bundle]:
        """List the bundles of an app, newest first, without deleted ones (contract C8).

        Raises `EmptyListing` if there is none although a channel has a bundle, and `PermissionDenied`. Only reads, and can be
        repeated.
        """
        app_id = app_id_of(app_id, self._requester.generation.chosen)
        checked_app_id(app_id)

        async def fetch(position: Position) -> Page[Bundle]:
            return Page(await self._page(endpoints.list_bundles(app_id, int(position[0][1]))))

        async def doubt() -> str | None:
            try:
                async for channel in Channels(self._requester).list(app_id):
                    if channel.bundle_name is not None:
                        return f"the server lists no bundle, but channel {channel.name} has bundle {channel.bundle_name}"
            except (PermissionDenied, InvalidRequest):
                return None
            return None

        walk = partial(PageWalk[Bundle], lambda row: row.id, last=last_unless_full, tie=lambda row: row.created_at)
        return Listing(walk, fetch, doubt=doubt)

    @as_one_call
    async def find(self, app_id: str, name: str) -> Bundle | None:
        """Return the bundle with this name, or `None`.

        One request is enough on servers that know the filter. Others list their newest bundles; if the bundle is not among
        these, all are listed until it is found (contract K5).

        Raises as `list` does: a server that shows no bundle of this name may show none at all. Only reads, and can be repeated.
        """
        app_id = app_id_of(app_id, self._requester.generation.chosen)
        shown = await self._page(endpoints.find_bundle(app_id, name))
        if not shown:
            async for _ in self.list(app_id).pages(1):
                break
            return None
        for bundle in shown:
            if bundle.name == name:
                return bundle
        async for bundle in self.list(app_id):
            if bundle.name == name:
                return bundle
        return None

    @as_one_call
    async def create(self, app_id: str, bundle: NewBundle) -> Bundle:
        """Register a bundle that is stored outside Capgo, and return it (contract C8).

        Raises `Conflict` if the name is taken, or belonged to a bundle deleted less than 90 days ago (contract D49), and
        `NotApplied` if the server shows no such bundle afterwards. Repeating it raises `Conflict`; a retry within the call
        returns the bundle if it has the same checksum and URL.
        """
        app_id = app_id_of(app_id, self._requester.generation.chosen)
        effort = Effort()
        try:
            created = await self._requester.call(endpoints.create_bundle(app_id, bundle), read_created, effort)
        except Conflict:
            found = await self.find(app_id, bundle.version) if effort.in_doubt else None
            if found is None or (found.checksum, found.external_url) != (bundle.checksum, bundle.external_url):
                raise
            return found
        found = created or await self.find(app_id, bundle.version)
        if found is None:
            message = f"app {app_id}: the server reported success, but shows no bundle {bundle.version}"
            raise NotApplied(message)
        return found

    @as_one_call
    async def promote(self, app_id: str, channel: str, *, bundle_id: int, ends_rollout: int | None = None) -> None:
        """Make a bundle, given by its number, the stable one of a channel (contract C8, K1, K2).

        The channel is read before and after. Repeating it changes nothing. Raises `BundleNotFound`, `ChannelNotFound` or
        `PermissionDenied`, and `NotApplied` if the channel shows another bundle afterwards.

        Another stable bundle ends the rollout of a channel. Raises `DangerousCall` in that case, unless `ends_rollout` is the
        `rollout_version` of the channel. The rollout is then ended on every server, also on those that would keep it.
        """
        app_id = app_id_of(app_id, self._requester.generation.chosen)
        channels = Channels(self._requester)
        before = now = await channels.get(app_id, channel)
        if before.version is None or before.version.id != bundle_id:
            check_rollout(before, ends_rollout)
            target = await self._requester.call(endpoints.promote_bundle(app_id, bundle_id, before.id), read_target)
            now = await channels.get(app_id, channel)
            if target not in {None, "stable"} or now.version is None or now.version.id != bundle_id:
                given = "gave the bundle to its rollout" if target not in {None, "stable"} else "shows another bundle"
                message = f"channel {channel} of {app_id}: the server reported success, but {given}"
                raise NotApplied(message)
        await finish_rollout(self._requester, app_id, now, ends_rollout)

    async def set_metadata(self, app_id: str, bundle_id: int, metadata: BundleMetadata) -> None:
        """Set the link or the comment of a bundle (contract C8).

        Raises `BundleNotFound` or `PermissionDenied`. Repeating it changes nothing more.
        """
        app_id = app_id_of(app_id, self._requester.generation.chosen)
        await self._requester.call(endpoints.set_bundle_metadata(app_id, bundle_id, metadata), acknowledge)

    @as_one_call
    async def delete(self, app_id: str, name: str) -> None:
        """Delete one bundle by its name (contract C8).

        Raises `BundleNotFound`, `BundleLinked` if a channel uses the bundle, and `ConfigurationError` for an empty name, for
        which the server would delete all bundles. Servers before 12.188.1 also delete a bundle that is in use. On these, and if
        the version of the server is unknown, the channels are read first, and `DangerousCall` is raised (contract D27).
        Repeating it raises `BundleNotFound`; retries within the call take that for success.
        """
        app_id = app_id_of(app_id, self._requester.generation.chosen)
        call = endpoints.delete_bundle(app_id, name)
        await self._learner.version()
        if not self._requester.generation.is_since(LINKED_BUNDLES_ARE_SAFE):
            user = (await self._linked(app_id)).get(name)
            if user is not None:
                message = f"bundle {name} of {app_id} is used by channel {user}: give the channel another bundle first"
                raise DangerousCall(message)
        await self._requester.settle(call)

    @as_one_call
    async def delete_all(self, app_id: str, *, confirm: str | None = None) -> Deleted:
        """Delete every bundle of an app that no channel uses, one by one (contract C8, D26).

        Raises `DangerousCall` unless `confirm` is the app id, and as `list` and `delete` do; what was deleted by then stays so.
        Repeating it deletes what is left.
        """
        app_id = app_id_of(app_id, self._requester.generation.chosen)
        confirmed(confirm, checked_app_id(app_id), f"Every bundle of {app_id} that no channel uses would be deleted.")
        linked = await self._linked(app_id)
        names = [bundle.name for bundle in await self.list(app_id).all()]
        kept = {name: None for name in names if name in linked}
        for name in names:
            try:
                if name not in kept:
                    await self._requester.settle(endpoints.delete_bundle(app_id, name))
            except BundleLinked:
                kept[name] = None
            except BundleNotFound:
                continue
        return Deleted(deleted=tuple(name for name in names if name not in kept), kept=tuple(kept))

    async def _page(self, call: Call) -> tuple[Bundle, ...]:
        """Return the bundles of one response.

        Servers before autumn 2026 refuse a page without any bundle (contract C8, D9).
        """
        try:
            return await self._requester.call(call, _MANY)
        except ApiError as error:
            if not is_empty_page(error):
                raise
            return ()

    async def _linked(self, app_id: str) -> Mapping[str, str]:
        """Return the names of the bundles in use, each with a channel that uses it."""
        linked: dict[str, str] = {}
        async for channel in Channels(self._requester).list(app_id):
            for used in (channel.version, channel.rollout_version_info):
                if used is not None and used.name is not None:
                    linked[used.name] = channel.name
        return linked


def is_empty_page(error: ApiError) -> bool:
    """Whether the error means "no bundles", and not a failure with the same code (contract C8, D9)."""
    shown = (error.status, error.code, error.message)
    nothing_failed = error.details.get("supabaseError") is None and error.details.get("error") is None
    return shown == (400, "cannot_get_bundle", "Cannot get bundle") and nothing_failed
