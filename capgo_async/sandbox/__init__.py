"""A server that speaks the Capgo API on loopback, for tests, demos and rehearsals (contract H).

It implements the contract on its own and shares no code with the client. Otherwise a misreading could hide in both.
"""

from .exchange import Dropped, Incoming, Refusal, Reply
from .faults import Amount, Chance, Fault, Latency, Rule, parse as parse_faults
from .inspection import AccessLine
from .limiting import PRESETS, DeviceCall, Thresholds, thresholds
from .routes.call import Call
from .routes.table import Route
from .sandbox import Arrival, Sandbox
from .seeding import fleet
from .settings import Settings
from .state.access import ROLES, Binding, Caller, Key, Session
from .state.apps import App, Bundle, Device, Override, Traits
from .state.channels import AutoPause, Channel, Rollout
from .state.organizations import Invitation, Member, Organization, User
from .state.world import World

__all__ = [
    "PRESETS",
    "ROLES",
    "AccessLine",
    "Amount",
    "App",
    "Arrival",
    "AutoPause",
    "Binding",
    "Bundle",
    "Call",
    "Caller",
    "Chance",
    "Channel",
    "Device",
    "DeviceCall",
    "Dropped",
    "Fault",
    "Incoming",
    "Invitation",
    "Key",
    "Latency",
    "Member",
    "Organization",
    "Override",
    "Refusal",
    "Reply",
    "Rollout",
    "Route",
    "Rule",
    "Sandbox",
    "Session",
    "Settings",
    "Thresholds",
    "Traits",
    "User",
    "World",
    "fleet",
    "parse_faults",
    "thresholds",
]


def __dir__() -> list[str]:
    return __all__
