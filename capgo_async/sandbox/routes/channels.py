"""All /channel routes (contract C6)."""

from typing import Final

from ..exchange import Refusal, no_single_row, unknown_error
from ..parameters import truthy
from ..settings import CHANNELS_ARE_REALLY_DELETED, CHANNELS_MAY_LACK_A_BUNDLE, LINKED_BUNDLES_ARE_SAFE, ROLLOUTS, since
from ..state.apps import UNKNOWN_ID, App, Bundle
from ..state.channels import AutoPause, Channel, Rollout
from ..state.world import uuid_like
from ..timestamps import micros, row_format
from .bundles import linked, retire
from .call import Call, cannot_access_app, columns
from .channel_settings import apply_auto_pause, apply_settings, flag
from .paging import in_order, page_of
from .rollouts import apply_rollout, promotes, settle, unlinks

_NO_BUNDLE: Final = frozenset({"", "unknown", "builtin"})


def read_channels(call: Call) -> object:
    """Return one channel by name, or a page of all, oldest first."""
    app = call.app("app.read_channels", call.app_id())
    name = call.field("channel")
    if name:
        channel = app.channels.get(name) if isinstance(name, str) else None
        if channel is None:
            raise Refusal(400, "cannot_find_version", "Cannot find version", {"supabaseError": no_single_row()})
        row = channel_row(app, channel, call)
        if call.settings.generation == "seed":
            del row["allow_dev"]  # contract C6: missing in the single look-up of that time
        return row
    page = page_of(call, in_order(app.channels.values(), call), "cannot_find_channels")
    return call.enveloped([channel_row(app, channel, call) for channel in page])


def channel_row(app: App, channel: Channel, call: Call) -> dict[str, object]:
    """Return a channel as GET shows it.

    It has 33 keys, 34 in the documentation, 36 on the newest servers and 12 in the seed era.
    """
    row: dict[str, object] = {
        **columns(channel, "id name created_by public allow_emulator allow_dev"),
        "created_at": row_format(channel.created_at),
        "app_id": app.app_id,
        "updated_at": row_format(channel.updated_at),
        "version": _info(app, channel.version) or _nothing(call),
        "disableAutoUpdateUnderNative": channel.disable_auto_update_under_native,
        "disableAutoUpdate": channel.disable_auto_update,
    }
    if call.settings.generation == "seed":
        return row
    rollout = channel.rollout
    return {
        **row,
        **columns(channel, "allow_device_self_set allow_device allow_prod"),
        "rollout_version": rollout.version,
        "rollout_id": rollout.id,
        "rollout_version_info": _info(app, rollout.version),
        "rolloutPercentageBps": rollout.percentage_bps,
        "rolloutEnabled": rollout.enabled,
        "rolloutPausedAt": None if rollout.paused_at is None else row_format(rollout.paused_at),
        "rolloutPauseReason": rollout.pause_reason,
        "rolloutCacheTtlSeconds": rollout.cache_ttl_seconds,
        **_auto_pause(channel.auto_pause),
        **({"updatePackage": channel.update_package} if call.settings.keeps_packages else {}),
        **(columns(channel, "ios android") if call.settings.is_newest else {}),
    }


def _auto_pause(auto_pause: AutoPause) -> dict[str, object]:
    return {
        "autoPauseEnabled": auto_pause.enabled,
        "autoPauseWindowMinutes": auto_pause.window_minutes,
        "autoPauseFailureRateBps": auto_pause.failure_rate_bps,
        "autoPauseConfidence": auto_pause.confidence,
        "autoPauseMinAttempts": auto_pause.min_attempts,
        "autoPauseMinFailures": auto_pause.min_failures,
        "autoPauseAction": auto_pause.action,
        "autoPauseCooldownMinutes": auto_pause.cooldown_minutes,
        "autoPauseLastTriggeredAt": None,
        "autoPauseLastCheckedAt": None,
    }


def _info(app: App, bundle_id: int | None) -> dict[str, object] | None:
    bundle = None if bundle_id is None else app.bundles.get(bundle_id)
    return None if bundle is None else {"name": bundle.name, "id": bundle.id}


def _nothing(call: Call) -> dict[str, object] | None:
    # A channel without a bundle used to point at a placeholder of this name.
    return None if since(call.settings, CHANNELS_MAY_LACK_A_BUNDLE) else {"name": "unknown", "id": UNKNOWN_ID}


def write_channel(call: Call) -> object:
    """Create a channel, or change the settings that were sent of an existing one."""
    app_id = call.app_id()
    name = call.field("channel")
    app = call.world.apps.get(app_id)
    channel = app.channels.get(name) if app is not None and isinstance(name, str) else None
    needed = "app.create_channel" if channel is None else "channel.update_settings"
    app = call.world.app_permitting(call.key, needed, app_id)
    if app is None:
        raise cannot_access_app(app_id, {} if channel is None else {"channel": channel.name})
    if not isinstance(name, str) or not name:
        raise unknown_error()
    if call.settings.is_newest and flag(call, "public") and (channel is None or not channel.public):
        call.app("app.update_settings", app_id)
    if channel is None:
        return _create(call, app, name)
    if call.sends("version"):
        _check_may_promote(call, app, channel)
    unlinks_one = channel.rollout.version is not None and unlinks(call)
    if (_promotes(call) or unlinks_one) and not call.may("channel.promote_bundle", app, made_with=channel.created_with):
        more = {"app_id": app_id, "channel": channel.name, "channelId": channel.id}
        raise Refusal(400, "cannot_promote_bundle", "You can't promote bundles on this channel", more)
    return _update(call, app, channel)


