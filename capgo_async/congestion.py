"""How many requests may be in flight at a server that is in trouble: additive increase, multiplicative decrease.

One failure says nothing: of many answers a few always fail. So a failure opens a look at about a round trip's answers, and only
when a sixth of them failed the limit is halved. From then on only what left after the halving counts, so that one bad round
trip halves it once.
"""

import math
from typing import Final

_SHORTEST_LOOK: Final = 20
"""Answers that a look takes at least, or chance alone would halve small limits."""
_SHARE: Final = 6
"""One failure of so many answers is trouble."""
_FEWEST: Final = 4
"""Fewer failures are chance: with one fault in a hundred answers, so many in one look come once in 100,000."""


class Congestion:
    """Say how many requests may be in flight, from 1 to `most`.

    `calm` tells that good answers change nothing: nothing failed lately, and `limit` is `most`.
    """

    __slots__ = ("_credit", "_failed", "_left", "_needed", "_since", "calm", "limit", "most")

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
        """Note a good answer to a request that left then; as many as the limit raise it by one."""
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
        """Note that the server failed a request that left then, or did not answer it."""
        if left_at < self._since:
            return
        if not self._left:
            self._left = max(_SHORTEST_LOOK, self.limit)
            self._failed = 0
            self._needed = max(_FEWEST, math.ceil(self._left / _SHARE))
        self._left -= 1
        self._failed += 1
        if self._failed >= self._needed:
            self.limit = max(1, self.limit // 2)
            self._since = now
            self._credit = self._left = 0
        self.calm = not self._left and self.limit == self.most
