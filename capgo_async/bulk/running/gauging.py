"""What a client knows of the limits, as the schedule of a run asks for it."""

import math
from collections.abc import Callable
from typing import Final

from ...client import requester_of
from ...gates import Period
from ...limits import FixedWindow, Limiter, Scope, ScopeKind, SilenceWindow, held_for
from ...ring import KeyRing, pacer_of
from ..scheduling.resting import Rules


class ClientGauge:
    """The limits as the pacer of `client` knows them; `latency` is what an answer takes, in seconds, before one was seen."""

    def __init__(self, client: KeyRing, latency: float) -> None:
        self._client = client
        self._pacer = pacer_of(client)
        self._latency = latency
        self._keys: dict[str, Scope] = {}
        self._apps: dict[str, Scope] = {}
        of_key, of_app = self._model(ScopeKind.KEY, SilenceWindow), self._model(ScopeKind.APP_ADDRESS, FixedWindow)
        self._rest: Final = None if of_key is None else held_for(of_key)
        limiters = [limit.limiter for limit in self._pacer.limits if limit.scope is ScopeKind.KEY]
        self._place_of_silence: Final = 0 if of_key is None else limiters.index(of_key)
        self._window: Final = None if of_app is None else held_for(of_app)

    def key_of(self, app_id: str) -> str:
        """Return which key speaks for an app."""
        scope = requester_of(self._client.client_of(app_id)).key_scope
        self._keys[scope[1]] = scope
        return scope[1]

    def is_full(self, own: int) -> bool:
        """Tell whether as many requests are in flight as may be, and `own` operations are enough to fill those places.

        While the server fails there are fewer places than workers. Who shares them with others may still queue for one.
        """
        return self._pacer.is_full and own >= self._pacer.congestion.limit

    def key_free_at(self, key: str, now: float) -> float:
        """Return when the next request of a key may leave."""
        return self._pacer.free_at(self._keys[key], now)

    def app_free_at(self, app_id: str, requests: int, now: float) -> float:
        """Return when an app takes so many, one after the other, or as many as it ever does."""
        scope = self._scope_of(app_id)
        return self._pacer.free_at(scope, now) if requests == 1 else self._pacer.room_at(scope, requests, now)

    def period(self, key: str, now: float) -> Period | None:
        """Return what a key has used since it was silent, `None` where no limit asks for that."""
        return self._pacer.period(self._keys[key], now)

    def rules(self, key: str, app_id: str | None) -> Rules | None:
        """Return the limits of a key that has to be silent, and of an app of it if one is named; `None` for other keys."""
        if self._rest is None:
            return None
        windowed = app_id is not None and self._window is not None
        of_app = min(self._pacer.limits_of(self._scope_of(app_id))) if app_id is not None and windowed else math.inf
        counters = self._client.counters
        latency = counters.seconds / counters.answers if counters.answers else self._latency
        return Rules(
            # What a refusal without a reason added is no limit that a silence lifts.
            key=self._pacer.limits_of(self._keys[key])[self._place_of_silence],
            app=of_app,
            rest=self._rest,
            window=self._window or 0.0,
            pace=latency / self._pacer.concurrency,
        )

    def _scope_of(self, app_id: str) -> Scope:
        return self._apps.setdefault(app_id, (ScopeKind.APP_ADDRESS, app_id))

    def _model(self, kind: ScopeKind, model: Callable[..., Limiter]) -> Limiter | None:
        found = (limit.limiter for limit in self._pacer.limits if limit.scope is kind)
        return next((limiter for limiter in found if type(limiter) is model), None)
