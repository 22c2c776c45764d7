"""The server itself (contract C1, C10)."""

from ..wire import Request
from .call import Call


def ok() -> Call:
    """Ask the server for its health: no key, no quota (contract C10)."""
    return Call("check the server", Request(method="GET", path="/ok"), keyed=False)
