"""`capgo-async channels`."""

from typing import Annotated

import typer

from ..bulk.report import ExitCode
from ..endpoints.channels import METADATA_AS, ChannelSettings
from ..models import Channel
from .asking import ask_before
from .commands import Invocation, command
from .listing import print_item, print_listing
from .options import AppId, Connection, Yes
from .settings import Settings, SomeSettings, names_of, read_settings

commands = typer.Typer(name="channels", help="Look at channels, create, change and delete them.", no_args_is_help=True)

ChannelName = Annotated[str, typer.Argument(metavar="NAME", help="The channel, exactly as it is spelt.", show_default=False)]

MetadataAs = Annotated[
    str, typer.Option("--metadata-as", metavar="WORD", help="What this server calls disable_auto_update=metadata.")
]


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
        return _print(await client.channels.get(app_id, name), invocation)


@command(commands, "create", epilog=names_of(ChannelSettings))
async def create_channel(
    app_id: AppId,
    name: ChannelName,
    connection: Connection,
    invocation: Invocation,
    settings: SomeSettings = None,
    metadata_as: MetadataAs = METADATA_AS,
) -> int:
    """Create a channel; one that exists is left as it is."""
    wanted = read_settings(settings, ChannelSettings) if settings else None
    async with connection.client() as client:
        return _print(await client.channels.create(app_id, name, wanted, metadata_as=metadata_as), invocation)


@command(commands, "update", epilog=names_of(ChannelSettings), short="Change a channel that exists.")
async def update_channel(
    app_id: AppId,
    name: ChannelName,
    settings: Settings,
    connection: Connection,
    invocation: Invocation,
    metadata_as: MetadataAs = METADATA_AS,
) -> int:
    """Change a channel that exists; its bundle stays unless bundle=NAME gives it another."""
    changes = read_settings(settings, ChannelSettings)
    async with connection.client() as client:
        await client.channels.update(app_id, name, changes, metadata_as=metadata_as)
        return _print(await client.channels.get(app_id, name), invocation)


@command(commands, "delete", short="Delete a channel and the links to it.")
async def delete_channel(
    app_id: AppId, name: ChannelName, connection: Connection, invocation: Invocation, *, yes: Yes = False
) -> int:
    """Delete a channel and the links of all devices to it; its bundles stay."""
    await ask_before(f"Delete channel {name} of {app_id} and the links of all its devices", yes=yes)
    async with connection.client() as client:
        await client.channels.delete(app_id, name)
    return _print_change(invocation, app_id, name, "deleted")


@command(commands, "roll-back", short="End a rollout: all stay on the stable bundle.")
async def roll_back(app_id: AppId, name: ChannelName, connection: Connection, invocation: Invocation) -> int:
    """End the rollout of a channel: all devices stay on its stable bundle."""
    async with connection.client() as client:
        await client.channels.roll_back(app_id, name)
    return _print_change(invocation, app_id, name, "rolled back")


@command(commands, "promote-rollout")
async def promote_rollout(app_id: AppId, name: ChannelName, connection: Connection, invocation: Invocation) -> int:
    """Make the bundle of the rollout the channel's stable one."""
    async with connection.client() as client:
        await client.channels.promote_rollout(app_id, name)
    return _print_change(invocation, app_id, name, "promoted the rollout of")


def _print(channel: Channel, invocation: Invocation) -> int:
    # That a channel has no bundle is the first thing to see: its devices get no update.
    return print_item(channel, invocation.speech, always=("version",))


def _print_change(invocation: Invocation, app_id: str, name: str, change: str) -> int:
    invocation.speech.done(f"{change} channel {name} of {app_id}", app_id=app_id, channel=name, change=change)
    return ExitCode.OK
