"""Drawing up a plan: which of the rows need a request, given what the server shows now.

Longer than 300 lines because all that can refuse a plan is in one place, in the order in which it is checked.
"""

import contextlib
import math
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

import msgspec

from ...client import requester_of
from ...concurrency import fan_out
from ...errors import CapgoError, ConfigurationError, DangerousCall, EmptyListing, InputError, PermissionDenied, Problem
from ...http.dialect import SETTINGS_KEEP_THE_BUNDLE, Dialect
from ...key_ring import KeyRing
from ..jobfile.facts import JobBinding, JobFacts, Options, Pair, Survey, Unknown
from ..jobfile.staging import Staging
from ..operations.kinds import KINDS
from ..operations.operations import PromoteBundle, TargetKind, UpdateChannel, operation_of
from ..operations.reasons import Reason
from ..plan import Displaced
from ..report import counted
from ..sources.source import Source, blocks_of
from ..spreading import apps_at_once
from ..storage.exported import Exported
from . import finding, looking, scanning
from .looking import ListedDevices, count_links
from .scanning import no_access

KEPT_REASONS: Final = 100
"""Number of bad rows that an `InputError` holds. `OnRejected` receives all of them."""
_CHUNK: Final = 1000
_NAMED_IDS: Final = 5
_ODD_SHARE: Final = 1 / 3
"""Largest share of ids without the form of a UUID that may be a mistake."""

OnRejected = Callable[[Sequence[tuple[int, Reason]]], None]
"""Called with chunks of bad rows, each as line and reason."""


class Draft(NamedTuple):
    """What drawing up a plan found.

    `remarks` are sentences on what could not be proven. `observed_at` is the time of the oldest observation, in UTC, ISO 8601;
    `None` if everything was read just now. `links` are the counts of links in apps that may have hidden some. `features` are
    those that the server's responses have shown (contract K0).
    """

    survey: Survey
    remarks: tuple[str, ...]
    observed_at: str | None
    links: dict[str, int]
    features: dict[str, bool]


async def draw_up(stage: Staging, source: Source, client: KeyRing, options: Options, on_rejected: OnRejected) -> Draft:
    """Stage the rows of `source` and decide which need a request. Only reads are sent.

    `on_rejected` is called with all bad rows, in chunks. Raises `InputError` if rows are bad and `options` do not leave them
    out, or if they have several kinds of targets. Raises `DangerousCall` if `options` do not allow the changes on this server.
    """
    known = {} if options.inventory is None else await stage.know(options.inventory, client.base_url)
    remarks: list[str] = []
    async for block in blocks_of(source):
        await stage.add(block)
        remarks += block.remarks
    remarks += await finding.find_devices(stage, client, known)
    pairs = await stage.pairs()
    target = _target(pairs, source)
    if known and target is not TargetKind.DEVICE:
        message = f"an inventory of devices cannot be compared with a list of {target}s"
        raise ConfigurationError(message, problem=Problem.INVENTORY_UNRELATED)
    await stage.compare_rows()
    if options.protected:
        await stage.protect(options.protected, options.protected_by)
    if not options.reject_bad_rows and await stage.rejected(0, 1):
        # The input is refused in any case. What else is wrong with it is looked up, so that all of it can be fixed at once.
        with contextlib.suppress(CapgoError):
            await _find_bad_rows(stage, client, target, options)
        await _refuse_bad_rows(stage, source, options, on_rejected)
    await client.prepare()
    observed_at: str | None = None
    links: dict[str, int] = {}
    lost: list[Displaced] = []
    if target is TargetKind.DEVICE:
        remarks += await _odd_names(stage)
        if options.links_are_kept:
            await stage.skip_renewals()
        await scanning.check_channels(stage, client)
        await _refuse_bad_rows(stage, source, options, on_rejected)
        observed_at, more = await _survey_devices(stage, client, options, known)
        remarks += more
    else:
        more, lost = await _survey_others(stage, client, options)
        remarks += more
        if options.waves:
            remarks.append("waves are shares of each app, so an app with a single target belongs to the first wave")
    await _refuse_bad_rows(stage, source, options, on_rejected)
    await _report_bad_rows(stage, on_rejected)
    if target is TargetKind.DEVICE:
        links, more = await scanning.settle_unlinked(stage, client)
        remarks += more
        await stage.compare_with_inventory()
        await _treat_unknown(stage, source, options)
        remarks += await scanning.shortcuts(stage, client, frozenset(options.protected))
    features: dict[str, bool] = {}
    for each in client.clients:
        features |= requester_of(each).generation.features
    survey = msgspec.structs.replace(await stage.survey(), displaced=tuple(lost))
    return Draft(survey, tuple(dict.fromkeys(remarks)), observed_at, links, features)


