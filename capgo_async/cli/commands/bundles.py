"""The commands of `capgo-async bundles`."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated

import msgspec
import typer
from msgspec import UNSET, UnsetType

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
from ..job.reporting import OF_A_JOB
from ..options.moments import read_duration
from ..options.options import AppId, Connection, Planning, ReleasePlanning
from ..options.settings import SomeSettings, names_of, read_settings
from ..options.stopping import Stopping
from ..output.exit_codes import ExitCode
from ..output.listing import print_item, print_listing

commands = typer.Typer(name="bundles", no_args_is_help=True)


class BundlePromoted(msgspec.Struct, frozen=True, kw_only=True):
    """A bundle was given to a channel."""

    app_id: str
    bundle: str
    channel: str


class BundleDescribed(msgspec.Struct, frozen=True, kw_only=True):
    """The metadata of a bundle was set."""

    app_id: str
    bundle: str


class BundlesDeleted(msgspec.Struct, frozen=True, kw_only=True):
    """Bundles were deleted. `kept` are those in use by channels, if all others were to be deleted."""

    app_id: str
    deleted: Sequence[str]
    kept: Sequence[str] | UnsetType = UNSET


BundleName = Annotated[str, typer.Argument(metavar="BUNDLE", help="The bundle by its name, such as 1.2.3.", show_default=False)]
Promoted = Annotated[
    list[str] | None,
    typer.Argument(metavar="APP BUNDLE CHANNEL", help="The bundle, and the channel to give it to.", show_default=False),
]
Described = Annotated[
    list[str] | None,
    typer.Argument(metavar="APP BUNDLE NAME=VALUE", help="The bundle, and its new metadata.", show_default=False),
]
Gone = Annotated[
    list[str] | None,
    typer.Argument(metavar="APP BUNDLE", help="The bundle by its name, such as 1.2.3.", show_default=False),
]
Keep = Annotated[int, typer.Option("--keep", metavar="N", help="Keep the newest N bundles of each app.")]
OlderThan = Annotated[
    str | None, typer.Option("--older-than", metavar="TIME", help="Delete only bundles older than this, such as 30d.")
]
Url = Annotated[str, typer.Argument(metavar="URL", help="The https:// URL of the zip file.", show_default=False)]
Checksum = Annotated[str, typer.Argument(metavar="CHECKSUM", help="The checksum of the zip file.", show_default=False)]
Confirm = Annotated[str | None, typer.Option("--confirm", metavar="APP", help="The app id again, to confirm.")]


@command(commands, "list", Bundle, short="List the bundles of an app, newest first.")
async def list_bundles(app_id: AppId, connection: Connection, invocation: Invocation) -> int:
    """List the bundles of an app that are not deleted, newest first."""
    async with connection.client() as client:
        columns = ("id", "name", "created_at", "storage_provider", "comment")
        return await print_listing(client.bundles.list(app_id), columns, invocation.speech)


@command(commands, "create", Bundle, epilog=names_of(NewBundle))
async def create_bundle(
    app_id: AppId,
    bundle: BundleName,
    url: Url,
    checksum: Checksum,
    connection: Connection,
    invocation: Invocation,
    settings: SomeSettings = None,
) -> int:
    """Register a bundle that is hosted elsewhere."""
    given = [f"version={bundle}", f"external_url={url}", f"checksum={checksum}"]
    new = read_settings([*(settings or ()), *given], NewBundle)
    async with connection.client() as client:
        return print_item(await client.bundles.create(app_id, new), invocation.speech)


@command(commands, "promote", BundlePromoted, *OF_A_JOB, short="Give a bundle to one channel, or to many.")
async def promote_bundle(
    aim: Aim,
    planning: ReleasePlanning,
    stopping: Stopping,
    connection: Connection,
    invocation: Invocation,
    words: Promoted = None,
) -> int:
    """Give a bundle to a channel. A channel with a rollout is left alone unless --end-rollouts.

    For many channels, as a job: --from names a list with the columns app_id, channel and bundle (or pass BUNDLE for all rows);
    --everywhere means every app that has both the bundle and the channel.
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
        rollout = (await client.channels.get(app_id, channel)).rollout_version if planning.end_rollouts else None
        await client.bundles.promote(app_id, channel, bundle_id=found.id, ends_rollout=rollout)
    invocation.speech.done(
        f"promoted bundle {bundle} to channel {channel} of {app_id}",
        BundlePromoted(app_id=app_id, bundle=bundle, channel=channel),
    )
    return ExitCode.OK


@command(
    commands,
    "set-metadata",
    BundleDescribed,
    *OF_A_JOB,
    epilog=names_of(BundleMetadata),
    short="Set the link or the comment of one bundle, or of many.",
)
async def set_metadata(
    aim: Aim, planning: Planning, stopping: Stopping, connection: Connection, invocation: Invocation, words: Described = None
) -> int:
    """Set the link or the comment of a bundle.

    For many bundles, as a job: --from names a list with the columns app_id and bundle; --everywhere means the bundle of this
    name in every app.
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
    invocation.speech.done(f"set the metadata of bundle {bundle} of {app_id}", BundleDescribed(app_id=app_id, bundle=bundle))
    return ExitCode.OK


@command(commands, "delete", BundlesDeleted, *OF_A_JOB, short="Delete one bundle, or many.")
async def delete_bundle(
    aim: Aim, planning: Planning, stopping: Stopping, connection: Connection, invocation: Invocation, words: Gone = None
) -> int:
    """Delete a bundle. The server refuses to delete one that a channel uses.

    For many bundles, as a job: --from names a list with the columns app_id and bundle; --everywhere means the bundle of this
    name in every app.
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
    invocation.speech.done(f"deleted bundle {bundle} of {app_id}", BundlesDeleted(app_id=app_id, deleted=[bundle]))
    return ExitCode.OK


@command(commands, "prune", *OF_A_JOB, short="Delete old bundles of many apps, as a job.")
async def prune_bundles(
    planning: Planning,
    stopping: Stopping,
    connection: Connection,
    invocation: Invocation,
    keep: Keep = 0,
    older_than: OlderThan = None,
) -> int:
    """Delete old bundles of each --app, or of every app of the key, as a job.

    --keep, --older-than or both define which bundles are old. Bundles that a channel or a rollout uses are never deleted.
    """
    if keep < 1 and older_than is None:
        message = "pass --keep N, --older-than TIME or both to define which bundles are old"
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


@command(commands, "delete-all", BundlesDeleted, short="Delete every bundle of an app that no channel uses.")
async def delete_all_bundles(app_id: AppId, connection: Connection, invocation: Invocation, confirm: Confirm = None) -> int:
    """Delete every bundle of an app that no channel uses. Needs --confirm APP."""
    async with connection.client() as client:
        result = await client.bundles.delete_all(app_id, confirm=confirm)
    sentence = f"deleted {counted(len(result.deleted), 'bundle')} of {app_id}, kept {len(result.kept):,} in use by channels"
    invocation.speech.done(sentence, BundlesDeleted(app_id=app_id, deleted=result.deleted, kept=result.kept))
    return ExitCode.OK


async def _find(client: CapgoClient, app_id: str, name: str) -> Bundle:
    found = await client.bundles.find(app_id, name)
    if found is None:
        message = f"app {app_id} has no bundle {name!r}"
        raise ConfigurationError(message)
    return found
