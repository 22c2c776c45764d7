"""The gauge of a run: what the client knows about its limits."""

from ...client import requester_of
from ...key_ring import KeyRing, pacer_of
from ...limits.models import Period, ScopeKind
from ...limits.windows import silence_of
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

    def key_of(self, app_id: str) -> str:
        return requester_of(self._client.client_of(app_id)).key_scope[1]

    def is_full(self, own: int) -> bool:
        """Return whether no place in flight is free, and `own` operations are enough to fill the places.

        While the server is in trouble there are fewer places than workers. A run that shares them may still wait for one.
        """
        return self._pacer.is_full and own >= self._pacer.congestion.limit

    def key_free_at(self, key: str, now: float) -> float:
        return self._pacer.free_at((ScopeKind.KEY, key), now)

    def app_free_at(self, app_id: str, requests: int, now: float) -> float:
        return self._pacer.free_at((ScopeKind.APP_ADDRESS, app_id), now, requests)

    def period(self, key: str, now: float) -> Period | None:
        silence = silence_of(self._pacer.windows_of((ScopeKind.KEY, key)))
        return None if silence is None else silence.period(now)

    def rules(self, key: str, app_id: str | None) -> Rules | None:
        silence = silence_of(self._pacer.windows_of((ScopeKind.KEY, key)))
        if silence is None:
            return None
        counters = self._client.counters
        latency = counters.seconds / counters.answers if counters.answers else self._latency
        of_app = () if app_id is None else self._pacer.windows_of((ScopeKind.APP_ADDRESS, app_id))
        return rules_of(silence, of_app, latency / self._pacer.concurrency)
