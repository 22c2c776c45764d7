"""Others who use the same key: noticed by refusals that our own requests do not explain, and given way to (contract B2).

After a silence of ours the server has forgotten what we sent. A refusal before the limit then tells of a smaller limit, which
refuses at the same number the next time, or of somebody who was not silent.
"""

from typing import Final

from .limits import BOUNDLESS

_STEP: Final = 4
"""A quarter of the model is added for each period in which nobody was in the way."""
_FIRST_PROBES: Final = 2
"""So many refused probes in a row may be chance: somebody began just then."""
_MOST_PATIENT: Final = 10.0


class Others:
    """Judge the periods between our silences, in each of which `modelled` requests should pass.

    `noticed` stays, once two in a row were refused early and not at the same number.
    """

    def __init__(self, modelled: int) -> None:
        self.noticed = False
        self._modelled = modelled
        self._bound = BOUNDLESS
        self._ended: range | None = None
        self._refused = False
        self._last_passed = modelled

    def refused(self, passed: int, sent: int) -> None:
        """Note the first refusal of a period that no limit explains, `passed` of `sent` being known to have passed."""
        before, self._ended = self._ended, range(passed, sent)
        self._refused = True
        if before is not None and (_nothing_passes(self._ended) or _apart(before, self._ended)):
            self.noticed = True

    def begin(self, passed: int) -> int:
        """Begin a period after one in which so many passed; return how many requests it may have.

        Half of what passed before somebody else's requests got in the way, and more with each period that is not refused.
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
    """Return by how much to wait longer than a silence, after so many probes in a row were refused.

    Two clients that probe in turn would keep each other out for ever if neither waited longer.
    """
    return min(_MOST_PATIENT, 1.0 + max(0, refused_probes - _FIRST_PROBES + 1) / 2)


def _nothing_passes(ended: range) -> bool:
    """Tell that not even one request passed: every limit lets something pass."""
    return ended == range(1)


def _apart(one: range, other: range) -> bool:
    return one.stop <= other.start or other.stop <= one.start
