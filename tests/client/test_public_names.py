"""The public surface: who changes it changes this."""

import inspect
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from types import FunctionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import aiohttp
import pytest

import capgo_async
from capgo_async import (
    ActiveDevices,
    ApiKey,
    ApiKeySettings,
    App,
    AppSettings,
    AppStatPoint,
    AuditEntry,
    AuditFilter,
    Binding,
    Breakdown,
    Bundle,
    BundleMetadata,
    BundleReference,
    CapgoClient,
    Channel,
    ChannelSettings,
    DailyActiveDevices,
    Dataset,
    Deleted,
    Device,
    DeviceFilter,
    LatestVersion,
    Listing,
    Member,
    NewApiKey,
    NewApp,
    NewBundle,
    NewOrganization,
    Organization,
    OrganizationSettings,
    PasswordPolicy,
    StatPoint,
    Usage,
    bulk,
    errors,
    events,
    limits,
    models,
    sandbox,
)
from capgo_async.bulk import Job

NAMES = [
    "ActiveDevices",
    "ApiKey",
    "ApiKeySettings",
    "App",
    "AppSettings",
    "AppStatPoint",
    "AuditEntry",
    "AuditFilter",
    "Binding",
    "Breakdown",
    "Bundle",
    "BundleMetadata",
    "BundleReference",
    "CapgoClient",
    "CapgoError",
    "Channel",
    "ChannelSettings",
    "Counters",
    "DailyActiveDevices",
    "Dataset",
    "Deleted",
    "Device",
    "DeviceFilter",
    "Dialect",
    "FixedWindow",
    "KeyRing",
    "Known",
    "KnownLimit",
    "Latency",
    "LatestVersion",
    "Limit",
    "Listing",
    "Member",
    "NewApiKey",
    "NewApp",
    "NewBundle",
    "NewOrganization",
    "Organization",
    "OrganizationSettings",
    "PasswordPolicy",
    "Request",
    "Response",
    "ScopeKind",
    "SilenceWindow",
    "SlidingWindow",
    "StatPoint",
    "Timing",
    "Transport",
    "Usage",
    "__version__",
    "errors",
    "parse_timestamp",
    "raw_responses",
    "server_limits",
]
NAMES_OF_LIMITS = [
    "DEFAULT_SILENCE",
    "FixedWindow",
    "Limit",
    "Limiter",
    "Scope",
    "ScopeKind",
    "SilenceWindow",
    "SlidingWindow",
    "allowance",
    "device_limits",
    "held_for",
    "parse_rate",
    "safety_margin",
    "server_limits",
    "with_headroom",
]
OPTIONS = {
    "api_key": None,
    "base_url": None,
    "rate": "auto",
    "limits": None,
    "headroom": 0.0,
    "concurrency": 15,
    "timeout": 30.0,
    "max_response_bytes": 67_108_864,
    "retries": 4,
    "dialect": capgo_async.Dialect.AUTO,
    "auth_header": "authorization",
    "session": None,
    "user_agent": f"capgo-async/{capgo_async.__version__}",
    "on_event": None,
    "trust_env": False,
    "allow_plain_http": False,
    "transport": None,
    "chance": None,
}
NAMESPACES = ["organizations", "members", "api_keys", "apps", "channels", "bundles", "devices", "statistics"]
IN_ITS_MODULE = re.compile(r"capgo_async\.(?:[a-z_]+\.)+(?=[A-Z])")
"""The path of a class, which is nobody's business but ours: users import it from a public module."""
METHODS = {
    ("organizations", "audit_log"): (
        "(org_id: str, filter: AuditFilter = AuditFilter(table=None, operation=None, limit=100)) -> Listing[AuditEntry]"
    ),
    ("organizations", "create"): ("(organization: NewOrganization) -> Organization"),
    ("organizations", "delete"): "(org_id: str) -> None",
    ("organizations", "get"): "(org_id: str) -> Organization",
    ("organizations", "list"): "() -> Listing[Organization]",
    ("organizations", "update"): ("(org_id: str, settings: OrganizationSettings) -> Organization"),
    ("members", "invite"): "(org_id: str, email: str, role: str) -> None",
    ("members", "list"): "(org_id: str) -> Listing[Member]",
    ("members", "remove"): "(org_id: str, email: str, *, confirm: str | None = None) -> None",
    ("api_keys", "create"): "(api_key: NewApiKey) -> ApiKey",
    ("api_keys", "delete"): "(key_id: int) -> None",
    ("api_keys", "delete_by_secret"): "(secret: str) -> None",
    ("api_keys", "get"): "(key_id: int) -> ApiKey",
    ("api_keys", "list"): "() -> Listing[ApiKey]",
    ("api_keys", "regenerate"): "(key_id: int) -> ApiKey",
    ("api_keys", "update"): ("(key_id: int, settings: ApiKeySettings) -> ApiKey"),
    ("apps", "create"): "(app: NewApp) -> App",
    ("apps", "delete"): "(app_id: str) -> None",
    ("apps", "get"): "(app_id: str) -> App",
    ("apps", "list"): "(*, org_id: str | None = None) -> Listing[App]",
    ("apps", "update"): ("(app_id: str, settings: AppSettings, *, confirm: str | None = None) -> App"),
    ("channels", "create"): (
        "(app_id: str, name: str, settings: ChannelSettings | None = None, *, metadata_as: str = version_number) -> Channel"
    ),
    ("channels", "delete"): "(app_id: str, name: str) -> None",
    ("channels", "get"): "(app_id: str, name: str) -> Channel",
    ("channels", "list"): "(app_id: str) -> Listing[Channel]",
    ("channels", "promote_rollout"): "(app_id: str, name: str) -> None",
    ("channels", "roll_back"): "(app_id: str, name: str) -> None",
    ("channels", "update"): (
        "(app_id: str, name: str, settings: ChannelSettings, *, metadata_as: str = version_number,"
        " ends_rollout: int | None = None) -> None"
    ),
    ("bundles", "create"): ("(app_id: str, bundle: NewBundle) -> Bundle"),
    ("bundles", "delete"): "(app_id: str, name: str) -> None",
    ("bundles", "delete_all"): "(app_id: str, *, confirm: str | None = None) -> Deleted",
    ("bundles", "find"): "(app_id: str, name: str) -> Bundle | None",
    ("bundles", "list"): "(app_id: str) -> Listing[Bundle]",
    ("bundles", "promote"): "(app_id: str, channel: str, *, bundle_id: int, ends_rollout: int | None = None) -> None",
    ("bundles", "set_metadata"): ("(app_id: str, bundle_id: int, metadata: BundleMetadata) -> None"),
    ("devices", "find"): (
        "(app_id: str, custom_id: str, *, allow_several: bool = False, max_pages: float = inf) -> tuple[Device, ...]"
    ),
    ("devices", "knows_custom_ids"): "(app_id: str) -> bool",
    ("devices", "get"): "(app_id: str, device_id: str) -> Device",
    ("devices", "link"): "(app_id: str, device_id: str, *, channel: str) -> None",
    ("devices", "link_to_bundle"): "(app_id: str, device_id: str, *, version_id: str) -> None",
    ("devices", "list"): (
        "(app_id: str, filter: DeviceFilter = DeviceFilter(limit=200,"
        " custom_id=None, custom_ids_only=False, changed_since=None, order=None, after=None), *, cursors: int = 1,"
        " on_unreadable: collections.abc.Callable[[UnreadableAnswer], None] | None = None) -> Listing[Device]"
    ),
    ("devices", "unlink"): "(app_id: str, device_id: str) -> None",
    ("statistics", "app"): (
        "(app_id: str, start: datetime.date, end: datetime.date, *, totals: Literal[running, daily]"
        " = running, graph: Optional[Literal[mau, storage, bandwidth]] = None) -> "
        "collections.abc.Sequence[StatPoint] | bytes"
    ),
    ("statistics", "breakdown"): (
        "(org_id: str, start: datetime.date, end: datetime.date, *, totals: Literal[running, daily] = running) -> Breakdown"
    ),
    ("statistics", "bundle_usage"): ("(app_id: str, start: datetime.date, end: datetime.date) -> Usage"),
    ("statistics", "native_usage"): ("(app_id: str, start: datetime.date, end: datetime.date) -> Usage"),
    ("statistics", "organization"): (
        "(org_id: str, start: datetime.date, end: datetime.date, *, totals: Literal[running, daily]"
        " = running, graph: Optional[Literal[mau, storage, bandwidth]] = None) -> "
        "collections.abc.Sequence[StatPoint] | bytes"
    ),
    ("statistics", "user"): (
        "(start: datetime.date, end: datetime.date, *, totals: Literal[running, daily] = running, "
        "graph: Optional[Literal[mau, storage, bandwidth]] = None) -> "
        "collections.abc.Sequence[StatPoint] | bytes"
    ),
}
FIELDS: dict[type, str] = {
    ActiveDevices: """
        android ios electron unknown total
    """,
    ApiKey: """
        id name key mode user_id owner_org_id created_at updated_at expires_at limited_to_apps limited_to_orgs rbac_id
        is_hashed_key global_permissions
    """,
    ApiKeySettings: """
        name expires_at bindings global_permissions
    """,
    App: """
        app_id id name owner_org user_id icon_url last_version retention_seconds default_upload_channel
        created_at updated_at transfer_history block_provider_infra_requests allow_device_custom_id
        allow_preview expose_metadata need_onboarding existing_app created_from_onboarding ios_store_url
        android_store_url build_timeout_seconds build_timeout_updated_at channel_device_count
        manifest_bundle_count rollout_channel_count rollout_paused_version_names onboarding_completed_at
        stats_updated_at stats_refresh_requested_at
    """,
    AppSettings: """
        name icon retention_seconds expose_metadata allow_device_custom_id need_onboarding existing_app
        block_provider_infra_requests ios_store_url android_store_url
    """,
    AppStatPoint: """
        date mau storage bandwidth storage_byte_hours build_time_seconds get app_id
    """,
    AuditEntry: """
        id created_at table_name record_id operation org_id user_id old_record new_record changed_fields
        actor_type actor_user_id actor_user_email actor_apikey_id actor_apikey_name
    """,
    AuditFilter: """
        table operation limit
    """,
    Binding: """
        role_name scope_type org_id app_id channel_id reason
    """,
    Breakdown: """
        total by_app
    """,
    Bundle: """
        id name app_id deleted checksum session_key external_url r2_path created_at updated_at deleted_at
        owner_org user_id storage_provider native_packages min_update_version_modern min_update_version_seed
        bucket_id link comment key_id cli_version created_by_apikey_rbac_id manifest manifest_count
    """,
    BundleMetadata: """
        link comment
    """,
    BundleReference: """
        id name
    """,
    Channel: """
        id name app_id public version created_at updated_at created_by disable_auto_update
        disable_auto_update_under_native allow_emulator allow_dev allow_device allow_prod
        allow_device_self_set ios android update_package rollout_version rollout_id rollout_version_info
        rollout_percentage_bps rollout_enabled rollout_paused_at rollout_pause_reason
        rollout_cache_ttl_seconds auto_pause_enabled auto_pause_window_minutes auto_pause_failure_rate_bps
        auto_pause_confidence auto_pause_min_attempts auto_pause_min_failures auto_pause_action
        auto_pause_cooldown_minutes auto_pause_last_triggered_at auto_pause_last_checked_at
    """,
    ChannelSettings: """
        bundle public disable_auto_update disable_auto_update_under_native ios android electron
        allow_device_self_set allow_emulator allow_device allow_dev allow_prod update_package rollout_bundle
        rollout_percentage_bps rollout_enabled rollout_paused rollout_pause_reason rollout_cache_ttl_seconds
        auto_pause_enabled auto_pause_window_minutes auto_pause_failure_rate_bps auto_pause_confidence
        auto_pause_min_attempts auto_pause_min_failures auto_pause_action auto_pause_cooldown_minutes
    """,
    DailyActiveDevices: """
        labels android ios electron unknown total
    """,
    Dataset: """
        label data counts
    """,
    Deleted: """
        deleted kept
    """,
    Device: """
        device_id app_id custom_id platform plugin_version os_version version_build is_prod is_emulator
        version_id version_name channel key_id install_source country_code updated_at
    """,
    DeviceFilter: """
        limit custom_id custom_ids_only changed_since order after
    """,
    LatestVersion: """
        name percentage
    """,
    Member: """
        uid email role image_url is_tmp
    """,
    NewApiKey: """
        name bindings org_id mode limited_to_orgs limited_to_apps expires_at hashed global_permissions
    """,
    NewApp: """
        app_id name owner_org icon need_onboarding existing_app ios_store_url android_store_url
    """,
    NewBundle: """
        version external_url checksum session_key key_id
    """,
    NewOrganization: """
        name email website estimated_mau intent
    """,
    Organization: """
        id name created_by created_at updated_at logo management_email customer_id website
        require_apikey_expiration max_apikey_expiration_days enforce_hashed_api_keys
        enforce_encrypted_bundles required_encryption_key enforcing_2fa password_policy_config
        has_usage_credits
    """,
    OrganizationSettings: """
        name logo management_email website require_apikey_expiration max_apikey_expiration_days
        enforce_hashed_api_keys enforce_encrypted_bundles required_encryption_key enforcing_2fa
        password_policy_config
    """,
    PasswordPolicy: """
        enabled min_length require_uppercase require_number require_special
    """,
    StatPoint: """
        date mau storage bandwidth storage_byte_hours build_time_seconds get
    """,
    Usage: """
        labels datasets latest_version active_devices previous_period_active_devices daily_platform_active
    """,
}


