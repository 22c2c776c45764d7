"""Other users of the same key: how they are noticed and given way to (contract B2).

After a silence the server has forgotten what this client sent. An early refusal then has one of two causes: a smaller limit,
which refuses at the same number the next time, or another user who was not silent.
"""

from typing import Final

from .models import BOUNDLESS

_STEP: Final = 4
"""After each period without a refusal, the bound grows by a quarter of the model."""
_FIRST_PROBES: Final = 2
"""This many refused probes in a row may be chance: another user started just then."""
_MOST_PATIENT: Final = 10.0


class Others:
    """Judge the periods between two silences, in each of which `modelled` requests should pass.

    `noticed` becomes true, and stays so, once two periods in a row were refused early and at different numbers. It is `proven`
    once a first request was among them. Without that, a server that loses counts would look the same (contract B2.3).
    """

    def __init__(self, modelled: int) -> None:
        self.noticed = False
        self.proven = False
        self._modelled = modelled
        self._bound = BOUNDLESS
        self._ended: range | None = None
        self._refused = False
        self._last_passed = modelled

    def refused(self, passed: int, sent: int) -> None:
        """Take the first refusal of a period, if no limit explains it.

        Of `sent` requests, `passed` are known to have passed.
        """
        before, self._ended = self._ended, range(passed, sent)
        self._refused = True
        # Every limit lets something pass. One that was refused at different numbers is not the cause.
        if before is not None and (self._ended == range(1) or _apart(before, self._ended)):
            self.noticed = True
            self.proven = self.proven or self._ended == range(1)

    def begin(self, passed: int) -> int:
        """Start a period, after one in which `passed` requests passed. Return how many requests it may have.

        That is half of what passed before another user got in the way, and more after each period without a refusal.
        """
        self._last_passed = passed or self._last_passed
        if not self._refused:
            self._ended = None
            self._bound = min(BOUNDLESS, self._bound + max(1, self._modelled // _STEP))
            if self._bound >= self._modelled:
                self._bound = BOUNDLESS
        elif self.noticed and (passed or self._bound == BOUNDLESS):
            self._bound = max(1, self._last_passed // 2)
        self._refused = False
        return self._bound


def patience(refused_probes: int) -> float:
    """Return the factor by which to prolong the silence after that many probes in a row were refused.

    Two clients that probe in turn would lock each other out for ever if neither waited longer.
    """
    return min(_MOST_PATIENT, 1.0 + max(0, refused_probes - _FIRST_PROBES + 1) / 2)


def _apart(one: range, other: range) -> bool:
    return one.stop <= other.start or other.stop <= one.start
