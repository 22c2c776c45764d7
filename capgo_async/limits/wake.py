"""Links in the wake of another job (contract B2).

The server refuses to set the same device and channel again for a while. Where another job has just set many links, each of
them would be refused once. So a refusal holds the links of all devices back. How long the server remembers depends on its age;
only its refusals tell (contract K8).
"""

import math
from typing import Final

_TOGETHER: Final = 32
"""Two refusals with more requests in between concern single devices, which somebody else linked."""


class Wake:
    """Tell until when no device should be linked.

    `longest` is how many seconds the server remembers a link at most. The first refusal is waited out as the server asks. Links
    that were set later are remembered longer. If some are refused after the wait, the next wait is twice what the server asks,
    then four times. So the number of refusals stays small.
    """

    def __init__(self, longest: float) -> None:
        self.until = -math.inf
        self._longest = longest
        self._waits = 0
        self._last: int | None = None

    def refused(self, now: float, seconds: float, sent: int) -> None:
        """Take a refusal that asks for a wait of `seconds`, after `sent` requests in all."""
        alone = self._last is not None and sent - self._last > _TOGETHER
        self._last = sent
        if now > self.until + self._longest:
            self._waits = 0
        if alone:
            return
        if now < self.until:
            self.until = max(self.until, now + seconds)
        else:
            self.until = now + max(seconds, min(self._longest, seconds * 2**self._waits))
            self._waits += 1
