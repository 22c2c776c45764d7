"""The gauge of a run: what the client knows about its limits."""

from ...client import requester_of
from ...key_ring import KeyRing, pacer_of
from ...limits.models import Period, Scope, ScopeKind
from .keys import rules_of
from .resting import Rules


class ClientGauge:
    """The limits as the pacer of `client` knows them.

    The `latency`, in seconds, is assumed until a response was seen.
    """

    def __init__(self, client: KeyRing, latency: float) -> None:
        self._client = client
        self._pacer = pacer_of(client)
        self._latency = latency
        self._keys: dict[str, Scope] = {}
        self._apps: dict[str, Scope] = {}

    def key_of(self, app_id: str) -> str:
        """Return the name of the key that is used for an app."""
        scope = requester_of(self._client.client_of(app_id)).key_scope
        self._keys[scope[1]] = scope
        return scope[1]

    def is_full(self, own: int) -> bool:
        """Return whether no place in flight is free, and `own` operations are enough to fill the places.

        While the server is in trouble there are fewer places than workers. A run that shares them may still wait for one.
        """
        return self._pacer.is_full and own >= self._pacer.congestion.limit

    def key_free_at(self, key: str, now: float) -> float:
        """Return when the next request of a key may leave."""
        return self._pacer.free_at(self._keys[key], now)

    def app_free_at(self, app_id: str, requests: int, now: float) -> float:
        """Return when that many requests of an app may leave in a row, or as many as its limit ever allows."""
        scope = self._scope_of(app_id)
        return self._pacer.free_at(scope, now) if requests == 1 else self._pacer.room_at(scope, requests, now)

    def period(self, key: str, now: float) -> Period | None:
        """Return what a key has sent since its last silence, `None` if no limit asks for silences."""
        return self._pacer.period(self._keys[key], now)

    def rules(self, key: str, app_id: str | None) -> Rules | None:
        """Return the limits of a key, and of one of its apps; `None` if the key need not be silent."""
        counters = self._client.counters
        latency = counters.seconds / counters.answers if counters.answers else self._latency
        app = () if app_id is None else self._pacer.windows_of(self._scope_of(app_id))
        return rules_of(self._pacer.windows_of(self._keys[key]), app, latency / self._pacer.concurrency)

    def _scope_of(self, app_id: str) -> Scope:
        return self._apps.setdefault(app_id, (ScopeKind.APP_ADDRESS, app_id))
