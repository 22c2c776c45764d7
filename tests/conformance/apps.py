"""Rows of contract C5 to C8: apps, channels, devices, bundles."""

from typing import Any

import msgspec
from conformance.account import LOGO, ORG, USER
from conformance.exchanges import Exchange, Refusal, Row, Sent, e1, newer, old, one, refusals, said, several

from capgo_async import (
    App,
    AppSettings,
    Bundle,
    BundleMetadata,
    BundleReference,
    Channel,
    ChannelSettings,
    Deleted,
    Device,
    DeviceFilter,
    NewApp,
    NewBundle,
)
from capgo_async.errors import (
    BundleLinked,
    BundleNotFound,
    ChannelNotFound,
    Conflict,
    DeviceNotFound,
    InvalidRequest,
    NotFound,
    PermissionDenied,
    PublicChannelOverride,
    ServerError,
)

APP = "com.example.app"
THE_APP = (("app_id", APP),)
WRONG_FORM = (InvalidRequest, 400, "missing_app_id invalid_app_id")
NO_ACCESS = (PermissionDenied, 400, "cannot_access_app")
NO_ROW = {"code": "PGRST116", "message": "no rows", "details": "", "hint": None}
NOT_DIGESTED = (InvalidRequest, 400, "invalid_json_parse_body")

# Apps

COUNTS = {
    "retention": 2592000,
    "build_timeout_seconds": 900,
    "channel_device_count": 3,
    "manifest_bundle_count": 9007199254740993,
    "rollout_channel_count": 0,
}
FLAGS: dict[str, Any] = {
    "block_provider_infra_requests": True,
    "allow_device_custom_id": True,
    "allow_preview": False,
    "expose_metadata": False,
    "need_onboarding": False,
    "existing_app": False,
    "created_from_onboarding": False,
}
APP_ROW: dict[str, Any] = {
    "app_id": APP,
    "id": USER,
    "name": "Example",
    "owner_org": ORG,
    "user_id": USER,
    "icon_url": LOGO,
    "last_version": "1.2.0",
    "default_upload_channel": "dev",
    "created_at": "2026-01-01T00:00:00.5+00:00",
    "updated_at": None,
    "transfer_history": [],
    "ios_store_url": None,
    "android_store_url": None,
    "build_timeout_updated_at": "2026-01-01T00:00:00+00:00",
    "rollout_paused_version_names": [],
    "onboarding_completed_at": None,
    "stats_updated_at": None,
    "stats_refresh_requested_at": None,
    **COUNTS,
    **FLAGS,
}
APP_AS_CREATED = {**APP_ROW, **{name: str(count) for name, count in COUNTS.items()}, "created_at": "2026-01-01T00:00:00.500Z"}
NEWER_APP_ROW = {**APP_ROW, "onboarding": {"source": "cli"}}
DOCS_APP = {"app_id": APP, "name": "Example", "owner_org": ORG, "retention": 2592000, "block_provider_infra_requests": True}
DOCS_APP_MODEL = App(app_id=APP, name="Example", owner_org=ORG, retention_seconds=2592000, block_provider_infra_requests=True)
APP_MODEL = App(
    app_id=APP,
    id=USER,
    name="Example",
    owner_org=ORG,
    user_id=USER,
    icon_url=LOGO,
    last_version="1.2.0",
    retention_seconds=2592000,
    default_upload_channel="dev",
    created_at="2026-01-01T00:00:00.5+00:00",
    transfer_history=[],
    build_timeout_seconds=900,
    build_timeout_updated_at="2026-01-01T00:00:00+00:00",
    channel_device_count=3,
    manifest_bundle_count=9007199254740993,
    rollout_channel_count=0,
    rollout_paused_version_names=[],
    **FLAGS,
)
ONE_APP = Sent("GET", f"/app/{APP}")
LIST_APPS = Sent("GET", "/app", (("page", "0"), ("limit", "500")))
LIST_APPS_OF = Sent("GET", "/app", (("page", "0"), ("limit", "500"), ("org_id", ORG)))
CREATE_APP = Sent("POST", "/app", body={"app_id": APP, "name": "Example", "owner_org": ORG, "ios_store_url": "https://x.test"})
CHANGE_APP = Sent("PUT", f"/app/{APP}", body={"name": "Example", "retention": 2592000, "ios_store_url": None})
DELETE_APP = Sent("DELETE", f"/app/{APP}")
LISTING_REFUSALS = refusals(
    (InvalidRequest, 400, "cannot_get_apps cannot_get_user_organizations"),
    (PermissionDenied, 400, "user_does_not_have_access_to_this_organization"),
)

