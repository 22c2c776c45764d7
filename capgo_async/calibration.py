"""Measures what a server and a key allow. It sends reads only.

The first refusal ends a calibration, because each further request would prolong it (contract B2).
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
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
"""Default page size of the server. Channels in such a page are right (contract C7)."""
_STEP: Final = 10
"""Precision of the largest page, in devices."""
_APPS: Final = 5
"""Most apps that are searched for one with many devices."""
WINDOW: Final = 60.0
"""Length of the server's rate limit windows in seconds (contract B2)."""
_SPENT_WITHIN: Final = WINDOW / 2
"""Seconds in which the rest of the budget is sent, to count together with the reads before it."""
_MOST_AT_ONCE: Final = 8
"""Most reads in flight: as many may be refused."""

_UNFINISHED: Final = "the budget was used up before"


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """A refusal by a limit of this scope, after `passed` reads; of an app, at least that many.

    It is `named` if the server said which limit it was.
    """

    scope: ScopeKind
    passed: int
    named: bool


class Findings(msgspec.Struct, kw_only=True):
    """The result of a calibration.

    `page` is the largest page of devices that kept every channel, and `page_loses` the smallest that lost one, `None` if none
    did. `page_remark` says why `page` is unknown, or which pages were tried. `tried` is the largest number of reads that surely
    counted together in a minute: a smaller limit would have been met.
    """

    app_id: str | None = None
    page: int | None = None
    page_loses: int | None = None
    page_remark: str = _UNFINISHED
    refused: Refused | None = None
    tried: int = 0


class _Span(NamedTuple):
    """When a read that passed was sent and answered, and its app, empty for none."""

    began: float
    ended: float
    app_id: str


async def calibrate(client: CapgoClient, app_id: str | None = None) -> Findings:
    """Send reads until the pacer's budget is spent or a limit refuses one, and wait as long as it takes.

    Without `app_id`, an app with devices is searched for. The pacer must have a budget. A limit that is already known ends the
    calibration too, because the pacer keeps to it. Raises what other calls raise, except rate limits and the end of the budget.
    """
    found = Findings(app_id=app_id)
    reader = _Reader(client.with_options(max_wait=None))
    try:
        if found.app_id is None:
            found.app_id = await _app_with_devices(reader)
        if found.app_id is None:
            found.page_remark = "the key sees no app with devices"
        else:
            await _find_page(reader, found.app_id, found)
        await reader.spend(found.app_id)
    except Abandoned as end:
        found.refused = reader.refusal(end)
        if found.page_remark is _UNFINISHED:
            found.page_remark = "a limit refused a read before"
    except SafetyStop:
        pass
    found.tried = reader.most_within_window(found.app_id)
    return found


