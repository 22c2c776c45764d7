"""The public surface: who changes it changes this."""

import inspect
from typing import get_type_hints

import pytest

import capgo_async
from capgo_async import App, Bundle, CapgoClient, Channel, Device, DeviceFilter, Listing

NAMES = [
    "App",
    "Attempt",
    "Bundle",
    "BundleReference",
    "CapgoClient",
    "CapgoError",
    "Channel",
    "Device",
    "DeviceFilter",
    "Dialect",
    "FixedWindow",
    "Limit",
    "Listing",
    "ScopeKind",
    "SilenceWindow",
    "SlidingWindow",
    "__version__",
    "errors",
    "parse_timestamp",
    "server_limits",
]
OPTIONS = {
    "api_key": None,
    "base_url": None,
    "rate": "auto",
    "limits": None,
    "concurrency": 16,
    "timeout": 30.0,
    "retries": 4,
    "dialect": capgo_async.Dialect.AUTO,
    "auth_header": "authorization",
    "session": None,
    "user_agent": f"capgo-async/{capgo_async.__version__}",
    "on_attempt": None,
    "trust_env": False,
    "allow_plain_http": False,
    "transport": None,
    "pacer": None,
}
METHODS = {
    ("apps", "list"): "(*, org_id: str | None = None) -> capgo_async.paging.Listing[capgo_async.models.app.App]",
    ("apps", "get"): "(app_id: str) -> capgo_async.models.app.App",
    ("bundles", "list"): "(app_id: str) -> capgo_async.paging.Listing[capgo_async.models.bundle.Bundle]",
    ("channels", "list"): "(app_id: str) -> capgo_async.paging.Listing[capgo_async.models.channel.Channel]",
    ("channels", "get"): "(app_id: str, name: str) -> capgo_async.models.channel.Channel",
    (
        "devices",
        "list",
    ): "(app_id: str, chosen: capgo_async.endpoints.devices.DeviceFilter = DeviceFilter("
    "limit=200, custom_ids_only=False, changed_since=None, order=None)) -> "
    "capgo_async.paging.Listing[capgo_async.models.device.Device]",
    ("devices", "get"): "(app_id: str, device_id: str) -> capgo_async.models.device.Device",
    ("devices", "link"): "(app_id: str, device_id: str, *, channel: str) -> None",
    ("devices", "unlink"): "(app_id: str, device_id: str) -> None",
}
FIELDS: dict[type, str] = {
    App: """
        app_id id name owner_org user_id icon_url last_version retention_seconds default_upload_channel
        created_at updated_at transfer_history block_provider_infra_requests allow_device_custom_id
        allow_preview expose_metadata need_onboarding existing_app created_from_onboarding ios_store_url
        android_store_url build_timeout_seconds build_timeout_updated_at channel_device_count
        manifest_bundle_count rollout_channel_count rollout_paused_version_names onboarding_completed_at
        stats_updated_at stats_refresh_requested_at
    """,
    Bundle: """
        id name app_id deleted checksum session_key external_url r2_path created_at updated_at deleted_at
        owner_org user_id storage_provider native_packages min_update_version_modern min_update_version_seed
        bucket_id link comment key_id cli_version created_by_apikey_rbac_id manifest manifest_count
    """,
    Channel: """
        id name app_id public version created_at updated_at created_by disable_auto_update
        disable_auto_update_under_native allow_emulator allow_dev allow_device allow_prod
        allow_device_self_set update_package rollout_version rollout_id rollout_version_info
        rollout_percentage_bps rollout_enabled rollout_paused_at rollout_pause_reason
        rollout_cache_ttl_seconds auto_pause_enabled auto_pause_window_minutes auto_pause_failure_rate_bps
        auto_pause_confidence auto_pause_min_attempts auto_pause_min_failures auto_pause_action
        auto_pause_cooldown_minutes auto_pause_last_triggered_at auto_pause_last_checked_at
    """,
    Device: """
        device_id app_id custom_id platform plugin_version os_version version_build is_prod is_emulator
        version_id version_name channel key_id install_source country_code updated_at
    """,
    DeviceFilter: """
        limit custom_ids_only changed_since order
    """,
}


def public_names_of(thing: object) -> set[str]:
    return {name for name in dir(thing) if not name.startswith("_")}


def test_the_package_exports_these_names() -> None:
    assert capgo_async.__all__ == NAMES
    assert all(hasattr(capgo_async, name) for name in NAMES)


def test_the_client_takes_these_options_by_name_only() -> None:
    parameters = inspect.signature(CapgoClient).parameters

    assert {name: parameter.default for name, parameter in parameters.items()} == OPTIONS
    assert {parameter.kind for parameter in parameters.values()} == {inspect.Parameter.KEYWORD_ONLY}


def test_the_client_has_these_namespaces_and_members() -> None:
    assert public_names_of(CapgoClient(api_key="key")) == {
        "aclose",
        "apps",
        "base_url",
        "bundles",
        "channels",
        "check",
        "counters",
        "devices",
        "dialect",
        "fingerprint",
        "name",
        "pacer",
        "requester",
        "server_version",
    }


@pytest.mark.parametrize("namespace", ["apps", "bundles", "channels", "devices"])
def test_the_namespaces_have_these_methods(namespace: str) -> None:
    resource = getattr(CapgoClient(api_key="key"), namespace)
    signatures = {
        (namespace, name): str(inspect.signature(getattr(resource, name))).replace("'", "")
        for name in public_names_of(resource)
    }

    assert signatures == {names: signature for names, signature in METHODS.items() if names[0] == namespace}


@pytest.mark.parametrize("model", FIELDS)
def test_the_models_have_these_fields(model: type) -> None:
    assert list(get_type_hints(model)) == FIELDS[model].split()


def test_a_listing_has_these_members() -> None:
    listing = CapgoClient(api_key="key").devices.list("com.example.app")

    assert isinstance(listing, Listing)
    assert public_names_of(listing) == {"all", "caveats", "complete", "pages"}
    assert hasattr(listing, "__aiter__")