def public_names_of(thing: object) -> set[str]:
    return {name for name in dir(thing) if not name.startswith("_")}


def test_the_package_exports_these_names() -> None:
    assert capgo_async.__all__ == NAMES
    assert all(hasattr(capgo_async, name) for name in NAMES)
    assert limits.__all__ == NAMES_OF_LIMITS


@pytest.mark.parametrize("order", [("limits", "CapgoClient", "models", "client"), ("client", "models", "limits", "Device")])
def test_names_are_there_without_an_import_of_their_modules(order: tuple[str, ...]) -> None:
    """Ask in a new process, because other tests have imported them."""
    code = "import sys, capgo_async; print(*dir(capgo_async)); [getattr(capgo_async, name) for name in sys.argv[1:]]"
    shown = subprocess.run([sys.executable, "-c", code, *order], check=True, capture_output=True, text=True).stdout

    assert {*NAMES, "client", "limits", "models"} <= set(shown.split())
    assert not hasattr(capgo_async, "unknown")


def test_the_client_takes_these_options_by_name_only() -> None:
    parameters = {name: each for name, each in inspect.signature(CapgoClient).parameters.items() if not name.startswith("_")}

    assert {name: parameter.default for name, parameter in parameters.items()} == OPTIONS
    assert {parameter.kind for parameter in parameters.values()} == {inspect.Parameter.KEYWORD_ONLY}


