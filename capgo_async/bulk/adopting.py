"""Compares what moved devices run with the bundles of their channels (contract C6, C7)."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

from ..concurrency import fan_out
from ..errors import ChannelNotFound, InputError, JobError
from ..key_ring import KeyRing
from .adoption import Adoption, Doubt, Straggler
from .inventory.exporting import devices_at_hand
from .jobfile import uptake
from .jobfile.facts import JobFacts
from .jobfile.uptake import Listed, Serving, Target
from .spreading import apps_at_once, page_of
from .storage.database import Database, Mode

_CHUNK: Final = 1000

OnStragglers = Callable[[Sequence[Straggler]], Awaitable[object]]


async def find_adoption(  # noqa: PLR0913 - keyword-only options
    job: Path,
    database: Database,
    client: KeyRing,
    *,
    facts: JobFacts,
    inventory: Path | None,
    on_stragglers: OnStragglers | None,
) -> Adoption:
    """Compare the devices that the job at `job` moved with a new inventory, or with one on disk.

    In apps where that takes fewer requests, a new inventory is made of the moved devices alone. An inventory that is older than
    the job is refused.
    """
    targets = await database.run(uptake.moves_of)
    if not targets:
        message = f"{job} has moved no device yet: no operation that links or unlinks one is done"
        raise JobError(message)
    await client.prepare()
    serving: list[tuple[Target, Serving]] = []

    async def look(target: Target) -> None:
        serving.append((target, await _serving(client, target)))

    await fan_out([target for target in targets if target.channel is not None], look, apps_at_once(client))
    apps = list(dict.fromkeys(target.app_id for target in targets))
    few = _few(await database.run(uptake.moved_by_app), facts, page_of(client))
    only = await database.run(uptake.moved_in, few) if few and inventory is None else {}
    async with devices_at_hand(client, apps, inventory, only=only) as (path, checks, _):
        as_of = min(check.began_at for check in checks)
        if inventory is not None and datetime.fromisoformat(as_of) < facts.created_at:
            message = f"{inventory} was exported before the job was planned, so it cannot show what devices took since"
            raise InputError(message)
        shown = Database(path, Mode.READ_ONLY)
        try:
            await shown.attach(job, "job")
            listed = [Listed(check.app_id, check.rows > 0, check.held) for check in checks]
            await shown.run(uptake.prepare, listed, serving)
            remarks = [f"{check.app_id}: {caveat}" for check in checks for caveat in check.caveats]
            found = await shown.run(uptake.adoption_of, as_of, remarks)
            last = 0
            while on_stragglers is not None and (chunk := await shown.run(uptake.stragglers_of, last, _CHUNK)):
                last = chunk[-1][0]
                await on_stragglers([straggler for _, straggler in chunk])
        finally:
            await shown.aclose()
    return found


def _few(moved: Mapping[str, int], facts: JobFacts, page: int) -> list[str]:
    """Return the apps in which each moved device is read by itself, as that takes fewer requests.

    Listings have `page` devices a page. The plan knows how many devices an app had. Of an app that it listed in part, it read
    single devices for the same reason.
    """
    survey = facts.survey
    return [
        app_id
        for app_id, devices in moved.items()
        if app_id in survey.listed_in_part or devices <= -(-survey.listed.get(app_id, 0) // page)
    ]


async def _serving(client: KeyRing, target: Target) -> Serving:
    """Return the bundles that a channel serves now: two during a rollout."""
    try:
        channel = await client.client_of(target.app_id).channels.get(target.app_id, target.channel or "")
    except ChannelNotFound:
        return Serving(doubt=Doubt.NO_CHANNEL)
    if channel.version is None or channel.bundle_name is None:
        return Serving(doubt=Doubt.NO_BUNDLE)
    bundles = [channel.version, *([] if channel.rollout is None else [channel.rollout])]
    return Serving([(bundle.id, bundle.name) for bundle in bundles])
