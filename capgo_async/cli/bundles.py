"""`capgo-async bundles`."""

import typer

from .commands import Invocation, command
from .listing import print_listing
from .options import AppId, Connection

commands = typer.Typer(name="bundles", help="Look at bundles.", no_args_is_help=True)


@command(commands, "list")
async def list_bundles(app_id: AppId, connection: Connection, invocation: Invocation) -> int:
    """List the bundles of an app that are not deleted, newest first."""
    async with connection.client() as client:
        columns = ("id", "name", "created_at", "storage_provider", "comment")
        return await print_listing(client.bundles.list(app_id), columns, invocation.speech)
