"""The commands of `capgo-async stats`."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec
import typer

from ...api.endpoints.statistics import Graph, Totals
from ...api.models import AppStatPoint, StatPoint, Usage
from ...errors import ConfigurationError, GraphNotSupported
from ...printable import printable
from ..framework import Invocation, command
from ..options.group import Group
from ..options.options import AppId, Connection, OrgId
from ..output.charts import check_charts
from ..output.exit_codes import ExitCode
from ..output.listing import print_items
from ..output.speech import Speech

commands = typer.Typer(name="stats", no_args_is_help=True)

ByApp = Annotated[bool, typer.Option("--by-app", help="Show each app of the organization.")]


ToChart = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="FILE", help="The file for the chart, such as chart.svg.", show_default=False),
]


class ChartWritten(msgspec.Struct, frozen=True, kw_only=True):
    """A chart was written to a file."""

    file: str
    bytes: int


class VersionShare(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The share of one version among the devices of an app on one day."""

    day: str
    version: str
    percent: float
    devices: int | None
    latest: bool | None = None
    """Whether this is the most common version of the last day, if the server says so."""


class Chart(NamedTuple):
    """What a chart shows, and its file."""

    graph: Graph
    file: Path


class Days(Group, frozen=True, kw_only=True):
    """A range of days."""

    since: Annotated[
        datetime | None,
        typer.Option(
            "--from", metavar="YYYY-MM-DD", formats=["%Y-%m-%d"], help="The first day.  [default: 30 days before the end]"
        ),
    ] = None
    until: Annotated[
        datetime | None,
        typer.Option(
            "--to", metavar="YYYY-MM-DD", formats=["%Y-%m-%d"], help="The day after the last day.  [default: tomorrow (UTC)]"
        ),
    ] = None

    def span(self) -> tuple[date, date]:
        """Return the first day and the day after the last."""
        end = self.until.date() if self.until else datetime.now(UTC).date() + timedelta(days=1)
        return (self.since.date() if self.since else end - timedelta(days=30)), end

    def whole_days(self) -> tuple[date, date]:
        """Return the first day and the last day, for routes that include both."""
        first, end = self.span()
        return first, end - timedelta(days=1)


class Shape(Days, frozen=True, kw_only=True):
    """A range of days, and the form of the result."""

    daily: Annotated[bool, typer.Option("--daily", help="Show the values of each day instead of running totals.")] = False
    graph: Annotated[
        Graph | None,
        typer.Option("--graph", help="Save a chart. Servers until February 2025 draw it themselves.", show_default=False),
    ] = None
    output: ToChart = None

    def totals(self) -> Totals:
        """Return whether values are running totals or daily."""
        return "daily" if self.daily else "running"

    def picture(self) -> Chart | None:
        """Return the chart to save, or `None` for numbers.

        Raises `ConfigurationError` for one without the other.
        """
        if self.graph is None and self.output is None:
            return None
        if self.output is None or self.graph is None:
            message = "a chart needs both --graph and -o FILE"
            raise ConfigurationError(message)
        _check_name(self.output)
        return Chart(self.graph, self.output)


@command(commands, "app", StatPoint, ChartWritten)
async def app_statistics(app_id: AppId, shape: Shape, connection: Connection, invocation: Invocation) -> int:
    """Show the usage of an app."""
    picture, span, totals = shape.picture(), shape.span(), shape.totals()
    async with connection.client() as client:
        statistics = client.statistics
        if picture is None:
            return await _print(await statistics.app(app_id, *span, totals=totals), invocation.speech)
        chart = await _drawn(
            app_id,
            shape,
            statistics.app(app_id, *span, totals=totals, graph=picture.graph),
            lambda: statistics.app(app_id, *span, totals=totals),
        )
    return _save(chart, picture.file, invocation.speech)


@command(commands, "org", StatPoint, AppStatPoint, ChartWritten)
async def organization_statistics(
    org_id: OrgId, shape: Shape, connection: Connection, invocation: Invocation, *, by_app: ByApp = False
) -> int:
    """Show the usage of an organization."""
    picture, span, totals = shape.picture(), shape.span(), shape.totals()
    if by_app and picture is not None:
        check_charts()
    async with connection.client() as client:
        statistics = client.statistics
        if by_app:
            apps = (await statistics.breakdown(org_id, *span, totals=totals)).by_app
            if picture is None:
                return await _print(apps, invocation.speech)
            chart = _of_usage(org_id, shape, _by_app(apps))
        elif picture is None:
            return await _print(await statistics.organization(org_id, *span, totals=totals), invocation.speech)
        else:
            chart = await _drawn(
                org_id,
                shape,
                statistics.organization(org_id, *span, totals=totals, graph=picture.graph),
                lambda: statistics.organization(org_id, *span, totals=totals),
            )
    return _save(chart, picture.file, invocation.speech)


