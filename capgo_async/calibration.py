"""What a server and a key allow, found out with reads alone; the first refusal ends it: knocking prolongs it (contract B2)."""

import math
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final, NamedTuple, TypeVar

import anyio
import msgspec

from .api.endpoints.apps import list_apps
from .api.endpoints.devices import LARGEST_DEVICE_PAGE, DeviceFilter, list_devices
from .api.models import App, Device
from .api.resources.devices import read_page
from .client import CapgoClient, requester_of
from .concurrency import fan_out
from .errors import SafetyStop
from .http.call import Call
from .http.effort import Abandoned, Effort, Patience, gathered
from .http.retry import judge
from .http.wire import Response, reads_many
from .limits.models import ScopeKind
from .listing.walks import Page

T = TypeVar("T")

_MANY_APPS: Final = reads_many(App)
_SMALL_PAGE: Final = 50
"""The server's own page: what it says of channels is believed (contract C7)."""
_STEP: Final = 10
"""How exactly the largest page is found."""
_APPS: Final = 5
"""Apps that are looked at for one with many devices."""
WINDOW: Final = 60.0
"""Seconds within which the server counts what it limits (contract B2)."""
_SPENT_WITHIN: Final = WINDOW / 2
"""Seconds within which the rest of the budget is to go out, so that it counts together with the reads before it."""
_MOST_AT_ONCE: Final = 8
"""Reads in flight at most: so many may be refused."""

_UNFINISHED: Final = "the budget was used up before"


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """After `passed` reads, of an app at least so many, a limit of this scope refused one; `named` if the server said which."""

    scope: ScopeKind
    passed: int
    named: bool


class Findings(msgspec.Struct, kw_only=True):
    """What was found out so far; `page_remark` says why `page` is not known, or how far it was tried.

    `page_loses` is the smallest page that was seen to lose a channel, `None` where all that were tried keep them.
    `tried` is the most reads that surely counted together within a minute: a smaller limit would have been met.
    """

    app_id: str | None = None
    page: int | None = None
    page_loses: int | None = None
    page_remark: str = _UNFINISHED
    refused: Refused | None = None
    tried: int = 0


class _Row(NamedTuple):
    device_id: str
    linked: bool


class _Span(NamedTuple):
    """When a read that passed left, when its answer came, and the app, if any."""

    began: float
    ended: float
    app_id: str


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
        await reader.spend(found.app_id)
    except _Refusal as refusal:
        found.refused = refusal.refused
        if found.page_remark is _UNFINISHED:
            found.page_remark = "a limit refused a read before"
    except SafetyStop:
        pass
    found.tried = reader.most_within_window(found.app_id)
    return found


class _Refusal(Exception):
    """End a calibration: a limit refused a read."""

    def __init__(self, refused: Refused) -> None:
        super().__init__("refused by a limit")
        self.refused = refused


