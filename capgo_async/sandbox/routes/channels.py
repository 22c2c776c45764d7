"""GET /channel (contract C6)."""

from ..exchange import Refusal, bad_range, no_single_row
from ..timestamps import row_format
from ..world import UNKNOWN_ID, App, Bundle, Channel
from .call import Call
from .paging import BadPageError, page_of
from .ties import in_order


def read_channels(call: Call) -> object:
    """Show one channel by name, or a page of all, oldest first."""
    app_id = call.app_id()
    app = call.app("app.read_channels", app_id)
    name = call.field("channel")
    if name:
        channel = app.channels.get(name) if isinstance(name, str) else None
        if channel is None:
            raise Refusal(400, "cannot_find_version", "Cannot find version", {"supabaseError": no_single_row()})
        row = channel_row(app, channel, call)
        if call.settings.dialect == "seed":
            del row["allow_dev"]  # contract C6: the single look of that time lacked it
        return row
    channels = in_order(app.channels.values(), call)
    try:
        return [channel_row(app, channel, call) for channel in page_of(channels, call.field("page"), call.settings)]
    except BadPageError as error:
        more = {"supabaseError": bad_range(str(error))}
        raise Refusal(400, "cannot_find_channels", "Cannot find channels", more) from error


def channel_row(app: App, channel: Channel, call: Call) -> dict[str, object]:
    """Write a channel as GET shows it: 33 keys, or those of the seed era."""
    bundle = None if channel.version is None else app.bundles.get(channel.version)
    if call.settings.dialect == "seed":
        return _seed_row(app, channel, bundle)
    return {
        "id": channel.id,
        "created_at": row_format(channel.created_at),
        "name": channel.name,
        "app_id": app.app_id,
        "created_by": channel.created_by,
        "updated_at": row_format(channel.updated_at),
        "public": channel.public,
        "allow_device_self_set": channel.allow_device_self_set,
        "allow_emulator": channel.allow_emulator,
        "allow_device": channel.allow_device,
        "allow_dev": channel.allow_dev,
        "allow_prod": channel.allow_prod,
        "rollout_version": None,
        "rollout_id": channel.rollout_id,
        "rollout_version_info": None,
        "version": None if bundle is None else {"name": bundle.name, "id": bundle.id},
        "disableAutoUpdateUnderNative": channel.disable_auto_update_under_native,
        "disableAutoUpdate": channel.disable_auto_update,
        "rolloutPercentageBps": 0,
        "rolloutEnabled": False,
        "rolloutPausedAt": None,
        "rolloutPauseReason": None,
        "rolloutCacheTtlSeconds": 2592000,
        "autoPauseEnabled": False,
        "autoPauseWindowMinutes": 60,
        "autoPauseFailureRateBps": None,
        "autoPauseConfidence": 0.95,
        "autoPauseMinAttempts": None,
        "autoPauseMinFailures": None,
        "autoPauseAction": "pause",
        "autoPauseCooldownMinutes": 60,
        "autoPauseLastTriggeredAt": None,
        "autoPauseLastCheckedAt": None,
    }


def _seed_row(app: App, channel: Channel, bundle: Bundle | None) -> dict[str, object]:
    return {
        "id": channel.id,
        "created_at": row_format(channel.created_at),
        "name": channel.name,
        "app_id": app.app_id,
        "created_by": channel.created_by,
        "updated_at": row_format(channel.updated_at),
        "public": channel.public,
        "disableAutoUpdateUnderNative": channel.disable_auto_update_under_native,
        "disableAutoUpdate": channel.disable_auto_update,
        "allow_emulator": channel.allow_emulator,
        "allow_dev": channel.allow_dev,
        "version": _seed_version(bundle),
    }


def _seed_version(bundle: Bundle | None) -> dict[str, object]:
    # Before 12.142 a channel without a bundle pointed at a placeholder of this name.
    return {"id": UNKNOWN_ID, "name": "unknown"} if bundle is None else {"id": bundle.id, "name": bundle.name}
