"""Response headers that carry no data: security, CORS, and the database's name (contract A1, A5)."""

import re
from collections.abc import Mapping
from typing import Final

from .parameters import field

_POLICY: Final = "; ".join(
    f"{name} 'none'"
    for name in (
        *("default-src", "base-uri", "form-action", "frame-ancestors", "object-src"),
        *("script-src", "style-src", "img-src", "connect-src"),
    )
)
_FROM_BROWSERS: Final = (
    "Content-Type,Authorization,X-Capgo-Spoof-Admin-Authorization,capgkey,capgo_api,x-api-key,x-limited-key-id,"
    "apisecret,apikey,x-client-info"
)
FIXED: Final[Mapping[str, str]] = {"content-security-policy": _POLICY, "vary": "Origin"}
"""On every response of a modern server."""
PREFLIGHT: Final[Mapping[str, str]] = {
    "access-control-allow-methods": "GET,HEAD,PUT,POST,DELETE,PATCH",
    "access-control-allow-headers": _FROM_BROWSERS,
    "vary": "Origin, Access-Control-Request-Headers",
}
SOURCE: Final[Mapping[str, str]] = {"x-database-source": "sandbox"}

_UNASKED: Final = re.compile(
    r"invalid_(app_id|body|json_parse_body|version_id|expiration_date)|missing_\w+|not_found|bindings_required|name_is_required"
    r"|cannot_create_apikey|cannot_get_apps|cannot_find_channel|channel_not_found",
    re.ASCII,
)
"""Refusals before the first query that sets the header."""
_ASKED_FIRST: Final = ("POST /bundle", "PUT /bundle", "DELETE /bundle", "PUT /apikey", "PUT /apikey/:id")
_NEVER_ASKED: Final = ("/ok", "GET /statistics/user")
_LISTS: Final[Mapping[str, str]] = {"GET /app": "org_id", "GET /organization": "orgId"}
"""Routes that list everything without this parameter, by a query that does not set the header."""


def database_source(verb: str, path: str, code: str | None, parameters: object) -> Mapping[str, str]:
    """Return the header that names the database, where recordings have one.

    The request was authenticated and within its limits. `path` is that of the route, `code` the error code of a refusal.
    """
    route = f"{verb} {path}"
    if path in _NEVER_ASKED or route in _NEVER_ASKED or (code == "unknown_error" and path == "/device"):
        return {}
    if route in _ASKED_FIRST:
        return SOURCE
    if code is None:
        lists = _LISTS.get(route)
        return {} if lists is not None and field(parameters, lists) is None else SOURCE
    return {} if _UNASKED.fullmatch(code) else SOURCE