class _Reader:
    """Sends reads and counts those that passed. Raises `Abandoned` when a limit refuses a read."""

    def __init__(self, client: CapgoClient) -> None:
        self._requester = requester_of(client)
        self._before = client.counters.requests, client.counters.rate_limited
        self._app_id = ""
        """The app that is read, or was read last."""
        self._of_apps: Counter[str] = Counter()
        self._answered: list[_Span] = []

    @property
    def _sent(self) -> int:
        return self._requester.counters.requests - self._before[0]

    @property
    def _passed(self) -> int:
        """How many reads no limit refused. Server errors count too."""
        return self._sent - (self._requester.counters.rate_limited - self._before[1])

    @property
    def _at_known_limit(self) -> bool:
        """Whether the next read would wait for a limit that was learned before."""
        learned = self._requester.pacer.gates.lessons.limits(self._requester.key_scope).values()
        return self._sent >= min(filter(None, learned), default=math.inf)

    async def apps(self, limit: int) -> list[str]:
        with self._reading(""):
            return [app.app_id for app in await self._send(list_apps(0, limit), _MANY_APPS)]

    async def devices(self, app_id: str, limit: int, cursor: str | None = None) -> Page[Device]:
        call = list_devices(app_id, DeviceFilter(limit=limit), (("cursor", cursor),) if cursor else ())
        with self._reading(app_id):
            return await self._send(call, read_page)

    async def spend(self, app_id: str | None) -> None:
        """Send reads until the budget is spent, within one window, or a known limit is reached.

        After a refusal, the reads in flight are finished: only then is the number that passed known.
        """
        ends: list[SafetyStop | Abandoned] = []
        with gathered() as efforts, self._reading(app_id or ""):

            def turns() -> Iterator[None]:
                while not (ends or self._at_known_limit):
                    yield
                efforts.abandon()

            async def read(_turn: None) -> None:
                try:
                    if app_id is None:
                        await self._send(list_apps(0, 1), _MANY_APPS)
                    else:
                        await self._send(list_devices(app_id, DeviceFilter(limit=1), ()), read_page)
                except (SafetyStop, Abandoned) as end:
                    ends.append(end)

            await fan_out(turns(), read, self._at_once())
        for end in ends:
            if isinstance(end, Abandoned) and end.wait.refused is not None:
                raise end

    def refusal(self, end: Abandoned) -> Refused:
        """Return the refusal that ended the last read. Raises `end` if it was none."""
        if end.wait.refused is None:
            raise end
        verdict = judge(end.wait.refused)
        scope = verdict.scope or ScopeKind.KEY
        passed = self._passed_of_app() if scope is ScopeKind.APP_ADDRESS else self._passed
        return Refused(scope=scope, passed=passed, named=verdict.reason_known)

    def most_within_window(self, app_id: str | None) -> int:
        """Return the largest number of reads that surely counted together in a window."""
        reads = [read for read in self._answered if app_id is None or read.app_id == app_id]
        return max((len(window) - _unseen(window) for window in _windows(reads)), default=0)

    def _at_once(self) -> int:
        counters, pacer = self._requester.counters, self._requester.pacer
        left = pacer.budget.requests - self._sent if pacer.budget is not None else 1
        needed = math.ceil(left * counters.seconds / max(1, counters.answers) / _SPENT_WITHIN)
        return max(1, min(needed, pacer.concurrency, _MOST_AT_ONCE))

    async def _send(self, call: Call, decode: Callable[[Response, str], T]) -> T:
        effort = Effort(Patience.UNTIL_REFUSED)
        answer = await self._requester.call(call, decode, effort)
        self._answered.append(_Span(effort.began_at, anyio.current_time(), self._app_id))
        return answer

    @contextmanager
    def _reading(self, app_id: str) -> Iterator[None]:
        """Count the reads of the block that pass as reads of this app."""
        self._app_id, before = app_id, self._passed
        try:
            yield
        finally:
            self._of_apps[app_id] += self._passed - before

    def _passed_of_app(self) -> int:
        """Return how many reads of the app surely counted at the last one: earlier windows were forgotten."""
        reads = [read for read in self._answered if read.app_id == self._app_id]
        opened = max((window[0].began for window in _windows(reads)), default=-math.inf)
        return max(0, self._of_apps[self._app_id] - sum(read.began < opened for read in reads) - _unseen(reads))


def _windows(reads: Iterable[_Span]) -> list[list[_Span]]:
    """Group the reads that surely counted together; the first read after a window opens the next."""
    windows: list[list[_Span]] = []
    for read in sorted(reads):
        if not windows or read.began >= windows[-1][0].began + WINDOW:
            windows.append([read])
        elif read.ended <= windows[-1][0].began + WINDOW:
            windows[-1].append(read)
    return windows


def _unseen(reads: Sequence[_Span]) -> int:
    """Return how many others were in flight when the last of `reads` was sent.

    The server checks the limit of an app before a request and counts the request afterwards, so all of them may have passed
    unseen (contract B2).
    """
    last = max((read.began for read in reads), default=math.inf)
    return max(0, sum(read.ended > last for read in reads) - 1)


async def _app_with_devices(reader: _Reader) -> str | None:
    """Return the first app whose devices do not fit on a small page, or else the first that has any."""
    some: str | None = None
    for app_id in (await reader.apps(_SMALL_PAGE))[:_APPS]:
        page = await reader.devices(app_id, _SMALL_PAGE)
        if page.has_more:
            return app_id
        some = some or (app_id if page.rows else None)
    return some


async def _find_page(reader: _Reader, app_id: str, found: Findings) -> None:
    """Find the largest page with the channels of all devices that have one in small pages."""
    rows = await _first_devices(reader, app_id)
    linked = [place for place, device in enumerate(rows) if device.channel is not None]
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
        if len(page.rows) == size and all(rows[place].device_id in kept for place in linked if place < size):
            keeps, kept_once = size, True
        else:
            loses = size
        if loses - keeps <= _STEP:
            break
        size = (keeps + loses) // 2
    # If no page was seen to keep the channels, the lower bound is only a guess.
    found.page = keeps if kept_once else _SMALL_PAGE
    found.page_loses = loses if loses < beyond else None
    found.page_remark = f"tried up to {len(rows)} devices a page of {app_id}"


async def _first_devices(reader: _Reader, app_id: str) -> list[Device]:
    """Return the first devices of an app from small pages, as many as the largest page can hold."""
    rows: list[Device] = []
    cursor: str | None = None
    while len(rows) < LARGEST_DEVICE_PAGE:
        page = await reader.devices(app_id, _SMALL_PAGE, cursor)
        rows += page.rows
        cursor = page.next_cursor
        if not page.rows or not page.has_more or cursor is None:
            break
    return rows[:LARGEST_DEVICE_PAGE]
