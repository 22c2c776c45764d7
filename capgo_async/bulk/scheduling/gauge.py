"""What a schedule asks of the limits: a pacer can tell, and a test, too."""

from typing import Protocol

from ...limits import Period
from .resting import Rules


class Gauge(Protocol):
    """What the limits say of a key or an app `now`, on the clock of `anyio.current_time()`.

    A time is infinity while only an answer can tell.
    """

    def key_of(self, app_id: str) -> str:
        """Return which key speaks for an app."""
        ...

    def is_full(self, own: int) -> bool:
        """Tell whether as many requests are in flight as may be, and `own` operations are enough to fill those places."""
        ...

    def key_free_at(self, key: str, now: float) -> float:
        """Return when the next request of a key may leave."""
        ...

    def app_free_at(self, app_id: str, requests: int, now: float) -> float:
        """Return when an app takes so many, one after the other, or as many as it ever does."""
        ...

    def period(self, key: str, now: float) -> Period | None:
        """Return what a key has used since it was silent, `None` where no limit asks for that."""
        ...

    def rules(self, key: str, app_id: str | None) -> Rules | None:
        """Return the limits of a key that has to be silent, and of an app of it if one is named; `None` for other keys."""
        ...


class Boundless:
    """The gauge of a run without limits."""

    def key_of(self, _app_id: str) -> str:
        """Return one key for all."""
        return ""

    def is_full(self, _own: int) -> bool:
        """Return that it never is."""
        return False

    def key_free_at(self, _key: str, now: float) -> float:
        """Return `now`."""
        return now

    def app_free_at(self, _app_id: str, _requests: int, now: float) -> float:
        """Return `now`."""
        return now

    def period(self, _key: str, _now: float) -> None:
        """Return that nothing is counted."""

    def rules(self, _key: str, _app_id: str | None) -> None:
        """Return that there are none."""
