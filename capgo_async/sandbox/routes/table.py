"""The route table (contract A1)."""

from collections.abc import Callable, Mapping
from typing import Final, Literal
from urllib.parse import unquote

import msgspec

from ..authentication import Auth
from ..exchange import Refusal
from ..limiting import Operation
from ..parameters import Reader, body_only, body_or_query, query_only, unread
from ..validation import seed_complaint
from . import (
    api_keys,
    apps,
    audit,
    bundles,
    channels,
    devices,
    members,
    organizations,
    statistics,
)
from .call import Call

Kind = Literal["keyed", "open", "preflight", "missing"]


class Route(msgspec.Struct, frozen=True):
    """One route: how it reads parameters, its handler, and the operation that limiters count it as.

    In the seed era `seed_answer` replaces the handler, and `seed_body` encodes refusals where they had a form of their own.
    """

    method: str
    path: str
    answer: Callable[[Call], object] | None = None
    seed_answer: Callable[[Call], object] | None = None
    kind: Kind = "keyed"
    read: Reader = body_or_query
    operation: Operation | None = None
    auth: Auth = "key"
    seed_body: Callable[[Refusal], dict[str, object]] | None = None
    modern_only: bool = False


def sentence(refusal: Refusal) -> dict[str, object]:
    """Return the body of form E2, as on organizations: the message under `status`, plus the known cause."""
    told: dict[str, object] = {"status": refusal.message}
    if refusal.code == "invalid_body":
        told["error"] = seed_complaint(refusal)
    return told


def knocked_out(refusal: Refusal) -> dict[str, object]:
    """Return the body of form E3, as on members: `KO` or a code under `status`; some refusals use E2."""
    if refusal.code in {"invalid_body", "user_not_found"}:
        return sentence(refusal)
    return {"error": refusal.message, "status": refusal.more.get("data", "KO")}


def bare(refusal: Refusal) -> dict[str, object]:
    """Return the body of form E4, as on API keys: the message under `error`, plus the database's error."""
    told: dict[str, object] = {"error": refusal.message}
    if "supabaseError" in refusal.more:
        told["supabaseError"] = refusal.more["supabaseError"]
    return told


_ROUTES: Final = (
    Route("GET", "/app", apps.list_apps, read=query_only, modern_only=True),
    Route("GET", "/app/:app_id", apps.get_app, read=query_only, modern_only=True),
    Route("POST", "/app", apps.create_app, auth="user", modern_only=True),
    Route("PUT", "/app/:app_id", apps.update_app, modern_only=True),
    Route("DELETE", "/app/:app_id", apps.delete_app, read=query_only, modern_only=True),
    Route("GET", "/channel", channels.read_channels),
    Route("POST", "/channel", channels.write_channel, read=body_only),
    Route("DELETE", "/channel", channels.delete_channel),
    Route("GET", "/bundle", bundles.list_bundles),
    Route("POST", "/bundle", bundles.create_bundle, modern_only=True),
    Route("PUT", "/bundle", bundles.assign_bundle, modern_only=True),
    Route("DELETE", "/bundle", bundles.delete_bundle),
    Route("POST", "/bundle/metadata", bundles.describe_bundle, modern_only=True),
    Route("GET", "/device", devices.read_devices, operation="get"),
    Route("POST", "/device", devices.link_device, read=body_only, operation="set"),
    Route("DELETE", "/device", devices.unlink_device, operation="delete"),
    Route("GET", "/ok", kind="open"),
    Route("POST", "/ok", kind="open"),
    Route("GET", "/organization", organizations.read_organizations, seed_body=sentence),
    # The generations swapped these two verbs (contract C1).
    Route(
        "POST",
        "/organization",
        organizations.create_organization,
        seed_answer=organizations.update_organization,
        auth="user",
        seed_body=sentence,
    ),
    Route(
        "PUT",
        "/organization",
        organizations.update_organization,
        seed_answer=organizations.create_organization,
        auth="user",
        seed_body=sentence,
    ),
    Route("DELETE", "/organization", organizations.delete_organization, modern_only=True),
    Route("GET", "/organization/members", members.list_members, seed_body=knocked_out),
    Route("POST", "/organization/members", members.invite_member, seed_body=knocked_out),
    Route("DELETE", "/organization/members", members.remove_member, auth="user", seed_body=knocked_out),
    Route("GET", "/organization/audit", audit.read_audit, auth="user", modern_only=True),
    Route("GET", "/apikey", api_keys.list_keys, auth="user", seed_body=bare),
    Route("POST", "/apikey", api_keys.create_key, read=unread, auth="user", seed_body=bare),
    Route("PUT", "/apikey", api_keys.update_key, read=body_only, auth="user", modern_only=True),
    Route("GET", "/apikey/:id", api_keys.get_key, read=query_only, auth="user", modern_only=True),
    Route("PUT", "/apikey/:id", api_keys.update_key, read=body_only, auth="user", modern_only=True),
    Route("DELETE", "/apikey/:id", api_keys.delete_key, read=query_only, auth="user", seed_body=bare),
    Route("GET", "/statistics/app/:app_id", statistics.app_statistics, read=query_only, auth="user"),
    Route("GET", "/statistics/app/:app_id/bundle_usage", statistics.bundle_usage, read=query_only, auth="user"),
    Route(
        "GET", "/statistics/app/:app_id/native_usage", statistics.native_usage, read=query_only, auth="user", modern_only=True
    ),
    Route("GET", "/statistics/org/:org_id", statistics.organization_statistics, read=query_only, auth="user"),
    Route("GET", "/statistics/user", statistics.user_statistics, read=query_only, auth="user"),
)
_LITERAL: Final = {(route.method, route.path): route for route in _ROUTES if ":" not in route.path}
_BINDING: Final = tuple((route, route.path.split("/")) for route in _ROUTES if ":" in route.path)


def match(method: str, path: str, *, seed: bool) -> tuple[Route, Mapping[str, str]]:
    """Return the route of a request and its path parameters; `OPTIONS` and unknown paths have routes, too.

    One trailing slash is allowed, two are not, and `HEAD` is treated as `GET`.
    """
    if method == "OPTIONS":
        return Route(method, path, kind="preflight"), {}
    verb = "GET" if method == "HEAD" else method
    plain = path.removesuffix("/")
    route = _LITERAL.get((verb, plain))
    bound: dict[str, str] = {}
    if route is None:
        segments = plain.split("/")
        for candidate, shape in _BINDING:
            found = _bind(shape, segments) if candidate.method == verb else None
            if found is not None:
                route, bound = candidate, found
                break
    if route is None or (seed and route.modern_only):
        if plain.split("/")[1:2] == ["statistics"]:  # contract A1: here the key is checked before the 404
            return Route(method, path, statistics.nothing_here, read=query_only, auth="user"), {}
        return Route(method, path, kind="missing"), {}
    return route, bound


def _bind(shape: list[str], segments: list[str]) -> dict[str, str] | None:
    if len(shape) != len(segments):
        return None
    bound: dict[str, str] = {}
    for expected, segment in zip(shape, segments, strict=True):
        if expected.startswith(":") and segment:
            bound[expected[1:]] = unquote(segment)
        elif expected != segment:
            return None
    return bound
