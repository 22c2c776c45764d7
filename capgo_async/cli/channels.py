"""`capgo-async channels`."""

from typing import Annotated

import typer

from .commands import Invocation, command
from .listing import print_item, print_listing
from .options import AppId, Connection

commands = typer.Typer(name="channels", help="Look at channels.", no_args_is_help=True)

ChannelName = Annotated[str, typer.Argument(metavar="NAME", help="The channel, exactly as it is spelt.", show_default=False)]


@command(commands, "list")
async def list_channels(app_id: AppId, connection: Connection, invocation: Invocation) -> int:
    """List the channels of an app, oldest first."""
    async with connection.client() as client:
        columns = ("id", "name", "public", "bundle_name", "updated_at")
        return await print_listing(client.channels.list(app_id), columns, invocation.speech)


@command(commands, "get")
async def get_channel(app_id: AppId, name: ChannelName, connection: Connection, invocation: Invocation) -> int:
    """Show one channel."""
    async with connection.client() as client:
        return print_item(await client.channels.get(app_id, name), invocation.speech)