APPS = (
    Row(
        "C5",
        "apps.list",
        "GET /app",
        lambda capgo: capgo.apps.list().all(),
        [APP_MODEL],
        (
            one("2026-07", LIST_APPS, said([APP_ROW])),
            one("2026-11", LIST_APPS, newer([NEWER_APP_ROW])),
            one("docs", LIST_APPS, said({"data": [APP_ROW]})),
        ),
        LISTING_REFUSALS,
    ),
    Row(
        "C5",
        "apps.list",
        "GET /app?org_id",
        lambda capgo: capgo.apps.list(org_id=ORG).all(),
        [APP_MODEL],
        (one("2026-07", LIST_APPS_OF, said([APP_ROW])), one("docs", LIST_APPS_OF, said({"data": [APP_ROW]}))),
        LISTING_REFUSALS,
    ),
    Row(
        "C5",
        "apps.get",
        "GET /app/:app_id",
        lambda capgo: capgo.apps.get(APP),
        APP_MODEL,
        (
            one("2026-07", ONE_APP, said(APP_ROW)),
            one("2026-11", ONE_APP, newer(NEWER_APP_ROW)),
            one("docs", ONE_APP, said(DOCS_APP), found=DOCS_APP_MODEL),
            one("docs (OpenAPI)", ONE_APP, said({"data": APP_ROW})),
        ),
        refusals(
            (InvalidRequest, 400, "invalid_app_id"),
            (PermissionDenied, 401, "cannot_access_app"),
            (NotFound, 404, "cannot_find_app"),
        ),
    ),
    Row(
        "C5",
        "apps.create",
        "POST /app",
        lambda capgo: capgo.apps.create(NewApp(app_id=APP, name="Example", owner_org=ORG, ios_store_url="https://x.test")),
        msgspec.structs.replace(APP_MODEL, created_at="2026-01-01T00:00:00.500Z"),
        (
            one("2026-07", CREATE_APP, said(APP_AS_CREATED)),
            one("docs (OpenAPI)", CREATE_APP, said({"data": APP_AS_CREATED})),
        ),
        refusals(
            (InvalidRequest, 400, "missing_app_id invalid_app_id missing_name missing_owner_org cannot_create_app"),
            (PermissionDenied, 403, "cannot_access_organization"),
            (Conflict, 409, "app_id_already_exists"),
        ),
    ),
    Row(
        "C5",
        "apps.update",
        "PUT /app/:app_id",
        lambda capgo: capgo.apps.update(APP, AppSettings(name="Example", retention_seconds=2592000, ios_store_url=None)),
        APP_MODEL,
        (
            one("2026-07", CHANGE_APP, said(APP_ROW)),
            one("docs (OpenAPI)", CHANGE_APP, said({"data": APP_ROW})),
        ),
        refusals(
            (InvalidRequest, 400, "invalid_app_id retention_to_big retention_to_small cannot_load_app cannot_update_app"),
            (PermissionDenied, 401, "cannot_access_app"),
        ),
    ),
    Row(
        "C5",
        "apps.delete",
        "DELETE /app/:app_id",
        lambda capgo: capgo.apps.delete(APP),
        None,
        (one("2026-07", DELETE_APP, said()),),
        refusals((InvalidRequest, 400, "invalid_app_id"), (PermissionDenied, 400, "cannot_delete_app")),
    ),
)

# Channels

