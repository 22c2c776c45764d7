"""The commands of `capgo-async channels`."""

from typing import Annotated

import msgspec
import typer
from msgspec import UNSET

from ...api.endpoints.channels import METADATA_AS, ChannelSettings, check_deletion
from ...api.models import Channel
from ...bulk.operations.comparing import displaced
from ...bulk.operations.forms import DELETING_CHANNELS, updating
from ...bulk.operations.operations import DeleteChannel, UpdateChannel
from ...client import CapgoClient
from ...errors import ConfigurationError
from ..framework import Invocation, command
from ..job.aiming import Aim, aimed, nothing_more, only_one
from ..job.asking import ask_before
from ..job.changing import change_many
from ..job.reporting import OF_A_JOB
from ..options.options import AppId, Connection, Planning, SettingsPlanning, Yes
from ..options.settings import SomeSettings, names_of, read_settings
from ..options.stopping import Stopping
from ..output.exit_codes import ExitCode
from ..output.listing import print_item, print_listing

commands = typer.Typer(name="channels", no_args_is_help=True)


class ChannelChange(msgspec.Struct, frozen=True, kw_only=True):
    """A channel was changed. `change` is a phrase such as "rolled back"."""

    app_id: str
    channel: str
    change: str


Changed = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="APP NAME NAME=VALUE",
        help="The channel (case-sensitive) and the settings to change; null clears a value.",
        show_default=False,
    ),
]
Gone = Annotated[
    list[str] | None, typer.Argument(metavar="APP NAME", help="The channel; names are case-sensitive.", show_default=False)
]
ChannelName = Annotated[str, typer.Argument(metavar="NAME", help="The channel; names are case-sensitive.", show_default=False)]

MetadataAs = Annotated[
    str, typer.Option("--metadata-as", metavar="WORD", help="What the server calls the value metadata of disable_auto_update.")
]


@command(commands, "list", Channel)
async def list_channels(app_id: AppId, connection: Connection, invocation: Invocation) -> int:
    """List the channels of an app, oldest first."""
    async with connection.client() as client:
        columns = ("id", "name", "public", "bundle_name", "updated_at")
        return await print_listing(client.channels.list(app_id), columns, invocation.speech)


@command(commands, "get", Channel)
async def get_channel(app_id: AppId, name: ChannelName, connection: Connection, invocation: Invocation) -> int:
    """Show one channel."""
    async with connection.client() as client:
        return _print(await client.channels.get(app_id, name), invocation)


@command(commands, "create", Channel, epilog=names_of(ChannelSettings))
async def create_channel(
    app_id: AppId,
    name: ChannelName,
    connection: Connection,
    invocation: Invocation,
    settings: SomeSettings = None,
    metadata_as: MetadataAs = METADATA_AS,
    yes: Yes = False,  # noqa: FBT002 - an option
) -> int:
    """Create a channel. A channel that exists is left as it is."""
    wanted = read_settings(settings, ChannelSettings) if settings else None
    async with connection.client() as client:
        if wanted is not None:
            operation = UpdateChannel(app_id=app_id, channel=name, settings=wanted)
            await _ask_about_public(operation, client, connection, invocation, yes=yes)
        return _print(await client.channels.create(app_id, name, wanted, metadata_as=metadata_as), invocation)


@command(
    commands,
    "update",
    Channel,
    *OF_A_JOB,
    epilog=names_of(ChannelSettings),
    short="Change the settings of one channel, or of many.",
)
async def update_channel(
    aim: Aim,
    planning: SettingsPlanning,
    stopping: Stopping,
    connection: Connection,
    invocation: Invocation,
    words: Changed = None,
    metadata_as: MetadataAs = METADATA_AS,
) -> int:
    """Change the settings of a channel. It keeps its bundle unless bundle=NAME gives it another.

    If the channel has a rollout, another bundle or rollout_enabled=false ends it, which needs --end-rollouts.
    rollout_paused=true only pauses it.

    For many channels, as a job: --from names a list with the columns app_id and channel; --everywhere means the channel of this
    name in every app.
    """
    names, settings = aim.split(words, "APP", "NAME")
    changes = read_settings(settings, ChannelSettings)
    if aim.many:
        if metadata_as != METADATA_AS:
            message = "--metadata-as works for one channel only; for many, pass disable_auto_update in the server's word"
            raise ConfigurationError(message)
        intended = aimed(
            aim,
            updating(changes),
            planning,
            lambda app_id: UpdateChannel(app_id=app_id, channel=names[0], settings=changes),
        )
        return await change_many(intended, "update", planning, stopping, connection, invocation)
    only_one(planning, stopping)
    app_id, name = names
    connection.refuse_protected(app_id, name)
    async with connection.client() as client:
        operation = UpdateChannel(app_id=app_id, channel=name, settings=changes)
        await _ask_about_public(operation, client, connection, invocation, yes=planning.yes)
        rollout = (await client.channels.get(app_id, name)).rollout_version if planning.end_rollouts else None
        await client.channels.update(app_id, name, changes, metadata_as=metadata_as, ends_rollout=rollout)
        return _print(await client.channels.get(app_id, name), invocation)


