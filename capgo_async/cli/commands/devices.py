"""The commands of `capgo-async devices`."""

from typing import Annotated, Final

import msgspec
import typer

from ...api.endpoints.devices import DeviceFilter
from ...api.models import Device
from ...api.models.device import stored_id
from ...api.resources.devices import check_readable
from ...bulk import LinkDevice, Operation, RenewDevice, Source, UnlinkDevice
from ...bulk.inventory.taking import Tally
from ...bulk.operations.forms import OF_DEVICES
from ...bulk.sources.source import read_rows
from ...errors import ConfigurationError, DeviceNotFound
from ..framework import Invocation, command
from ..job.changing import change_many
from ..job.reporting import OF_A_JOB
from ..options.choosing import Choosing, Drawing
from ..options.options import AppId, Connection, DeviceId, DevicePlanning, InventoryPlanning
from ..options.stopping import Stopping
from ..output.exit_codes import ExitCode
from ..output.listing import print_item, print_items, print_listing
from ..output.speech import Speech

commands = typer.Typer(name="devices", no_args_is_help=True)


class DeviceChange(msgspec.Struct, frozen=True, kw_only=True):
    """A device was linked to a channel, or unlinked if that is null."""

    app_id: str
    device_id: str
    channel: str | None


_COLUMNS: Final = ("device_id", "custom_id", "channel", "version_name", "platform", "updated_at")
_SOURCE_HELP = "CSV or JSON Lines file of device ids or custom ids; - for stdin."
Channel = Annotated[str, typer.Argument(metavar="CHANNEL", help="The channel; names are case-sensitive.", show_default=False)]
ChannelOfAll = Annotated[
    str | None, typer.Option("--channel", metavar="NAME", help="The channel of all rows; a row with another one is a bad row.")
]
VersionId = Annotated[
    bool,
    typer.Option(
        "--legacy-version-id", help="CHANNEL is the id of a bundle; only for servers until December 2024, with --dialect seed."
    ),
]
ListOfDevices = Annotated[str, typer.Argument(metavar="SOURCE", help=_SOURCE_HELP, show_default=False)]
Named = Annotated[str | None, typer.Argument(metavar="SOURCE", help=_SOURCE_HELP, show_default=False)]
SourceOrApp = Annotated[
    str | None, typer.Argument(metavar="SOURCE|APP", help=f"{_SOURCE_HELP} If ID is given: the app.", show_default=False)
]
CustomId = Annotated[
    str, typer.Argument(metavar="CUSTOM_ID", help="The id that the app has given to the device.", show_default=False)
]
AllMatches = Annotated[bool, typer.Option("--all-matches", help="Show all devices if several have this custom id.")]
OneDeviceId = Annotated[
    str | None, typer.Argument(metavar="ID", help="The device, to unlink only this one.", show_default=False)
]


@command(commands, "list", Device, short="List the devices of an app, ordered by id.")
async def list_devices(app_id: AppId, connection: Connection, invocation: Invocation) -> int:
    """List the devices of an app that were seen in the last 90 days, ordered by id."""
    async with connection.client() as client:
        return await print_listing(client.devices.list(app_id), _COLUMNS, invocation.speech)


@command(commands, "get", Device)
async def get_device(app_id: AppId, device_id: DeviceId, connection: Connection, invocation: Invocation) -> int:
    """Show one device."""
    async with connection.client() as client:
        try:
            found = await client.devices.get(app_id, device_id)
        except DeviceNotFound:
            # A server that cannot read its devices knows none. If it lists none, either, this raises what contradicts that.
            async for _ in client.devices.list(app_id, DeviceFilter(limit=1)).pages():
                break
            raise
    return print_item(found, invocation.speech)


@command(commands, "find", Device, short="Find the device with a custom id.")
async def find_device(
    app_id: AppId, custom_id: CustomId, connection: Connection, invocation: Invocation, *, all_matches: AllMatches = False
) -> int:
    """Find the device with a custom id.

    On servers before August 2026, all devices of the app are read for this.
    """
    async with connection.client() as client:
        found = await client.devices.find(app_id, custom_id, allow_several=all_matches)
        if not found:
            await check_readable(client.devices, app_id)
    if not found:
        message = f"no device of {app_id} has the custom id {custom_id!r}"
        raise ConfigurationError(message)
    return await print_items(found, _COLUMNS, invocation.speech)


