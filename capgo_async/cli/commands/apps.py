"""The commands of `capgo-async apps`."""

from typing import Annotated

import msgspec
import typer

from ...api.endpoints.apps import AppSettings, NewApp
from ...api.models import App
from ..framework import Invocation, command
from ..job.asking import ask_before
from ..options.options import AppId, Connection, Yes
from ..options.settings import Settings, SomeSettings, names_of, read_settings
from ..output.exit_codes import ExitCode
from ..output.listing import print_item, print_listing

commands = typer.Typer(name="apps", no_args_is_help=True)


class AppDeleted(msgspec.Struct, frozen=True):
    """An app was deleted: its id."""

    deleted: str


Org = Annotated[str | None, typer.Option("--org", metavar="ORG", help="List only the apps of this organization.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The display name.", show_default=False)]
Owner = Annotated[str, typer.Argument(metavar="ORG", help="The organization that owns the app.", show_default=False)]
Confirm = Annotated[
    str | None, typer.Option("--confirm", metavar="APP", help="The app id again, to confirm a retention of less than a day.")
]


@command(commands, "list", App)
async def list_apps(connection: Connection, invocation: Invocation, org: Org = None) -> int:
    """List the apps that the key can see."""
    async with connection.client() as client:
        columns = ("app_id", "name", "last_version", "owner_org", "updated_at")
        return await print_listing(client.apps.list(org_id=org), columns, invocation.speech)


@command(commands, "get", App)
async def get_app(app_id: AppId, connection: Connection, invocation: Invocation) -> int:
    """Show one app."""
    async with connection.client() as client:
        return print_item(await client.apps.get(app_id), invocation.speech)


@command(commands, "create", App, epilog=names_of(NewApp))
async def create_app(
    app_id: AppId, name: Name, org: Owner, connection: Connection, invocation: Invocation, settings: SomeSettings = None
) -> int:
    """Create an app."""
    new = read_settings([*(settings or ()), f"app_id={app_id}", f"name={name}", f"owner_org={org}"], NewApp)
    async with connection.client() as client:
        return print_item(await client.apps.create(new), invocation.speech)


@command(commands, "update", App, epilog=names_of(AppSettings))
async def update_app(
    app_id: AppId, settings: Settings, connection: Connection, invocation: Invocation, confirm: Confirm = None
) -> int:
    """Change an app."""
    changes = read_settings(settings, AppSettings)
    async with connection.client() as client:
        return print_item(await client.apps.update(app_id, changes, confirm=confirm), invocation.speech)


@command(commands, "delete", AppDeleted)
async def delete_app(app_id: AppId, connection: Connection, invocation: Invocation, *, yes: Yes = False) -> int:
    """Delete an app with its channels, bundles and devices. This cannot be undone."""
    await ask_before(f"Delete app {app_id} and everything in it", yes=yes)
    async with connection.client() as client:
        await client.apps.delete(app_id)
    invocation.speech.done(f"deleted app {app_id}", AppDeleted(app_id))
    return ExitCode.OK
