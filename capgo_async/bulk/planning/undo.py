"""Undo: what a job has changed becomes the source of another job (contract G4)."""

import hashlib
from collections.abc import AsyncIterator, Container

import msgspec

from ...concurrency import fan_out
from ...key_ring import KeyRing
from ..jobfile.facts import JobFacts
from ..jobfile.seen import Seen, newly_linked, touched
from ..operations.operations import Former, LinkDevice, RenewDevice, Row, UnlinkDevice, inverse, why_no_way_back
from ..operations.reasons import Cause, Reason
from ..sources.blocks import BATCH, known_digest
from ..spreading import apps_at_once, page_of
from ..storage.database import Database
from .looking import count_links


class Undoing:
    """The operations that undo a job, each only for a target that is still as the job left it.

    Rows that cannot be undone are skipped with a reason: the former state is unknown, or nothing restores it. An operation that
    failed ambiguously is undone only if it did change its target. In the apps `in_doubt`, devices that were shown without a
    link may have had one.
    """

    def __init__(self, database: Database, name: str, made_at: str, *, in_doubt: Container[str]) -> None:
        self.name = f"the undo of {name}"
        self.asked: dict[str, str | None] = {"undo": made_at}
        self._database = database
        self._in_doubt = in_doubt
        self._digest: str | None = None

    @property
    def digest(self) -> str:
        return known_digest(self.name, self._digest)

    async def batches(self, size: int = BATCH) -> AsyncIterator[list[Row]]:
        sha256 = hashlib.sha256()
        last = 0
        while found := await self._database.run(touched, last, size):
            # Which apps are in doubt changes while the undo runs, so it does not count.
            sha256.update(msgspec.json.encode(found))
            last = found[-1].id
            yield [_row(each, self._in_doubt) for each in found]
        self._digest = sha256.hexdigest()


async def apps_in_doubt(database: Database, client: KeyRing, facts: JobFacts) -> frozenset[str]:
    """Return the apps in which devices that the plan saw without a link may have had one.

    Where the server told the number of links, the job must have raised it by one for each device. Elsewhere the undo must list
    devices in pages of the same size as the plan did: where such a page shows links now, it would have shown them before.
    """
    same_pages = page_of(client) == facts.page
    doubted: set[str] = set()

    async def check(linked: tuple[str, int]) -> None:
        app_id, devices = linked
        before = facts.links.get(app_id)
        if before is None:
            proven = same_pages
        else:
            now = await count_links(client, app_id)
            proven = now is not None and now - before == devices
        if not proven:
            doubted.add(app_id)

    await fan_out(await database.run(newly_linked), check, apps_at_once(client))
    return frozenset(doubted)


def _row(each: Seen, in_doubt: Container[str]) -> Row:
    line, operation = each.line, each.operation
    if isinstance(operation, RenewDevice):
        if each.done:
            return Row(line, operation, Reason(Cause.RENEWED), skipped=True)
        # It may have ended between its two writes, the removal of the link and the new link.
        device = {"app_id": operation.app_id, "device_id": operation.device_id}
        return Row(line, LinkDevice(**device, channel=operation.channel), expected=UnlinkDevice(**device))
    if each.former.known is Former.SHOWN_UNLINKED and operation.app_id in in_doubt:
        return Row(line, operation, Reason(Cause.LINKS_NOT_SHOWN), skipped=True)
    back = inverse(operation, each.former)
    if back is None:
        return Row(line, operation, why_no_way_back(each.former), skipped=True)
    return Row(line, back, expected=operation)
