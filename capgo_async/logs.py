"""Events for hooks, and for the loggers `http`, `limits` and `bulk` of `capgo_async`.

Both get events without API keys, and what they raise breaks no call. Attempts and responses are logged at DEBUG, learned
limits, refused keys and other users of a key at WARNING, everything else at INFO. A record has its event as `capgo_event`.
"""

import contextlib
import functools
import logging
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import anyio

from .events import (
    ApprovalAnswered,
    ApprovalAsked,
    AttemptBegan,
    AttemptEnded,
    BakeBegan,
    BakeEnded,
    ConcurrencyChanged,
    Event,
    ForecastMade,
    KeyRefused,
    LimitInForce,
    LimitLearned,
    LimitMet,
    OperationsSettled,
    OtherUsersNoticed,
    RestBegan,
    RestEnded,
    RetryPlanned,
    RunBegan,
    RunEnded,
    ServerAway,
    ServerBack,
    ServerVersionChanged,
    WaitBegan,
    WaitEnded,
    WaveBegan,
    WaveEnded,
)
from .limits.names import WAITED_FOR
from .listeners import Listener, Listeners
from .masking import Masks
from .printable import printable

_LOG: Final = logging.getLogger("capgo_async")
_HTTP: Final = _LOG.getChild("http")
_LIMITS: Final = _LOG.getChild("limits")
_BULK: Final = _LOG.getChild("bulk")
_LOG.addHandler(logging.NullHandler())

_WORTH_SAYING: Final = 1.0
"""Shorter waits, in seconds, are not logged, nor is one again that ends at the same time."""


def tell_outside(listeners: Listeners, masks: Masks, on_event: Callable[[Event], object] | None) -> None:
    """Let the loggers and `on_event` hear the events of a client.

    Attempts reach the loggers only while DEBUG is enabled there.
    """
    log = _harmless(_Log(), masks, "the log of events")
    listeners.add(log, "other")
    listeners.add(log, "began", "ended", when=functools.partial(_HTTP.isEnabledFor, logging.DEBUG))
    if on_event is not None:
        listeners.add(_harmless(on_event, masks, "on_event"))


def _harmless(listener: Callable[[Event], object], masks: Masks, name: str) -> Listener:
    """Return what hands events without keys to `listener`, and logs the first exception that it raises."""
    logged = False

    def listen(event: Event) -> None:
        nonlocal logged
        try:
            listener(masks.event(event))
        except BaseException as error:
            # A hook cannot cancel a call either: that is what its task is for.
            if not isinstance(error, Exception | anyio.get_cancelled_exc_class()):
                raise
            if not logged:
                logged = True
                # What raises may be the logging itself.
                with contextlib.suppress(Exception):
                    _LOG.exception("%s raised an exception; further ones are not logged", name)

    return listen


class _Log:
    """Turns events into log records."""

    def __init__(self) -> None:
        self._told: dict[tuple[str, str], float] = {}

    def __call__(self, event: Event) -> None:
        """Log an event."""
        record = _RECORDS.get(type(event))
        if record is None or not record.logger.isEnabledFor(record.level):
            return
        if isinstance(event, WaitBegan | LimitMet) and not self._is_new(event):
            return
        record.logger.log(record.level, printable(record.text(event)), extra={"capgo_event": event})

    def _is_new(self, event: WaitBegan | LimitMet) -> bool:
        """Return whether nothing was logged yet that waits for this limit for as long."""
        limit, until = (event.limit, event.app), anyio.current_time() + event.seconds
        if event.seconds < _WORTH_SAYING or until < self._told.get(limit, 0.0) + _WORTH_SAYING:
            return False
        self._told[limit] = until
        return True


class _Record(NamedTuple):
    logger: logging.Logger
    level: int
    text: Callable[[Any], str]


def _limit(event: WaitBegan | WaitEnded | LimitMet | LimitLearned | RestBegan | RestEnded) -> str:
    return WAITED_FOR.get(event.limit, event.limit) + (f" ({event.app})" if event.app else "")


def _asked(event: WaitBegan | LimitMet | RestBegan) -> str:
    return "" if event.asked is None else f"; the server asks for {event.asked:.1f} s, longer than any known limit"


def _outcome(event: AttemptEnded) -> str:
    if not event.sent:
        return f"not sent ({event.error})"
    if event.status is None:
        return "cancelled" if event.error is None else f"no response ({event.error})"
    return f"HTTP {event.status}" + (f" ({event.error})" if event.error else "")


def _learned(event: LimitLearned) -> str:
    if event.requests is None:
        return f"{_limit(event)}: what was learned of it is too small, and forgotten"
    return f"{_limit(event)}: refusals show that it allows {event.requests:,} requests"


def _refused(event: KeyRefused) -> str:
    after = "it is not used again" if event.seconds is None else f"it is tried again in {event.seconds:.1f} s"
    return f"the server refused the API key ({event.code}); {after}"


