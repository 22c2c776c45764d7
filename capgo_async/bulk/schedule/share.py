"""The operations of one app, as schedules and forecasts count them."""

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from ...limits.models import ScopeKind
from ..operations.kinds import KINDS


class Share(NamedTuple):
    """Operations of one app or organization that cost the same: `each` requests, counted by `limits`.

    Operations that are `apart` run one after the other. `calls` are the kinds of their requests.
    """

    app_id: str
    operations: int
    each: int = 1
    limits: tuple[ScopeKind, ...] = (ScopeKind.KEY,)
    apart: bool = False
    calls: tuple[str, ...] = ()

    @property
    def requests(self) -> int:
        return self.operations * self.each


def share_of(app_id: str, kind: str, operations: int) -> Share:
    """Return the share of an app with that many operations of one kind."""
    of_kind = KINDS[kind]
    calls = of_kind.requests
    return Share(app_id, operations, len(calls), of_kind.limits, of_kind.one_at_a_time, calls)


def calls_of(shares: Iterable[Share]) -> Counter[str]:
    """Return how many requests of each kind `shares` have."""
    calls: Counter[str] = Counter()
    for share in shares:
        for kind in share.calls:
            calls[kind] += share.operations
    return calls
