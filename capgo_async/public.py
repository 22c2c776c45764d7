"""The names that `capgo_async` exports, imported from where they live."""

from .client import CapgoClient
from .dialect import Dialect
from .endpoints.api_keys import ApiKeySettings, Binding, NewApiKey
from .endpoints.apps import AppSettings, NewApp
from .endpoints.bundles import BundleMetadata, NewBundle
from .endpoints.channels import ChannelSettings
from .endpoints.devices import DeviceFilter
from .endpoints.organizations import AuditFilter, NewOrganization, OrganizationSettings, PasswordPolicy
from .errors import CapgoError
from .known import Known, KnownLimit, Latency
from .limits import FixedWindow, Limit, ScopeKind, SilenceWindow, SlidingWindow, server_limits
from .models import (
    ApiKey,
    App,
    AppStatPoint,
    AuditEntry,
    Breakdown,
    Bundle,
    BundleReference,
    Channel,
    Dataset,
    Device,
    LatestVersion,
    Member,
    Organization,
    StatPoint,
    Usage,
    parse_timestamp,
)
from .paging import Listing
from .requester import Attempt, Counters, raw_responses
from .resources.bundles import Deleted
from .ring import KeyRing
from .wire import Request, Response, Transport

__all__ = [
    "ApiKey",
    "ApiKeySettings",
    "App",
    "AppSettings",
    "AppStatPoint",
    "Attempt",
    "AuditEntry",
    "AuditFilter",
    "Binding",
    "Breakdown",
    "Bundle",
    "BundleMetadata",
    "BundleReference",
    "CapgoClient",
    "CapgoError",
    "Channel",
    "ChannelSettings",
    "Counters",
    "Dataset",
    "Deleted",
    "Device",
    "DeviceFilter",
    "Dialect",
    "FixedWindow",
    "KeyRing",
    "Known",
    "KnownLimit",
    "Latency",
    "LatestVersion",
    "Limit",
    "Listing",
    "Member",
    "NewApiKey",
    "NewApp",
    "NewBundle",
    "NewOrganization",
    "Organization",
    "OrganizationSettings",
    "PasswordPolicy",
    "Request",
    "Response",
    "ScopeKind",
    "SilenceWindow",
    "SlidingWindow",
    "StatPoint",
    "Transport",
    "Usage",
    "parse_timestamp",
    "raw_responses",
    "server_limits",
]
