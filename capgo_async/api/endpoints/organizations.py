"""Organizations and their audit log (contract C1, C3)."""

from typing import Annotated, Final

import msgspec
from msgspec import UNSET, Meta, UnsetType

from ...errors import ConfigurationError
from ...http.call import Call
from ...http.dialect import Dialect
from ...http.retry import Repeat
from ...http.wire import Request, encode
from ..words import AuditOperation, AuditTable, Intent, Word, check_words
from .arguments import LONGEST_NAME, Name, Url, body_of, checked, named

LARGEST_AUDIT_PAGE: Final = 100
"""Most entries per page (contract C3)."""


class PasswordPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """The password policy of an organization (contract C1)."""

    enabled: bool
    min_length: Annotated[int, Meta(ge=6, le=72)] = 10
    require_uppercase: bool = True
    require_number: bool = True
    require_special: bool = True


class OrganizationSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Changes to an organization; fields that are left out stay as they are (contract C1).

    Servers of the seed era know only `name`, `logo` and `management_email`, and silently ignore the rest.
    """

    name: Name | UnsetType = UNSET
    logo: Url | UnsetType = UNSET
    management_email: Name | UnsetType = UNSET
    website: Url | UnsetType | None = UNSET
    require_apikey_expiration: bool | UnsetType = UNSET
    max_apikey_expiration_days: Annotated[int, Meta(ge=1, le=365)] | UnsetType | None = UNSET
    enforce_hashed_api_keys: bool | UnsetType = UNSET
    enforce_encrypted_bundles: bool | UnsetType = UNSET
    required_encryption_key: Annotated[str, Meta(min_length=20, max_length=21)] | UnsetType | None = UNSET
    enforcing_2fa: bool | UnsetType = UNSET
    password_policy_config: PasswordPolicy | UnsetType | None = UNSET


class NewOrganization(msgspec.Struct, frozen=True, kw_only=True, rename={"estimated_mau": "estimatedMau"}):
    """The settings of a new organization; without `email`, the server uses the user's own (contract C1)."""

    name: Annotated[str, Meta(min_length=3, max_length=LONGEST_NAME)]
    email: Name | UnsetType = UNSET
    website: Url | UnsetType = UNSET
    estimated_mau: Annotated[int, Meta(ge=0, le=1_000_000)] | UnsetType = UNSET
    intent: Word[Intent] | UnsetType = UNSET


class AuditFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which entries of an audit log are listed: those of a table, or of an operation (contract C3)."""

    table: Word[AuditTable] | None = None
    operation: Word[AuditOperation] | None = None
    limit: int = LARGEST_AUDIT_PAGE

    def __post_init__(self) -> None:
        check_words(self)
        if not 1 <= self.limit <= LARGEST_AUDIT_PAGE:
            message = f"limit {self.limit} is not between 1 and {LARGEST_AUDIT_PAGE}"
            raise ConfigurationError(message)


def list_organizations() -> Call:
    """List the first 50 organizations; the server refuses the parameter `page` (contract C1, D6)."""
    return Call("list organizations", Request(method="GET", path="/organization"))


def get_organization(org_id: str) -> Call:
    query = (("orgId", named(org_id, "organization id")),)
    return Call(f"get organization {org_id}", Request(method="GET", path="/organization", query=query))


def probe_organizations() -> Call:
    """Send an update that every server refuses; the error shows its generation (contract C1)."""
    request = Request(method="PUT", path="/organization", body=encode({"probe": True}))
    return Call("probe the dialect", request, takes_tokens=True)


def create_organization(new: NewOrganization, dialect: Dialect) -> Call:
    """Create an organization. Never retried (contract C1).

    The body has no `orgId`, so the wrong HTTP method changes nothing (contract D1).
    """
    verb = "PUT" if dialect is Dialect.SEED else "POST"
    request = Request(method=verb, path="/organization", body=encode(checked(new)))
    return Call(f"create organization {new.name}", request, repeat=Repeat.NEVER, takes_tokens=True)


def update_organization(org_id: str, settings: OrganizationSettings, dialect: Dialect) -> Call:
    """Change an organization (contract C1).

    The HTTP method depends on the dialect: with the wrong one, the server creates an organization (contract D1). The call is
    sent once only: before a second attempt, the server may have been updated.
    """
    verb = "POST" if dialect is Dialect.SEED else "PUT"
    body = body_of({"orgId": named(org_id, "organization id")}, checked(settings))
    request = Request(method=verb, path="/organization", body=body)
    return Call(f"update organization {org_id}", request, repeat=Repeat.AFTER_A_LOOK, takes_tokens=True)


def delete_organization(org_id: str) -> Call:
    """Delete an organization and everything in it (contract C1)."""
    query = (("orgId", named(org_id, "organization id")),)
    return Call(f"delete organization {org_id}", Request(method="DELETE", path="/organization", query=query))


def list_audit(org_id: str, chosen: AuditFilter, page: int) -> Call:
    """List one page of an audit log, newest entries first; the first page is 0 (contract C3)."""
    query = [("orgId", named(org_id, "organization id")), ("page", str(page)), ("limit", str(chosen.limit))]
    if chosen.table is not None:
        query.append(("tableName", named(chosen.table, "table")))
    if chosen.operation is not None:
        query.append(("operation", named(chosen.operation, "operation")))
    request = Request(method="GET", path="/organization/audit", query=tuple(query))
    return Call(f"list audit log of {org_id}", request, takes_tokens=True)