@command(commands, "link", DeviceChange, short="Link one device to a channel.")
async def link_device(
    app_id: AppId,
    device_id: DeviceId,
    channel: Channel,
    connection: Connection,
    invocation: Invocation,
    *,
    version_id: VersionId = False,
) -> int:
    """Link one device to a channel, even one that the server does not know yet."""
    if not version_id:
        connection.refuse_protected(app_id, channel)
    async with connection.client() as client:
        if version_id:
            await client.devices.link_to_bundle(app_id, device_id, version_id=channel)
        else:
            await client.devices.link(app_id, device_id, channel=channel)
    return _print_change(invocation.speech, app_id, device_id, channel)


@command(commands, "relink", *OF_A_JOB, short="Link many devices to a channel, as a job.")
async def relink_devices(
    planning: DevicePlanning,
    stopping: Stopping,
    choosing: Choosing,
    connection: Connection,
    invocation: Invocation,
    source: Named = None,
    channel: ChannelOfAll = None,
) -> int:
    """Link many devices to a channel, as a job: plan, ask for confirmation, send, report.

    The devices come from SOURCE. With --all they are all devices of each --app instead; --where and --sample choose among them.
    After any interruption, `capgo-async job run` resumes the job.
    """
    if choice := choosing.choice(source, planning):
        if not channel:
            message = "--all needs --channel: there are no rows that name a channel"
            raise ConfigurationError(message)
        drawing = Drawing(choice, channel, Tally(), planning.inventory)
        return await change_many(drawing, "relink", planning, stopping, connection, invocation)
    operations = _listed(source or "", LinkDevice, planning, channel)
    return await change_many(operations, "relink", planning, stopping, connection, invocation)


@command(commands, "unlink", DeviceChange, *OF_A_JOB, short="Remove the links of many devices, or of one.")
async def unlink_devices(
    planning: DevicePlanning,
    stopping: Stopping,
    choosing: Choosing,
    connection: Connection,
    invocation: Invocation,
    source: SourceOrApp = None,
    device_id: OneDeviceId = None,
) -> int:
    """Remove the channel links of many devices, as a job. With APP and ID, remove the link of one device."""
    if choice := choosing.choice(source, planning):
        drawing = Drawing(choice, None, Tally(), planning.inventory)
        return await change_many(drawing, "unlink", planning, stopping, connection, invocation)
    source = source or ""
    if device_id is None:
        operations = _listed(source, UnlinkDevice, planning)
        return await change_many(operations, "unlink", planning, stopping, connection, invocation)
    if planning != DevicePlanning(yes=planning.yes) or stopping != Stopping():
        message = "unlink APP ID changes one device and takes no options of a job; for many devices, give a SOURCE"
        raise ConfigurationError(message)
    async with connection.client() as client:
        await client.devices.unlink(source, device_id)
    return _print_change(invocation.speech, source, device_id, None)


@command(commands, "renew", *OF_A_JOB, short="Renew the links of many devices, so that they do not expire.")
async def renew_devices(
    source: ListOfDevices, planning: InventoryPlanning, stopping: Stopping, connection: Connection, invocation: Invocation
) -> int:
    """Renew the links of many devices, so that they do not expire. Each link is removed and set again.

    A device has no link for the moment in between. Devices that the server does not list as linked are left alone.

    Some servers delete links after 30 days, others after 90. Newer servers keep links that were set through the API, and delete
    only those that devices set themselves. On such a server one renewal is enough; afterwards, pass --keeps-links everywhere.
    """
    operations = _listed(source, RenewDevice, planning)
    return await change_many(operations, "renew", planning, stopping, connection, invocation)


def _listed(source: str, kind: type[Operation], planning: InventoryPlanning, channel: str | None = None) -> Source:
    return read_rows(source, OF_DEVICES[kind], app_id=planning.one_app(), argument=channel, layout=planning.layout())


def _print_change(speech: Speech, app_id: str, device_id: str, channel: str | None) -> int:
    device = stored_id(device_id)
    sentence = f"unlinked {device} of {app_id}" if channel is None else f"linked {device} of {app_id} to {channel}"
    speech.done(sentence, DeviceChange(app_id=app_id, device_id=device, channel=channel))
    return ExitCode.OK
