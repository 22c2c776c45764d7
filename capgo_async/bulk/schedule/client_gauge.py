"""The gauge of a run: what the client knows about its limits."""

from collections.abc import Mapping

from ...client import requester_of
from ...key_ring import KeyRing, pacer_of
from ...limits.models import Period, ScopeKind
from ...limits.timing import mean, usual
from ...limits.windows import silence_of
from .keys import rules_of
from .resting import Rules


class ClientGauge:
    """The limits as the pacer of `client` knows them.

    `calls` is how many requests of each kind the run sends.
    """

    def __init__(self, client: KeyRing, calls: Mapping[str, int]) -> None:
        self._client = client
        self._pacer = pacer_of(client)
        self._gates = self._pacer.gates
        self._calls = calls

    def key_of(self, app_id: str) -> str:
        return requester_of(self._client.client_of(app_id)).key_scope[1]

    def is_full(self, own: int) -> bool:
        """Return whether no place in flight is free, and `own` operations are enough to fill the places.

        While the server is in trouble there are fewer places than workers. A run that shares them may still wait for one.
        """
        return self._pacer.is_full and own >= self._pacer.most_in_flight

    def key_free_at(self, key: str, now: float) -> float:
        return self._gates.free_at((ScopeKind.KEY, key), now)

    def app_free_at(self, app_id: str, requests: int, now: float) -> float:
        # Only links wait in the wake of another job, but they are why an app's operations are counted.
        return max(self._gates.free_at((ScopeKind.APP_ADDRESS, app_id), now, requests), self._gates.wake.until)

    def period(self, key: str, now: float) -> Period | None:
        silence = silence_of(self._gates.windows_of((ScopeKind.KEY, key)))
        return None if silence is None else silence.period(now)

    def rules(self, key: str, app_id: str | None) -> Rules | None:
        silence = silence_of(self._gates.windows_of((ScopeKind.KEY, key)))
        if silence is None:
            return None
        timings = self._pacer.timings.known()
        latency = mean(self._calls, timings, usual(timings))
        of_app = () if app_id is None else self._gates.windows_of((ScopeKind.APP_ADDRESS, app_id))
        return rules_of(silence, of_app, latency / self._pacer.concurrency)