@command(commands, "user", StatPoint, ChartWritten)
async def user_statistics(shape: Shape, connection: Connection, invocation: Invocation) -> int:
    """Show the usage of all apps of the key."""
    picture, span, totals = shape.picture(), shape.span(), shape.totals()
    async with connection.client() as client:
        statistics = client.statistics
        if picture is None:
            return await _print(await statistics.user(*span, totals=totals), invocation.speech)
        chart = await _drawn(
            "all apps of the key",
            shape,
            statistics.user(*span, totals=totals, graph=picture.graph),
            lambda: statistics.user(*span, totals=totals),
        )
    return _save(chart, picture.file, invocation.speech)


@command(commands, "bundles", VersionShare, ChartWritten, short="Show the share of devices on each bundle.")
async def bundle_usage(
    app_id: AppId, days: Days, connection: Connection, invocation: Invocation, output: ToChart = None
) -> int:
    """Show the share of an app's devices on each bundle, as numbers or as a chart."""
    if output is not None:
        _check_name(output)
        check_charts()
    async with connection.client() as client:
        usage = await client.statistics.bundle_usage(app_id, *days.whole_days())
    if output is not None:
        return _save(_of_versions(app_id, "Bundles", usage), output, invocation.speech)
    return await _print_usage(usage, invocation.speech)


@command(commands, "natives", VersionShare, ChartWritten, short="Show the share of devices on each native version.")
async def native_usage(
    app_id: AppId, days: Days, connection: Connection, invocation: Invocation, output: ToChart = None
) -> int:
    """Show the share of an app's devices on each native version, as numbers or as a chart."""
    if output is not None:
        _check_name(output)
        check_charts()
    async with connection.client() as client:
        usage = await client.statistics.native_usage(app_id, *days.whole_days())
    if output is not None:
        return _save(_of_versions(app_id, "Native versions", usage), output, invocation.speech)
    code = await _print_usage(usage, invocation.speech)
    latest = usage.latest_version
    if latest is not None and latest.name and invocation.speech.heard:
        invocation.speech.note(f"note: most devices of the last day ({latest.percentage} %) have {latest.name}")
    return code


async def _drawn(
    name: str, shape: Shape, by_server: Awaitable[bytes], numbers: Callable[[], Awaitable[Sequence[StatPoint]]]
) -> bytes:
    """Return the chart of the server, or one of its numbers if it draws none (contract D40)."""
    try:
        return await by_server
    except GraphNotSupported:
        check_charts()
        return _of_usage(name, shape, {name: await numbers()})


def _by_app(points: Sequence[AppStatPoint]) -> Mapping[str, Sequence[StatPoint]]:
    found: dict[str, list[StatPoint]] = {}
    for point in points:
        found.setdefault(point.app_id, []).append(point)
    return found


def _of_usage(name: str, shape: Shape, usage: Mapping[str, Sequence[StatPoint]]) -> bytes:
    from ...pages.usage import chart_of_usage  # noqa: PLC0415 - slow to import, and optional

    picture = shape.picture()
    assert picture is not None  # noqa: S101 - asked before
    shown = {printable(each): points for each, points in usage.items()}
    return chart_of_usage(printable(name), picture.graph, shape.totals(), shown).encode()


def _of_versions(app_id: str, of: str, usage: Usage) -> bytes:
    from ...pages.usage import chart_of_versions  # noqa: PLC0415 - slow to import, and optional

    named = [msgspec.structs.replace(dataset, label=printable(dataset.label)) for dataset in usage.datasets]
    return chart_of_versions(printable(app_id), of, msgspec.structs.replace(usage, datasets=named)).encode()


async def _print(points: Sequence[StatPoint], speech: Speech) -> int:
    by_app = ("app_id",) if points and isinstance(points[0], AppStatPoint) else ()
    return await print_items(points, ("date", *by_app, "mau", "storage", "bandwidth"), speech)


async def _print_usage(usage: Usage, speech: Speech) -> int:
    latest = usage.latest_version
    shares = [
        VersionShare(
            day=day,
            version=dataset.label,
            percent=dataset.data[place],
            devices=_at(dataset.counts, place),
            latest=None if latest is None else dataset.label == latest.name,
        )
        for place, day in enumerate(usage.labels)
        for dataset in usage.datasets
        if place < len(dataset.data)
    ]
    columns = ("day", "version", "percent", "devices")
    return await print_items(shares, columns if latest is None else (*columns, "latest"), speech)


def _at(counts: Sequence[int] | None, place: int) -> int | None:
    return counts[place] if counts is not None and place < len(counts) else None


def _check_name(file: Path) -> None:
    """Raise `ConfigurationError` if the file name has the suffix of another format."""
    if file.suffix.lower() not in {"", ".svg"}:
        message = f"charts are written as SVG, not as {file.suffix}: use -o {file.with_suffix('.svg')}"
        raise ConfigurationError(message)


def _save(picture: bytes, path: Path, speech: Speech) -> int:
    try:
        path.write_bytes(picture)
    except OSError as error:
        message = f"cannot write {path}: {error.strerror}"
        raise ConfigurationError(message) from error
    speech.done(f"wrote {path}", ChartWritten(file=str(path), bytes=len(picture)))
    return ExitCode.OK
