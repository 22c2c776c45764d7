"""All /app routes, and the row that they return (contract C5)."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from .. import javascript
from ..exchange import Refusal, bad_range, database_error
from ..parameters import required
from ..state.apps import App
from ..state.world import uuid_like
from ..timestamps import device_format, micros, row_format
from .call import Call, columns

_LENIENT: Final = re.compile(r"\s*([+-]?\d+)", re.ASCII)
TWO_YEARS: Final = 63_113_903
_WIDE: Final = (
    "retention", "build_timeout_seconds", "channel_device_count", "manifest_bundle_count", "rollout_channel_count",
)  # fmt: skip
"""The 64-bit columns; only `POST` writes them as strings (contract A4)."""


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
    return call.enveloped([_shown(call, app) for app in apps[start : start + min(limit, call.settings.row_cap)]])


def get_app(call: Call) -> object:
    """Return one app; 401 without access, or if there is none."""
    return call.enveloped(_shown(call, call.app("app.read", call.checked(call.path["app_id"]), status=401)))


def _shown(call: Call, app: App) -> dict[str, object]:
    row = app_row(app)
    return {**row, "onboarding": {}} if call.settings.is_newest else row


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


def create_app(call: Call) -> object:
    """Create an app; its id must be unused by any customer."""
    app_id = call.app_id()
    name, org_id = (required(call.parameters, column) for column in ("name", "owner_org"))
    if not isinstance(org_id, str) or not call.caller.permits("org.create_app", org_id=org_id):
        raise Refusal(403, "cannot_access_organization", "You can't access this organization", {"org_id": org_id})
    _check_icon(call, org_id)
    changes = _read(call, _AT_CREATION, "cannot_create_app")
    if app_id in call.world.apps:
        detail = f"Key (app_id)=({app_id}) already exists."
        more = {"app_id": app_id, "constraint": "apps_pkey", "detail": detail}
        raise Refusal(409, "app_id_already_exists", "App ID already exists", more)
    app = call.world.add_app(app_id, org_id=org_id, user_id=call.caller.user_id, now=call.now)
    _write(app, {**changes, "name": str(name), "id": uuid_like("app", app_id, call.number)})
    row = app_row(app)
    call.world.record(org_id, "apps", "INSERT", app_id, None, row, now=call.now)
    shown = {**row, **{column: str(row[column]) for column in _WIDE}}
    return {**shown, "created_at": device_format(app.created_at), "build_timeout_updated_at": device_format(app.created_at)}


def update_app(call: Call) -> object:
    """Change the settings that were sent; without a known one, the database reports an error."""
    app = call.app("app.update_settings", call.checked(call.path["app_id"]), status=401)
    _check_retention(call.field("retention"))
    _check_icon(call, app.owner_org)
    code = "cannot_update_app"
    changes = _read(call, _SETTINGS, code)
    if not changes:
        raise _refused(code, "PGRST102", "Empty or invalid json")
    before = app_row(app)
    _write(app, changes)
    app.updated_at = max(micros(call.now), app.created_at + 1)
    after = app_row(app)
    call.record(app, "apps", app.app_id, before, after)
    return after


def delete_app(call: Call) -> object:
    app = call.app("app.delete", call.checked(call.path["app_id"]), code="cannot_delete_app")
    call.world.record(app.owner_org, "apps", "DELETE", app.app_id, app_row(app), None, now=call.now)
    call.world.delete_app(app)
    return {"status": "ok"}


def _check_icon(call: Call, org_id: str) -> None:
    """Refuse an icon that is no path of the organization, as the newest servers do (contract C5)."""
    icon = call.field("icon")
    if call.settings.is_newest and icon and ("://" in str(icon) or org_id not in str(icon)):
        raise Refusal(400, "invalid_icon_path", "Invalid icon path")


def _check_retention(sent: object) -> None:
    seconds = javascript.whole(sent)
    if seconds is not None and seconds > TWO_YEARS:
        message = f"Retention cannot be bigger than {TWO_YEARS} (2 years)"
        raise Refusal(400, "retention_to_big", message, {"retention": sent})
    if seconds is not None and seconds < 0:
        raise Refusal(400, "retention_to_small", "Retention cannot be smaller than 0", {"retention": sent})


def _read(call: Call, names: Iterable[str], code: str) -> dict[str, object]:
    """Return the columns that were sent, as the database stores them."""
    changes: dict[str, object] = {}
    for name in names:
        if call.sends(name):
            try:
                changes["icon_url" if name == "icon" else name] = _SETTINGS[name](call.field(name))
            except ValueError as error:
                raise _refused(code, "22P02", str(error)) from error
    return changes


def _write(app: App, changes: Mapping[str, object]) -> None:
    for column, value in changes.items():
        setattr(app, column, value)


def _refused(code: str, database_code: str, message: str) -> Refusal:
    more = {"supabaseError": database_error(database_code, message)}
    return Refusal(400, code, code.replace("_", " ").capitalize(), more)


def _text_or_null(value: object) -> str | None:
    return None if value is None else str(value)


def _seconds(value: object) -> int:
    seconds = javascript.whole(value)
    if seconds is None:
        message = f'invalid input syntax for type bigint: "{value}"'
        raise ValueError(message)
    return seconds


def _flag(value: object) -> bool:
    flag = javascript.boolean(value)
    if flag is None:
        message = f'invalid input syntax for type boolean: "{value}"'
        raise ValueError(message)
    return flag


_SETTINGS: Final[Mapping[str, Callable[[object], object]]] = {
    "name": _text_or_null,
    "icon": str,
    "retention": _seconds,
    "expose_metadata": _flag,
    "allow_device_custom_id": _flag,
    "need_onboarding": _flag,
    "existing_app": _flag,
    "block_provider_infra_requests": _flag,
    "ios_store_url": _text_or_null,
    "android_store_url": _text_or_null,
}
_AT_CREATION: Final = ("icon", "need_onboarding", "existing_app", "ios_store_url", "android_store_url")
