"""An asyncio client for the Capgo live-update API, with an engine for bulk changes."""

from . import errors
from .client import CapgoClient
from .dialect import Dialect
from .endpoints import DeviceFilter
from .errors import CapgoError
from .limits import FixedWindow, Limit, ScopeKind, SilenceWindow, SlidingWindow, server_limits
from .models import App, Bundle, BundleReference, Channel, Device, parse_timestamp
from .paging import Listing
from .requester import Attempt
from .version import __version__

__all__ = [
    "App",
    "Attempt",
    "Bundle",
    "BundleReference",
    "CapgoClient",
    "CapgoError",
    "Channel",
    "Device",
    "DeviceFilter",
    "Dialect",
    "FixedWindow",
    "Limit",
    "Listing",
    "ScopeKind",
    "SilenceWindow",
    "SlidingWindow",
    "__version__",
    "errors",
    "parse_timestamp",
    "server_limits",
]
