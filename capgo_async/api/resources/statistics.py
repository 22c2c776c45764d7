"""`client.statistics` (contract C9)."""

from collections.abc import Sequence
from datetime import date
from typing import Final, overload

from ...errors import GraphNotSupported
from ...http.call import Call
from ...http.requester import Requester
from ...http.wire import Response, reads, reads_first, reads_many, reads_one
from ..endpoints import statistics as endpoints
from ..endpoints.statistics import Graph, Span, Totals
from ..models import Breakdown, SeedStatistics, StatPoint, Usage
from ..words import Unlisted

read_points: Final = reads_first(
    reads_many(StatPoint),
    reads(SeedStatistics, lambda answer: tuple(answer.statistics)),
    reads(StatPoint, lambda point: (point,)),
)
read_breakdown: Final = reads_one(Breakdown)
read_usage: Final = reads_one(Usage)


class Statistics:
    """Read usage statistics by day, in UTC (contract C9).

    `end` is excluded, except in `bundle_usage` and `native_usage`. `totals` is `running` or `daily`. `running` is the server's
    default: each day shows the sum so far (contract D42). With `graph`, the server's chart is returned as SVG.

    Raises `GraphNotSupported` if the server no longer draws charts (contract D40), and `SubscriptionRequired` if the
    organization has no paid plan.
    """

    def __init__(self, requester: Requester) -> None:
        self._requester = requester

    @overload
    async def app(self, app_id: str, start: date, end: date, *, totals: Totals = ...) -> Sequence[StatPoint]: ...
    @overload
    async def app(self, app_id: str, start: date, end: date, *, totals: Totals = ..., graph: Graph | Unlisted) -> bytes: ...
    async def app(
        self, app_id: str, start: date, end: date, *, totals: Totals = "running", graph: Graph | Unlisted | None = None
    ) -> Sequence[StatPoint] | bytes:
        """Return the usage of one app (contract C9).

        Raises `GraphNotSupported`, `SubscriptionRequired` or `PermissionDenied`. Only reads, and can be repeated.
        """
        return await self._points(endpoints.app_statistics(app_id, Span(start, end), totals, graph), graph)

    @overload
    async def organization(self, org_id: str, start: date, end: date, *, totals: Totals = ...) -> Sequence[StatPoint]: ...
    @overload
    async def organization(
        self, org_id: str, start: date, end: date, *, totals: Totals = ..., graph: Graph | Unlisted
    ) -> bytes: ...
    async def organization(
        self, org_id: str, start: date, end: date, *, totals: Totals = "running", graph: Graph | Unlisted | None = None
    ) -> Sequence[StatPoint] | bytes:
        """Return the usage of all apps of an organization (contract C9).

        Raises `GraphNotSupported`, `SubscriptionRequired` or `PermissionDenied`. Only reads, and can be repeated.
        """
        return await self._points(endpoints.organization_statistics(org_id, Span(start, end), totals, graph), graph)

    @overload
    async def user(self, start: date, end: date, *, totals: Totals = ...) -> Sequence[StatPoint]: ...
    @overload
    async def user(self, start: date, end: date, *, totals: Totals = ..., graph: Graph | Unlisted) -> bytes: ...
    async def user(
        self, start: date, end: date, *, totals: Totals = "running", graph: Graph | Unlisted | None = None
    ) -> Sequence[StatPoint] | bytes:
        """Return the usage of all apps that the key can see (contract C9).

        `storage_byte_hours` is that of the first app only. Raises `GraphNotSupported` or `SubscriptionRequired`. Only reads,
        and can be repeated.
        """
        return await self._points(endpoints.user_statistics(Span(start, end), totals, graph), graph)

    async def breakdown(self, org_id: str, start: date, end: date, *, totals: Totals = "running") -> Breakdown:
        """Return the usage of an organization and of each of its apps (contract C9).

        Raises `SubscriptionRequired` or `PermissionDenied`. Only reads, and can be repeated.
        """
        return await self._requester.call(endpoints.organization_breakdown(org_id, Span(start, end), totals), read_breakdown)

    async def bundle_usage(self, app_id: str, start: date, end: date) -> Usage:
        """Return the share of each bundle among the devices of an app, `end` included (contract C9).

        Raises `SubscriptionRequired` or `PermissionDenied`. Only reads, and can be repeated.
        """
        return await self._requester.call(endpoints.usage(app_id, Span(start, end), "bundle"), read_usage)

    async def native_usage(self, app_id: str, start: date, end: date) -> Usage:
        """Return the share of each native version among the devices of an app, `end` included (contract C9).

        Raises `SubscriptionRequired` or `PermissionDenied`. Only reads, and can be repeated.
        """
        return await self._requester.call(endpoints.usage(app_id, Span(start, end), "native"), read_usage)

    async def _points(self, call: Call, graph: Graph | Unlisted | None) -> Sequence[StatPoint] | bytes:
        if graph is None:
            return await self._requester.call(call, read_points)
        picture = await self._requester.call(call, _read_picture)
        if picture is None:
            message = f"{call.name}: this server draws no charts; ask for the numbers instead"
            raise GraphNotSupported(message)
        return picture


def _read_picture(response: Response, operation: str) -> bytes | None:
    """Return the chart, or `None` if the response holds numbers instead."""
    if response.status == 200 and response.headers.get("content-type", "").startswith("image/svg+xml"):  # noqa: PLR2004 - an HTTP status
        return response.body
    read_points(response, operation)
    return None
