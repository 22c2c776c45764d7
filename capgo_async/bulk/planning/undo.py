"""Undo: what a job has changed becomes the source of another job (contract G4)."""

import hashlib
from collections.abc import AsyncIterator

import msgspec

from ..jobfile.seen import Seen, touched
from ..operations.kinds import KINDS
from ..operations.operations import LinkDevice, RenewDevice, Row, UnlinkDevice, change_of, inverse
from ..operations.reasons import Cause, Reason
from ..sources.blocks import BATCH, known_digest
from ..storage.database import Database


class Undoing:
    """The operations that undo a job, each only for a target that is still as the job left it.

    Rows that cannot be undone are skipped with a reason: the former state is unknown, or nothing restores it. An operation that
    failed ambiguously is undone only if it did change its target.
    """

    def __init__(self, database: Database, name: str, made_at: str) -> None:
        self.name = f"the undo of {name}"
        self.asked: dict[str, str | None] = {"undo": made_at}
        self._database = database
        self._digest: str | None = None

    @property
    def digest(self) -> str:
        return known_digest(self.name, self._digest)

    async def batches(self, size: int = BATCH) -> AsyncIterator[list[Row]]:
        sha256 = hashlib.sha256()
        last = 0
        while found := await self._database.run(touched, last, size):
            rows = [_row(each) for each in found]
            sha256.update(msgspec.json.encode(rows))
            last = found[-1].id
            yield rows
        self._digest = sha256.hexdigest()


def _row(each: Seen) -> Row:
    line, operation = each.line, each.operation
    if isinstance(operation, RenewDevice) and not each.done:
        # It may have ended between its two writes, the removal of the link and the new link.
        device = {"app_id": operation.app_id, "device_id": operation.device_id}
        return Row(line, LinkDevice(**device, channel=operation.channel), expected=UnlinkDevice(**device))
    back = inverse(operation, each.former)
    if back is not None:
        return Row(line, back, expected=operation)
    kind = KINDS[change_of(operation).kind]
    cause = Cause.IRREVERSIBLE if kind.destroys else Cause.FORMER_UNKNOWN if kind.inverse else Cause.RENEWED
    return Row(line, operation, Reason(cause), skipped=True)
