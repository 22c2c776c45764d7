"""What the API says, normalised: one module per resource."""

from .app import App
from .bundle import Bundle
from .channel import BundleReference, Channel
from .device import Device, DevicePage, SeedDevice
from .page import Envelope
from .timestamps import parse_timestamp

__all__ = [
    "App",
    "Bundle",
    "BundleReference",
    "Channel",
    "Device",
    "DevicePage",
    "Envelope",
    "SeedDevice",
    "parse_timestamp",
]
