"""An asyncio client for the Capgo live-update API, with an engine for bulk changes."""

import importlib
from typing import TYPE_CHECKING, Final

from . import errors
from .version import __version__

_MODULES: Final = ("bulk", "events", "limits", "models", "sandbox", "testing")

if TYPE_CHECKING:
    from . import bulk as bulk, events as events, limits as limits, models as models, sandbox as sandbox, testing as testing
    from .public import *
else:

    def __getattr__(name: str) -> object:
        """Import a name when it is first used. Help and version need none of them."""
        if name in _MODULES:
            return importlib.import_module(f".{name}", __name__)
        if name not in __all__:
            message = f"module {__name__!r} has no attribute {name!r}"
            raise AttributeError(message)
        from . import public  # noqa: PLC0415 - takes three times as long as starting the command

        globals().update({each: getattr(public, each) for each in __all__ if each not in globals() and each not in _MODULES})
        return globals()[name]


def __dir__() -> list[str]:
    return __all__


__all__ = [
    "ActiveDevices",
    "ApiError",
    "ApiKey",
    "ApiKeySettings",
    "ApiKeys",
    "App",
    "AppSettings",
    "AppStatPoint",
    "Apps",
    "AuditEntry",
    "AuditFilter",
    "AuditOperation",
    "AuditTable",
    "AuthenticationError",
    "Binding",
    "BindingRole",
    "BindingScope",
    "Breakdown",
    "Bundle",
    "BundleLinked",
    "BundleMetadata",
    "BundleNotFound",
    "BundleReference",
    "Bundles",
    "CapgoClient",
    "CapgoError",
    "Channel",
    "ChannelNotFound",
    "ChannelSettings",
    "Channels",
    "ConfigurationError",
    "Conflict",
    "ConnectionLost",
    "Counters",
    "DailyActiveDevices",
    "DangerousCall",
    "Dataset",
    "Deleted",
    "Device",
    "DeviceFilter",
    "DeviceNotFound",
    "DeviceOrder",
    "Devices",
    "Dialect",
    "DiskFull",
    "EmptyListing",
    "Event",
    "FixedWindow",
    "GlobalPermission",
    "Graph",
    "GraphNotSupported",
    "InputError",
    "Intent",
    "InvalidRequest",
    "JobError",
    "KeyMode",
    "KeyRing",
    "Known",
    "KnownLimit",
    "Latency",
    "LatestVersion",
    "Limit",
    "Listing",
    "ListingError",
    "Member",
    "MemberNotFound",
    "MemberRole",
    "Members",
    "NeedsApiKey",
    "NeedsUserSession",
    "NewApiKey",
    "NewApp",
    "NewBundle",
    "NewOrganization",
    "NotApplied",
    "NotConnected",
    "NotFound",
    "OnUnreadable",
    "Organization",
    "OrganizationSettings",
    "Organizations",
    "PasswordPolicy",
    "PauseAction",
    "PermissionDenied",
    "Problem",
    "PublicChannelOverride",
    "RateLimited",
    "RawResponse",
    "Request",
    "Response",
    "SafetyStop",
    "ScopeKind",
    "ServerError",
    "SilenceWindow",
    "SlidingWindow",
    "StatPoint",
    "Statistics",
    "SubscriptionRequired",
    "TimedOut",
    "Timing",
    "Totals",
    "Transport",
    "TransportError",
    "Unlisted",
    "UnreadableAnswer",
    "UpdatePackage",
    "UpdatePolicy",
    "Usage",
    "WouldWait",
    "__version__",
    "bulk",
    "errors",
    "events",
    "limits",
    "models",
    "parse_timestamp",
    "raw_responses",
    "sandbox",
    "server_limits",
    "testing",
]
