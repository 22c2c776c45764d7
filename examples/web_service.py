"""A web service that shares its HTTP session with the client: GET /devices/{app}/{id} says what a device runs.

CAPGO_API_KEY=... python examples/web_service.py 8080
"""

import sys
from collections.abc import AsyncIterator

import aiohttp
from aiohttp import web

from capgo_async import CapgoClient
from capgo_async.errors import ConfigurationError, DeviceNotFound

CAPGO = web.AppKey("capgo", CapgoClient)


async def open_client(app: web.Application) -> AsyncIterator[None]:
    """Hold one session and one client as long as the service runs: all requests share pace and connections."""
    async with aiohttp.ClientSession() as session, CapgoClient(session=session) as capgo:
        app[CAPGO] = capgo
        yield


async def show_device(request: web.Request) -> web.Response:
    """Answer with what the inventory knows of a device."""
    try:
        device = await request.app[CAPGO].devices.get(request.match_info["app"], request.match_info["id"])
    except ConfigurationError as error:
        raise web.HTTPBadRequest(text=str(error)) from error
    except DeviceNotFound as error:
        raise web.HTTPNotFound(text="no inventory knows this device") from error
    return web.json_response({"runs": device.version_name, "channel": device.channel})


def make() -> web.Application:
    """Put the service together."""
    app = web.Application()
    app.cleanup_ctx.append(open_client)
    app.router.add_get("/devices/{app}/{id}", show_device)
    return app


if __name__ == "__main__":
    web.run_app(make(), host="127.0.0.1", port=int(sys.argv[1]))
