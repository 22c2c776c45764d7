"""GET, POST, PUT and DELETE /organization (contract C1)."""

import re
from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import urlsplit

from msgspec.structs import replace

from ..exchange import Refusal, bad_range
from ..parameters import truthy
from ..state.access import Binding, Key
from ..state.organizations import SUPER_ADMIN, Organization
from ..state.world import uuid_like
from ..timestamps import device_format, row_format
from ..validation import (
    Rule,
    email,
    flag,
    invalid_body,
    nullable,
    number,
    one_of,
    optional,
    record,
    text,
    validate,
    whole,
    without_tags,
)
from .call import Call, columns, invalid_organization
from .paging import PAGE

INTENTS: Final = ("ota", "builder", "both", "exploring", "unknown")
_LOOK: Final[Mapping[str, Rule]] = {"orgId": optional(text()), "page": optional(number)}
_SEED_CREATION: Final[Mapping[str, Rule]] = {"name": text()}
_CREATION: Final[Mapping[str, Rule]] = {
    "name": text(shortest=3),
    "email": optional(email),
    "estimatedMau": optional(whole(least=0, most=1_000_000)),
    "website": optional(text()),
    "intent": optional(one_of(INTENTS)),
}
_SEED_UPDATE: Final[Mapping[str, Rule]] = {
    "orgId": text(),
    "logo": optional(text()),
    "name": optional(text()),
    "management_email": optional(email),
}
_PASSWORD_POLICY: Final[Mapping[str, Rule]] = {
    "enabled": flag,
    "min_length": whole(least=6, most=72),
    "require_uppercase": flag,
    "require_number": flag,
    "require_special": flag,
}
_UPDATE: Final[Mapping[str, Rule]] = {
    **_SEED_UPDATE,
    "website": nullable(text()),
    "require_apikey_expiration": optional(flag),
    "enforce_hashed_api_keys": optional(flag),
    "enforce_encrypted_bundles": optional(flag),
    "enforcing_2fa": optional(flag),
    "max_apikey_expiration_days": nullable(number),
    "required_encryption_key": nullable(text()),
    "password_policy_config": nullable(record(_PASSWORD_POLICY)),
}
_EMPTY_NAME: Final = "sanitized_name_empty"
_BAD_WEBSITE: Final = "website_must_be_a_valid_url"
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")


def read_organizations(call: Call) -> object:
    """Return one organization by id, or a page of 50 that the caller can read."""
    asked = validate(call.parameters, _LOOK)
    org_id = asked.get("orgId")
    if org_id:
        organization = call.organization("org.read", org_id, invalid_organization(org_id))
        return call.enveloped(organization_row(call, organization))
    page = asked.get("page", 0)
    start = PAGE * int(page) if isinstance(page, int | float) else 0
    if start < 0:
        more = {"error": bad_range(f"invalid offset: {start}")}
        raise Refusal(400, "cannot_get_organizations", "Cannot get organizations", more)
    held = [found for found in call.world.organizations if call.caller.permits("org.read", org_id=found.id)]
    if call.settings.generation != "seed":
        held = held[start : start + PAGE]
    return call.enveloped([organization_row(call, organization) for organization in held])


def create_organization(call: Call) -> object:
    """Create an organization with the caller's key and user as super admins. A repeat creates another."""
    seed = call.settings.generation == "seed"
    sent = validate(call.parameters, _SEED_CREATION if seed else _CREATION)
    website = _website(sent.get("website"))
    if isinstance(call.caller, Key) and not seed and not _may_create(call.caller):
        raise Refusal(403, "permission_denied", "Permission denied: org.create")
    owner = call.world.organizations.user_numbered(call.caller.user_id)
    if owner is None:
        raise Refusal(400, "cannot_get_user", "Cannot get user")
    organization = call.world.add_organization(str(sent["name"]), owner=owner, now=call.now)
    if isinstance(call.caller, Key):
        role = Binding(role=SUPER_ADMIN, org_id=organization.id)
        call.world.keys.replace(call.caller, replace(call.caller, bindings=(*call.caller.bindings, role)))
    organization.management_email = str(sent.get("email", owner.email))
    organization.website = website
    organization.intent = str(sent.get("intent", "unknown"))
    call.world.record(organization.id, "orgs", "INSERT", organization.id, None, full_row(organization), now=call.now)
    if seed:
        return {"status": "Organization created", "id": owner.id}  # contract C1: the wrong id, as on the real server
    return {"id": organization.id}


