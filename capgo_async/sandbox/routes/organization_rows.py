"""An organization as the generations of the server write it (contract C1)."""

from collections.abc import Callable
from typing import Final

from ..organizations import Organization
from ..timestamps import row_format
from ..world import uuid_like
from .call import Call

_MAILS: Final = (
    "onboarding", "usage_limit", "credit_usage", "device_error", "weekly_stats", "monthly_stats", "bundle_created",
    "bundle_deployed", "deploy_stats_24h", "billing_period_stats", "channel_self_rejected",
)  # fmt: skip


def organization_row(call: Call, organization: Organization) -> dict[str, object]:
    """Write an organization as GET shows it; a stored logo is signed anew for each read."""
    row = seed_row(organization)
    logo = organization.logo
    if logo and "://" not in logo:
        row["logo"] = f"https://storage.example.com/{logo}?token={uuid_like('signature', call.number)}"
    return row if call.settings.dialect == "seed" else {**row, "website": organization.website}


def seed_row(organization: Organization) -> dict[str, object]:
    """Write the eight columns that every generation has."""
    return _columns(organization, row_format)


def full_row(organization: Organization, moment: Callable[[int], str]) -> dict[str, object]:
    """Write every column, with moments in the given format."""
    return {
        **_columns(organization, moment),
        "stats_updated_at": None,
        "last_stats_updated_at": None,
        "enforcing_2fa": organization.enforcing_2fa,
        "email_preferences": dict.fromkeys(_MAILS, True),
        "password_policy_config": organization.password_policy_config,
        "enforce_hashed_api_keys": organization.enforce_hashed_api_keys,
        "require_apikey_expiration": organization.require_apikey_expiration,
        "max_apikey_expiration_days": organization.max_apikey_expiration_days,
        "enforce_encrypted_bundles": organization.enforce_encrypted_bundles,
        "required_encryption_key": organization.required_encryption_key,
        "has_usage_credits": False,
        "website": organization.website,
        "stats_refresh_requested_at": None,
        "onboarding": {"intent": organization.intent},
    }


def _columns(organization: Organization, moment: Callable[[int], str]) -> dict[str, object]:
    return {
        "id": organization.id,
        "created_by": organization.created_by,
        "created_at": moment(organization.created_at),
        "updated_at": moment(organization.updated_at),
        "logo": organization.logo,
        "name": organization.name,
        "management_email": organization.management_email,
        "customer_id": organization.customer_id,
    }
