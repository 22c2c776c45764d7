"""OpenTelemetry: spans and metrics, made of the events of clients. Needs the extra `otel`.

Nothing else in this package imports this module, so that nothing is traced unless somebody asks for it.
"""

import functools
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

try:
    from opentelemetry import metrics, trace
except ImportError as error:
    _MESSAGE: Final = 'capgo_async.telemetry needs OpenTelemetry: pip install "capgo-async[otel]"'
    raise ImportError(_MESSAGE) from error

from .events import (
    AttemptBegan,
    AttemptEnded,
    CallBegan,
    CallEnded,
    Event,
    LimitMet,
    LimitsInUse,
    OperationsSettled,
    RetryPlanned,
    RunEnded,
    WaitBegan,
    WaitEnded,
)
from .version import __version__

__all__ = ["OpenTelemetry"]


def __dir__() -> list[str]:
    return __all__


Attributes = dict[str, str | int]

_REQUEST_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
"""The bounds that the semantic conventions ask for."""
_WAIT_SECONDS: Final = (0.1, 0.5, 1, 2.5, 5, 10, 20, 30, 45, 60, 90, 120, 300, 600)
_PORTS: Final = {"http": 80, "https": 443}
_TOLD_EVERY: Final = 1.0
"""Seconds between two events that tell how far limits are used."""
_FIRST_ERROR: Final = 400


class OpenTelemetry:
    """Turns the events of one or more clients into spans and metrics; pass it as `on_event`.

    Each call is a span, whose parent is the current span of the caller. Its children are a span for each attempt, as the
    semantic conventions for HTTP clients describe it, and one for each wait for a limit (`capgo.limit`, a code of
    `capgo_async.events`). A call of a job that waits aside and goes on later (`capgo.parked`) is one span for each part.
    `error.type` is the HTTP status, or the name of an exception.

    Metrics: `http.client.request.duration`, `capgo.limit.wait.duration`, `capgo.limit.refusals`, `capgo.limit.used` and
    `capgo.limit.allowed` (of the fullest limits of keys and apps), `capgo.job.operations`, `capgo.job.runs`.

    Attributes name apps, but nothing else that a call is about, and URLs have no query. With `name_targets`, a call's span has
    a `capgo.operation`, such as `link device d1 of com.example.app`: ids of devices, names of channels, email addresses.

    `tracer_provider` and `meter_provider` default to the global ones.
    """

    def __init__(
        self,
        *,
        tracer_provider: trace.TracerProvider | None = None,
        meter_provider: metrics.MeterProvider | None = None,
        name_targets: bool = False,
    ) -> None:
        self._name_targets = name_targets
        self._tracer = trace.get_tracer("capgo_async", __version__, tracer_provider)
        meter = metrics.get_meter("capgo_async", __version__, meter_provider)
        self._durations = meter.create_histogram(
            "http.client.request.duration",
            unit="s",
            description="Duration of HTTP client requests.",
            explicit_bucket_boundaries_advisory=_REQUEST_SECONDS,
        )
        self._waits = meter.create_histogram(
            "capgo.limit.wait.duration",
            unit="s",
            description="How long requests waited for limits.",
            explicit_bucket_boundaries_advisory=_WAIT_SECONDS,
        )
        self._refusals = meter.create_counter(
            "capgo.limit.refusals", unit="{request}", description="Requests that a limit of the server refused."
        )
        self._operations = meter.create_counter(
            "capgo.job.operations", unit="{operation}", description="Operations of jobs that are done or failed."
        )
        self._runs = meter.create_counter("capgo.job.runs", unit="{run}", description="Runs of jobs that ended.")
        meter.create_observable_gauge(
            "capgo.limit.used",
            callbacks=(lambda _: self._in_use(0),),
            unit="{request}",
            description="Requests that count against a limit.",
        )
        meter.create_observable_gauge(
            "capgo.limit.allowed",
            callbacks=(lambda _: self._in_use(1),),
            unit="{request}",
            description="Requests that a limit allows.",
        )
        self._calls: dict[int, _Call] = {}
        self._uses: Mapping[tuple[str, str], tuple[int, int, float]] = {}
        self._hears: Mapping[type[Any], Callable[[Any], None]] = {
            CallBegan: self._call_began,
            CallEnded: self._call_ended,
            AttemptBegan: self._attempt_began,
            AttemptEnded: self._attempt_ended,
            WaitBegan: self._wait_began,
            WaitEnded: self._wait_ended,
            RetryPlanned: self._retry_planned,
            LimitMet: self._limit_met,
            LimitsInUse: self._limits_in_use,
            OperationsSettled: self._operations_settled,
            RunEnded: self._run_ended,
        }

    def __call__(self, event: Event) -> None:
        """Take an event of a client."""
        hear = self._hears.get(type(event))
        if hear is not None:
            hear(event)

    def _call_began(self, event: CallBegan) -> None:
        route: Attributes = {"http.request.method": event.method, "url.template": template_of(event.path)}
        told = route | _app(event.app)
        if self._name_targets:
            told["capgo.operation"] = event.operation
        span = self._tracer.start_span(f"capgo {event.method} {route['url.template']}", attributes=told)
        self._calls[event.call] = _Call(span, route | _server_of(event.base_url), event.base_url)

    def _call_ended(self, event: CallEnded) -> None:
        call = self._calls.pop(event.call, None)
        if call is None:
            return
        if event.resends:
            call.span.set_attribute("http.request.resend_count", event.resends)
        if event.parked:
            call.span.set_attribute("capgo.parked", value=True)
        if event.error is not None:
            _fail(call.span, event.error)
        call.span.end()

    def _attempt_began(self, event: AttemptBegan) -> None:
        call = self._calls.get(event.call)
        if call is None:
            return
        told = call.route | {"url.full": call.base_url + event.path, "capgo.request_id": event.request_id}
        if event.resends:
            told["http.request.resend_count"] = event.resends
        name = f"{event.method} {call.route['url.template']}"
        call.attempt = self._tracer.start_span(name, call.context, trace.SpanKind.CLIENT, told)

    def _attempt_ended(self, event: AttemptEnded) -> None:
        call = self._calls.get(event.call)
        if call is None or call.attempt is None:
            return
        span, call.attempt = call.attempt, None
        told: Attributes = {}
        if event.status is not None:
            told["http.response.status_code"] = event.status
        failure = _failure_of(event)
        if failure is not None:
            told["error.type"] = failure
        span.set_attributes(told)
        if event.refused:
            span.set_attribute("capgo.limit", str(event.refused))
        if failure is not None:
            span.set_status(trace.StatusCode.ERROR)
        span.end()
        if event.sent:
            self._durations.record(event.seconds, call.route | told)

    def _wait_began(self, event: WaitBegan) -> None:
        call = self._calls.get(event.call)
        if call is None:
            return
        # A wait is told again if it becomes longer, perhaps for another limit.
        if call.wait is not None:
            call.wait.end()
        told: Attributes = {"capgo.limit": str(event.limit), **_app(event.app)}
        call.wait = self._tracer.start_span(f"capgo wait {event.limit}", call.context, attributes=told)

    def _wait_ended(self, event: WaitEnded) -> None:
        self._waits.record(event.seconds, {"capgo.limit": str(event.limit)})
        call = self._calls.get(event.call)
        if call is not None and call.wait is not None:
            call.wait.end()
            call.wait = None

    def _retry_planned(self, event: RetryPlanned) -> None:
        if (call := self._calls.get(event.call)) is not None:
            call.span.add_event("capgo.retry", {"capgo.retry.delay": event.seconds})

    def _limit_met(self, event: LimitMet) -> None:
        self._refusals.add(1, {"capgo.limit": str(event.limit)})

    def _limits_in_use(self, event: LimitsInUse) -> None:
        now = time.monotonic()
        uses = {key: use for key, use in self._uses.items() if use[2] > now}
        # Of several keys, the fullest is told, which comes first.
        for use in reversed(event.limits):
            uses[str(use.limit), use.app] = use.used, use.allowed, now + _TOLD_EVERY + use.seconds
        self._uses = uses

    def _in_use(self, which: int) -> Iterator[metrics.Observation]:
        """Yield how far limits are used. Once their time is over without a request, there is nothing to tell."""
        now = time.monotonic()
        for (limit, app), use in self._uses.items():
            if use[2] > now:
                yield metrics.Observation(use[which], {"capgo.limit": limit, **_app(app)})

    def _operations_settled(self, event: OperationsSettled) -> None:
        for outcome, count in (("done", event.done), ("failed", event.failed)):
            if count:
                self._operations.add(count, {"capgo.outcome": outcome, **_app(event.app)})

    def _run_ended(self, event: RunEnded) -> None:
        self._runs.add(1, {"capgo.outcome": str(event.how)})