SEED_CHANNEL: dict[str, Any] = {
    "id": 7,
    "created_at": "2026-01-05T08:00:00.123456+00:00",
    "updated_at": "2026-07-18T12:00:00+00:00",
    "name": "beta",
    "app_id": APP,
    "created_by": USER,
    "public": False,
    "version": {"id": 41, "name": "1.2.0"},
    "disableAutoUpdateUnderNative": True,
    "disableAutoUpdate": "major",
    "allow_emulator": True,
    "allow_dev": True,
}
DOCS_CHANNEL: dict[str, Any] = {
    **SEED_CHANNEL,
    "allow_device_self_set": False,
    "allow_device": True,
    "allow_prod": True,
    "rollout_version": 42,
    "rollout_id": ORG,
    "rollout_version_info": {"id": 42, "name": "1.3.0"},
    "rolloutPercentageBps": 2500,
    "rolloutEnabled": True,
    "rolloutPausedAt": "2026-07-18T12:00:00+00:00",
    "rolloutPauseReason": "too many failures",
    "rolloutCacheTtlSeconds": 2592000,
    "autoPauseEnabled": True,
    "autoPauseWindowMinutes": 60,
    "autoPauseFailureRateBps": 500,
    "autoPauseConfidence": 0.95,
    "autoPauseMinAttempts": 100,
    "autoPauseMinFailures": 10,
    "autoPauseAction": "pause",
    "autoPauseCooldownMinutes": 60,
    "autoPauseLastTriggeredAt": None,
    "autoPauseLastCheckedAt": None,
}
SEED_CHANNEL_MODEL = Channel(
    id=7,
    name="beta",
    app_id=APP,
    public=False,
    version=BundleReference(41, "1.2.0"),
    created_at="2026-01-05T08:00:00.123456+00:00",
    updated_at="2026-07-18T12:00:00+00:00",
    created_by=USER,
    disable_auto_update="major",
    disable_auto_update_under_native=True,
    allow_emulator=True,
    allow_dev=True,
)
CHANNEL_MODEL = msgspec.structs.replace(
    SEED_CHANNEL_MODEL,
    allow_device_self_set=False,
    allow_device=True,
    allow_prod=True,
    rollout_version=42,
    rollout_id=ORG,
    rollout_version_info=BundleReference(42, "1.3.0"),
    rollout_percentage_bps=2500,
    rollout_enabled=True,
    rollout_paused_at="2026-07-18T12:00:00+00:00",
    rollout_pause_reason="too many failures",
    rollout_cache_ttl_seconds=2592000,
    auto_pause_enabled=True,
    auto_pause_window_minutes=60,
    auto_pause_failure_rate_bps=500,
    auto_pause_confidence=0.95,
    auto_pause_min_attempts=100,
    auto_pause_min_failures=10,
    auto_pause_action="pause",
    auto_pause_cooldown_minutes=60,
)
WITH_PACKAGE = {**DOCS_CHANNEL, "updatePackage": "zip"}
PACKAGED_MODEL = msgspec.structs.replace(CHANNEL_MODEL, update_package="zip")
NEWER_CHANNEL = {**WITH_PACKAGE, "ios": True, "android": False}
NEWER_MODEL = msgspec.structs.replace(PACKAGED_MODEL, ios=True, android=False)
BARE = {**SEED_CHANNEL, "version": None}
OLD_SWITCH = {**SEED_CHANNEL, "disableAutoUpdate": False}
OLD_SWITCH_MODEL = msgspec.structs.replace(SEED_CHANNEL_MODEL, disable_auto_update=False)
LIST_CHANNELS = Sent("GET", "/channel", (*THE_APP, ("page", "0")))
ONE_CHANNEL = Sent("GET", "/channel", (*THE_APP, ("channel", "beta")))
MISSING = e1(400, "cannot_find_version", "Cannot find version")
SEED_MISSING = old({"status": "Cannot find version"}, 400)
IDENTITY = {"app_id": APP, "channel": "beta"}
EVERY_SETTING = ChannelSettings(
    public=True,
    disable_auto_update="metadata",
    disable_auto_update_under_native=False,
    ios=True,
    android=False,
    electron=True,
    allow_device_self_set=True,
    allow_emulator=False,
    allow_device=True,
    allow_dev=False,
    allow_prod=True,
    update_package="zip",
    rollout_bundle="1.3.0",
    rollout_percentage_bps=2500,
    rollout_enabled=True,
    rollout_paused=False,
    rollout_pause_reason=None,
    rollout_cache_ttl_seconds=60,
    auto_pause_enabled=True,
    auto_pause_window_minutes=60,
    auto_pause_failure_rate_bps=None,
    auto_pause_confidence=0.95,
    auto_pause_min_attempts=100,
    auto_pause_min_failures=None,
    auto_pause_action="rollback",
    auto_pause_cooldown_minutes=0,
)
AS_SENT: dict[str, Any] = {
    **IDENTITY,
    "public": True,
    "disableAutoUpdate": "version_number",
    "disableAutoUpdateUnderNative": False,
    "ios": True,
    "android": False,
    "electron": True,
    "allow_device_self_set": True,
    "allow_emulator": False,
    "allow_device": True,
    "allow_dev": False,
    "allow_prod": True,
    "updatePackage": "zip",
    "rolloutVersion": "1.3.0",
    "rolloutPercentageBps": 2500,
    "rolloutEnabled": True,
    "rolloutPaused": False,
    "rolloutPauseReason": None,
    "rolloutCacheTtlSeconds": 60,
    "autoPauseEnabled": True,
    "autoPauseWindowMinutes": 60,
    "autoPauseFailureRateBps": None,
    "autoPauseConfidence": 0.95,
    "autoPauseMinAttempts": 100,
    "autoPauseMinFailures": None,
    "autoPauseAction": "rollback",
    "autoPauseCooldownMinutes": 0,
}
CREATE_CHANNEL = Sent("POST", "/channel", body={**IDENTITY, "version": "1.2.0"})
CREATE_BARE = Sent("POST", "/channel", body=IDENTITY)
UPDATE_CHANNEL = Sent("POST", "/channel", body=AS_SENT)
UPDATE_CAREFULLY = Sent("POST", "/channel", body={**AS_SENT, "version": "1.2.0"})
TAKE_BUNDLE = Sent("POST", "/channel", body={**IDENTITY, "version": None})
ROLL_BACK = Sent("POST", "/channel", body={**IDENTITY, "rollback": True})
DELETE_CHANNEL = Sent("DELETE", "/channel", (*THE_APP, ("channel", "beta")))
CHANNEL_WRITES = refusals(
    WRONG_FORM,
    (PermissionDenied, 400, "cannot_access_app cannot_promote_bundle"),
    (ChannelNotFound, 400, "cannot_find_channel"),
    (BundleNotFound, 400, "cannot_find_version"),
    (
        InvalidRequest,
        400,
        (
            "missing_stable_version missing_rollout_version invalid_rollout_percentage invalid_rollout_config "
            "invalid_auto_pause_confidence invalid_auto_pause_action cannot_set_bundle_to_channel invalid_json_parse_body "
            "invalid_update_package channel_zip_required channel_delta_required"
        ),
    ),
    (ServerError, 500, "unknown_error"),
)

