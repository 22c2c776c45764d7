"""Statistics (contract C9)."""

import datetime as dt

import msgspec


class StatPoint(msgspec.Struct, frozen=True, kw_only=True):
    """The usage of one day, or of all days so far where running totals were asked for (contract C9, D42).

    `storage` and `bandwidth` are in bytes. The first `storage` of a span is an offset, never that day's value.
    """

    date: str
    mau: float = 0
    storage: float = 0
    bandwidth: float = 0
    storage_byte_hours: float | None = None
    build_time_seconds: float | None = None
    get: float | None = None

    @property
    def day(self) -> dt.date:
        """Return the day in UTC, from either form of the date (contract D41); raises `ValueError` for what is none."""
        return dt.date.fromisoformat(self.date[:10])


class AppStatPoint(StatPoint, frozen=True, kw_only=True):
    """The usage of one app on one day, beside that of its organization."""

    app_id: str


class Breakdown(msgspec.Struct, frozen=True, kw_only=True, rename={"total": "global", "by_app": "byApp"}):
    """An organization's usage and that of each of its apps; the storages do not add up (contract C9)."""

    total: list[StatPoint]
    by_app: list[AppStatPoint]


class Dataset(msgspec.Struct, frozen=True, kw_only=True, rename={"counts": "metaCounts"}):
    """The share of one version: percents, one for each label, and the devices behind them."""

    label: str
    data: list[float]
    counts: list[int] | None = None


class LatestVersion(msgspec.Struct, frozen=True, kw_only=True):
    """The version that most devices of the last day have; `percentage` is text such as `12.3`."""

    name: str = ""
    percentage: str = "0.0"


class Usage(msgspec.Struct, frozen=True, kw_only=True, rename={"latest_version": "latestVersion"}):
    """How devices spread over versions, day by day; `labels` are days, both ends included (contract C9)."""

    labels: list[str]
    datasets: list[Dataset]
    latest_version: LatestVersion | None = None


class SeedStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """The envelope of servers before 12.4 (contract D39)."""

    statistics: list[StatPoint]
