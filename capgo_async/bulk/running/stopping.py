"""Stop rules: when a failing run stops itself (contract G5).

The rules see outcomes in the order of recording and count in whole numbers, so that the same outcomes always stop at the same
operation.
"""

import re
from collections import deque
from fractions import Fraction
from typing import Final

import msgspec

from ...errors import Problem
from ...http.error_codes import NO_ACCESS
from ..operations.results import RIGHT_LOST, Failed, Settled
from .runner import StopReason

_SERVER_FAILED: Final = 500
_LOSSES: Final = {
    **dict.fromkeys((*NO_ACCESS, RIGHT_LOST), Problem.ACCESS_LOST),
    "channel_not_found": Problem.CHANNEL_GONE,
}
"""What was lost if operations fail with these causes, after planning saw app and channel."""
_SHARE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*%", re.ASCII)


def read_share(text: str) -> Fraction:
    """Return a share such as `2.5%` as a fraction. Raises `ValueError` if it is not within 0% to 100%."""
    found = _SHARE.fullmatch(text.strip())
    share = Fraction(found[1]) / 100 if found else None
    if share is None or share > 1:
        message = f"{text!r} is not a share between 0% and 100%"
        raise ValueError(message)
    return share


class StopRules(msgspec.Struct, frozen=True, kw_only=True):
    """Stop rules of a run; `None` switches a rule off.

    `failures` is the largest share of failed operations, checked once `minimum` are settled. `consecutive` is how many failures
    in a row stop the run. `no_access` is how many operations in a row in one app stop it because they lost access, or because
    their channel is gone. `server_errors` is the largest share of server errors among the last `window` outcomes.
    """

    failures: Fraction | None = Fraction(1, 10)
    minimum: int = 100
    consecutive: int | None = 50
    no_access: int | None = 3
    server_errors: Fraction | None = Fraction(1, 5)
    window: int = 50


class Watch:
    """Watches the outcomes of one run and decides when it should stop."""

    def __init__(self, rules: StopRules) -> None:
        self.settled = 0
        """How many outcomes were noted."""
        self._rules = rules
        self._failed = 0
        self._in_a_row = 0
        self._lost: dict[str, tuple[Problem | None, int]] = {}
        self._recent: deque[bool] = deque(maxlen=rules.window)

    def note(self, settled: Settled) -> StopReason | None:
        """Note one outcome. Return the reason to stop, or `None` to continue."""
        failure = settled.result if isinstance(settled.result, Failed) else None
        failed = failure is not None
        self.settled += 1
        self._failed += failed
        self._in_a_row = self._in_a_row + 1 if failed else 0
        self._recent.append(failure is not None and (failure.status or 0) >= _SERVER_FAILED)
        loss = None if failure is None else _LOSSES.get(failure.cause)
        before, count = self._lost.get(settled.app_id, (None, 0))
        self._lost[settled.app_id] = loss, count + 1 if loss is before else 1
        return self._loss(settled.app_id, failure) or self._server_errors() or self._consecutive() or self._share()

    def _loss(self, app_id: str, failure: Failed | None) -> StopReason | None:
        (loss, count), rule = self._lost[app_id], self._rules.no_access
        if failure is None or loss is None or rule is None or count < rule:
            return None
        if loss is Problem.CHANNEL_GONE:
            text = f"the channel of {count} operations in a row in {app_id} is gone, and was there when the job was planned"
        elif failure.cause == RIGHT_LOST:
            text = f"{count} operations in a row were refused in {app_id}: {failure.message}"
        else:
            text = f"{count} operations in a row had no access to {app_id}, which was accessible when the job was planned"
        return StopReason(text, loss)

    def _server_errors(self) -> StopReason | None:
        rule, count = self._rules.server_errors, self._recent.count(True)
        if rule is None or len(self._recent) < self._rules.window or not _exceeds(count, rule, self._rules.window):
            return None
        text = f"{count} of the last {self._rules.window} operations failed with a server error"
        return StopReason(text, Problem.SERVER_FAILING)

    def _consecutive(self) -> StopReason | None:
        rule = self._rules.consecutive
        if rule is None or self._in_a_row < rule:
            return None
        return StopReason(f"{self._in_a_row} operations in a row failed", Problem.FAILED_IN_A_ROW)

    def _share(self) -> StopReason | None:
        rule = self._rules.failures
        if rule is None or self.settled < self._rules.minimum or not _exceeds(self._failed, rule, self.settled):
            return None
        return StopReason(f"{self._failed} of {self.settled} operations failed", Problem.TOO_MANY_FAILED)


def _exceeds(count: int, share: Fraction, whole: int) -> bool:
    """Return whether `count` exceeds a share of `whole`, without slow `Fraction` arithmetic."""
    return count * share.denominator > share.numerator * whole