class _Reader:
    """Reads, and counts what passed by what counts it; raises `_Refusal` once a limit refused one."""

    def __init__(self, client: CapgoClient) -> None:
        self._requester = requester_of(client)
        self._before = client.counters.requests, client.counters.rate_limited
        self._of_apps: Counter[str] = Counter()
        self._answered: list[_Span] = []

    @property
    def _sent(self) -> int:
        return self._requester.counters.requests - self._before[0]

    @property
    def _passed(self) -> int:
        """Return how many no limit refused: what the server failed counts, too."""
        return self._sent - (self._requester.counters.rate_limited - self._before[1])

    @property
    def _at_known_limit(self) -> bool:
        """Tell whether the next read would wait for a limit that was learned before."""
        learned = self._requester.pacer.lessons(self._requester.key_scope).values()
        return self._sent >= min(filter(None, learned), default=math.inf)

    async def apps(self, limit: int) -> list[str]:
        """Return the ids of the first apps."""
        return [app.app_id for app in await self._read(list_apps(0, limit), _MANY_APPS, "")]

    async def devices(self, app_id: str, limit: int, cursor: str | None = None) -> Page[Device]:
        """Return one page of devices."""
        call = list_devices(app_id, DeviceFilter(limit=limit), (("cursor", cursor),) if cursor else ())
        return await self._read(call, read_page, app_id)

    async def spend(self, app_id: str | None) -> None:
        """Read until the budget is spent or a known limit is reached, as many at once as get it out within the window.

        What is in flight when one is refused is finished: only then it is known how many passed.
        """

        def look() -> Awaitable[object]:
            if app_id is None:
                return self._send(list_apps(0, 1), _MANY_APPS, "")
            return self._send(list_devices(app_id, DeviceFilter(limit=1), ()), read_page, app_id)

        refused: list[Abandoned] = []
        ended = False
        with gathered() as efforts, self._counting(app_id or ""):

            def turns() -> Iterator[None]:
                while not (ended or self._at_known_limit):
                    yield
                efforts.abandon()

            async def read(_turn: None) -> None:
                nonlocal ended
                try:
                    await look()
                except (SafetyStop, Abandoned) as end:
                    ended = True
                    if isinstance(end, Abandoned) and end.wait.refused is not None:
                        refused.append(end)

            await fan_out(turns(), read, self._at_once())
        if refused:
            raise self._refusal(refused[0], app_id or "") from refused[0]

    def most_within_window(self, app_id: str | None) -> int:
        """Return the most reads, of an app if there is one, that surely counted together in a window."""
        reads = [read for read in self._answered if app_id is None or read.app_id == app_id]
        return max((len(window) - _unseen(window) for window in _windows(reads)), default=0)

    def _at_once(self) -> int:
        counters, pacer = self._requester.counters, self._requester.pacer
        left = pacer.budget.requests - self._sent if pacer.budget is not None else 1
        needed = math.ceil(left * counters.seconds / max(1, counters.answers) / _SPENT_WITHIN)
        return max(1, min(needed, pacer.concurrency, _MOST_AT_ONCE))

    async def _read(self, call: Call, decode: Callable[[Response, str], T], app_id: str) -> T:
        try:
            with self._counting(app_id):
                return await self._send(call, decode, app_id)
        except Abandoned as end:
            raise self._refusal(end, app_id) from end

    async def _send(self, call: Call, decode: Callable[[Response, str], T], app_id: str) -> T:
        # A refusal ends the call: to wait for its end is what calibration must not do.
        effort = Effort(Patience.UNTIL_REFUSED)
        answer = await self._requester.call(call, decode, effort)
        self._answered.append(_Span(effort.began_at, anyio.current_time(), app_id))
        return answer

    @contextmanager
    def _counting(self, app_id: str) -> Iterator[None]:
        """Count what passes in the block as the app's."""
        before = self._passed
        try:
            yield
        finally:
            self._of_apps[app_id] += self._passed - before

    def _of_app(self, app_id: str) -> int:
        """Return how many of an app surely counted when one was refused: what passed in windows before was forgotten."""
        reads = [read for read in self._answered if read.app_id == app_id]
        opened = max((window[0].began for window in _windows(reads)), default=-math.inf)
        return max(0, self._of_apps[app_id] - sum(read.began < opened for read in reads) - _unseen(reads))

    def _refusal(self, end: Abandoned, app_id: str) -> _Refusal:
        if end.wait.refused is None:
            raise end
        verdict = judge(end.wait.refused)
        scope = verdict.scope or ScopeKind.KEY
        passed = self._of_app(app_id) if scope is ScopeKind.APP_ADDRESS else self._passed
        return _Refusal(Refused(scope=scope, passed=passed, named=verdict.reason_known))


def _windows(reads: Iterable[_Span]) -> list[list[_Span]]:
    """Return which reads surely counted together, as an app's are: a window opens with the first read behind the last one."""
    windows: list[list[_Span]] = []
    for read in sorted(reads):
        if not windows or read.began >= windows[-1][0].began + WINDOW:
            windows.append([read])
        elif read.ended <= windows[-1][0].began + WINDOW:
            windows[-1].append(read)
    return windows


def _unseen(reads: Sequence[_Span]) -> int:
    """Return how many others were under way when the last of `reads` left.

    The limit of an app is looked at before a request and counts it afterwards: it may have let them all pass (contract B2).
    """
    last = max((read.began for read in reads), default=math.inf)
    return max(0, sum(read.ended > last for read in reads) - 1)


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
    beyond = len(rows) + 1
    keeps, loses = max(_SMALL_PAGE, linked[0] + 1), beyond
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
    found.page_loses = loses if loses < beyond else None
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