CHANNELS = (
    Row(
        "C6",
        "channels.list",
        "GET /channel",
        lambda capgo: capgo.channels.list(APP).all(),
        [CHANNEL_MODEL],
        (
            one("2026-07", LIST_CHANNELS, said([DOCS_CHANNEL])),
            one("2026-11", LIST_CHANNELS, newer([NEWER_CHANNEL]), found=[NEWER_MODEL]),
            one("docs", LIST_CHANNELS, said([WITH_PACKAGE]), found=[PACKAGED_MODEL]),
            one("docs (OpenAPI)", LIST_CHANNELS, said({"data": [DOCS_CHANNEL]})),
            one("seed", LIST_CHANNELS, old([SEED_CHANNEL]), found=[SEED_CHANNEL_MODEL]),
            one("seed, as written", LIST_CHANNELS, old([OLD_SWITCH]), found=[OLD_SWITCH_MODEL]),
        ),
        refusals(WRONG_FORM, NO_ACCESS, (InvalidRequest, 400, "cannot_find_channels")),
    ),
    Row(
        "C6",
        "channels.get",
        "GET /channel?channel",
        lambda capgo: capgo.channels.get(APP, "beta"),
        CHANNEL_MODEL,
        (
            one("2026-07", ONE_CHANNEL, said(DOCS_CHANNEL)),
            one("2026-11", ONE_CHANNEL, newer(NEWER_CHANNEL), found=NEWER_MODEL),
            one("docs", ONE_CHANNEL, said(WITH_PACKAGE), found=PACKAGED_MODEL),
            one("docs (OpenAPI)", ONE_CHANNEL, said({"data": DOCS_CHANNEL})),
            one("seed", ONE_CHANNEL, old(SEED_CHANNEL), found=SEED_CHANNEL_MODEL),
            one("seed, as written", ONE_CHANNEL, old(OLD_SWITCH), found=OLD_SWITCH_MODEL),
        ),
        (
            *refusals(WRONG_FORM, NO_ACCESS, (ChannelNotFound, 400, "cannot_find_version")),
            Refusal(ChannelNotFound, "cannot_find_version", SEED_MISSING),
        ),
    ),
    Row(
        "C6",
        "channels.create",
        "POST /channel",
        lambda capgo: capgo.channels.create(APP, "beta", ChannelSettings(bundle="1.2.0")),
        CHANNEL_MODEL,
        (
            several(
                "2026-07",
                (ONE_CHANNEL, MISSING),
                (CREATE_CHANNEL, said({"status": "ok", "id": 7, "public": False})),
                (ONE_CHANNEL, said(DOCS_CHANNEL)),
            ),
            several("docs", (ONE_CHANNEL, MISSING), (CREATE_CHANNEL, said()), (ONE_CHANNEL, said({"data": DOCS_CHANNEL}))),
            several(
                "seed",
                (ONE_CHANNEL, SEED_MISSING),
                (CREATE_CHANNEL, old()),
                (ONE_CHANNEL, old(SEED_CHANNEL)),
                found=SEED_CHANNEL_MODEL,
            ),
        ),
        CHANNEL_WRITES,
        refused=1,
    ),
    Row(
        "C6",
        "channels.create",
        "POST /channel (defaults)",
        lambda capgo: capgo.channels.create(APP, "beta"),
        msgspec.structs.replace(SEED_CHANNEL_MODEL, version=None),
        (
            several("2026-07", (ONE_CHANNEL, MISSING), (CREATE_BARE, said()), (ONE_CHANNEL, said(BARE))),
            several("seed", (ONE_CHANNEL, SEED_MISSING), (CREATE_BARE, old()), (ONE_CHANNEL, old(BARE))),
        ),
        CHANNEL_WRITES,
        refused=1,
    ),
    Row(
        "C6",
        "channels.update",
        "POST /channel",
        lambda capgo: capgo.channels.update(APP, "beta", EVERY_SETTING),
        None,
        (
            several(
                "docs",
                (ONE_CHANNEL, said(WITH_PACKAGE)),
                (UPDATE_CHANNEL, said()),
                (ONE_CHANNEL, said(WITH_PACKAGE)),
            ),
            several(
                "2026-11",
                (ONE_CHANNEL, newer(NEWER_CHANNEL)),
                (UPDATE_CHANNEL, newer()),
                (ONE_CHANNEL, newer(NEWER_CHANNEL)),
            ),
            several(
                "before 12.198",
                (ONE_CHANNEL, said(WITH_PACKAGE, source="capgo_api-prod-12.197.9")),
                (UPDATE_CAREFULLY, said()),
                (ONE_CHANNEL, said(WITH_PACKAGE)),
            ),
            several(
                "seed",
                (ONE_CHANNEL, old({**SEED_CHANNEL, "updatePackage": "zip"})),
                (UPDATE_CAREFULLY, old()),
                (ONE_CHANNEL, old({**SEED_CHANNEL, "updatePackage": "zip"})),
            ),
        ),
        CHANNEL_WRITES,
        refused=1,
    ),
    Row(
        "C6",
        "channels.update",
        "POST /channel (bundle)",
        lambda capgo: capgo.channels.update(APP, "beta", ChannelSettings(bundle=None), ends_rollout=42),
        None,
        (
            several("2026-07", (ONE_CHANNEL, said(SEED_CHANNEL)), (TAKE_BUNDLE, said())),
            several(
                "2026-07, with a rollout",
                (ONE_CHANNEL, said(DOCS_CHANNEL)),
                (TAKE_BUNDLE, said()),
                (ONE_CHANNEL, said({**DOCS_CHANNEL, "version": None})),
                (ROLL_BACK, said()),
            ),
            several(
                "2026-11, with a rollout",
                (ONE_CHANNEL, said(DOCS_CHANNEL)),
                (TAKE_BUNDLE, said()),
                (ONE_CHANNEL, said({**DOCS_CHANNEL, "version": None, "rollout_version": None})),
            ),
        ),
        (),
    ),
    Row(
        "C6",
        "channels.roll_back",
        "POST /channel (rollback)",
        lambda capgo: capgo.channels.roll_back(APP, "beta"),
        None,
        (
            several(
                "2026-07",
                (ONE_CHANNEL, said(DOCS_CHANNEL)),
                (ROLL_BACK, said()),
            ),
        ),
        CHANNEL_WRITES,
        refused=1,
    ),
    Row(
        "C6",
        "channels.promote_rollout",
        "POST /channel (promoteToStable)",
        lambda capgo: capgo.channels.promote_rollout(APP, "beta"),
        None,
        (
            several(
                "2026-07",
                (ONE_CHANNEL, said(DOCS_CHANNEL)),
                (Sent("POST", "/channel", body={**IDENTITY, "promoteToStable": True}), said()),
            ),
        ),
        CHANNEL_WRITES,
        refused=1,
        look=(Exchange(ONE_CHANNEL, said(DOCS_CHANNEL)),),
    ),
    Row(
        "C6",
        "channels.delete",
        "DELETE /channel",
        lambda capgo: capgo.channels.delete(APP, "beta"),
        None,
        (
            several("2026-07", (ONE_CHANNEL, said(DOCS_CHANNEL)), (DELETE_CHANNEL, said())),
            several(
                "before 12.199.4",
                (ONE_CHANNEL, said(DOCS_CHANNEL)),
                (DELETE_CHANNEL, said(source="capgo_api-prod-12.199.3")),
                (ONE_CHANNEL, MISSING),
            ),
            several("seed", (ONE_CHANNEL, old(SEED_CHANNEL)), (DELETE_CHANNEL, old()), (ONE_CHANNEL, SEED_MISSING)),
        ),
        refusals(
            WRONG_FORM,
            NO_ACCESS,
            (ChannelNotFound, 400, "cannot_find_channel"),
            (InvalidRequest, 400, "missing_channel_name cannot_delete_channel cannot_delete_preview_bundle"),
            NOT_DIGESTED,
            (BundleLinked, 400, "cannot_delete_linked_version"),
        ),
    ),
)

