"""A web service that shares its HTTP session with the client.

    CAPGO_API_KEY=... python examples/web_service.py 8080

GET /devices/{app}/{id} returns what a device runs.
"""

import sys
from collections.abc import AsyncIterator

import aiohttp
from aiohttp import web

from capgo_async import CapgoClient
from capgo_async.errors import ConfigurationError, DeviceNotFound

CAPGO = web.AppKey("capgo", CapgoClient)


async def open_client(app: web.Application) -> AsyncIterator[None]:
    """Share one session and one client, so that all requests share connections and pacing."""
    async with aiohttp.ClientSession() as session, CapgoClient(session=session) as capgo:
        app[CAPGO] = capgo
        yield


async def show_device(request: web.Request) -> web.Response:
    """Return what the inventory knows about a device."""
    try:
        device = await request.app[CAPGO].devices.get(request.match_info["app"], request.match_info["id"])
    except ConfigurationError as error:
        raise web.HTTPBadRequest(text=str(error)) from error
    except DeviceNotFound as error:
        raise web.HTTPNotFound(text="this device is in no inventory") from error
    return web.json_response({"runs": device.version_name, "channel": device.channel})


def make() -> web.Application:
    """Return the web application."""
    app = web.Application()
    app.cleanup_ctx.append(open_client)
    app.router.add_get("/devices/{app}/{id}", show_device)
    return app


if __name__ == "__main__":
    web.run_app(make(), host="127.0.0.1", port=int(sys.argv[1]))