def test_the_client_has_these_namespaces_and_members() -> None:
    assert public_names_of(CapgoClient(api_key="key")) == {
        *NAMESPACES,
        "aclose",
        "base_url",
        "check",
        "counters",
        "dialect",
        "known",
        "recall",
        "server_version",
        "with_key",
    }


@pytest.mark.parametrize("namespace", NAMESPACES)
def test_the_namespaces_have_these_methods(namespace: str) -> None:
    resource = getattr(CapgoClient(api_key="key"), namespace)
    signatures = {
        (namespace, name): IN_ITS_MODULE.sub("", str(inspect.signature(getattr(resource, name))).replace("'", ""))
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


# Types


MADE_BY_OTHERS = (Job, Listing, *(type(getattr(CapgoClient(api_key="key"), namespace)) for namespace in NAMESPACES))
"""Classes whose constructors are no part of the public surface: methods of others make them."""


def exported() -> Iterator[object]:
    for module in (capgo_async, bulk, errors, events, limits, models, sandbox):
        defined = (name for name, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__)
        names = getattr(module, "__all__", None) or (name for name in defined if not name.startswith("_"))
        yield from (getattr(module, name) for name in names)


def signatures_of(thing: object) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the name and the type hints of everything public that a class or a function has."""
    if isinstance(thing, FunctionType):
        yield thing.__qualname__, get_type_hints(thing, localns={"aiohttp": aiohttp, "Transport": capgo_async.Transport})
    if not isinstance(thing, type):
        return
    yield thing.__qualname__, get_type_hints(thing)
    for name, member in vars(thing).items():
        function = getattr(member, "fget", None) or getattr(member, "__func__", member)
        if not name.startswith("_") or (name == "__init__" and thing not in MADE_BY_OTHERS):
            yield from signatures_of(function) if isinstance(function, FunctionType) else ()


def types_in(hint: Any) -> Iterator[type]:
    if isinstance(hint, list | tuple):
        parts: Iterable[Any] = hint
    elif get_origin(hint) is Literal:
        parts = ()
    else:
        parts = (get_origin(hint), *get_args(hint)) if get_args(hint) else ()
    for part in parts:
        yield from types_in(part)
    if isinstance(hint, type):
        yield hint


def test_every_type_of_a_public_signature_can_be_imported() -> None:
    public = {id(thing) for thing in exported()}
    missing = {
        (f"{found.__module__}.{found.__qualname__}", signature)
        for thing in (*exported(), *MADE_BY_OTHERS)
        for signature, hints in signatures_of(thing)
        for name, hint in hints.items()
        for found in types_in(hint)
        if found.__module__.startswith("capgo_async") and id(found) not in public and not name.startswith("_")
    }

    assert missing == set()