# Devices

DEVICE = "0a1b2c3d-0000-4000-8000-000000000001"
PLAIN: dict[str, Any] = {
    "device_id": DEVICE,
    "app_id": APP,
    "custom_id": "qa-7",
    "platform": "ios",
    "plugin_version": "7.4.0",
    "os_version": "18.1",
    "version_build": "1.0.0",
    "is_prod": True,
    "is_emulator": False,
    "updated_at": "2026-07-20T09:15:30.000Z",
}
DEVICE_ROW = {
    **PLAIN,
    "version": 41,
    "version_name": "1.2.0",
    "channel": "beta",
    "key_id": "abcd",
    "install_source": None,
    "country_code": "DE",
}
SEED_DEVICE = {**PLAIN, "version": {"id": 41, "name": "1.2.0"}, "created_at": "2025-01-01T00:00:00+00:00"}
SEED_DEVICE_MODEL = Device(
    device_id=DEVICE,
    app_id=APP,
    custom_id="qa-7",
    platform="ios",
    plugin_version="7.4.0",
    os_version="18.1",
    version_build="1.0.0",
    is_prod=True,
    is_emulator=False,
    version_id=41,
    version_name="1.2.0",
    updated_at="2026-07-20T09:15:30.000Z",
)
DEVICE_MODEL = msgspec.structs.replace(SEED_DEVICE_MODEL, channel="beta", key_id="abcd", country_code="DE")
FILTER = DeviceFilter(limit=1, custom_ids_only=True, changed_since="2026-07-01T00:00:00Z", order="asc")
FILTERED = (
    *THE_APP,
    ("limit", "1"),
    ("customIdMode", "true"),
    ("updated_at", "2026-07-01T00:00:00Z"),
    ("order", "asc"),
)
CURSOR = "2026-07-20T09:15:30.000001+00:00|0a1b2c3d-0000-4000-8000-000000000001"
LIST_DEVICES = Sent("GET", "/device", FILTERED)
NEXT_DEVICES = Sent("GET", "/device", (*FILTERED, ("cursor", CURSOR)))
SECOND_PAGE = Sent("GET", "/device", (*FILTERED, ("page", "1")))
ONE_DEVICE = Sent("GET", "/device", (*THE_APP, ("device_id", DEVICE)))
LINK = Sent("POST", "/device", body={"app_id": APP, "device_id": DEVICE, "channel": "beta"})
LINK_TO_BUNDLE = Sent("POST", "/device", body={"app_id": APP, "device_id": DEVICE, "version_id": "1.2.0"})
UNLINK = Sent("DELETE", "/device", (*THE_APP, ("device_id", DEVICE)))
OTHER = "0a1b2c3d-0000-4000-8000-000000000002"
WITH_CUSTOM_ID = Sent("GET", "/device", (*THE_APP, ("limit", "200"), ("custom_id", "qa-7")))
ANYBODY = Sent("GET", "/device", (*THE_APP, ("limit", "1")))
PROBE_CUSTOM_IDS = Sent("GET", "/device", (*THE_APP, ("limit", "1"), ("custom_id", "x" * 37)))
SOMEBODY = {**DEVICE_ROW, "device_id": OTHER, "custom_id": "qa-8"}

