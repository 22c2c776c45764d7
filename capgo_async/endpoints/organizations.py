"""Organizations and their audit log (contract C1, C3)."""

from typing import Annotated, Final

import msgspec
from msgspec import UNSET, Meta, UnsetType

from ..dialect import Dialect
from ..errors import ConfigurationError
from ..retry import Repeat
from ..wire import Request, encode
from .call import LONGEST_NAME, Call, Name, Url, body_of, checked, named

LARGEST_AUDIT_PAGE: Final = 100
"""Entries a page at most (contract C3)."""


class PasswordPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """What a password must have in an organization (contract C1)."""

    enabled: bool
    min_length: Annotated[int, Meta(ge=6, le=72)] = 10
    require_uppercase: bool = True
    require_number: bool = True
    require_special: bool = True


class OrganizationSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What changes in an organization; what is not given stays as it is (contract C1).

    Servers of the seed era know `name`, `logo` and `management_email` only and drop the rest silently.
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
    """A new organization: `email` is the user's own unless given; `website` gets `https://` where it has no scheme."""

    name: Annotated[str, Meta(min_length=3, max_length=LONGEST_NAME)]
    email: Name | UnsetType = UNSET
    website: Url | UnsetType = UNSET
    estimated_mau: Annotated[int, Meta(ge=0, le=1_000_000)] | UnsetType = UNSET
    intent: str | UnsetType = UNSET


class AuditFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which entries of an audit log: `table` is `orgs`, `apps`, `channels`, `app_versions` or `org_users` (contract C3)."""

    table: str | None = None
    operation: str | None = None
    limit: int = LARGEST_AUDIT_PAGE

    def __post_init__(self) -> None:
        if not 1 <= self.limit <= LARGEST_AUDIT_PAGE:
            message = f"limit {self.limit} is not between 1 and {LARGEST_AUDIT_PAGE}"
            raise ConfigurationError(message)


def list_organizations() -> Call:
    """Ask for the organizations: the first 50, for `page` is refused in a query (contract C1, D6)."""
    return Call("list organizations", Request(method="GET", path="/organization"))


def get_organization(org_id: str) -> Call:
    """Ask for one organization (contract C1)."""
    query = (("orgId", named(org_id, "organization id")),)
    return Call(f"get organization {org_id}", Request(method="GET", path="/organization", query=query))


def probe_organizations() -> Call:
    """Ask which verb updates: a body that no generation takes, so that nothing changes (contract C1)."""
    return Call("probe the dialect", Request(method="PUT", path="/organization", body=encode({"probe": True})))


def create_organization(new: NewOrganization, dialect: Dialect) -> Call:
    """Create an organization, never twice: its body has no `orgId`, so that it can update none (contract C1, D1)."""
    verb = "PUT" if dialect is Dialect.SEED else "POST"
    request = Request(method=verb, path="/organization", body=encode(checked(new)))
    return Call(f"create organization {new.name}", request, repeat=Repeat.NEVER)


def update_organization(org_id: str, settings: OrganizationSettings, dialect: Dialect) -> Call:
    """Update an organization with the verb of this dialect: the other one would create another (contract C1, D1).

    One attempt: the server may have been renewed before the next.
    """
    verb = "POST" if dialect is Dialect.SEED else "PUT"
    body = body_of({"orgId": named(org_id, "organization id")}, checked(settings))
    request = Request(method=verb, path="/organization", body=body)
    return Call(f"update organization {org_id}", request, repeat=Repeat.AFTER_A_LOOK)


def delete_organization(org_id: str) -> Call:
    """Delete an organization with everything in it (contract C1)."""
    query = (("orgId", named(org_id, "organization id")),)
    return Call(f"delete organization {org_id}", Request(method="DELETE", path="/organization", query=query))


def list_audit(org_id: str, chosen: AuditFilter, page: int) -> Call:
    """Ask for one page of the audit log, newest first; pages count from 0 (contract C3)."""
    query = [("orgId", named(org_id, "organization id")), ("page", str(page)), ("limit", str(chosen.limit))]
    if chosen.table is not None:
        query.append(("tableName", named(chosen.table, "table")))
    if chosen.operation is not None:
        query.append(("operation", named(chosen.operation, "operation")))
    return Call(f"list audit log of {org_id}", Request(method="GET", path="/organization/audit", query=tuple(query)))
