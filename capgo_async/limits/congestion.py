"""How many requests may be in flight while the server is in trouble.

The limit follows additive increase, multiplicative decrease. A few of many requests always fail, so one failure means nothing.
It starts a sample of about one round trip of responses, and the limit is halved only if a sixth of them are failures. After
that, only requests that left after the halving count, so one bad round trip halves the limit once.
"""

import math
from typing import Final

_SMALLEST_SAMPLE: Final = 20
"""Fewest responses in a sample: in smaller ones, chance alone would halve small limits."""
_SHARE: Final = 6
"""One failure in this many responses is trouble."""
_FEWEST: Final = 4
"""Fewer failures in a sample are chance.

If one response in 100 fails, a sample has this many failures once in 100,000.
"""


class Congestion:
    """The number of requests that may be in flight: `limit`, from 1 to `most`.

    `calm` means that successes change nothing: nothing failed recently, and `limit` is `most`.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.limit = most
        self.calm = True
        self._since = -math.inf
        self._credit = 0
        self._left = 0
        self._failed = 0
        self._needed = 0

    def passed(self, left_at: float) -> None:
        """Take a success of a request that left at that time. As many successes as the limit raise it by one."""
        if left_at < self._since:
            return
        if self._left:
            self._left -= 1
        if self.limit < self.most:
            self._credit += 1
            if self._credit >= self.limit:
                self._credit = 0
                self.limit += 1
        self.calm = not self._left and self.limit == self.most

    def failed(self, left_at: float, now: float) -> None:
        """Take a failure, or a missing response, of a request that left at that time."""
        if left_at < self._since:
            return
        if not self._left:
            self._left = max(_SMALLEST_SAMPLE, self.limit)
            self._failed = 0
            self._needed = max(_FEWEST, math.ceil(self._left / _SHARE))
        self._left -= 1
        self._failed += 1
        if self._failed >= self._needed:
            self.limit = max(1, self.limit // 2)
            self._since = now
            self._credit = self._left = 0
        self.calm = not self._left and self.limit == self.most