DEVICES = (
    Row(
        "C7",
        "devices.list",
        "GET /device",
        lambda capgo: capgo.devices.list(APP, FILTER).all(),
        [DEVICE_MODEL, msgspec.structs.replace(DEVICE_MODEL, device_id=OTHER)],
        (
            several(
                "2026-07",
                (LIST_DEVICES, said({"data": [DEVICE_ROW], "nextCursor": CURSOR, "hasMore": True})),
                (NEXT_DEVICES, said({"data": [{**DEVICE_ROW, "device_id": OTHER}], "hasMore": False})),
            ),
            several(
                "12.33",
                (LIST_DEVICES, said([DEVICE_ROW, {**DEVICE_ROW, "device_id": OTHER}])),
                (SECOND_PAGE, said([])),
            ),
            several(
                "seed",
                (LIST_DEVICES, old([SEED_DEVICE, {**SEED_DEVICE, "device_id": OTHER}])),
                (SECOND_PAGE, old([])),
                found=[SEED_DEVICE_MODEL, msgspec.structs.replace(SEED_DEVICE_MODEL, device_id=OTHER)],
            ),
        ),
        refusals(
            WRONG_FORM,
            NO_ACCESS,
            (InvalidRequest, 400, "invalid_limit invalid_updated_at invalid_order invalid_custom_id invalid_json_parse_body"),
            (NotFound, 404, "devices_not_found"),
        ),
        refused=0,
    ),
    Row(
        "C7",
        "devices.get",
        "GET /device?device_id",
        lambda capgo: capgo.devices.get(APP, DEVICE.upper()),
        DEVICE_MODEL,
        (
            one("2026-07", ONE_DEVICE, said(DEVICE_ROW)),
            one("seed", ONE_DEVICE, old(SEED_DEVICE), found=SEED_DEVICE_MODEL),
        ),
        refusals(WRONG_FORM, NO_ACCESS, (DeviceNotFound, 404, "device_not_found")),
    ),
    Row(
        "C7",
        "devices.find",
        "GET /device?custom_id",
        lambda capgo: capgo.devices.find(APP, " qa-7"),
        (DEVICE_MODEL,),
        (
            one("2026-11", WITH_CUSTOM_ID, said({"data": [DEVICE_ROW], "hasMore": False})),
            several(
                "2026-11, none",
                *[(WITH_CUSTOM_ID, said({"data": [], "hasMore": False}))] * 2,
                (ANYBODY, said({"data": [SOMEBODY], "hasMore": True, "nextCursor": OTHER})),
                found=(),
            ),
            one("2026-07", WITH_CUSTOM_ID, said({"data": [SOMEBODY, DEVICE_ROW], "hasMore": False})),
            one("2026-07, none", WITH_CUSTOM_ID, said({"data": [SOMEBODY], "hasMore": False}), found=()),
        ),
        refusals(WRONG_FORM, NO_ACCESS, (InvalidRequest, 400, "invalid_custom_id")),
    ),
    Row(
        "C7",
        "devices.knows_custom_ids",
        "GET /device?custom_id (probe)",
        lambda capgo: capgo.devices.knows_custom_ids(APP),
        found=True,
        generations=(
            one("2026-11", PROBE_CUSTOM_IDS, e1(400, "invalid_custom_id")),
            one("2026-07", PROBE_CUSTOM_IDS, said({"data": [SOMEBODY], "hasMore": False}), found=False),
        ),
        refusals=refusals(WRONG_FORM, NO_ACCESS),
    ),
    Row(
        "C7",
        "devices.link",
        "POST /device",
        lambda capgo: capgo.devices.link(APP, DEVICE.upper(), channel="beta"),
        None,
        (one("2026-07", LINK, said()), one("seed", LINK, old({"status": "ok"}))),
        refusals(
            (InvalidRequest, 400, "missing_device_id_or_app_id invalid_app_id invalid_version_id invalid_json_parse_body"),
            (PermissionDenied, 400, "cannot_access_channel cannot_access_app"),
            (PublicChannelOverride, 400, "public_channel_override"),
            (ChannelNotFound, 404, "channel_not_found"),
            (ServerError, 500, "channel_device_error channel_self_store_error device_error unknown_error"),
        ),
    ),
    Row(
        "C7",
        "devices.link_to_bundle",
        "POST /device (version_id)",
        lambda capgo: capgo.devices.link_to_bundle(APP, DEVICE.upper(), version_id="1.2.0"),
        None,
        (one("seed, set", LINK_TO_BUNDLE, old(), options={"dialect": "seed"}),),
        refusals((InvalidRequest, 400, "invalid_version_id")),
    ),
    Row(
        "C7",
        "devices.unlink",
        "DELETE /device",
        lambda capgo: capgo.devices.unlink(APP, DEVICE.upper()),
        None,
        (one("2026-07", UNLINK, said()), one("seed", UNLINK, old())),
        refusals(
            WRONG_FORM,
            NO_ACCESS,
            (InvalidRequest, 400, "missing_device_id invalid_json_parse_body"),
            (ServerError, 500, "channel_self_store_error"),
        ),
    ),
)

# Bundles

