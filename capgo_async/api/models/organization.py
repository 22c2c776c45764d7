"""Organizations and their audit log (contract C1, C3)."""

from typing import Any

import msgspec


class Organization(msgspec.Struct, frozen=True, kw_only=True):
    """An organization (contract C1).

    `logo` is a signed URL that changes on every read (contract D32). The fields after `website` are set only in the response to
    an update.
    """

    id: str
    name: str = ""
    created_by: str | None = None
    created_at: str | None = None
    updated_at: str | None = None
    logo: str | None = None
    management_email: str | None = None
    customer_id: str | None = None
    website: str | None = None
    require_apikey_expiration: bool | None = None
    max_apikey_expiration_days: int | None = None
    enforce_hashed_api_keys: bool | None = None
    enforce_encrypted_bundles: bool | None = None
    required_encryption_key: str | None = None
    enforcing_2fa: bool | None = None
    password_policy_config: Any = None
    has_usage_credits: bool | None = None


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """An entry of an audit log (contract C3).

    `operation` is `INSERT`, `UPDATE` or `DELETE`. `actor_type` is `user`, `apikey`, `system` or `unknown`; it is `system` for
    changes that follow from another. The server keeps entries for 90 days.
    """

    id: int
    created_at: str = ""
    table_name: str = ""
    record_id: str | None = None
    operation: str = ""
    org_id: str | None = None
    user_id: str | None = None
    old_record: Any = None
    new_record: Any = None
    changed_fields: list[str] | None = None
    actor_type: str | None = None
    actor_user_id: str | None = None
    actor_user_email: str | None = None
    actor_apikey_id: int | None = None
    actor_apikey_name: str | None = None


class AuditPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of an audit log; `total` counts all entries that match the filter (contract C3)."""

    data: list[AuditEntry]
    total: int
    page: int = 0
    limit: int = 50
