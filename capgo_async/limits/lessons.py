"""What refusals have taught about the limits of all keys and apps."""

from collections.abc import Iterable, Iterator, Mapping

from ..events import LimitInForce, LimitLearned, OtherUsersNoticed
from .gate import LearningGate
from .known import KnownLimit
from .models import UNNAMED, Limiter, Scope, ScopeKind, allowance, app_of


class Lessons:
    """The lessons of all `gates`. Only `adaptive` gates learn limits, or use those that were known before."""

    def __init__(self, gates: Mapping[Scope, LearningGate], *, adaptive: bool) -> None:
        self._gates = gates
        self._adaptive = adaptive
        self._recalled: dict[Scope, KnownLimit] = {}
        self._refused: dict[Scope, LearningGate] = {}
        """The gates whose lessons are still to be told."""
        self._told: dict[Scope, tuple[int | None, bool, Limiter | None]] = {}

    def recall(self, limits: Iterable[KnownLimit], key: Scope) -> None:
        """Start with limits that earlier processes learned. Limits of the kind `KEY` apply to `key` alone.

        Learning goes on: what proves too small is forgotten.
        """
        if not self._adaptive:
            return
        self._recalled |= {key if limit.scope is ScopeKind.KEY else (limit.scope,): limit for limit in limits}
        for scope, gate in self._gates.items():
            self.remind(scope, gate)

    def remind(self, scope: Scope, gate: LearningGate) -> None:
        """Let a gate start with what was known of its scope."""
        known = self._recalled.get(scope) or self._recalled.get(scope[:1])
        if known is not None:
            gate.recall(known)
            self._told[scope] = gate.learned(), gate.others_noticed(), gate.fallback

    def note(self, scope: Scope, gate: LearningGate) -> None:
        """Note that a gate was refused, so that there may be something to tell."""
        self._refused[scope] = gate

    @property
    def untold(self) -> bool:
        """Whether there may be something to tell."""
        return bool(self._refused)

    def to_tell(self) -> Iterator[LimitInForce | LimitLearned | OtherUsersNoticed]:
        """Yield what the latest refusals have taught, until no response of that time is missing."""
        for scope, gate in tuple(self._refused.items()):
            learned, others = gate.learned(), gate.others_noticed()
            before = self._told.get(scope, (None, False, None))
            self._told[scope] = learned, others, gate.fallback
            if not gate.busy:
                del self._refused[scope]
            if gate.fallback is not None and before[2] is None:
                yield _in_force(gate.fallback, scope)
            if learned != before[0]:
                limit = UNNAMED if gate.unnamed else scope[0]
                key = scope[1] if scope[0] == ScopeKind.KEY else ""
                yield LimitLearned(limit=limit, app=app_of(scope), key=key, requests=learned)
            if others and not before[1]:
                yield OtherUsersNoticed(key=scope[1])

    def fallback(self, key: Scope) -> LimitInForce | None:
        """Return the limit that `key` has kept to since a refusal that named none, or `None`."""
        gate = self._gates.get(key)
        return None if gate is None or gate.fallback is None else _in_force(gate.fallback, key)

    def limits(self, key: Scope) -> dict[ScopeKind, int | None]:
        """Return the smallest learned limit of each kind, or `None` if a known one proved too small."""
        found: dict[ScopeKind, int | None] = {}
        for scope, gate in self._gates.items():
            kind, learned = ScopeKind(scope[0]), gate.learned()
            if (learned is None and not gate.forgot()) or (kind is ScopeKind.KEY and scope != key):
                continue
            before = found.get(kind)
            found[kind] = before if learned is None else min(learned, before or learned)
        return found

    def suspicions(self, key: Scope) -> dict[ScopeKind, int]:
        """Return the smallest number at which one refusal came, for each kind without a learned limit."""
        found: dict[ScopeKind, int] = {}
        for scope, gate in self._gates.items():
            kind, suspected = ScopeKind(scope[0]), gate.suspects()
            if suspected is not None and (kind is not ScopeKind.KEY or scope == key):
                found[kind] = min(suspected, found.get(kind, suspected))
        return found

    def others_noticed(self, key: Scope | None = None) -> bool:
        """Return whether another user of `key` was noticed; without `key`, of any key."""
        gates = self._gates.items()
        return any(gate.others_noticed() for scope, gate in gates if scope[0] == ScopeKind.KEY and key in {None, scope})

    def uneven(self) -> bool:
        """Return whether refusals came after different numbers of requests.

        Then others use a key, or the server loses counts (contract B2.3).
        """
        return any(gate.uneven() for gate in self._gates.values())


def _in_force(fallback: Limiter, key: Scope) -> LimitInForce:
    return LimitInForce(limit=UNNAMED, key=key[1], requests=allowance(fallback), seconds=fallback.window)