SEED_BUNDLE: dict[str, Any] = {
    "id": 42,
    "app_id": APP,
    "name": "1.3.0",
    "checksum": "9f86d081",
    "session_key": None,
    "external_url": "https://cdn.test/1.3.0.zip",
    "r2_path": None,
    "created_at": "2026-07-18T11:59:00.5+00:00",
    "updated_at": "2026-07-18T11:59:01+00:00",
    "deleted": False,
    "owner_org": ORG,
    "user_id": USER,
    "storage_provider": "external",
    "native_packages": [{"name": "@capacitor/core"}],
    "minUpdateVersion": "1.0.0",
    "bucket_id": "bucket",
}
BUNDLE_ROW = {name: value for name, value in SEED_BUNDLE.items() if name not in {"minUpdateVersion", "bucket_id"}} | {
    "min_update_version": "1.0.0",
    "link": "https://x.test",
    "comment": "first",
    "key_id": None,
    "cli_version": "7.0.0",
    "deleted_at": None,
    "created_by_apikey_rbac_id": None,
    "manifest": None,
    "manifest_count": 0,
}
COMMON: dict[str, Any] = {
    "id": 42,
    "app_id": APP,
    "name": "1.3.0",
    "checksum": "9f86d081",
    "external_url": "https://cdn.test/1.3.0.zip",
    "created_at": "2026-07-18T11:59:00.5+00:00",
    "updated_at": "2026-07-18T11:59:01+00:00",
    "owner_org": ORG,
    "user_id": USER,
    "storage_provider": "external",
    "native_packages": [{"name": "@capacitor/core"}],
}
BUNDLE_MODEL = Bundle(
    **COMMON,
    min_update_version_modern="1.0.0",
    link="https://x.test",
    comment="first",
    cli_version="7.0.0",
    manifest_count=0,
)
SEED_BUNDLE_MODEL = Bundle(**COMMON, min_update_version_seed="1.0.0", bucket_id="bucket")
OTHER_BUNDLE = {**BUNDLE_ROW, "id": 41, "name": "1.2.0"}
LIST_BUNDLES = Sent("GET", "/bundle", (*THE_APP, ("page", "0")))
NEW_BUNDLE = NewBundle(
    version="1.3.0", external_url="https://cdn.test/1.3.0.zip", checksum="9f86d081", session_key="iv:key", key_id="abcd"
)
CREATE_BUNDLE = Sent(
    "POST",
    "/bundle",
    body={
        "app_id": APP,
        "version": "1.3.0",
        "external_url": "https://cdn.test/1.3.0.zip",
        "checksum": "9f86d081",
        "session_key": "iv:key",
        "key_id": "abcd",
    },
)
FIND_BUNDLE = Sent("GET", "/bundle", (*THE_APP, ("version", "1.3.0")))
PROMOTE = Sent("PUT", "/bundle", body={"app_id": APP, "version_id": 42, "channel_id": 7, "target": "stable"})
PROMOTED_CHANNEL = {**SEED_CHANNEL, "version": {"id": 42, "name": "1.3.0"}}
DESCRIBE = Sent(
    "POST", "/bundle/metadata", body={"app_id": APP, "version_id": 42, "link": "https://x.test", "comment": "first"}
)
DELETE_BUNDLE = Sent("DELETE", "/bundle", (*THE_APP, ("version", "1.3.0")))
HEALTH = Sent("GET", "/ok")
UNUSED = {**SEED_CHANNEL, "version": None}
NO_BUNDLES = e1(400, "cannot_get_bundle", "Cannot get bundle", supabaseError=None)
SEED_NO_BUNDLES = old({"status": "Cannot get bundle", "error": None}, 400)
BUNDLE_LISTING = (
    *refusals(WRONG_FORM, (InvalidRequest, 400, "invalid_query")),
    Refusal(PermissionDenied, "cannot_get_bundle", e1(400, "cannot_get_bundle", "You can't access this app", app_id=APP)),
    Refusal(InvalidRequest, "cannot_get_bundle", e1(400, "cannot_get_bundle", "Cannot get bundle", supabaseError=NO_ROW)),
)

