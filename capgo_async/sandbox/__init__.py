"""A server that speaks the Capgo API on loopback, for tests, demos and rehearsals (contract H).

It implements the contract on its own and shares no code with the client. Otherwise a misreading could hide in both.
"""

from .exchange import Dropped, Incoming, Reply
from .faults import Rule
from .faults import parse as parse_faults
from .inspection import AccessLine
from .limiting import PRESETS, Thresholds, thresholds
from .sandbox import Arrival, Sandbox
from .seeding import fleet
from .settings import Settings
from .state.access import ROLES, Binding, Key
from .state.world import App, Bundle, Channel, Device, Traits, World

__all__ = [
    "PRESETS",
    "ROLES",
    "AccessLine",
    "App",
    "Arrival",
    "Binding",
    "Bundle",
    "Channel",
    "Device",
    "Dropped",
    "Incoming",
    "Key",
    "Reply",
    "Rule",
    "Sandbox",
    "Settings",
    "Thresholds",
    "Traits",
    "World",
    "fleet",
    "parse_faults",
    "thresholds",
]
