"""What a schedule has to know about the limits."""

from typing import Protocol

from ...limits.models import Period
from .resting import Rules


class Gauge(Protocol):
    """The limits of keys and apps at the time `now`, on the clock of `anyio.current_time()`.

    Where only a response can tell a time, the time is infinity.
    """

    def key_of(self, app_id: str) -> str:
        """Return the name of the key that is used for an app."""

    def is_full(self, own: int) -> bool:
        """Return whether no place in flight is free, and `own` operations are enough to fill the places."""

    def key_free_at(self, key: str, now: float) -> float:
        """Return when the next request of a key may leave."""

    def app_free_at(self, app_id: str, requests: int, now: float) -> float:
        """Return when that many requests of an app may leave in a row, or as many as its limit ever allows."""

    def period(self, key: str, now: float) -> Period | None:
        """Return what a key has sent since its last silence, or `None` if no limit asks for silences."""

    def rules(self, key: str, app_id: str | None) -> Rules | None:
        """Return the limits of a key, and of one of its apps; `None` if the key need not be silent."""
