"""GET /app and GET /app/:app_id, and the row that all /app routes return (contract C5)."""

import re
from typing import Final

from ..exchange import Refusal, bad_range
from ..state.apps import App
from ..timestamps import row_format
from .call import Call, columns

_LENIENT: Final = re.compile(r"\s*([+-]?\d+)", re.ASCII)


def list_apps(call: Call) -> object:
    """List the apps that the key can read, in no defined order."""
    org_id = call.field("org_id")
    if org_id and all(binding.org_id != org_id for binding in call.key.bindings):
        message = "You do not have access to this organization"
        raise Refusal(400, "user_does_not_have_access_to_this_organization", message, {"org_id": org_id})
    page, limit = _whole(call.field("page"), 0), _whole(call.field("limit"), 50)
    if page is None or limit is None or page < 0 or limit < 0:
        raise _cannot_get(page, limit)
    apps = [
        app
        for app in call.world.apps.values()
        if (not org_id or app.owner_org == org_id) and call.key.permits("app.read", org_id=app.owner_org, app_id=app.app_id)
    ]
    start = page * limit
    return call.enveloped([app_row(app) for app in apps[start : start + min(limit, call.settings.row_cap)]])


def get_app(call: Call) -> object:
    """Return one app; 401 without access, or if there is none."""
    return call.enveloped(app_row(call.app("app.read", call.checked(call.path["app_id"]), status=401)))


def app_row(app: App) -> dict[str, object]:
    """Return an app as GET and PUT show it: 30 columns, 64-bit ones as numbers."""
    return {
        **columns(
            app,
            "app_id icon_url user_id name last_version id retention owner_org default_upload_channel expose_metadata "
            "allow_device_custom_id need_onboarding existing_app ios_store_url android_store_url "
            "block_provider_infra_requests",
        ),
        "created_at": row_format(app.created_at),
        "updated_at": None if app.updated_at is None else row_format(app.updated_at),
        "transfer_history": [],
        "channel_device_count": len(app.overrides),
        "manifest_bundle_count": 0,
        "allow_preview": False,
        "stats_updated_at": None,
        "stats_refresh_requested_at": None,
        "build_timeout_seconds": 900,
        "build_timeout_updated_at": row_format(app.created_at),
        "rollout_channel_count": sum(channel.rollout.enabled for channel in app.channels.values()),
        "rollout_paused_version_names": _paused(app),
        "created_from_onboarding": False,
        "onboarding_completed_at": None,
    }


def _paused(app: App) -> list[str]:
    paused = (channel.rollout.version for channel in app.channels.values() if channel.rollout.paused_at is not None)
    return sorted({bundle.name for number in paused if (bundle := app.bundle_numbered(number)) is not None})


def _whole(value: object, default: int) -> int | None:
    if value is None or value == "":
        return default
    match = _LENIENT.match(str(value))
    return None if match is None else int(match[1])


def _cannot_get(page: int | None, limit: int | None) -> Refusal:
    if page is None or limit is None:
        sentence = "invalid offset: NaN"
    else:
        sentence = f"invalid limit: {limit}" if limit < 0 else f"invalid offset: {page * limit}"
    return Refusal(400, "cannot_get_apps", "Cannot get apps", {"supabaseError": bad_range(sentence)})
