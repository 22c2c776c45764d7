"""The server's error codes and their exceptions (contract A2, A7, A8, C1-C9).

The status says little, because most errors are a 400. It decides only for codes that no table contains.
"""

from collections.abc import Mapping
from typing import Any, Final

from .. import errors
from ..errors import ApiError

REFUSED_KEY: Final = frozenset(
    {"invalid_apikey", "no_key_provided", "no_jwt_apikey_or_subkey", "invalid_jwt", "invalid_subkey"}
)
"""The only codes that prove that a key is invalid; a 401 does not (contract A7)."""

NO_ACCESS: Final = (
    "cannot_access_app",
    "cannot_access_channel",
    "cannot_access_organization",
    "cannot_delete_app",
    "cannot_delete_apikey",
    "cannot_delete_bundle",
    "cannot_delete_higher_priority_role",
    "cannot_get_apikey",
    "cannot_list_apikeys",
    "cannot_promote_bundle",
    "cannot_update_apikey",
    "cannot_update_bundle_metadata",
    "forbidden_binding",
    "invalid_org_id",
    "no_access_to_app",
    "no_access_to_organization",
    "no_organizations_found",
    "not_authorized",
    "org_requires_expiring_key",
    "permission_denied",
    "user_does_not_have_access_to_this_organization",
)
"""Codes that mean either no access or no such thing; the server does not say which (contract A7)."""
_NOT_FOUND: Final = (
    "api_key_not_found",
    "api_key_not_found_or_access_denied",
    "app_not_found",
    "apps_not_found",
    "cannot_find_app",
    "devices_not_found",
    "failed_to_get_apikey",
    "organization_not_found",
    "user_not_found",
)
_CONFLICT: Final = (
    "apikey_missing_rbac_bindings",
    "app_id_already_exists",
    "duplicate_binding",
    "version_already_exists",
)
_ALONE: Final[Mapping[str, type[ApiError]]] = {
    "CANNOT_REMOVE_LAST_SUPER_ADMIN": errors.Conflict,
    "cannot_create_apikey": errors.NeedsUserSession,
    "cannot_delete_linked_version": errors.BundleLinked,
    "cannot_find_channel": errors.ChannelNotFound,
    "cannot_find_version": errors.BundleNotFound,
    "channel_not_found": errors.ChannelNotFound,
    "device_not_found": errors.DeviceNotFound,
    "organization_member_not_found": errors.MemberNotFound,
    "public_channel_override": errors.PublicChannelOverride,
    "subscription_required": errors.SubscriptionRequired,
}
_INVITATION: Final[Mapping[str, type[ApiError]]] = {
    "ALREADY_INVITED": errors.Conflict,
    "NO_EMAIL": errors.NotFound,
    "NO_ORG": errors.NotFound,
    "NO_RIGHTS": errors.PermissionDenied,
}
"""Why an invitation was refused; seed servers send this in place of the code (contract C2)."""
CLASSES: Final[Mapping[str, type[ApiError]]] = {
    **dict.fromkeys(REFUSED_KEY, errors.AuthenticationError),
    **dict.fromkeys(NO_ACCESS, errors.PermissionDenied),
    **dict.fromkeys(_NOT_FOUND, errors.NotFound),
    **dict.fromkeys(_CONFLICT, errors.Conflict),
    **_ALONE,
    **_INVITATION,
}
_BY_STATUS: Final[Mapping[int, type[ApiError]]] = {
    401: errors.PermissionDenied,
    402: errors.SubscriptionRequired,
    403: errors.PermissionDenied,
    404: errors.NotFound,
    409: errors.Conflict,
    429: errors.RateLimited,
}
_DUPLICATE: Final = "23505"
_NO_ROW: Final = "PGRST116"


def class_of(status: int, code: str, message: str, details: Mapping[str, Any]) -> type[ApiError]:
    """Return the exception class for an error response."""
    locked_out = details.get("reason") == "too_many_failed_auth_attempts"
    # Seed servers say "Invalid apikey" in a 500 (contract D38).
    if locked_out or (status >= 400 and (code in REFUSED_KEY or "invalid apikey" in message.lower())):  # noqa: PLR2004 - an HTTP status
        return errors.AuthenticationError
    if status >= 500:  # noqa: PLR2004 - server errors
        return errors.ServerError
    by_status = _BY_STATUS.get(status, errors.InvalidRequest)
    # A 429 is a limit, whatever its code.
    return by_status if by_status is errors.RateLimited else _by_details(code, details) or CLASSES.get(code, by_status)


def _by_details(code: str, details: Mapping[str, Any]) -> type[ApiError] | None:
    """Return the class for a code that has several meanings (contract C2, C6, C8)."""
    match code:
        case "cannot_create_bundle":
            # A database error means that the key has access; a duplicate, that the name was used before (contract D49).
            return errors.Conflict if _database_code(details) == _DUPLICATE else _denied_unless_database(details)
        case "cannot_get_bundle":
            return errors.PermissionDenied if "app_id" in details and "supabaseError" not in details else None
        case "cannot_delete_version":
            return errors.BundleNotFound if _database_code(details) == _NO_ROW else None
        case "error_inviting_user_to_organization":
            return _INVITATION.get(str(details.get("data")))
        case "cannot_update_org":
            return errors.Conflict if details.get("error") == "org_name_changed" else None
    return None


def _denied_unless_database(details: Mapping[str, Any]) -> type[ApiError] | None:
    return errors.PermissionDenied if details.get("supabaseError") is None else None


def _database_code(details: Mapping[str, Any]) -> object:
    """Return the database's error code, which seed servers send in `error` (contract A6)."""
    for name in ("supabaseError", "error"):
        failure = details.get(name)
        if isinstance(failure, dict):
            return failure.get("code")
    return None
