"""GET /channel (contract C6)."""

from ..exchange import Refusal, no_single_row
from ..settings import CHANNELS_MAY_LACK_A_BUNDLE, since
from ..state.apps import UNKNOWN_ID, App
from ..state.channels import AutoPause, Channel
from ..timestamps import row_format
from .call import Call, columns
from .paging import in_order, page_of


def read_channels(call: Call) -> object:
    """Return one channel by name, or a page of all, oldest first."""
    app = call.app("app.read_channels", call.app_id())
    name = call.field("channel")
    if name:
        channel = app.channels.get(name) if isinstance(name, str) else None
        if channel is None:
            raise Refusal(400, "cannot_find_version", "Cannot find version", {"supabaseError": no_single_row()})
        row = channel_row(app, channel, call)
        if call.settings.dialect == "seed":
            del row["allow_dev"]  # contract C6: missing in the single look-up of that time
        return row
    page = page_of(call, in_order(app.channels.values(), call), "cannot_find_channels")
    return call.enveloped([channel_row(app, channel, call) for channel in page])


def channel_row(app: App, channel: Channel, call: Call) -> dict[str, object]:
    """Return a channel as GET shows it: 33 keys, 34 in the documentation, 12 in the seed era."""
    row: dict[str, object] = {
        **columns(channel, "id name created_by public allow_emulator allow_dev"),
        "created_at": row_format(channel.created_at),
        "app_id": app.app_id,
        "updated_at": row_format(channel.updated_at),
        "version": _info(app, channel.version) or _nothing(call),
        "disableAutoUpdateUnderNative": channel.disable_auto_update_under_native,
        "disableAutoUpdate": channel.disable_auto_update,
    }
    if call.settings.dialect == "seed":
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
        **({"updatePackage": channel.update_package} if call.settings.dialect == "docs" else {}),
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
