"""Compares what a job did with a fresh listing: one request a page, not one a device (contract C7, G4)."""

from collections.abc import Collection, Sequence
from typing import Final, Protocol

from ..endpoints.devices import DeviceFilter
from ..ring import Caller

PAGE: Final = 200


class VerifiedJournal(Protocol):
    """Where done operations are and verdicts go."""

    async def apps_done(self) -> list[str]:
        """Return the apps with done operations."""
        ...

    async def begin_verdicts(self, app_id: str) -> None:
        """Forget the verdicts on an app."""
        ...

    async def judge(self, app_id: str, shown: Sequence[tuple[str, str | None]]) -> None:
        """Compare done operations of an app with devices that a listing shows, each with its channel."""
        ...

    async def end_verdicts(self, app_id: str) -> None:
        """Say of what no listing showed that nobody can tell."""
        ...


async def verify(journal: VerifiedJournal, client: Caller, apps: Collection[str] | None = None) -> tuple[str, ...]:
    """Give every done operation a verdict from fresh listings; return what those listings could not prove.

    A device that no listing shows is `cannot_tell`: the inventory holds only devices that called in (contract C7). An app
    whose listing fails stays `unchecked`, and the failure is raised. With `apps` only what was done in these is looked at.
    """
    remarks: list[str] = []
    await client.prepare()
    for app_id in await journal.apps_done() if apps is None else apps:
        await journal.begin_verdicts(app_id)
        listing = client.client_of(app_id).devices.list(app_id, DeviceFilter(limit=PAGE))
        async for page in listing.pages():
            await journal.judge(app_id, [(device.device_id.lower(), device.channel) for device in page])
        await journal.end_verdicts(app_id)
        remarks += [f"{app_id}: {caveat}" for caveat in listing.caveats]
    return tuple(remarks)
