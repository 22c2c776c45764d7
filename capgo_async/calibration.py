"""What a server and a key allow, found out with reads alone; the first refusal ends it: knocking prolongs it (contract B2)."""

import math
from collections import Counter
from collections.abc import Callable
from typing import Final, NamedTuple, TypeVar

import msgspec

from .client import CapgoClient
from .efforts import Effort, Parked
from .endpoints.apps import list_apps
from .endpoints.call import Call
from .endpoints.devices import LARGEST_DEVICE_PAGE, DeviceFilter, list_devices
from .errors import RateLimited, SafetyStop
from .limits import ScopeKind
from .models import App, Device
from .paging import Page
from .resources.devices import read_page
from .retry import judge
from .wire import Response, reads_many

T = TypeVar("T")

_MANY_APPS: Final = reads_many(App)
_SMALL_PAGE: Final = 50
"""The server's own page: what it says of channels is believed (contract C7)."""
_STEP: Final = 10
"""How exactly the largest page is found."""
_APPS: Final = 5
"""Apps that are looked at for one with many devices."""


_UNFINISHED: Final = "the budget was used up before"


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """After `passed` reads one was refused by a limit of this scope; `named` tells whether the server said which."""

    scope: ScopeKind
    passed: int
    named: bool


class Findings(msgspec.Struct, kw_only=True):
    """What was found out so far; `page_remark` says why `page` is not known, or how far it was tried."""

    app_id: str | None = None
    page: int | None = None
    page_remark: str = _UNFINISHED
    refused: Refused | None = None


class _Row(NamedTuple):
    device_id: str
    linked: bool


async def calibrate(client: CapgoClient, app_id: str | None = None) -> Findings:
    """Read until the pacer's budget is used up or something is refused; without `app_id` an app with devices is looked for.

    A limit that is known already ends it, too: the pacer keeps to it, so that nothing more comes to light. There must be a
    budget. Raises what other calls raise, rate limits and the end of the budget excepted.
    """
    found = Findings(app_id=app_id)
    reader = _Reader(client)
    try:
        if found.app_id is None:
            found.app_id = await _app_with_devices(reader)
        if found.app_id is None:
            found.page_remark = "the key sees no app with devices"
        else:
            await _find_page(reader, found.app_id, found)
        while not reader.at_known_limit:
            await reader.devices(found.app_id, 1) if found.app_id else await reader.apps(1)
    except _Refusal as refusal:
        found.refused = refusal.refused
        if found.page_remark is _UNFINISHED:
            found.page_remark = "a limit refused a read before"
    except SafetyStop:
        pass
    return found


class _Refusal(Exception):
    """End a calibration: a limit refused a read."""

    def __init__(self, refused: Refused) -> None:
        super().__init__("refused by a limit")
        self.refused = refused


class _Reader:
    """Reads, and counts what passed by what counts it; raises `_Refusal` at the first that a limit refuses."""

    def __init__(self, client: CapgoClient) -> None:
        self._client = client
        self._before = client.counters.requests
        self._of_apps: Counter[str] = Counter()

    @property
    def at_known_limit(self) -> bool:
        """Tell whether the next read would wait for a limit that was learned before."""
        learned = self._client.pacer.lessons(self._client.requester.key_scope).values()
        return self._client.counters.requests - self._before >= min(filter(None, learned), default=math.inf)

    async def apps(self, limit: int) -> list[str]:
        """Return the ids of the first apps."""
        return [app.app_id for app in await self._read(list_apps(0, limit), _MANY_APPS, "")]

    async def devices(self, app_id: str, limit: int, cursor: str | None = None) -> Page[Device]:
        """Return one page of devices."""
        call = list_devices(app_id, DeviceFilter(limit=limit), (("cursor", cursor),) if cursor else ())
        return await self._read(call, read_page, app_id)

    async def _read(self, call: Call, decode: Callable[[Response, str], T], app_id: str) -> T:
        # A refusal ends the call: to wait for its end is what calibration must not do.
        effort = Effort(impatient=True)
        before = self._client.counters.requests
        try:
            return await self._client.requester.call(call, decode, effort)
        except Parked as parked:
            if not isinstance(parked.__cause__, RateLimited):
                raise
            verdict = judge(parked.__cause__)
            scope = verdict.scope or ScopeKind.KEY
            # Attempts that the server failed count, too; the last one is the one that was refused.
            sent = self._client.counters.requests
            passed = self._of_apps[app_id] + sent - before if scope is ScopeKind.APP_ADDRESS else sent - self._before
            raise _Refusal(Refused(scope=scope, passed=passed - 1, named=verdict.reason_known)) from parked
        finally:
            self._of_apps[app_id] += self._client.counters.requests - before


async def _app_with_devices(reader: _Reader) -> str | None:
    """Return the first app whose devices do not fit on a small page, else the first with some."""
    some: str | None = None
    for app_id in (await reader.apps(_SMALL_PAGE))[:_APPS]:
        page = await reader.devices(app_id, _SMALL_PAGE)
        if page.has_more:
            return app_id
        some = some or (app_id if page.rows else None)
    return some


async def _find_page(reader: _Reader, app_id: str, found: Findings) -> None:
    """Find the largest page that tells the channel of every device of which small pages tell it."""
    rows = await _first_devices(reader, app_id)
    linked = [place for place, row in enumerate(rows) if row.linked]
    if len(rows) <= _SMALL_PAGE or not linked:
        found.page_remark = f"{len(rows)} devices of {app_id} were looked at, {len(linked)} of them linked: too few to tell"
        return
    # A page that ends before the first linked device would show nothing.
    keeps, loses = max(_SMALL_PAGE, linked[0] + 1), len(rows) + 1
    size, kept_once = len(rows), False
    while True:
        page = await reader.devices(app_id, size)
        kept = {device.device_id for device in page.rows if device.channel is not None}
        if len(page.rows) == size and all(row.device_id in kept for row in rows[:size] if row.linked):
            keeps, kept_once = size, True
        else:
            loses = size
        if loses - keeps <= _STEP:
            break
        size = (keeps + loses) // 2
    # Where no page was seen to keep them, the first that could tell is no more than a guess.
    found.page = keeps if kept_once else _SMALL_PAGE
    found.page_remark = f"tried up to {len(rows)} devices a page of {app_id}"


async def _first_devices(reader: _Reader, app_id: str) -> list[_Row]:
    """Return the first devices of an app in small pages, as many as the largest page could hold."""
    rows: list[_Row] = []
    cursor: str | None = None
    while len(rows) < LARGEST_DEVICE_PAGE:
        page = await reader.devices(app_id, _SMALL_PAGE, cursor)
        rows += [_Row(device.device_id, device.channel is not None) for device in page.rows]
        cursor = page.next_cursor
        if not page.rows or not page.has_more or cursor is None:
            break
    return rows[:LARGEST_DEVICE_PAGE]
