"""An asyncio client for the Capgo live-update API, with an engine for bulk changes."""

import importlib
from typing import TYPE_CHECKING, Final

from . import errors
from .version import __version__

_MODULES: Final = ("client", "limits", "models")

if TYPE_CHECKING:
    from . import client as client, limits as limits, models as models
    from .public import *
else:

    def __getattr__(name: str) -> object:
        """Import the client when one of its names is first used. Help and version need none of it."""
        if name in _MODULES:
            return importlib.import_module(f".{name}", __name__)
        if name not in __all__:
            message = f"module {__name__!r} has no attribute {name!r}"
            raise AttributeError(message)
        from . import public  # noqa: PLC0415 - takes three times as long as starting the command

        globals().update({each: getattr(public, each) for each in __all__ if each not in globals()})
        return globals()[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES, *__all__})


__all__ = [
    "ActiveDevices",
    "ApiKey",
    "ApiKeySettings",
    "App",
    "AppSettings",
    "AppStatPoint",
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
    "DailyActiveDevices",
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
    "Timing",
    "Transport",
    "Usage",
    "__version__",
    "errors",
    "parse_timestamp",
    "raw_responses",
    "server_limits",
]
