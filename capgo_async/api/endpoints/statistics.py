"""Statistics (contract C9)."""

from datetime import date
from typing import Literal
from urllib.parse import quote

import msgspec

from ...errors import ConfigurationError
from ...http.call import Call
from ...http.wire import Request
from ..words import Unlisted, listed, one_of
from .arguments import named

Graph = Literal["mau", "storage", "bandwidth"]
Totals = Literal["running", "daily"]


class Span(msgspec.Struct, frozen=True):
    """The days from `start` to `end`, which is excluded except in the usage of versions (contract C9)."""

    start: date
    end: date

    def query(self) -> tuple[tuple[str, str], ...]:
        """Return the query parameters of the range; raises `ConfigurationError` if it ends before it starts."""
        if self.end < self.start:
            message = f"the end {self.end} is before the start {self.start}"
            raise ConfigurationError(message)
        return (("from", f"{self.start:%Y-%m-%d}"), ("to", f"{self.end:%Y-%m-%d}"))


def app_statistics(app_id: str, span: Span, totals: Totals, graph: Graph | Unlisted | None) -> Call:
    """Get the statistics of an app; like the server, this does not check the form of the id (contract C9)."""
    path = f"/statistics/app/{quote(named(app_id, 'app id'), safe='')}"
    return _statistics(f"statistics of {app_id}", path, (*span.query(), *_shape(totals, graph)))


def organization_statistics(org_id: str, span: Span, totals: Totals, graph: Graph | Unlisted | None) -> Call:
    return _statistics(f"statistics of {org_id}", _of_organization(org_id), (*span.query(), *_shape(totals, graph)))


def organization_breakdown(org_id: str, span: Span, totals: Totals) -> Call:
    query = (*span.query(), ("breakdown", "true"), *_shape(totals, None))
    return _statistics(f"statistics of {org_id} by app", _of_organization(org_id), query)


def user_statistics(span: Span, totals: Totals, graph: Graph | Unlisted | None) -> Call:
    return _statistics("statistics of the user", "/statistics/user", (*span.query(), *_shape(totals, graph)))


def usage(app_id: str, span: Span, of: Literal["bundle", "native"]) -> Call:
    """Get the share of each bundle, or of each native version, among the devices of an app (contract C9)."""
    path = f"/statistics/app/{quote(named(app_id, 'app id'), safe='')}/{of}_usage"
    return _statistics(f"{of} usage of {app_id}", path, span.query())


def _statistics(name: str, path: str, query: tuple[tuple[str, str], ...]) -> Call:
    return Call(name, Request(method="GET", path=path, query=query), takes_tokens=True)


def _of_organization(org_id: str) -> str:
    return f"/statistics/org/{quote(named(org_id, 'organization id'), safe='')}"


def _shape(totals: Totals, graph: Graph | Unlisted | None) -> tuple[tuple[str, str], ...]:
    one_of(totals, Totals, "totals")
    if graph is not None:
        listed(graph, Graph, "graph")
    daily = (("noAccumulate", "true"),) if totals == "daily" else ()
    return (*daily, *((("graph", graph),) if graph else ()))
