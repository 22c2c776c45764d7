"""The commands of `capgo-async stats`."""

import enum
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from ...api.endpoints.statistics import Graph, Totals
from ...api.models import AppStatPoint, StatPoint, Usage
from ...errors import ConfigurationError
from ..framework import Invocation, command
from ..options.group import Group
from ..options.options import AppId, Connection, OrgId
from ..output.exit_codes import ExitCode
from ..output.listing import print_items
from ..output.speech import Speech

commands = typer.Typer(name="stats", no_args_is_help=True)

ByApp = Annotated[bool, typer.Option("--by-app", help="Show each app of the organization.")]


class Picture(enum.StrEnum):
    """What a chart shows."""

    MAU = "mau"
    STORAGE = "storage"
    BANDWIDTH = "bandwidth"


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
        Picture | None, typer.Option("--graph", help="Save a chart drawn by the server (servers until February 2025).")
    ] = None
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="The file for the chart, such as mau.svg.")
    ] = None

    def totals(self) -> Totals:
        """Return whether values are running totals or daily."""
        return "daily" if self.daily else "running"

    def picture(self) -> tuple[Graph, Path] | None:
        """Return the chart and its file, or `None` for numbers.

        Raises `ConfigurationError` for one without the other.
        """
        if self.graph is None and self.output is None:
            return None
        if self.output is None or self.graph is None:
            message = "a chart needs both --graph and -o FILE"
            raise ConfigurationError(message)
        return self.graph.value, self.output


@command(commands, "app", StatPoint, ChartWritten)
async def app_statistics(app_id: AppId, shape: Shape, connection: Connection, invocation: Invocation) -> int:
    """Show the usage of an app."""
    picture = shape.picture()
    async with connection.client() as client:
        if picture is not None:
            return _save(await client.statistics.app(app_id, *shape.span(), graph=picture[0]), picture[1], invocation.speech)
        points = await client.statistics.app(app_id, *shape.span(), totals=shape.totals())
    return await _print(points, invocation.speech)


@command(commands, "org", StatPoint, AppStatPoint, ChartWritten)
async def organization_statistics(
    org_id: OrgId, shape: Shape, connection: Connection, invocation: Invocation, *, by_app: ByApp = False
) -> int:
    """Show the usage of an organization."""
    picture, span = shape.picture(), shape.span()
    async with connection.client() as client:
        if picture is not None:
            return _save(await client.statistics.organization(org_id, *span, graph=picture[0]), picture[1], invocation.speech)
        if by_app:
            breakdown = await client.statistics.breakdown(org_id, *span, totals=shape.totals())
            return await _print(breakdown.by_app, invocation.speech)
        points = await client.statistics.organization(org_id, *span, totals=shape.totals())
    return await _print(points, invocation.speech)


@command(commands, "user", StatPoint, ChartWritten)
async def user_statistics(shape: Shape, connection: Connection, invocation: Invocation) -> int:
    """Show the usage of all apps of the key."""
    picture = shape.picture()
    async with connection.client() as client:
        if picture is not None:
            return _save(await client.statistics.user(*shape.span(), graph=picture[0]), picture[1], invocation.speech)
        points = await client.statistics.user(*shape.span(), totals=shape.totals())
    return await _print(points, invocation.speech)


@command(commands, "bundles", VersionShare)
async def bundle_usage(app_id: AppId, days: Days, connection: Connection, invocation: Invocation) -> int:
    """Show the share of an app's devices on each bundle."""
    async with connection.client() as client:
        return await _print_usage(await client.statistics.bundle_usage(app_id, *days.whole_days()), invocation.speech)


@command(commands, "natives", VersionShare)
async def native_usage(app_id: AppId, days: Days, connection: Connection, invocation: Invocation) -> int:
    """Show the share of an app's devices on each native version."""
    async with connection.client() as client:
        usage = await client.statistics.native_usage(app_id, *days.whole_days())
    code = await _print_usage(usage, invocation.speech)
    latest = usage.latest_version
    if latest is not None and latest.name and invocation.speech.heard:
        invocation.speech.note(f"note: most devices of the last day ({latest.percentage} %) have {latest.name}")
    return code


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


def _save(picture: bytes, path: Path, speech: Speech) -> int:
    try:
        path.write_bytes(picture)
    except OSError as error:
        message = f"cannot write {path}: {error.strerror}"
        raise ConfigurationError(message) from error
    speech.done(f"wrote {path}", ChartWritten(file=str(path), bytes=len(picture)))
    return ExitCode.OK
