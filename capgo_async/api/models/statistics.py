"""Statistics (contract C9)."""

import datetime as dt

import msgspec


class StatPoint(msgspec.Struct, frozen=True, kw_only=True):
    """The usage of one day, or the running total up to that day (contract C9, D42).

    `storage` and `bandwidth` are in bytes. The first `storage` of a range is an offset, not the value of that day.
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
        """Return the day in UTC (contract D41). Raises `ValueError` if `date` is not a date."""
        return dt.date.fromisoformat(self.date[:10])


class AppStatPoint(StatPoint, frozen=True, kw_only=True):
    """The usage of one app on one day, as part of a `Breakdown`."""

    app_id: str


class Breakdown(msgspec.Struct, frozen=True, kw_only=True, rename={"total": "global", "by_app": "byApp"}):
    """The usage of an organization and of its apps; their storage does not add up (contract C9)."""

    total: list[StatPoint]
    by_app: list[AppStatPoint]


class Dataset(msgspec.Struct, frozen=True, kw_only=True, rename={"counts": "metaCounts"}):
    """The share of one version: a percentage for each label, and the numbers of devices."""

    label: str
    data: list[float]
    counts: list[int] | None = None


class LatestVersion(msgspec.Struct, frozen=True, kw_only=True):
    """The version that most devices had on the last day; `percentage` is text such as `12.3`."""

    name: str = ""
    percentage: str = "0.0"


class ActiveDevices(msgspec.Struct, frozen=True, kw_only=True):
    """The number of active devices of each platform."""

    android: int = 0
    ios: int = 0
    electron: int = 0
    unknown: int = 0
    total: int = 0


class DailyActiveDevices(msgspec.Struct, frozen=True, kw_only=True):
    """The number of active devices of each platform on each of the days in `labels`."""

    labels: list[str] = []
    android: list[int] = []
    ios: list[int] = []
    electron: list[int] = []
    unknown: list[int] = []
    total: list[int] = []


class Usage(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The share of each version among devices; `labels` are days, both ends included (contract C9).

    Newer servers add the numbers of active devices to the usage of native versions: in the period asked for, in the one before
    it, and by day.
    """

    labels: list[str]
    datasets: list[Dataset]
    latest_version: LatestVersion | None = None
    active_devices: ActiveDevices | None = None
    previous_period_active_devices: ActiveDevices | None = None
    daily_platform_active: DailyActiveDevices | None = None


class SeedStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """Statistics as servers before 12.4 return them (contract D39)."""

    statistics: list[StatPoint]