@command(commands, "delete", ChannelChange, *OF_A_JOB, short="Delete one channel and the links to it, or many.")
async def delete_channel(
    aim: Aim, planning: Planning, stopping: Stopping, connection: Connection, invocation: Invocation, words: Gone = None
) -> int:
    """Delete a channel and the links of all devices to it. Its bundles stay.

    For many channels, as a job: --from names a list with the columns app_id and channel; --everywhere means the channel of this
    name in every app.
    """
    names, more = aim.split(words, "APP", "NAME")
    nothing_more(more)
    if aim.many:
        intended = aimed(aim, DELETING_CHANNELS, planning, lambda app_id: DeleteChannel(app_id=app_id, channel=names[0]))
        return await change_many(intended, "delete", planning, stopping, connection, invocation)
    only_one(planning, stopping)
    app_id, name = names
    connection.refuse_protected(app_id, name)
    async with connection.client() as client:
        if not planning.yes:
            check_deletion(app_id, await client.channels.get(app_id, name))
        await ask_before(f"Delete channel {name} of {app_id} and the links of all its devices", yes=planning.yes)
        await client.channels.delete(app_id, name)
    return _print_change(invocation, app_id, name, "deleted")


@command(commands, "roll-back", ChannelChange, short="Cancel a rollout; devices get the stable bundle.")
async def roll_back(app_id: AppId, name: ChannelName, connection: Connection, invocation: Invocation) -> int:
    """Cancel the rollout of a channel. All devices get its stable bundle."""
    connection.refuse_protected(app_id, name)
    async with connection.client() as client:
        await client.channels.roll_back(app_id, name)
    return _print_change(invocation, app_id, name, "rolled back")


@command(commands, "promote-rollout", ChannelChange)
async def promote_rollout(app_id: AppId, name: ChannelName, connection: Connection, invocation: Invocation) -> int:
    """Make the bundle of a rollout the channel's stable bundle."""
    connection.refuse_protected(app_id, name)
    async with connection.client() as client:
        await client.channels.promote_rollout(app_id, name)
    return _print_change(invocation, app_id, name, "promoted the rollout of")


async def _ask_about_public(
    operation: UpdateChannel, client: CapgoClient, connection: Connection, invocation: Invocation, *, yes: bool
) -> None:
    """Ask before a channel becomes public or private.

    Devices without a link follow public channels (contract C6). Raises `ConfigurationError` if a protected channel would lose
    its place.
    """
    app_id, name, public = operation.app_id, operation.channel, operation.settings.public
    if public is UNSET:
        return
    channels = {channel.name: channel async for channel in client.channels.list(app_id)}
    if public is (name in channels and channels[name].public):
        return
    losing = displaced(operation, channels)
    for other in losing:
        connection.refuse_protected(app_id, other)
    if not public:
        change = f"make {name} of {app_id} private: devices without a link no longer follow it"
    elif losing:
        change = f"make {name} the public channel of {app_id} in place of {' and '.join(losing)}"
    else:
        change = f"make {name} the public channel of {app_id}: devices without a link follow it"
    if yes:
        invocation.speech.note(change)
    await ask_before(f"{change[:1].upper()}{change[1:]}", yes=yes)


def _print(channel: Channel, invocation: Invocation) -> int:
    # Show even an empty version: devices of a channel without a bundle get no update.
    return print_item(channel, invocation.speech, always=("version",))


def _print_change(invocation: Invocation, app_id: str, name: str, change: str) -> int:
    done = ChannelChange(app_id=app_id, channel=name, change=change)
    invocation.speech.done(f"{change} channel {name} of {app_id}", done)
    return ExitCode.OK
