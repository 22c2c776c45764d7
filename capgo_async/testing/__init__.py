"""What tests of your own code need: a sandbox in the test's process, virtual time, and fixtures.

pytest finds the fixtures by itself. `CapgoSandbox` and `virtual_time` serve any other framework.
"""

import importlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from .clock import VirtualClock as VirtualClock, virtual_time as virtual_time
    from .sandbox import CapgoSandbox as CapgoSandbox, Crash as Crash, Received as Received, Server as Server
else:
    _HOMES: Final = {
        "CapgoSandbox": "sandbox",
        "Crash": "sandbox",
        "Received": "sandbox",
        "Server": "sandbox",
        "VirtualClock": "clock",
        "virtual_time": "clock",
    }

    def __getattr__(name: str) -> object:
        """Import a name when it is first used: the plugin for pytest needs none of them until a test does."""
        if name not in _HOMES:
            message = f"module {__name__!r} has no attribute {name!r}"
            raise AttributeError(message)
        return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return __all__


__all__ = ["CapgoSandbox", "Crash", "Received", "Server", "VirtualClock", "virtual_time"]
