"""What the API returns, as structs: one module per resource."""

from .api_key import ApiKey, CreatedApiKey
from .app import App
from .bundle import Bundle
from .channel import BundleReference, Channel
from .device import Device, DevicePage, SeedDevice
from .member import Member
from .organization import AuditEntry, AuditPage, Organization
from .statistics import (
    ActiveDevices,
    AppStatPoint,
    Breakdown,
    DailyActiveDevices,
    Dataset,
    LatestVersion,
    SeedStatistics,
    StatPoint,
    Usage,
)
from .timestamps import parse_timestamp

__all__ = [
    "ActiveDevices",
    "ApiKey",
    "App",
    "AppStatPoint",
    "AuditEntry",
    "AuditPage",
    "Breakdown",
    "Bundle",
    "BundleReference",
    "Channel",
    "CreatedApiKey",
    "DailyActiveDevices",
    "Dataset",
    "Device",
    "DevicePage",
    "LatestVersion",
    "Member",
    "Organization",
    "SeedDevice",
    "SeedStatistics",
    "StatPoint",
    "Usage",
    "parse_timestamp",
]
