"""Rests of a run: the times in which a limit lets nothing leave."""

import math
from collections.abc import Callable, Iterable
from typing import Final

import anyio

from ...client import requester_of
from ...events import OTHER_JOB, AttemptBegan, AttemptEnded, Event, RestBegan, RestEnded, WaitBegan
from ...key_ring import KeyRing, pacer_of
from ...limits.gates import Hold
from ...limits.models import ScopeKind

WORTH_TELLING: Final = 1.0
"""Shorter rests, in seconds, are not told."""
NO_HOLD: Final = Hold(-math.inf, "")


def hold_of(client: KeyRing, apps: Iterable[str], now: float) -> Hold:
    """Return the limit that holds back all of `apps`, with a past time if there is none.

    If several apps are held back by limits of their own, `app` is empty.
    """
    gates = pacer_of(client).gates
    hold = min(gates.hold(requester_of(each).key_scope, now) for each in client.clients)
    held = [gates.hold((ScopeKind.APP_ADDRESS, app), now) for app in apps]
    first = min(held, default=hold)
    if first.until > hold.until:
        hold = first if len(held) == 1 else first._replace(app="")
    return hold if hold.until < math.inf else NO_HOLD


def hold_of_run(client: KeyRing, apps: Iterable[str], rests_until: float) -> Hold:
    """Return the limit that lets nothing of a run leave, with a past time if there is none.

    `rests_until` is when a rest ends that began before a limit required it.
    """
    holds = (
        hold_of(client, apps, anyio.current_time()),
        Hold(rests_until, ScopeKind.KEY),
        Hold(pacer_of(client).gates.wake.until, OTHER_JOB),
    )
    return max(holds, key=lambda hold: hold.until)


class Rests:
    """Tells when a run rests, and when it goes on.

    It listens, and has to be asked to `look` about once a second while operations wait outside of the pacer. `hold` returns the
    limit that holds the run back.
    """

    def __init__(self, client: KeyRing, hold: Callable[[], Hold]) -> None:
        self._pacer = pacer_of(client)
        self._hold = hold
        self._begun_at = anyio.current_time()
        self._resting: Hold | None = None

    def __call__(self, event: Event) -> None:
        """Notice that a request begins to wait. It rests once the others have ended."""
        if isinstance(event, WaitBegan) and not self.look() and self._pacer.in_flight:
            self._pacer.listeners.remove(self._look_again)
            self._pacer.listeners.add(self._look_again, "ended")

    def look(self) -> bool:
        """Tell of a rest that has begun, and return whether one has."""
        if self._resting is not None or self._pacer.in_flight:
            return False
        now, hold = anyio.current_time(), self._hold()
        begun = hold.until - now >= WORTH_TELLING
        if begun:
            self._resting = hold
            self._pacer.listeners.add(self._go_on, "began")
            self._pacer.listeners.announce(
                RestBegan(limit=hold.limit, app=hold.app, seconds=hold.until - now, asked=hold.asked(now))
            )
        return begun

    def end(self) -> None:
        """Tell that a rest is over, if there is one."""
        self._pacer.listeners.remove(self._look_again)
        if self._resting is not None:
            hold, self._resting = self._resting, None
            self._pacer.listeners.remove(self._go_on)
            seconds = anyio.current_time() - max(self._pacer.idle_since, self._begun_at)
            self._pacer.listeners.announce(RestEnded(limit=hold.limit, app=hold.app, seconds=seconds))

    def _look_again(self, _: AttemptEnded) -> None:
        if not self._pacer.in_flight:
            self._pacer.listeners.remove(self._look_again)
            self.look()

    def _go_on(self, _: AttemptBegan) -> None:
        self.end()
