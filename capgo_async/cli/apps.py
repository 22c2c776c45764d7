"""`capgo-async apps`."""

import typer

from .commands import Invocation, command
from .listing import print_item, print_listing
from .options import AppId, Connection

commands = typer.Typer(name="apps", help="Look at apps.", no_args_is_help=True)


@command(commands, "list")
async def list_apps(connection: Connection, invocation: Invocation) -> int:
    """List the apps that the key can see."""
    async with connection.client() as client:
        columns = ("app_id", "name", "last_version", "owner_org", "updated_at")
        return await print_listing(client.apps.list(), columns, invocation.speech)


@command(commands, "get")
async def get_app(app_id: AppId, connection: Connection, invocation: Invocation) -> int:
    """Show one app."""
    async with connection.client() as client:
        return print_item(await client.apps.get(app_id), invocation.speech)
