"""Undo: what a job has changed becomes the source of another job (contract G4)."""

import hashlib
from collections.abc import AsyncIterator

import msgspec

from ..jobfile.seen import Seen, touched
from ..operations.operations import Former, LinkDevice, RenewDevice, Row, UnlinkDevice, inverse, why_no_way_back
from ..operations.reasons import Cause, Reason
from ..sources.blocks import BATCH, known_digest
from ..storage.database import Database


class Undoing:
    """The operations that undo a job, each only for a target that is still as the job left it.

    Rows that cannot be undone are skipped with a reason: the former state is unknown, or nothing restores it. An operation that
    failed ambiguously is undone only if it did change its target. `same_pages` is whether devices are listed in pages of the
    same size as when the job was planned: a listing that shows links now tells only of listings of that size.
    """

    def __init__(self, database: Database, name: str, made_at: str, *, same_pages: bool) -> None:
        self.name = f"the undo of {name}"
        self.asked: dict[str, str | None] = {"undo": made_at}
        self._database = database
        self._same_pages = same_pages
        self._digest: str | None = None

    @property
    def digest(self) -> str:
        return known_digest(self.name, self._digest)

    async def batches(self, size: int = BATCH) -> AsyncIterator[list[Row]]:
        sha256 = hashlib.sha256()
        last = 0
        while found := await self._database.run(touched, last, size):
            rows = [_row(each, same_pages=self._same_pages) for each in found]
            sha256.update(msgspec.json.encode(rows))
            last = found[-1].id
            yield rows
        self._digest = sha256.hexdigest()


def _row(each: Seen, *, same_pages: bool) -> Row:
    line, operation = each.line, each.operation
    if isinstance(operation, RenewDevice):
        if each.done:
            return Row(line, operation, Reason(Cause.RENEWED), skipped=True)
        # It may have ended between its two writes, the removal of the link and the new link.
        device = {"app_id": operation.app_id, "device_id": operation.device_id}
        return Row(line, LinkDevice(**device, channel=operation.channel), expected=UnlinkDevice(**device))
    if each.former.known is Former.SHOWN_UNLINKED and not same_pages:
        return Row(line, operation, Reason(Cause.LINKS_NOT_SHOWN), skipped=True)
    back = inverse(operation, each.former)
    if back is None:
        return Row(line, operation, why_no_way_back(each.former), skipped=True)
    return Row(line, back, expected=operation)
