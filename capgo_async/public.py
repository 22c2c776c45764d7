"""The names in `capgo_async.__all__`, imported from where they live."""

from .api.endpoints.api_keys import ApiKeySettings as ApiKeySettings, Binding as Binding, NewApiKey as NewApiKey
from .api.endpoints.apps import AppSettings as AppSettings, NewApp as NewApp
from .api.endpoints.bundles import BundleMetadata as BundleMetadata, NewBundle as NewBundle
from .api.endpoints.channels import ChannelSettings as ChannelSettings
from .api.endpoints.devices import DeviceFilter as DeviceFilter
from .api.endpoints.organizations import (
    AuditFilter as AuditFilter,
    NewOrganization as NewOrganization,
    OrganizationSettings as OrganizationSettings,
    PasswordPolicy as PasswordPolicy,
)
from .api.models import (
    ActiveDevices as ActiveDevices,
    ApiKey as ApiKey,
    App as App,
    AppStatPoint as AppStatPoint,
    AuditEntry as AuditEntry,
    Breakdown as Breakdown,
    Bundle as Bundle,
    BundleReference as BundleReference,
    Channel as Channel,
    DailyActiveDevices as DailyActiveDevices,
    Dataset as Dataset,
    Device as Device,
    LatestVersion as LatestVersion,
    Member as Member,
    Organization as Organization,
    StatPoint as StatPoint,
    Usage as Usage,
    parse_timestamp as parse_timestamp,
)
from .api.resources.bundles import Deleted as Deleted
from .client import CapgoClient as CapgoClient
from .errors import CapgoError as CapgoError
from .http.dialect import Dialect as Dialect
from .http.requester import Counters as Counters, raw_responses as raw_responses
from .http.wire import Request as Request, Response as Response, Transport as Transport
from .key_ring import KeyRing as KeyRing
from .limits.known import Known as Known, KnownLimit as KnownLimit, Latency as Latency
from .limits.models import (
    FixedWindow as FixedWindow,
    Limit as Limit,
    ScopeKind as ScopeKind,
    SilenceWindow as SilenceWindow,
    SlidingWindow as SlidingWindow,
    server_limits as server_limits,
)
from .limits.timing import Timing as Timing
from .listing.listing import Listing as Listing
