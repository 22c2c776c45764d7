"""`capgo-async bundles`."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from ...api.endpoints.bundles import BundleMetadata, NewBundle
from ...api.models import Bundle
from ...bulk import from_operations
from ...bulk.operations.forms import DELETING_BUNDLES, PROMOTING, describing
from ...bulk.operations.operations import DeleteBundle, PromoteBundle, SetBundleMetadata
from ...bulk.planning.everywhere import Pruning, old_bundles
from ...bulk.report import counted
from ...client import CapgoClient
from ...errors import ConfigurationError
from ..framework import Invocation, command
from ..job.aiming import Aim, aimed, nothing_more, only_one
from ..job.asking import ask_before
from ..job.changing import change_many
from ..options.moments import read_duration
from ..options.options import AppId, Connection, Planning
from ..options.settings import SomeSettings, names_of, read_settings
from ..options.stopping import Stopping
from ..output.exit_codes import ExitCode
from ..output.listing import print_item, print_listing

commands = typer.Typer(name="bundles", no_args_is_help=True)

BundleName = Annotated[str, typer.Argument(metavar="BUNDLE", help="The bundle by its name, such as 1.2.3.", show_default=False)]
Promoted = Annotated[
    list[str] | None,
    typer.Argument(metavar="APP BUNDLE CHANNEL", help="The bundle, and the channel that gets it.", show_default=False),
]
Described = Annotated[
    list[str] | None,
    typer.Argument(metavar="APP BUNDLE NAME=VALUE", help="The bundle, and what is told of it.", show_default=False),
]
Gone = Annotated[
    list[str] | None,
    typer.Argument(metavar="APP BUNDLE", help="The bundle by its name, such as 1.2.3.", show_default=False),
]
Keep = Annotated[int, typer.Option("--keep", metavar="N", help="Leave the newest N of each app.")]
OlderThan = Annotated[str | None, typer.Option("--older-than", metavar="TIME", help="Only those older than this: 30d.")]
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


@command(commands, "promote", short="Give a channel a bundle, or many channels.")
async def promote_bundle(
    aim: Aim, planning: Planning, stopping: Stopping, connection: Connection, invocation: Invocation, words: Promoted = None
) -> int:
    """Give a channel a bundle, both by name.

    Many with --from, a list with the columns app_id, channel and bundle (or BUNDLE for all rows), or with --everywhere, in
    every app that has both: planned, asked for, and a job.
    """
    names, more = aim.split(words, "APP", "BUNDLE", "CHANNEL")
    if aim.many:
        nothing_more(more[1:] if aim.source else more)
        intended = aimed(
            aim,
            PROMOTING,
            planning,
            lambda app_id: PromoteBundle(app_id=app_id, channel=names[1], bundle=names[0]),
            more[0] if more else None,
        )
        return await change_many(intended, "promote", planning, stopping, connection, invocation)
    nothing_more(more)
    only_one(planning, stopping)
    app_id, bundle, channel = names
    connection.refuse_protected(app_id, channel)
    async with connection.client() as client:
        found = await _find(client, app_id, bundle)
        target = await client.channels.get(app_id, channel)
        await client.bundles.promote(app_id, version_id=found.id, channel_id=target.id)
    invocation.speech.done(f"channel {channel} of {app_id} has bundle {bundle}", app_id=app_id, bundle=bundle, channel=channel)
    return ExitCode.OK


@command(commands, "set-metadata", epilog=names_of(BundleMetadata), short="Set the link or comment of a bundle, or of many.")
async def set_metadata(
    aim: Aim, planning: Planning, stopping: Stopping, connection: Connection, invocation: Invocation, words: Described = None
) -> int:
    """Set the link or the comment of a bundle.

    Many with --from, a list with the columns app_id and bundle, or with --everywhere: planned, asked for, and a job.
    """
    names, settings = aim.split(words, "APP", "BUNDLE")
    metadata = read_settings(settings, BundleMetadata)
    if aim.many:
        intended = aimed(
            aim,
            describing(metadata),
            planning,
            lambda app_id: SetBundleMetadata(app_id=app_id, bundle=names[0], metadata=metadata),
        )
        return await change_many(intended, "describe", planning, stopping, connection, invocation)
    only_one(planning, stopping)
    app_id, bundle = names
    async with connection.client() as client:
        found = await _find(client, app_id, bundle)
        await client.bundles.set_metadata(app_id, found.id, metadata)
    invocation.speech.done(f"described bundle {bundle} of {app_id}", app_id=app_id, bundle=bundle)
    return ExitCode.OK


@command(commands, "delete", short="Delete one bundle, or many.")
async def delete_bundle(
    aim: Aim, planning: Planning, stopping: Stopping, connection: Connection, invocation: Invocation, words: Gone = None
) -> int:
    """Delete one bundle; one that a channel uses is refused.

    Many with --from, a list with the columns app_id and bundle, or with --everywhere: planned, asked for, and a job.
    """
    names, more = aim.split(words, "APP", "BUNDLE")
    nothing_more(more)
    if aim.many:
        intended = aimed(aim, DELETING_BUNDLES, planning, lambda app_id: DeleteBundle(app_id=app_id, bundle=names[0]))
        return await change_many(intended, "delete", planning, stopping, connection, invocation)
    only_one(planning, stopping)
    app_id, bundle = names
    await ask_before(f"Delete bundle {bundle} of {app_id}", yes=planning.yes)
    async with connection.client() as client:
        await client.bundles.delete(app_id, bundle)
    invocation.speech.done(f"deleted bundle {bundle} of {app_id}", app_id=app_id, deleted=[bundle])
    return ExitCode.OK


@command(commands, "prune", short="Delete the old bundles of many apps.")
async def prune_bundles(
    planning: Planning,
    stopping: Stopping,
    connection: Connection,
    invocation: Invocation,
    keep: Keep = 0,
    older_than: OlderThan = None,
) -> int:
    """Delete the old bundles of each --app, or of every app of the key; never one that a channel or a rollout uses.

    At least one of --keep and --older-than says which are old; with both, those that both mean.
    """
    if keep < 1 and older_than is None:
        message = "nothing says which bundles are old: give --keep N, --older-than TIME, or both"
        raise ConfigurationError(message)
    before = None if older_than is None else datetime.now(UTC) - timedelta(seconds=read_duration(older_than, "--older-than"))
    pruning = Pruning(keep=keep, before=before)
    return await change_many(
        lambda caller: from_operations(old_bundles(caller, pruning, planning.app or ()), name="old bundles"),
        "prune",
        planning,
        stopping,
        connection,
        invocation,
    )


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