def update_organization(call: Call) -> object:
    """Change what was sent and return the whole row; `updated_at` does not change."""
    seed = call.settings.generation == "seed"
    sent = validate(call.parameters, _SEED_UPDATE if seed else _UPDATE)
    changes = {name: value for name, value in sent.items() if name != "orgId"}
    if "name" in changes:
        changes["name"] = without_tags(str(changes["name"]))
        if not changes["name"]:
            raise invalid_body(_EMPTY_NAME)
    if "website" in changes:
        changes["website"] = _website(changes["website"])
    _check_limits(changes)
    organization = call.organization("org.update_settings", sent["orgId"])
    if changes.get("enforcing_2fa") is True:
        _check_2fa(call)
    before = full_row(organization)
    for name, value in changes.items():
        setattr(organization, name, value)
    after = full_row(organization)
    if before != after:
        call.world.record(organization.id, "orgs", "UPDATE", organization.id, before, after, now=call.now)
    if seed:
        return {"status": "Organization updated", "data": [seed_row(organization)]}
    told: dict[str, object] = {"status": "Organization updated"}
    if call.settings.is_modern:
        told["id"] = organization.id
    return told | {"data": full_row(organization, device_format)}


def delete_organization(call: Call) -> object:
    """Delete an organization and everything in it; a repeat is refused as if the permission were missing."""
    org_id = call.field("orgId")
    if not truthy(org_id):
        raise Refusal(400, "missing_org_id", "Missing orgId")
    refusal = Refusal(403, "invalid_org_id", "You can't delete this organization", {"org_id": org_id})
    organization = call.organization("org.delete", org_id, refusal)
    call.world.delete_organization(organization.id)
    return {"status": "ok"}


def _may_create(key: Key) -> bool:
    administers = any(
        binding.app_id is None and key.permits("org.update_settings", org_id=binding.org_id) for binding in key.bindings
    )
    return administers and "org.create" in key.global_permissions


def _website(sent: object) -> str | None:
    """Parse a website: `https` if no scheme is given; only http and https, no credentials."""
    if not isinstance(sent, str) or not sent.strip():
        return None
    whole_url = sent.strip() if _SCHEME.match(sent.strip()) else f"https://{sent.strip()}"
    try:
        parts = urlsplit(whole_url)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme.lower() not in {"http", "https"} or not parts.hostname or parts.username or parts.password:
        raise invalid_body(_BAD_WEBSITE)
    return parts._replace(netloc=parts.netloc.lower(), path=parts.path or "/").geturl()


def _check_limits(changes: Mapping[str, object]) -> None:
    days = changes.get("max_apikey_expiration_days")
    if days is not None and days not in range(1, 366):
        message = "Maximum expiration days must be between 1 and 365"
        raise Refusal(400, "invalid_max_expiration_days", message)
    secret = changes.get("required_encryption_key")
    if isinstance(secret, str) and len(secret) not in {20, 21}:
        message = "Encryption key fingerprint must be 20 or 21 characters long"
        raise Refusal(400, "invalid_required_encryption_key", message)


def _check_2fa(call: Call) -> None:
    user = call.world.organizations.user_numbered(call.caller.user_id)
    if user is None or not user.has_2fa:
        message = "You must have 2FA enabled to enforce it for the organization"
        raise Refusal(400, "requires_2fa_to_enforce_2fa", message)


_MAILS: Final = (
    "onboarding", "usage_limit", "credit_usage", "device_error", "weekly_stats", "monthly_stats", "bundle_created",
    "bundle_deployed", "deploy_stats_24h", "billing_period_stats", "channel_self_rejected",
)  # fmt: skip


def organization_row(call: Call, organization: Organization) -> dict[str, object]:
    """Return an organization as GET shows it; a stored logo is signed anew for each read."""
    row = seed_row(organization)
    logo = organization.logo
    if logo and "://" not in logo:
        row["logo"] = f"https://storage.example.com/{logo}?token={uuid_like('signature', call.number)}"
    return row if call.settings.generation == "seed" else {**row, "website": organization.website}


def full_row(organization: Organization, moment: Callable[[int], str] = row_format) -> dict[str, object]:
    """Return every column, with times in the given format."""
    return {
        **seed_row(organization, moment),
        **columns(
            organization,
            "enforcing_2fa password_policy_config enforce_hashed_api_keys require_apikey_expiration "
            "max_apikey_expiration_days enforce_encrypted_bundles required_encryption_key website",
        ),
        "stats_updated_at": None,
        "last_stats_updated_at": None,
        "email_preferences": dict.fromkeys(_MAILS, True),
        "has_usage_credits": False,
        "stats_refresh_requested_at": None,
        "onboarding": {"intent": organization.intent},
    }


def seed_row(organization: Organization, moment: Callable[[int], str] = row_format) -> dict[str, object]:
    """Return the eight columns that every generation has."""
    return {
        **columns(organization, "id created_by logo name management_email customer_id"),
        "created_at": moment(organization.created_at),
        "updated_at": moment(organization.updated_at),
    }
