"""What a client knows of the limits, as the schedule of a run asks for it."""

from collections.abc import Callable
from typing import Final

from ...gates import Period
from ...limits import FixedWindow, Limiter, Scope, ScopeKind, SilenceWindow, held_for
from ...ring import Caller
from ..resting import Rules


class ClientGauge:
    """The limits as the pacer of `client` knows them; `latency` is what an answer takes, in seconds, before one was seen."""

    def __init__(self, client: Caller, latency: float) -> None:
        self._client = client
        self._pacer = client.pacer
        self._latency = latency
        self._keys: dict[str, Scope] = {}
        self._apps: dict[str, Scope] = {}
        of_key, of_app = self._model(ScopeKind.KEY, SilenceWindow), self._model(ScopeKind.APP_ADDRESS, FixedWindow)
        self._holds: Final = None if of_key is None or of_app is None else (held_for(of_key), held_for(of_app))

    def key_of(self, app_id: str) -> str:
        """Return which key speaks for an app."""
        scope = self._client.client_of(app_id).requester.key_scope
        self._keys[scope[1]] = scope
        return scope[1]

    def key_free_at(self, key: str, now: float) -> float:
        """Return when the next request of a key may leave."""
        return self._pacer.free_at(self._keys[key], now)

    def app_free_at(self, app_id: str, now: float) -> float:
        """Return when an app takes the next one."""
        return self._pacer.free_at(self._scope_of(app_id), now)

    def period(self, key: str, now: float) -> Period | None:
        """Return what a key has used since it was silent, `None` where no limit asks for that."""
        return self._pacer.period(self._keys[key], now)

    def rules(self, key: str, app_id: str) -> Rules | None:
        """Return the limits of a key and an app of it, `None` where one of them has none."""
        if self._holds is None:
            return None
        rest, window = self._holds
        of_key, of_app = (min(self._pacer.limits_of(scope)) for scope in (self._keys[key], self._scope_of(app_id)))
        counters = self._client.counters
        latency = counters.seconds / counters.requests if counters.requests else self._latency
        return Rules(of_key, of_app, rest, window, latency / self._pacer.concurrency)

    def _scope_of(self, app_id: str) -> Scope:
        return self._apps.setdefault(app_id, (ScopeKind.APP_ADDRESS, app_id))

    def _model(self, kind: ScopeKind, model: Callable[..., Limiter]) -> Limiter | None:
        found = (limit.limiter for limit in self._pacer.limits if limit.scope is kind)
        return next((limiter for limiter in found if type(limiter) is model), None)