_RECORDS: Final[Mapping[type[Any], _Record]] = {
    AttemptBegan: _Record(
        _HTTP,
        logging.DEBUG,
        lambda event: f"{event.operation}: {event.method} {event.path}, attempt {event.number}, request {event.request_id}",
    ),
    AttemptEnded: _Record(
        _HTTP,
        logging.DEBUG,
        lambda event: f"{event.operation}: {_outcome(event)} after {event.seconds:.3f} s, request {event.request_id}",
    ),
    RetryPlanned: _Record(
        _HTTP,
        logging.INFO,
        lambda event: (
            f"{event.operation}: attempt {event.number} failed, retry in {event.seconds:.1f} s, request {event.request_id}"
        ),
    ),
    ConcurrencyChanged: _Record(
        _HTTP,
        logging.INFO,
        lambda event: (
            f"at most {event.allowed} of {event.most} requests in flight: the server "
            + ("fails" if event.allowed < event.before else "has recovered")
        ),
    ),
    ServerVersionChanged: _Record(
        _HTTP,
        logging.INFO,
        lambda event: f"server version {event.version}" + (f", before {event.before}" if event.before else ""),
    ),
    WaitBegan: _Record(
        _LIMITS, logging.INFO, lambda event: f"waiting about {event.seconds:.1f} s: {_limit(event)}{_asked(event)}"
    ),
    WaitEnded: _Record(_LIMITS, logging.DEBUG, lambda event: f"waited {event.seconds:.1f} s: {_limit(event)}"),
    LimitMet: _Record(
        _LIMITS,
        logging.INFO,
        lambda event: f"refused: {_limit(event)}; nothing that it counts leaves for {event.seconds:.1f} s{_asked(event)}",
    ),
    LimitLearned: _Record(_LIMITS, logging.WARNING, _learned),
    OtherUsersNoticed: _Record(
        _LIMITS, logging.WARNING, lambda _: "the API key is also used elsewhere, or the server loses counts"
    ),
    KeyRefused: _Record(_LIMITS, logging.WARNING, _refused),
    RunBegan: _Record(_BULK, logging.INFO, lambda event: f"run {event.run} begins, operations left: {event.operations:,}"),
    RunEnded: _Record(
        _BULK, logging.INFO, lambda event: f"run {event.run} ended: {event.how}" + (f": {event.reason}" if event.reason else "")
    ),
    LimitInForce: _Record(
        _BULK,
        logging.DEBUG,
        lambda event: f"{WAITED_FOR.get(event.limit, event.limit)}: {event.requests:,} requests in {event.seconds:g} s",
    ),
    OperationsSettled: _Record(
        _BULK, logging.DEBUG, lambda event: f"{event.app}: {event.done:,} done, {event.failed:,} failed"
    ),
    ForecastMade: _Record(
        _BULK,
        logging.DEBUG,
        lambda event: f"forecast for {event.operations:,} operations: {event.seconds:.0f} s, at most {event.more:.0f} s more",
    ),
    RestBegan: _Record(
        _BULK, logging.INFO, lambda event: f"the run rests for about {event.seconds:.1f} s: {_limit(event)}{_asked(event)}"
    ),
    RestEnded: _Record(_BULK, logging.INFO, lambda event: f"the run rested for {event.seconds:.1f} s: {_limit(event)}"),
    WaveBegan: _Record(
        _BULK, logging.INFO, lambda event: f"wave {event.wave} ({event.share}) begins, operations: {event.operations:,}"
    ),
    WaveEnded: _Record(
        _BULK,
        logging.INFO,
        lambda event: (
            f"wave {event.wave} is over: {event.state}, {event.done:,} done, {event.failed:,} failed,"
            f" {event.contradicted:,} contradicted so far"
        ),
    ),
    BakeBegan: _Record(_BULK, logging.INFO, lambda event: f"pause of {event.seconds:.0f} s after wave {event.wave}"),
    BakeEnded: _Record(
        _BULK,
        logging.INFO,
        lambda event: f"the pause after wave {event.wave} is over" + (f", {event.left:.0f} s early" if event.left else ""),
    ),
    ApprovalAsked: _Record(_BULK, logging.INFO, lambda event: f"asking for approval after wave {event.wave}"),
    ApprovalAnswered: _Record(
        _BULK,
        logging.INFO,
        lambda event: f"approval after wave {event.wave}: {event.answer}" + (f": {event.reason}" if event.reason else ""),
    ),
    ServerAway: _Record(
        _BULK, logging.INFO, lambda event: f"the server cannot be reached; it is tried again in {event.seconds:.1f} s"
    ),
    ServerBack: _Record(_BULK, logging.INFO, lambda event: f"the server can be reached again, after {event.seconds:.1f} s"),
}
