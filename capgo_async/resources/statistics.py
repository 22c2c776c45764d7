"""`client.statistics` (contract C9)."""

from collections.abc import Sequence
from datetime import date
from typing import Final, overload

from ..endpoints import statistics as endpoints
from ..endpoints.call import Call
from ..endpoints.statistics import Graph, Span, Totals
from ..errors import GraphNotSupported
from ..models import Breakdown, SeedStatistics, StatPoint, Usage
from ..requester import Requester
from ..wire import Response, reads, reads_first, reads_many, reads_one

_POINTS: Final = reads_first(
    reads_many(StatPoint),
    reads(SeedStatistics, lambda answer: tuple(answer.statistics)),
    reads(StatPoint, lambda point: (point,)),
)
_BREAKDOWN: Final = reads_one(Breakdown)
_USAGE: Final = reads_one(Usage)


class Statistics:
    """Read what apps used: days count from `start` up to and without `end`, in UTC.

    `totals` are `running` (day n is the sum of all days so far, the server's own way) or `daily` (contract D42). With `graph`
    the server's picture comes back, as SVG; raises `GraphNotSupported` where it draws none any more (contract D40). Raises
    `SubscriptionRequired` for an organization that is unpaid.
    """

    def __init__(self, requester: Requester) -> None:
        self._requester = requester

    @overload
    async def app(self, app_id: str, start: date, end: date, *, totals: Totals = ...) -> Sequence[StatPoint]: ...
    @overload
    async def app(self, app_id: str, start: date, end: date, *, totals: Totals = ..., graph: Graph) -> bytes: ...
    async def app(
        self, app_id: str, start: date, end: date, *, totals: Totals = "running", graph: Graph | None = None
    ) -> Sequence[StatPoint] | bytes:
        """Return the usage of one app (contract C9)."""
        return await self._points(endpoints.app_statistics(app_id, Span(start, end), totals, graph), graph)

    @overload
    async def organization(self, org_id: str, start: date, end: date, *, totals: Totals = ...) -> Sequence[StatPoint]: ...
    @overload
    async def organization(self, org_id: str, start: date, end: date, *, totals: Totals = ..., graph: Graph) -> bytes: ...
    async def organization(
        self, org_id: str, start: date, end: date, *, totals: Totals = "running", graph: Graph | None = None
    ) -> Sequence[StatPoint] | bytes:
        """Return the usage of all apps of an organization (contract C9)."""
        return await self._points(endpoints.organization_statistics(org_id, Span(start, end), totals, graph), graph)

    @overload
    async def user(self, start: date, end: date, *, totals: Totals = ...) -> Sequence[StatPoint]: ...
    @overload
    async def user(self, start: date, end: date, *, totals: Totals = ..., graph: Graph) -> bytes: ...
    async def user(
        self, start: date, end: date, *, totals: Totals = "running", graph: Graph | None = None
    ) -> Sequence[StatPoint] | bytes:
        """Return the usage of all apps that the key sees; `storage_byte_hours` are the first app's alone (contract C9)."""
        return await self._points(endpoints.user_statistics(Span(start, end), totals, graph), graph)

    async def breakdown(self, org_id: str, start: date, end: date, *, totals: Totals = "running") -> Breakdown:
        """Return the usage of an organization and that of each of its apps (contract C9)."""
        return await self._requester.call(endpoints.organization_breakdown(org_id, Span(start, end), totals), _BREAKDOWN)

    async def bundle_usage(self, app_id: str, start: date, end: date) -> Usage:
        """Return how the devices of an app spread over its bundles, `end` included (contract C9)."""
        return await self._requester.call(endpoints.bundle_usage(app_id, Span(start, end)), _USAGE)

    async def native_usage(self, app_id: str, start: date, end: date) -> Usage:
        """Return how the devices of an app spread over its native versions, `end` included (contract C9)."""
        return await self._requester.call(endpoints.native_usage(app_id, Span(start, end)), _USAGE)

    async def _points(self, call: Call, graph: Graph | None) -> Sequence[StatPoint] | bytes:
        if graph is None:
            return await self._requester.call(call, _POINTS)
        picture = await self._requester.call(call, _read_picture)
        if picture is None:
            message = f"{call.name}: this server draws no graphs, it answers with numbers: ask without graph"
            raise GraphNotSupported(message)
        return picture


def _read_picture(response: Response, operation: str) -> bytes | None:
    """Return the picture, `None` where numbers came in its place."""
    if response.status == 200 and response.headers.get("content-type", "").startswith("image/svg+xml"):  # noqa: PLR2004 - an HTTP status
        return response.body
    _POINTS(response, operation)
    return None
