"""The route table (contract A1)."""

from collections.abc import Callable, Mapping
from typing import Final, Literal
from urllib.parse import unquote

import msgspec

from .. import parameters
from ..authentication import Auth
from ..exchange import Refusal
from ..limiting import Operation
from ..validation import seed_complaint
from . import (
    api_keys,
    app_writes,
    apps,
    audit,
    bundle_writes,
    bundles,
    channel_writes,
    channels,
    devices,
    members,
    organizations,
    statistics,
    usage,
)
from .call import Call

Kind = Literal["keyed", "open", "preflight", "missing"]


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """One route: how it reads parameters, its handler, and the operation that limiters count it as.

    In the seed era `seed_answer` replaces the handler, and `seed_body` encodes refusals where they had a form of their own.
    """

    method: str
    path: str
    kind: Kind = "keyed"
    answer: Callable[[Call], object] | None = None
    seed_answer: Callable[[Call], object] | None = None
    read: parameters.Reader = parameters.body_or_query
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
    Route(method="GET", path="/app", answer=apps.list_apps, read=parameters.query_only, modern_only=True),
    Route(method="GET", path="/app/:app_id", answer=apps.get_app, read=parameters.query_only, modern_only=True),
    Route(method="POST", path="/app", answer=app_writes.create_app, auth="user", modern_only=True),
    Route(method="PUT", path="/app/:app_id", answer=app_writes.update_app, modern_only=True),
    Route(method="DELETE", path="/app/:app_id", answer=app_writes.delete_app, read=parameters.query_only, modern_only=True),
    Route(method="GET", path="/channel", answer=channels.read_channels),
    Route(method="POST", path="/channel", answer=channel_writes.write_channel, read=parameters.body_only),
    Route(method="DELETE", path="/channel", answer=channel_writes.delete_channel),
    Route(method="GET", path="/bundle", answer=bundles.list_bundles),
    Route(method="POST", path="/bundle", answer=bundle_writes.create_bundle, modern_only=True),
    Route(method="PUT", path="/bundle", answer=bundle_writes.assign_bundle, modern_only=True),
    Route(method="DELETE", path="/bundle", answer=bundle_writes.delete_bundle),
    Route(method="POST", path="/bundle/metadata", answer=bundle_writes.describe_bundle, modern_only=True),
    Route(method="GET", path="/device", answer=devices.read_devices, operation="get"),
    Route(method="POST", path="/device", answer=devices.link_device, read=parameters.body_only, operation="set"),
    Route(method="DELETE", path="/device", answer=devices.unlink_device, operation="delete"),
    Route(method="GET", path="/ok", kind="open"),
    Route(method="POST", path="/ok", kind="open"),
)
_PEOPLE: Final = (
    Route(method="GET", path="/organization", answer=organizations.read_organizations, seed_body=sentence),
    Route(
        method="POST",
        path="/organization",
        answer=organizations.create_organization,
        seed_answer=organizations.update_organization,
        auth="user",
        seed_body=sentence,
    ),
    Route(
        method="PUT",
        path="/organization",
        answer=organizations.update_organization,
        seed_answer=organizations.create_organization,
        auth="user",
        seed_body=sentence,
    ),
    Route(method="DELETE", path="/organization", answer=organizations.delete_organization, modern_only=True),
    Route(method="GET", path="/organization/members", answer=members.list_members, seed_body=knocked_out),
    Route(method="POST", path="/organization/members", answer=members.invite_member, seed_body=knocked_out),
    Route(
        method="DELETE",
        path="/organization/members",
        answer=members.remove_member,
        auth="user",
        seed_body=knocked_out,
    ),
    Route(method="GET", path="/organization/audit", answer=audit.read_audit, auth="user", modern_only=True),
)
_KEYS: Final = (
    Route(method="GET", path="/apikey", answer=api_keys.list_keys, auth="user", seed_body=bare),
    Route(
        method="POST",
        path="/apikey",
        answer=api_keys.create_key,
        read=parameters.unread,
        auth="user",
        seed_body=bare,
    ),
    Route(method="PUT", path="/apikey", answer=api_keys.update_key, read=parameters.body_only, auth="user", modern_only=True),
    Route(method="GET", path="/apikey/:id", answer=api_keys.get_key, read=parameters.query_only, auth="user", modern_only=True),
    Route(
        method="PUT", path="/apikey/:id", answer=api_keys.update_key, read=parameters.body_only, auth="user", modern_only=True
    ),
    Route(
        method="DELETE",
        path="/apikey/:id",
        answer=api_keys.delete_key,
        read=parameters.query_only,
        auth="user",
        seed_body=bare,
    ),
)
_STATISTICS: Final = tuple(
    Route(
        method="GET",
        path=f"/statistics/{path}",
        answer=answer,
        read=parameters.query_only,
        auth="user",
        modern_only=answer is usage.native_usage,
    )
    for path, answer in (
        ("app/:app_id", statistics.app_statistics),
        ("app/:app_id/bundle_usage", usage.bundle_usage),
        ("app/:app_id/native_usage", usage.native_usage),
        ("org/:org_id", statistics.organization_statistics),
        ("user", statistics.user_statistics),
    )
)
_ALL: Final = (*_ROUTES, *_PEOPLE, *_KEYS, *_STATISTICS)
_LITERAL: Final = {(route.method, route.path): route for route in _ALL if ":" not in route.path}
_BINDING: Final = tuple((route, route.path.split("/")) for route in _ALL if ":" in route.path)


def match(method: str, path: str, *, seed: bool) -> tuple[Route, Mapping[str, str]]:
    """Return the route of a request and its path parameters; `OPTIONS` and unknown paths have routes, too.

    One trailing slash is allowed, two are not, and `HEAD` is treated as `GET`.
    """
    if method == "OPTIONS":
        return Route(method=method, path=path, kind="preflight"), {}
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
            return Route(method=method, path=path, answer=statistics.nothing_here, read=parameters.query_only, auth="user"), {}
        return Route(method=method, path=path, kind="missing"), {}
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
