"""How many refused keys the server remembers of this address (contract B2).

After 20 of them it locks the address out, good keys included. It forgets them once none was added for 15 minutes; a request
that it accepts in between changes nothing.
"""

import math
from typing import Final

MOST_REFUSALS: Final = 16
"""Most refusals that a process causes. The rest, up to 20, is left to others at the same address."""
MOST_IN_FLIGHT: Final = MOST_REFUSALS - 1
"""Most requests in flight. If the key expires, each of them is refused, and so is the probe."""
_REMEMBERED_FOR: Final = 900.0


class Lockout:
    """Counts the refused keys of one address."""

    def __init__(self) -> None:
        self.refusals = 0
        self._last = -math.inf

    def refused(self, now: float) -> None:
        """Take one refusal."""
        self.refusals = 1 if now - self._last >= _REMEMBERED_FOR else self.refusals + 1
        self._last = now

    def allowed(self, now: float) -> int:
        """Return how many requests may be in flight, so that the address is not locked out if all are refused."""
        if now - self._last >= _REMEMBERED_FOR:
            return MOST_IN_FLIGHT
        return max(1, MOST_IN_FLIGHT - self.refusals)

    @property
    def near(self) -> bool:
        """Return whether the next refusals might lock the address out, so that no key may be probed any more."""
        return self.refusals >= MOST_REFUSALS
