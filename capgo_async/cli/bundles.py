"""`capgo-async bundles`."""

from typing import Annotated

import typer

from ..bulk.report import ExitCode, counted
from ..client import CapgoClient
from ..endpoints.bundles import BundleMetadata, NewBundle
from ..errors import ConfigurationError
from ..models import Bundle
from .asking import ask_before
from .commands import Invocation, command
from .listing import print_item, print_listing
from .options import AppId, Connection, Yes
from .settings import Settings, SomeSettings, names_of, read_settings

commands = typer.Typer(name="bundles", help="Look at bundles, register, promote and delete them.", no_args_is_help=True)

BundleName = Annotated[str, typer.Argument(metavar="BUNDLE", help="The bundle by its name, such as 1.2.3.", show_default=False)]
ChannelName = Annotated[str, typer.Argument(metavar="CHANNEL", help="The channel that gets it.", show_default=False)]
Url = Annotated[str, typer.Argument(metavar="URL", help="Where the zip lies, https:// only.", show_default=False)]
Checksum = Annotated[str, typer.Argument(metavar="CHECKSUM", help="The checksum of the zip.", show_default=False)]
Confirm = Annotated[
    str | None, typer.Option("--confirm", metavar="APP", help="The app's id again, to show that all of them are meant.")
]


@command(commands, "list", short="List the bundles of an app, newest first.")
async def list_bundles(app_id: AppId, connection: Connection, invocation: Invocation) -> int:
    """List the bundles of an app that are not deleted, newest first."""
    async with connection.client() as client:
        columns = ("id", "name", "created_at", "storage_provider", "comment")
        return await print_listing(client.bundles.list(app_id), columns, invocation.speech)


@command(commands, "create", epilog=names_of(NewBundle))
async def create_bundle(
    app_id: AppId,
    bundle: BundleName,
    url: Url,
    checksum: Checksum,
    connection: Connection,
    invocation: Invocation,
    settings: SomeSettings = None,
) -> int:
    """Register a bundle that lies elsewhere."""
    given = [f"version={bundle}", f"external_url={url}", f"checksum={checksum}"]
    new = read_settings([*(settings or ()), *given], NewBundle)
    async with connection.client() as client:
        return print_item(await client.bundles.create(app_id, new), invocation.speech)


@command(commands, "promote")
async def promote_bundle(
    app_id: AppId, bundle: BundleName, channel: ChannelName, connection: Connection, invocation: Invocation
) -> int:
    """Give a channel a bundle, both by name."""
    async with connection.client() as client:
        found = await _find(client, app_id, bundle)
        target = await client.channels.get(app_id, channel)
        await client.bundles.promote(app_id, version_id=found.id, channel_id=target.id)
    invocation.speech.done(f"channel {channel} of {app_id} has bundle {bundle}", app_id=app_id, bundle=bundle, channel=channel)
    return ExitCode.OK


@command(commands, "set-metadata", epilog=names_of(BundleMetadata))
async def set_metadata(
    app_id: AppId, bundle: BundleName, settings: Settings, connection: Connection, invocation: Invocation
) -> int:
    """Set the link or the comment of a bundle."""
    metadata = read_settings(settings, BundleMetadata)
    async with connection.client() as client:
        found = await _find(client, app_id, bundle)
        await client.bundles.set_metadata(app_id, found.id, metadata)
    invocation.speech.done(f"described bundle {bundle} of {app_id}", app_id=app_id, bundle=bundle)
    return ExitCode.OK


@command(commands, "delete")
async def delete_bundle(
    app_id: AppId, bundle: BundleName, connection: Connection, invocation: Invocation, *, yes: Yes = False
) -> int:
    """Delete one bundle; one that a channel uses is refused."""
    await ask_before(f"Delete bundle {bundle} of {app_id}", yes=yes)
    async with connection.client() as client:
        await client.bundles.delete(app_id, bundle)
    invocation.speech.done(f"deleted bundle {bundle} of {app_id}", app_id=app_id, deleted=[bundle])
    return ExitCode.OK


@command(commands, "delete-all", short="Delete every bundle of an app that no channel uses.")
async def delete_all_bundles(app_id: AppId, connection: Connection, invocation: Invocation, confirm: Confirm = None) -> int:
    """Delete every bundle of an app that no channel uses, one by one; needs --confirm APP."""
    async with connection.client() as client:
        result = await client.bundles.delete_all(app_id, confirm=confirm)
    sentence = f"deleted {counted(len(result.deleted), 'bundle')} of {app_id}, kept {len(result.kept):,} that channels use"
    invocation.speech.done(sentence, app_id=app_id, deleted=result.deleted, kept=result.kept)
    return ExitCode.OK


async def _find(client: CapgoClient, app_id: str, name: str) -> Bundle:
    found = await client.bundles.find(app_id, name)
    if found is None:
        message = f"app {app_id} has no bundle {name!r}"
        raise ConfigurationError(message)
    return found
