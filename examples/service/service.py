"""A web service that reads devices and links them to channels.

    CAPGO_API_KEY=... python examples/service/service.py 8080

    GET /devices/{app}/{id}            what a device runs
    PUT /devices/{app}/{id}/channel    {"channel": "beta"} links a device to a channel
    GET /health                        whether the server responds, and how far its limits are used

A request that would wait for a limit of the server for more than a few seconds is refused at once: 503 with a `Retry-After`.
Each kind of error has a handler. The tests are in `test_service.py`.
"""

import math
import sys
from functools import singledispatch
from http import HTTPStatus
from typing import Final

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler

from capgo_async import CapgoClient, errors

MAX_WAIT: Final = 3.0
"""Seconds for which a request may wait for limits and retries in all."""

CAPGO: Final = web.AppKey("capgo", CapgoClient)


class Wanted(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a request for a channel."""

    channel: str


def responding(status: HTTPStatus, body: object, **headers: str) -> web.Response:
    """Return a response with a JSON body; header names are written with underscores."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return web.Response(status=status, body=msgspec.json.encode(body), content_type="application/json", headers=named)


def refusing(status: HTTPStatus, error: Exception, **headers: str) -> web.Response:
    """Return a response that says what went wrong; errors never contain the API key."""
    return responding(status, {"error": type(error).__name__, "message": str(error)}, **headers)


@singledispatch
def response_to(error: Exception) -> web.Response:
    """Answer to an error without a handler of its own, such as a response that cannot be read."""
    return refusing(HTTPStatus.BAD_GATEWAY, error)


@response_to.register
def would_wait(error: errors.WouldWait) -> web.Response:
    """Tell when to come again; nothing was changed."""
    return refusing(HTTPStatus.SERVICE_UNAVAILABLE, error, Retry_After=str(max(1, math.ceil(error.seconds))))


@response_to.register
def rate_limited(error: errors.RateLimited) -> web.Response:
    """Pass on what the server asks for."""
    return refusing(HTTPStatus.SERVICE_UNAVAILABLE, error, Retry_After=str(math.ceil(error.retry_after or 60)))


@response_to.register
def invalid_argument(error: errors.ConfigurationError) -> web.Response:
    """Blame the caller: an argument is invalid, and nothing was sent."""
    return refusing(HTTPStatus.BAD_REQUEST, error)


@response_to.register
def invalid_body(error: msgspec.DecodeError) -> web.Response:
    """Blame the caller: the body is not JSON, or lacks the channel."""
    return refusing(HTTPStatus.BAD_REQUEST, error)


@response_to.register
def invalid_request(error: errors.InvalidRequest) -> web.Response:
    """Blame the caller: the server refused the arguments."""
    return refusing(HTTPStatus.UNPROCESSABLE_ENTITY, error)


@response_to.register
def not_found(error: errors.NotFound) -> web.Response:
    """Say that there is no such device or channel."""
    return refusing(HTTPStatus.NOT_FOUND, error)


@response_to.register
def permission_denied(error: errors.PermissionDenied) -> web.Response:
    """Treat an app that the key cannot see as one that does not exist: the server does not tell them apart."""
    return refusing(HTTPStatus.NOT_FOUND, error)


@response_to.register
def conflict(error: errors.Conflict) -> web.Response:
    """Say that it exists already, or is in use."""
    return refusing(HTTPStatus.CONFLICT, error)


@response_to.register
def key_refused(error: errors.AuthenticationError) -> web.Response:
    """Blame this service: its key is wrong, and no caller can help that."""
    return refusing(HTTPStatus.INTERNAL_SERVER_ERROR, error)


@response_to.register
def unpaid(error: errors.SubscriptionRequired) -> web.Response:
    """Blame this service: its organization has not paid."""
    return refusing(HTTPStatus.INTERNAL_SERVER_ERROR, error)


@response_to.register
def server_failed(error: errors.ServerError) -> web.Response:
    """Blame the server, which has failed several times."""
    return refusing(HTTPStatus.BAD_GATEWAY, error)


@response_to.register
def not_connected(error: errors.NotConnected) -> web.Response:
    """Say that nothing was changed: the server cannot be reached."""
    return refusing(HTTPStatus.SERVICE_UNAVAILABLE, error)


@response_to.register
def no_response(error: errors.ConnectionLost) -> web.Response:
    """Say that it is not known whether anything was changed."""
    return refusing(HTTPStatus.GATEWAY_TIMEOUT, error)


@web.middleware
async def errors_as_responses(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer to the errors of the client, and to bodies that cannot be read."""
    try:
        return await handler(request)
    except (errors.CapgoError, msgspec.DecodeError) as error:
        return response_to(error)


async def show_device(request: web.Request) -> web.Response:
    """Return what a device runs, and its channel if it is linked to one."""
    device = await request.app[CAPGO].devices.get(request.match_info["app"], request.match_info["id"])
    return responding(HTTPStatus.OK, {"runs": device.version_name, "channel": device.channel})


async def link_device(request: web.Request) -> web.Response:
    """Link a device to a channel. A repeat changes nothing."""
    wanted = msgspec.json.decode(await request.read(), type=Wanted)
    app_id, device_id = request.match_info["app"], request.match_info["id"]
    await request.app[CAPGO].devices.link(app_id, device_id, channel=wanted.channel)
    return responding(HTTPStatus.OK, {"channel": wanted.channel})


async def health(request: web.Request) -> web.Response:
    """Return whether the server responds, and how far its limits are used; costs nothing of any limit."""
    capgo = request.app[CAPGO]
    await capgo.check()
    limits = [
        {"limit": each.limit, "app": each.app, "used": each.used, "allowed": each.allowed} for each in capgo.limits_in_use()
    ]
    return responding(HTTPStatus.OK, {"server": capgo.server_version, "limits": limits})


async def close(app: web.Application) -> None:
    """Close the connections to the server."""
    await app[CAPGO].aclose()


def make(capgo: CapgoClient) -> web.Application:
    """Return the application. All its requests share one client, so that they share connections and the pace."""
    app = web.Application(middlewares=[errors_as_responses])
    app[CAPGO] = capgo
    app.on_cleanup.append(close)
    app.router.add_get("/devices/{app}/{id}", show_device)
    app.router.add_put("/devices/{app}/{id}/channel", link_device)
    app.router.add_get("/health", health)
    return app


if __name__ == "__main__":
    web.run_app(make(CapgoClient(max_wait=MAX_WAIT)), host="127.0.0.1", port=int(sys.argv[1]))
