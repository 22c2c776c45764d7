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
from .api.endpoints.statistics import Graph as Graph, Totals as Totals
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
from .api.resources import (
    ApiKeys as ApiKeys,
    Apps as Apps,
    Bundles as Bundles,
    Channels as Channels,
    Devices as Devices,
    Members as Members,
    Organizations as Organizations,
    Statistics as Statistics,
)
from .api.resources.bundles import Deleted as Deleted
from .api.resources.devices import OnUnreadable as OnUnreadable
from .api.words import (
    AuditOperation as AuditOperation,
    AuditTable as AuditTable,
    BindingRole as BindingRole,
    BindingScope as BindingScope,
    DeviceOrder as DeviceOrder,
    GlobalPermission as GlobalPermission,
    Intent as Intent,
    KeyMode as KeyMode,
    MemberRole as MemberRole,
    PauseAction as PauseAction,
    Unlisted as Unlisted,
    UpdatePackage as UpdatePackage,
    UpdatePolicy as UpdatePolicy,
)
from .client import CapgoClient as CapgoClient
from .errors import (
    ApiError as ApiError,
    AuthenticationError as AuthenticationError,
    BundleLinked as BundleLinked,
    BundleNotFound as BundleNotFound,
    CapgoError as CapgoError,
    ChannelNotFound as ChannelNotFound,
    ConfigurationError as ConfigurationError,
    Conflict as Conflict,
    ConnectionLost as ConnectionLost,
    DangerousCall as DangerousCall,
    DeviceNotFound as DeviceNotFound,
    DiskFull as DiskFull,
    EmptyListing as EmptyListing,
    GraphNotSupported as GraphNotSupported,
    InputError as InputError,
    InvalidRequest as InvalidRequest,
    JobError as JobError,
    ListingError as ListingError,
    MemberNotFound as MemberNotFound,
    NeedsApiKey as NeedsApiKey,
    NeedsUserSession as NeedsUserSession,
    NotApplied as NotApplied,
    NotConnected as NotConnected,
    NotFound as NotFound,
    PermissionDenied as PermissionDenied,
    Problem as Problem,
    PublicChannelOverride as PublicChannelOverride,
    RateLimited as RateLimited,
    SafetyStop as SafetyStop,
    ServerError as ServerError,
    SubscriptionRequired as SubscriptionRequired,
    TimedOut as TimedOut,
    TransportError as TransportError,
    UnreadableAnswer as UnreadableAnswer,
    WouldWait as WouldWait,
)
from .events import Event as Event
from .http.dialect import Dialect as Dialect
from .http.received import RawResponse as RawResponse, raw_responses as raw_responses
from .http.requester import Counters as Counters
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
