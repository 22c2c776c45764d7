"""API keys that were refused: which of them rest, and which are never used again (contract G5)."""

from collections.abc import Mapping
from typing import Final

from ..errors import ApiError, AuthenticationError
from ..events import KeyRefused
from .gate import LearningGate
from .lockout import MOST_REFUSALS, Lockout
from .models import Scope

KEY_RESTS_FOR: Final = 10.0
"""Seconds from the last response to a refused key until its probe. Contract G5 asks for 5 at least."""
_PROBED: Final = (
    f"The key worked until now, and was refused again after a pause of {KEY_RESTS_FOR:g} s: it has probably expired or been"
    " deleted. Check the API key."
)
_NOT_PROBED: Final = (
    f"The key worked until now. It is not tried again, because {MOST_REFUSALS} requests were refused within a short time, and"
    " the server locks out this address after 20. Wait 15 minutes, then check the API key."
)


class RefusedKeys:
    """What became of keys that were refused. `gates` has the gate of each scope that is in use."""

    def __init__(self, gates: Mapping[Scope, LearningGate]) -> None:
        self.lockout = Lockout()
        self._gates = gates
        self._stopped: dict[Scope, ApiError] = {}

    def refuse(self, scope: Scope, error: AuthenticationError, now: float) -> KeyRefused:
        """Take a refusal and return what there is to tell.

        A key that worked before rests, and is probed once. Any other key is never used again. Neither is a resting key once the
        address is close to being locked out.
        """
        if error.locked_out:
            self._stopped[scope] = error
        else:
            self._doubt(scope, error, now)
        return KeyRefused(key=scope[1], code=error.code or "", seconds=KEY_RESTS_FOR if self.doubts(scope) else None)

    def _doubt(self, scope: Scope, error: AuthenticationError, now: float) -> None:
        """Let a key rest that worked before, or stop using it."""
        gate = self._gates[scope]
        self.lockout.refused(now)
        if not gate.doubt(now, KEY_RESTS_FOR):
            error.hint = _PROBED if gate.worked else ""
            self._stopped[scope] = error
        if self.lockout.near:
            error.hint = error.hint or _NOT_PROBED
            self._stopped |= {each: error for each, gate in self._gates.items() if gate.doubted}

    def refusal(self, scopes: tuple[Scope, ...]) -> ApiError | None:
        """Return a copy of the error of a request whose key is not used any more, or `None`."""
        for scope in scopes if self._stopped else ():
            if error := self._stopped.get(scope):
                return error.as_kind(type(error))
        return None

    def doubts(self, scope: Scope) -> bool:
        """Return whether a key was refused after it had worked, and waits for the result of its probe."""
        gate = self._gates.get(scope)
        return gate is not None and gate.doubted and scope not in self._stopped

    @property
    def recovered(self) -> bool:
        """Whether keys were refused, and all of them were accepted again."""
        return bool(self.lockout.refusals) and not self._stopped and not any(gate.doubted for gate in self._gates.values())
