"""The structs that calls return (contract C)."""

from .api.models import (
    ActiveDevices,
    ApiKey,
    App,
    AppStatPoint,
    AuditEntry,
    Breakdown,
    Bundle,
    BundleReference,
    Channel,
    DailyActiveDevices,
    Dataset,
    Device,
    LatestVersion,
    Member,
    Organization,
    StatPoint,
    Usage,
    parse_timestamp,
)

__all__ = [
    "ActiveDevices",
    "ApiKey",
    "App",
    "AppStatPoint",
    "AuditEntry",
    "Breakdown",
    "Bundle",
    "BundleReference",
    "Channel",
    "DailyActiveDevices",
    "Dataset",
    "Device",
    "LatestVersion",
    "Member",
    "Organization",
    "StatPoint",
    "Usage",
    "parse_timestamp",
]


def __dir__() -> list[str]:
    return __all__
