"""Bundles (contract C8)."""

from typing import Any

import msgspec


class Bundle(msgspec.Struct, frozen=True, kw_only=True):
    """A bundle of an app (contract C8). Devices call its `name` the version."""

    id: int
    name: str
    app_id: str = ""
    deleted: bool = False
    checksum: str | None = None
    session_key: str | None = None
    external_url: str | None = None
    r2_path: str | None = None
    created_at: str | None = None
    updated_at: str | None = None
    deleted_at: str | None = None
    owner_org: str | None = None
    user_id: str | None = None
    storage_provider: str | None = None
    native_packages: list[Any] | None = None
    min_update_version_modern: str | None = msgspec.field(name="min_update_version", default=None)
    min_update_version_seed: str | None = msgspec.field(name="minUpdateVersion", default=None)
    bucket_id: str | None = None
    link: str | None = None
    comment: str | None = None
    key_id: str | None = None
    cli_version: str | None = None
    created_by_apikey_rbac_id: str | None = None
    manifest: list[Any] | None = None
    manifest_count: int | None = None

    @property
    def min_update_version(self) -> str | None:
        """Return the lowest native version that may install this bundle (contract D22)."""
        return self.min_update_version_modern or self.min_update_version_seed