def delete_channel(call: Call) -> object:
    """Delete a channel and its overrides; old servers return ok but keep a channel that has any.

    The channel is looked up in the key's own view before permissions are.
    """
    app_id = call.app_id()
    name = call.field("channel")
    if not truthy(name):
        raise Refusal(400, "missing_channel_name", "You must provide a channel name")
    app = call.world.apps.get(app_id)
    channel = app.channels.get(name) if app is not None and isinstance(name, str) else None
    own = None if channel is None else channel.created_with
    if app is None or channel is None or not call.may("app.read", app, made_with=own):
        raise Refusal(400, "cannot_find_channel", "Cannot find channel", {"supabaseError": no_single_row()})
    if not call.may("channel.delete", app, made_with=own):
        raise cannot_access_app(app_id, {"channel_id": channel.id})
    bundle = _bundle_to_delete(call, app, channel) if call.field("delete_bundle") is True else None
    if app.is_overridden_to(channel) and not since(call.settings, CHANNELS_ARE_REALLY_DELETED):
        return {"status": "ok"}
    app.drop_channel(channel)
    call.record(app, "channels", channel.id, call.stored(app, channel), None)
    if bundle is not None:
        retire(call, app, bundle)
    return {"status": "ok"}


def _create(call: Call, app: App, name: str) -> object:
    if _promotes(call):
        raise Refusal(400, "cannot_find_channel", "Cannot find channel", {"app_id": app.app_id, "channel": name})
    named, key = _bundle_named(call), call.key.key_id
    rollout = Rollout(id=uuid_like("rollout", app.app_id, name))
    blank = Channel(id=0, name=name, created_at=0, updated_at=0, created_by="", created_with=key, rollout=rollout)
    draft = blank.draft()
    if named is not None:
        _check_may_promote(call, app, draft)
    _apply(call, app, draft)
    bundle = app.bundle_named(named)
    if named is not None and bundle is None:
        call.world.number()  # contract H2: a creation that is rolled back uses up an id
        raise Refusal(400, "cannot_find_version", "Cannot find version")
    draft.version = None if bundle is None else bundle.id
    settle(call, app, blank, draft)
    channel = call.world.add_channel(app, name, now=call.now)
    channel.created_by, channel.created_with = call.key.user_id, key
    channel.take(draft)
    _demote_others(call, app, channel)
    call.record(app, "channels", channel.id, None, call.stored(app, channel))
    if bundle is not None and call.settings.is_modern:
        return {"status": "ok", "id": channel.id, "public": channel.public}
    return {"status": "ok"}


def _update(call: Call, app: App, channel: Channel) -> object:
    draft = channel.draft()
    if call.sends("version"):
        named = _bundle_named(call)
        bundle = app.bundle_named(named)
        if named is not None and bundle is None:
            raise unknown_error()
        draft.version = None if bundle is None else bundle.id
    elif not since(call.settings, LINKED_BUNDLES_ARE_SAFE):
        draft.version = None  # contract C6: settings alone removed the bundle
    _apply(call, app, draft)
    settle(call, app, channel, draft)
    before = call.stored(app, channel)
    channel.take(draft)
    channel.updated_at = max(micros(call.now), channel.updated_at + 1)
    _demote_others(call, app, channel)
    call.record(app, "channels", channel.id, before, call.stored(app, channel))
    return {"status": "ok"}


def _apply(call: Call, app: App, draft: Channel) -> None:
    apply_settings(call, draft)
    if since(call.settings, ROLLOUTS):
        apply_rollout(call, app, draft)
        apply_auto_pause(call, draft)


def _promotes(call: Call) -> bool:
    return since(call.settings, ROLLOUTS) and promotes(call)


def _bundle_named(call: Call) -> object:
    """Return the name of the bundle that was sent; `None` for the names that mean no bundle."""
    name = call.field("version")
    return None if isinstance(name, str) and name in _NO_BUNDLE else name


def _check_may_promote(call: Call, app: App, channel: Channel) -> None:
    if not call.may("channel.promote_bundle", app, made_with=channel.created_with):
        raise cannot_access_app(app.app_id, {"channel": channel.name})


def _demote_others(call: Call, app: App, channel: Channel) -> None:
    """Make other channels of a platform private, as the database does when a channel becomes public."""
    if not flag(call, "public"):
        return
    for other in app.channels.values():
        if other is not channel and other.public and other.shares_platform(channel):
            before = call.stored(app, other)
            other.public = False
            call.record(app, "channels", other.id, before, call.stored(app, other))


def _bundle_to_delete(call: Call, app: App, channel: Channel) -> Bundle | None:
    """Return the bundle to delete with its channel: preview keys may ask for it, for their own."""
    if not call.previews(app):
        raise cannot_access_app(app.app_id, {"channel_id": str(channel.id)})
    bundle = app.bundle_numbered(channel.version)
    if bundle is None:
        return None
    if bundle.created_with != call.key.key_id:
        raise Refusal(400, "cannot_delete_preview_bundle", "Cannot delete preview bundle", {"app_id": app.app_id})
    if any(other is not channel and other.serves(bundle.id) for other in app.channels.values()):
        raise linked(app, bundle)
    return bundle
