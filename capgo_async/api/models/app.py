"""Apps (contract C5)."""

from typing import Any

import msgspec


class App(msgspec.Struct, frozen=True, kw_only=True):
    """An app (contract C5).

    `retention_seconds` is how long an unused bundle is kept (contract D45). `icon_url` changes on every read.
    """

    app_id: str
    id: str | None = None
    name: str | None = None
    owner_org: str | None = None
    user_id: str | None = None
    icon_url: str | None = None
    last_version: str | None = None
    retention_seconds: int | None = msgspec.field(name="retention", default=None)
    default_upload_channel: str | None = None
    created_at: str | None = None
    updated_at: str | None = None
    transfer_history: list[Any] | None = None
    block_provider_infra_requests: bool | None = None
    allow_device_custom_id: bool | None = None
    allow_preview: bool | None = None
    expose_metadata: bool | None = None
    need_onboarding: bool | None = None
    existing_app: bool | None = None
    created_from_onboarding: bool | None = None
    ios_store_url: str | None = None
    android_store_url: str | None = None
    build_timeout_seconds: int | None = None
    build_timeout_updated_at: str | None = None
    channel_device_count: int | None = None
    manifest_bundle_count: int | None = None
    rollout_channel_count: int | None = None
    rollout_paused_version_names: list[str] | None = None
    onboarding_completed_at: str | None = None
    stats_updated_at: str | None = None
    stats_refresh_requested_at: str | None = None