BUNDLES = (
    Row(
        "C8",
        "bundles.list",
        "GET /bundle",
        lambda capgo: capgo.bundles.list(APP).all(),
        [BUNDLE_MODEL],
        (
            one("2026-07", LIST_BUNDLES, said([BUNDLE_ROW])),
            several("2026-07, none", (LIST_BUNDLES, NO_BUNDLES), (LIST_CHANNELS, said([UNUSED])), found=[]),
            several("2026-11, none", (LIST_BUNDLES, said([])), (LIST_CHANNELS, said([UNUSED])), found=[]),
            one("docs", LIST_BUNDLES, said({"data": [BUNDLE_ROW]})),
            one("seed", LIST_BUNDLES, old([SEED_BUNDLE]), found=[SEED_BUNDLE_MODEL]),
            several("seed, none", (LIST_BUNDLES, SEED_NO_BUNDLES), (LIST_CHANNELS, old([UNUSED])), found=[]),
        ),
        BUNDLE_LISTING,
    ),
    Row(
        "C8",
        "bundles.find",
        "GET /bundle",
        lambda capgo: capgo.bundles.find(APP, "1.3.0"),
        BUNDLE_MODEL,
        (
            one("2026-07", FIND_BUNDLE, said([OTHER_BUNDLE, BUNDLE_ROW])),
            several(
                "2026-07, none",
                (FIND_BUNDLE, NO_BUNDLES),
                (LIST_BUNDLES, NO_BUNDLES),
                (LIST_CHANNELS, said([UNUSED])),
                found=None,
            ),
            several(
                "2026-07, another",
                (FIND_BUNDLE, said([OTHER_BUNDLE])),
                (LIST_BUNDLES, said([OTHER_BUNDLE])),
                found=None,
            ),
            one("2026-11", FIND_BUNDLE, said([BUNDLE_ROW])),
            several("2026-11, none", (FIND_BUNDLE, said([])), (LIST_BUNDLES, said([OTHER_BUNDLE])), found=None),
            one("docs", FIND_BUNDLE, said({"data": [OTHER_BUNDLE, BUNDLE_ROW]})),
            one("seed", FIND_BUNDLE, old([SEED_BUNDLE]), found=SEED_BUNDLE_MODEL),
        ),
        BUNDLE_LISTING,
    ),
    Row(
        "C8",
        "bundles.create",
        "POST /bundle",
        lambda capgo: capgo.bundles.create(APP, NEW_BUNDLE),
        BUNDLE_MODEL,
        (
            one("2026-07", CREATE_BUNDLE, said({"status": "success", "bundle": BUNDLE_ROW})),
            several("docs", (CREATE_BUNDLE, said()), (FIND_BUNDLE, said({"data": [BUNDLE_ROW]}))),
        ),
        (
            *refusals(
                WRONG_FORM,
                (
                    InvalidRequest,
                    400,
                    (
                        "missing_version missing_external_url missing_checksum invalid_version_format invalid_protocol "
                        "encryption_required encryption_key_required encryption_key_mismatch"
                    ),
                ),
                (NotFound, 400, "cannot_find_app"),
                (PermissionDenied, 400, "cannot_create_bundle"),
                (Conflict, 400, "version_already_exists"),
            ),
            Refusal(Conflict, "cannot_create_bundle", e1(400, "cannot_create_bundle", supabaseError={"code": "23505"})),
            Refusal(InvalidRequest, "cannot_create_bundle", e1(400, "cannot_create_bundle", supabaseError={"code": "23503"})),
        ),
        refused=0,
    ),
    Row(
        "C8",
        "bundles.promote",
        "PUT /bundle",
        lambda capgo: capgo.bundles.promote(APP, "beta", bundle_id=42),
        None,
        (
            several(
                "2026-07",
                (ONE_CHANNEL, said(SEED_CHANNEL)),
                (PROMOTE, said({"status": "success", "message": "Bundle 1.3.0 set to channel beta"})),
                (ONE_CHANNEL, said(PROMOTED_CHANNEL)),
            ),
            several(
                "2026-11",
                (ONE_CHANNEL, said({**SEED_CHANNEL, "ios": True, "android": True, "updatePackage": "zip"})),
                (PROMOTE, said({"status": "success", "message": "Promoted", "assignmentTarget": "stable"})),
                (ONE_CHANNEL, said(PROMOTED_CHANNEL)),
            ),
        ),
        refusals(
            WRONG_FORM,
            NO_ACCESS,
            (
                InvalidRequest,
                400,
                (
                    "missing_required_fields cannot_set_bundle_to_channel channel_zip_required channel_delta_required "
                    "invalid_target cannot_set_rollout_without_stable"
                ),
            ),
            (BundleNotFound, 400, "cannot_find_version"),
            (ChannelNotFound, 400, "cannot_find_channel"),
        ),
        refused=1,
    ),
    Row(
        "C8",
        "bundles.set_metadata",
        "POST /bundle/metadata",
        lambda capgo: capgo.bundles.set_metadata(APP, 42, BundleMetadata(link="https://x.test", comment="first")),
        None,
        (one("2026-07", DESCRIBE, said()), one("docs", DESCRIBE, said({"status": "success"}))),
        refusals(
            WRONG_FORM,
            (PermissionDenied, 400, "cannot_update_bundle_metadata"),
            (InvalidRequest, 400, "missing_required_fields no_fields_to_update cannot_update_version_metadata"),
            (BundleNotFound, 400, "cannot_find_version"),
        ),
    ),
    Row(
        "C8",
        "bundles.delete",
        "DELETE /bundle",
        lambda capgo: capgo.bundles.delete(APP, "1.3.0"),
        None,
        (
            several("2026-07", (HEALTH, said()), (DELETE_BUNDLE, said())),
            several(
                "before 12.188.1",
                (HEALTH, said(source="capgo_api-prod-12.188.0")),
                (LIST_CHANNELS, said([SEED_CHANNEL], source="capgo_api-prod-12.188.0")),
                (DELETE_BUNDLE, said(source="capgo_api-prod-12.188.0")),
            ),
            several("seed", (HEALTH, old()), (LIST_CHANNELS, old([SEED_CHANNEL])), (DELETE_BUNDLE, old())),
        ),
        (
            *refusals(
                WRONG_FORM,
                (PermissionDenied, 400, "cannot_delete_bundle"),
                (BundleLinked, 400, "cannot_delete_linked_version"),
                (InvalidRequest, 400, "cannot_delete_version cannot_check_linked_channels cannot_delete_all_version"),
                NOT_DIGESTED,
            ),
            Refusal(BundleNotFound, "cannot_delete_version", e1(400, "cannot_delete_version", supabaseError=NO_ROW)),
        ),
        refused=1,
    ),
    Row(
        "C8",
        "bundles.delete_all",
        "DELETE /bundle (one by one)",
        lambda capgo: capgo.bundles.delete_all(APP, confirm=APP),
        Deleted(deleted=("1.3.0",), kept=("1.2.0",)),
        (
            several(
                "2026-07",
                (LIST_CHANNELS, said([SEED_CHANNEL])),
                (LIST_BUNDLES, said([BUNDLE_ROW, OTHER_BUNDLE])),
                (DELETE_BUNDLE, said()),
            ),
            several(
                "2026-07, linked meanwhile",
                (LIST_CHANNELS, said([UNUSED])),
                (LIST_BUNDLES, said([OTHER_BUNDLE])),
                (Sent("DELETE", "/bundle", (*THE_APP, ("version", "1.2.0"))), e1(400, "cannot_delete_linked_version")),
                found=Deleted(deleted=(), kept=("1.2.0",)),
            ),
            several(
                "seed",
                (LIST_CHANNELS, old([SEED_CHANNEL])),
                (LIST_BUNDLES, old([SEED_BUNDLE, {**SEED_BUNDLE, "id": 41, "name": "1.2.0"}])),
                (DELETE_BUNDLE, old()),
            ),
        ),
        refusals((PermissionDenied, 400, "cannot_delete_bundle"), (InvalidRequest, 400, "cannot_check_linked_channels")),
    ),
)

ROWS = (*APPS, *CHANNELS, *DEVICES, *BUNDLES)
