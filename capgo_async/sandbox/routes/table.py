"""The route table (contract A1)."""

from collections.abc import Callable, Mapping
from typing import Final, Literal
from urllib.parse import unquote

import msgspec

from .. import parameters
from ..limiting import Operation
from . import apps, bundles, channels, devices
from .call import Call

Kind = Literal["keyed", "open", "preflight", "missing"]


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """One route: how it reads parameters, what answers, and what the `/device` limiters take it for."""

    method: str
    path: str
    kind: Kind = "keyed"
    answer: Callable[[Call], object] | None = None
    read: parameters.Reader = parameters.body_or_query
    operation: Operation | None = None
    modern_only: bool = False


_ROUTES: Final = (
    Route(method="GET", path="/app", answer=apps.list_apps, read=parameters.query_only, modern_only=True),
    Route(method="GET", path="/app/:app_id", answer=apps.get_app, read=parameters.query_only, modern_only=True),
    Route(method="GET", path="/channel", answer=channels.read_channels),
    Route(method="GET", path="/bundle", answer=bundles.list_bundles),
    Route(method="GET", path="/device", answer=devices.read_devices, operation="get"),
    Route(method="POST", path="/device", answer=devices.link_device, read=parameters.body_only, operation="set"),
    Route(method="DELETE", path="/device", answer=devices.unlink_device, operation="delete"),
    Route(method="GET", path="/ok", kind="open"),
    Route(method="POST", path="/ok", kind="open"),
)
_LITERAL: Final = {(route.method, route.path): route for route in _ROUTES if ":" not in route.path}
_BINDING: Final = tuple((route, route.path.split("/")) for route in _ROUTES if ":" in route.path)


def match(method: str, path: str, *, seed: bool) -> tuple[Route, Mapping[str, str]]:
    """Find the route of a request and its path parameters; `OPTIONS` and the unknown are routes too.

    One trailing slash is allowed, a doubled one is not, and `HEAD` stands for `GET`.
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
