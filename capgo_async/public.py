"""The names that `capgo_async` exports."""

from .api.endpoints.api_keys import ApiKeySettings, Binding, NewApiKey
from .api.endpoints.apps import AppSettings, NewApp
from .api.endpoints.bundles import BundleMetadata, NewBundle
from .api.endpoints.channels import ChannelSettings
from .api.endpoints.devices import DeviceFilter
from .api.endpoints.organizations import AuditFilter, NewOrganization, OrganizationSettings, PasswordPolicy
from .api.models import (
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
from .api.resources.bundles import Deleted
from .client import CapgoClient
from .errors import CapgoError
from .http.dialect import Dialect
from .http.requester import Attempt, Counters, raw_responses
from .http.wire import Request, Response, Transport
from .key_ring import KeyRing
from .limits.known import Known, KnownLimit, Latency
from .limits.models import FixedWindow, Limit, ScopeKind, SilenceWindow, SlidingWindow, server_limits
from .listing.listing import Listing

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