def facts_of(draft: Draft, source: Source, options: Options, binding: JobBinding, created_at: datetime) -> JobFacts:
    remarks, observed_at = draft.remarks, created_at
    if draft.observed_at is not None:
        observed_at = datetime.fromisoformat(draft.observed_at)
        age = _in_words(created_at - observed_at)
        told = f"compared with the inventory {options.kept().inventory}, taken at {draft.observed_at} ({age} before this plan)"
        remarks = (told, *remarks)
    return JobFacts(
        source=source.name,
        source_digest=source.digest,
        asked=source.asked,
        options=options.kept(),
        created_at=created_at,
        observed_at=observed_at,
        survey=draft.survey,
        binding=binding,
        remarks=remarks,
        links=draft.links,
        features=draft.features,
    )


def _in_words(age: timedelta) -> str:
    for unit, length in _UNITS:
        if age >= 2 * length:
            return counted(age // length, unit)
    return counted(max(0, age // timedelta(minutes=1)), "minute")


_UNITS: Final = (("day", timedelta(days=1)), ("hour", timedelta(hours=1)))


def _target(pairs: Sequence[Pair], source: Source) -> TargetKind:
    targets = {KINDS[pair.change.kind].target for pair in pairs} or {TargetKind.DEVICE}
    if len(targets) > 1:
        message = f"{source.name}: {' and '.join(sorted(f'{target}s' for target in targets))} in one list; make a job for each"
        raise InputError(message)
    return targets.pop()


async def _find_bad_rows(stage: Staging, client: KeyRing, target: TargetKind, options: Options) -> None:
    """Reject rows whose app, channel or other target the server does not show, without listing devices."""
    await client.prepare()
    if target is TargetKind.DEVICE:
        await scanning.check_channels(stage, client)
        await scanning.check_access(stage, client)
    else:
        await _survey_others(stage, client, options)


async def _odd_names(stage: Staging) -> list[str]:
    """Return a remark on ids that are not UUIDs, if they are few."""
    rows = sum(pair.rows for pair in await stage.pairs())
    odd, named = await stage.odd_names(_NAMED_IDS)
    if not 0 < odd <= rows * _ODD_SHARE:
        return []
    names = ", ".join(f"{name!r} (line {line})" for line, name in named)
    more = f" and {odd - len(named):,} more" if odd > len(named) else ""
    return [
        f"{counted(odd, 'device id')} of {rows:,} {'is' if odd == 1 else 'are'} not a UUID, unlike all others: {names}{more}"
    ]


async def _survey_devices(
    stage: Staging, client: KeyRing, options: Options, known: Mapping[str, Exported]
) -> tuple[str | None, list[str]]:
    # A listing must not cost more requests than it can save, unless the plan needs all of it.
    whole = options.unknown in {Unknown.SKIP, Unknown.REFUSE}
    budgets: dict[str, float] = {}
    renewing: set[str] = set()
    pairs = await stage.pairs()
    # Rows that expect the result of another operation need a listing that is younger than that operation.
    expecting = {pair.app_id for pair in pairs if pair.expecting}
    for pair in pairs:
        if pair.change.kind == "renew_device":
            renewing.add(pair.app_id)
        needs_all = whole or pair.expecting or pair.app_id in renewing
        budgets[pair.app_id] = budgets.get(pair.app_id, 0) + (math.inf if needs_all else pair.rows)
    # The links to renew are those that an inventory shows. If it shows none of an app, a new listing may.
    linked = await stage.known_with_links() if known else frozenset()
    known = {
        app_id: found
        for app_id, found in known.items()
        if app_id not in expecting and (app_id in linked or app_id not in renewing)
    }

    async def check(app_id: str, listed: ListedDevices) -> None:
        """Refuse a plan that would take what a listing lacks for the truth (contract C7)."""
        shown = "no link of any device" if listed.pages else "no device"
        unable = f"{app_id}: the server shows {shown}, but {{}}: it may be unable to read its data"
        if app_id in expecting and not listed.pages:
            raise EmptyListing(unable.format("the job to undo has changed some"))
        if app_id in renewing:
            links = await count_links(client, app_id)
            if not listed.links and links != 0:
                counted_links = "does not tell how many are linked" if links is None else f"counts linked ones ({links:,})"
                raise EmptyListing(unable.format(counted_links))
            if links is not None and links > listed.links:
                hidden = f"the server counts {counted(links, 'link')} and shows {listed.links:,}; only those are renewed"
                listed.caveats.append(f"{app_id}: {hidden}")
        if listed.contradicted:
            _refuse_hidden(listed.caveats, options)
        if options.unknown is Unknown.REFUSE and not listed.shows_all:
            message = f"the server lists no device of {app_id}, so unknown devices cannot be found"
            raise InputError(message, problem=Problem.DEVICES_UNKNOWN)

    # Finding custom ids may have listed apps already. Where that showed no link, a whole listing tells what to renew.
    scanned = await stage.scanned()
    left = budgets.keys() - {app_id for app_id, linked in scanned.items() if linked or app_id not in renewing}
    used = {app_id: known[app_id] for app_id in budgets if app_id in left and app_id in known}
    remarks = await _use_known(stage, used, options)
    rest = {app_id: budget for app_id, budget in budgets.items() if app_id in left and app_id not in used}
    remarks += await scanning.scan_apps(stage, client, rest, check)
    return min((found.began_at for found in used.values()), default=None), remarks


def _refuse_hidden(caveats: Sequence[str], options: Options) -> None:
    """Raise `EmptyListing` on contradicted lists, unless devices are to be changed without seeing them."""
    if options.unknown is not Unknown.SEND:
        raise EmptyListing("; ".join(caveats), problem=Problem.DEVICES_HIDDEN if options.unknown is None else None)


async def _use_known(stage: Staging, used: Mapping[str, Exported], options: Options) -> list[str]:
    """Use the attached inventory instead of listings of these apps, and return remarks."""
    remarks: list[str] = []
    for app_id, found in used.items():
        caveats = [f"{app_id}: {caveat}" for caveat in found.caveats]
        if found.contradicted:
            _refuse_hidden(caveats, options)
        remarks += caveats
        # As in a listing, an empty app cannot be told from a store that could not be read.
        complete = found.held and found.rows > 0
        if not complete:
            remarks.append(f"the inventory of {app_id} may be incomplete, so unknown devices cannot be found")
            if options.unknown is Unknown.REFUSE:
                raise InputError(remarks[-1], problem=Problem.DEVICES_UNKNOWN)
        await stage.use_known(app_id, complete=complete, hidden=found.contradicted)
    return remarks


async def _survey_others(stage: Staging, client: KeyRing, options: Options) -> tuple[list[str], list[Displaced]]:
    kinds: dict[str, set[str]] = {}
    settings_alone = promotes = False
    for pair in await stage.pairs():
        kinds.setdefault(pair.app_id, set()).add(pair.change.kind)
        operation = operation_of(pair.change, pair.app_id, "")
        promotes |= isinstance(operation, PromoteBundle)
        if isinstance(operation, UpdateChannel):
            settings_alone |= operation.settings.bundle is msgspec.UNSET
            if isinstance(operation.settings.bundle, str):
                # This is a promotion, too, so the bundles are listed as well.
                kinds[pair.app_id].add("promote_bundle")
    found: dict[str, tuple[list[str], list[Displaced]]] = {app_id: ([], []) for app_id in kinds}

    async def survey(app_id: str) -> None:
        try:
            found[app_id] = await looking.survey(stage, client, app_id, kinds[app_id], options)
        except PermissionDenied as error:
            await stage.reject(app_id, None, no_access(app_id, error))

    await fan_out(kinds, survey, apps_at_once(client))
    for each in client.clients:
        generation = requester_of(each).generation
        if promotes and generation.dialect is Dialect.SEED:
            message = "this server is of the seed generation and cannot promote: update the channels with bundle=NAME instead"
            raise ConfigurationError(message)
        if settings_alone and not options.old_servers and not generation.is_since(SETTINGS_KEEP_THE_BUNDLE):
            message = (
                "this server may be older than 12.198, and there changing a channel's settings can remove its bundle."
                " To keep the bundle, its name would be sent with the settings."
                " That would undo a promotion made at the same moment."
            )
            raise DangerousCall(message, problem=Problem.MAY_LOSE_BUNDLE)
    remarks = [remark for remarks, _ in found.values() for remark in remarks]
    return remarks, [each for _, lost in found.values() for each in lost]


async def _refuse_bad_rows(stage: Staging, source: Source, options: Options, on_rejected: OnRejected) -> None:
    if options.reject_bad_rows:
        return
    first = await stage.rejected(0, KEPT_REASONS)
    if first:
        count = await _report_bad_rows(stage, on_rejected)
        message = f"{source.name}: {counted(count, 'bad row')}, nothing was sent"
        rejected = [(line, reason.cause, str(reason)) for line, reason in first]
        raise InputError(message, rejected=rejected, count=count, good=sum(pair.rows for pair in await stage.pairs()))


async def _report_bad_rows(stage: Staging, on_rejected: OnRejected) -> int:
    """Call `on_rejected` with every bad row, in chunks, and return their number."""
    count = last = 0
    while chunk := await stage.rejected(last, _CHUNK):
        on_rejected(chunk)
        count += len(chunk)
        last = chunk[-1][0]
    return count


async def _treat_unknown(stage: Staging, source: Source, options: Options) -> None:
    if options.unknown is Unknown.SKIP:
        await stage.skip_unknown()
    elif options.unknown is Unknown.REFUSE and (count := await stage.unknown()):
        devices = f"{counted(count, 'device')} {'is' if count == 1 else 'are'}"
        message = f"{source.name}: {devices} unknown to the server"
        raise InputError(message, count=count, problem=Problem.DEVICES_UNKNOWN)