class _Call:
    """A call under way, with the spans of its attempt and its wait.

    `route` holds the attributes that all of its requests have.
    """

    __slots__ = ("attempt", "base_url", "context", "route", "span", "wait")

    def __init__(self, span: trace.Span, route: Attributes, base_url: str) -> None:
        self.span = span
        self.context = trace.set_span_in_context(span)
        self.route = route
        self.base_url = base_url
        self.attempt: trace.Span | None = None
        self.wait: trace.Span | None = None


@functools.lru_cache
def template_of(path: str) -> str:
    """Return a path with `{id}` in place of every id and name, which are not made of small letters alone."""
    return "/".join(part if _is_word(part) else "{id}" for part in path.split("/"))


def _is_word(part: str) -> bool:
    word = part.replace("_", "a")
    return not word or (word.isascii() and word.isalpha() and word.islower())


def _failure_of(event: AttemptEnded) -> str | None:
    """Return the `error.type` of an attempt, or `None` if it did not fail."""
    if event.status is None:
        return event.error or "cancelled"
    return str(event.status) if event.status >= _FIRST_ERROR else event.error


def _fail(span: trace.Span, failure: str) -> None:
    span.set_attribute("error.type", failure)
    span.set_status(trace.StatusCode.ERROR)


def _app(app: str) -> Attributes:
    return {"capgo.app": app} if app else {}


@functools.lru_cache
def _server_of(base_url: str) -> Attributes:
    parts = urlsplit(base_url)
    return {"server.address": parts.hostname or "", "server.port": parts.port or _PORTS.get(parts.scheme, 0)}
