"""Spans and metrics of OpenTelemetry, in memory: their tree, their names, and what they do not contain."""

import contextlib
import importlib
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import anyio
import pytest
from fleet import APP, client_of as client_of_sandbox, ids_of, planned, sandbox_of
from scripted import ScriptedTransport, answer, refusal
from virtual_time import in_virtual_time

from capgo_async import CapgoClient, errors
from capgo_async.bulk import LinkDevice

pytest.importorskip("opentelemetry.sdk", reason="needs the extra test")

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.semconv._incubating.attributes import url_attributes as url_in_development
from opentelemetry.semconv.attributes import error_attributes, http_attributes, server_attributes, url_attributes
from opentelemetry.semconv.metrics import http_metrics
from opentelemetry.trace import SpanKind, StatusCode

from capgo_async.telemetry import OpenTelemetry, template_of

KEY: Final = "9f86d081-884c-4d65-9a2f-eaa0c55ad015"
CONVENTIONS: Final = {
    error_attributes.ERROR_TYPE,
    http_attributes.HTTP_REQUEST_METHOD,
    http_attributes.HTTP_REQUEST_RESEND_COUNT,
    http_attributes.HTTP_RESPONSE_STATUS_CODE,
    server_attributes.SERVER_ADDRESS,
    server_attributes.SERVER_PORT,
    url_attributes.URL_FULL,
    url_in_development.URL_TEMPLATE,
}
REQUIRED: Final = {
    http_attributes.HTTP_REQUEST_METHOD,
    server_attributes.SERVER_ADDRESS,
    server_attributes.SERVER_PORT,
    url_attributes.URL_FULL,
}


class Observed:
    """What a client told OpenTelemetry."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.reader = InMemoryMetricReader()
        self.traces = TracerProvider()
        self.traces.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.meters = MeterProvider(metric_readers=[self.reader])

    def hook(self, **options: Any) -> OpenTelemetry:
        return OpenTelemetry(tracer_provider=self.traces, meter_provider=self.meters, **options)

    def client(self, *script: Any, name_targets: bool = False, **options: Any) -> CapgoClient:
        given = {
            "api_key": KEY,
            "base_url": "https://capgo.test",
            "rate": "off",
            "transport": ScriptedTransport(*script, latency=0.1),
            "on_event": self.hook(name_targets=name_targets),
        }
        return CapgoClient(**{**given, **options})

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        return tuple(self.exporter.get_finished_spans())

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.spans if span.name == name]

    def tree(self) -> list[tuple[str, list[str]]]:
        """Return the name of each span that has children, with those of its children, in the order of their begins."""
        order = sorted(self.spans, key=lambda span: span.start_time or 0)
        children = {span.context.span_id: [] for span in order if span.context}  # type: dict[int, list[str]]
        for span in order:
            if span.parent is not None and span.parent.span_id in children:
                children[span.parent.span_id].append(span.name)
        return [
            (span.name, children[span.context.span_id]) for span in order if span.context and children[span.context.span_id]
        ]

    def points(self, name: str) -> list[Any]:
        data = self.reader.get_metrics_data()
        return [
            point
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        ]


@pytest.fixture
def seen() -> Iterator[Observed]:
    found = Observed()
    yield found
    found.traces.shutdown()
    found.meters.shutdown()


def attributes_of(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


# Spans


@in_virtual_time
async def _call(capgo: CapgoClient) -> None:
    async with capgo:
        await capgo.devices.unlink(APP, "device-1")


def test_a_call_is_a_span_with_one_for_each_attempt(seen: Observed) -> None:
    _call(seen.client(answer(502), errors.ConnectionLost("gone")))
    name = "DELETE /device"
    assert seen.tree() == [(f"capgo {name}", [name, name, name])]
    (call,) = seen.named(f"capgo {name}")
    assert (call.kind, call.status.status_code) == (SpanKind.INTERNAL, StatusCode.UNSET)
    assert [event.name for event in call.events] == ["capgo.retry", "capgo.retry"]
    assert attributes_of(call)["http.request.resend_count"] == 2
    attempts = seen.named(name)
    shown = [
        {
            key: value
            for key, value in attributes_of(span).items()
            if key not in {*REQUIRED, "capgo.request_id", url_in_development.URL_TEMPLATE}
        }
        for span in attempts
    ]
    assert shown == [
        {"http.response.status_code": 502, "error.type": "502"},
        {"http.request.resend_count": 1, "error.type": "ConnectionLost"},
        {"http.request.resend_count": 2, "http.response.status_code": 200},
    ]
    assert [span.kind for span in attempts] == [SpanKind.CLIENT] * 3
    errors_seen = [span.status.status_code for span in attempts]
    assert errors_seen == [StatusCode.ERROR, StatusCode.ERROR, StatusCode.UNSET]
    required = attributes_of(attempts[0])
    assert {key: required[key] for key in REQUIRED} == {
        "http.request.method": "DELETE",
        "server.address": "capgo.test",
        "server.port": 443,
        "url.full": "https://capgo.test/device",
    }


def test_all_names_are_those_of_the_semantic_conventions_or_our_own(seen: Observed) -> None:
    _call(seen.client(answer(502), refusal(retry_after=60), rate="server"))
    names = {key for span in seen.spans for key in attributes_of(span)}
    assert names - CONVENTIONS == {"capgo.app", "capgo.limit", "capgo.request_id"}
    assert {key for span in seen.spans for key in attributes_of(span) if span.kind is SpanKind.CLIENT} >= REQUIRED
    assert seen.points(http_metrics.HTTP_CLIENT_REQUEST_DURATION)


def test_a_wait_is_a_span_with_its_limit(seen: Observed) -> None:
    _call(seen.client(refusal("unknown_reason", retry_after=60), rate="server"))
    ((_, children),) = seen.tree()
    assert children[0] == children[-1] == "DELETE /device"
    waits = [span for span in seen.spans if span.name.startswith("capgo wait ")]
    assert [span.name for span in waits] == children[1:-1]
    assert waits
    assert all(span.name == f"capgo wait {attributes_of(span)['capgo.limit']}" for span in waits)
    (refused,) = [span for span in seen.named("DELETE /device") if "capgo.limit" in attributes_of(span)]
    assert attributes_of(refused)["capgo.limit"] == attributes_of(waits[0])["capgo.limit"]
    # A refusal by a limit is no failed attempt, but it was sent.
    assert attributes_of(seen.named("DELETE /device")[-1])["http.request.resend_count"] == 1
    (point,) = seen.points("capgo.limit.wait.duration")
    assert (point.count, point.sum) == (1, pytest.approx(60, abs=5))
    assert [point.value for point in seen.points("capgo.limit.refusals")] == [1]


@in_virtual_time
async def _callers(seen: Observed) -> None:
    tracer, capgo = seen.traces.get_tracer("service"), seen.client(answer(), answer(503), refusal(retry_after=60))

    async def handle(name: str) -> None:
        with tracer.start_as_current_span(name):
            await capgo.devices.unlink(APP, name)

    await handle("first")
    async with anyio.create_task_group() as group:
        for name in ("second", "third"):
            group.start_soon(handle, name)
    await capgo.devices.unlink(APP, "alone")


def test_the_parent_is_the_current_span_of_the_caller(seen: Observed) -> None:
    """Also of several callers at once, who wait and retry."""
    _callers(seen)
    parents = {span.context.span_id: span.name for span in seen.spans if span.context}
    calls = Counter(parents.get(span.parent.span_id) if span.parent else None for span in seen.named("capgo DELETE /device"))
    assert calls == {"first": 1, "second": 1, "third": 1, None: 1}
    assert all(span.parent and parents[span.parent.span_id] == "capgo DELETE /device" for span in seen.named("DELETE /device"))
    trees = {span.context.trace_id for span in seen.spans if span.context}
    assert len(trees) == 4


@in_virtual_time
async def _failing(seen: Observed) -> None:
    with pytest.raises(errors.NotFound):
        await seen.client(answer(404)).apps.get(APP)
    with anyio.move_on_after(0.05):
        await seen.client().apps.get(APP)


def test_failed_and_cancelled_calls_end_their_spans(seen: Observed) -> None:
    _failing(seen)
    types = [(span.name, attributes_of(span)["error.type"], span.status.status_code) for span in seen.spans]
    assert types == [
        ("GET /app/{id}", "404", StatusCode.ERROR),
        ("capgo GET /app/{id}", "NotFound", StatusCode.ERROR),
        ("GET /app/{id}", "cancelled", StatusCode.ERROR),
        ("capgo GET /app/{id}", "CancelledError", StatusCode.ERROR),
    ]


# What is not in them


def everything(seen: Observed) -> str:
    metrics = seen.reader.get_metrics_data()
    return "".join(span.to_json() for span in seen.spans) + (metrics.to_json() if metrics else "")


@in_virtual_time
async def _odd_calls(capgo: CapgoClient) -> None:
    for call in (
        capgo.devices.link(APP, "device-1", channel=KEY),
        capgo.devices.link(APP, KEY, channel="beta"),
        capgo.apps.get(f"com.example.{KEY}"),
        capgo.members.invite("org", "who@example.com", "org_member"),
        capgo.api_keys.delete_by_secret(KEY),
    ):
        with contextlib.suppress(errors.CapgoError):
            await call


@pytest.mark.parametrize("name_targets", [False, True])
def test_no_key_is_in_a_trace_and_devices_only_where_asked_for(seen: Observed, name_targets: bool) -> None:  # noqa: FBT001 - by name
    echo = answer(400, {"error": KEY, "message": KEY}, x_worker_source=KEY)
    _odd_calls(seen.client(echo, name_targets=name_targets, rate="server"))
    told = everything(seen)
    assert KEY not in told
    assert len([span for span in seen.spans if span.kind is SpanKind.CLIENT]) >= 5
    for target in ("device-1", "who@example.com"):
        assert (target in told) is name_targets


@pytest.mark.parametrize(
    ("path", "template"),
    [
        ("/device", "/device"),
        ("/app/com.example.app", "/app/{id}"),
        ("/apikey/17", "/apikey/{id}"),
        ("/apikey/[API key]", "/apikey/{id}"),
        ("/statistics/app/com.example.app/bundle_usage", "/statistics/app/{id}/bundle_usage"),
        ("/statistics/org/046a36ac-0000-4000-8000-000000000001", "/statistics/org/{id}"),
        ("/statistics/user", "/statistics/user"),
        ("/organization/members", "/organization/members"),
    ],
)
def test_a_template_has_no_id(path: str, template: str) -> None:
    assert template_of(path) == template


# Metrics


@in_virtual_time
async def _job(seen: Observed, path: Path) -> None:
    sandbox = sandbox_of(devices=40, limits="server")
    capgo = client_of_sandbox(sandbox, on_event=seen.hook())
    changes = [LinkDevice(app_id=APP, device_id=device, channel="beta") for device in ids_of(sandbox)]
    async with capgo, await planned(path, capgo, changes) as job:
        report = await job.run(capgo)
    assert report.done == sum(point.value for point in seen.points("capgo.job.operations"))
    assert report.requests <= sum(point.count for point in seen.points("http.client.request.duration"))


def test_a_job_counts_its_operations_and_shows_how_far_limits_are_used(seen: Observed, tmp_path: Path) -> None:
    _job(seen, tmp_path / "a.capgo-job")
    (runs,) = seen.points("capgo.job.runs")
    assert (runs.value, runs.attributes["capgo.outcome"]) == (1, "finished")
    used = {point.attributes["capgo.limit"]: point.value for point in seen.points("capgo.limit.used")}
    allowed = {point.attributes["capgo.limit"]: point.value for point in seen.points("capgo.limit.allowed")}
    assert used.keys() == allowed.keys() == {"key", "app_address"}
    assert all(0 < used[limit] <= allowed[limit] for limit in used)
    assert {point.attributes["http.request.method"] for point in seen.points("http.client.request.duration")} >= {"POST"}


# Off unless asked for


def test_without_the_extra_the_import_says_which_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    monkeypatch.delitem(sys.modules, "capgo_async.telemetry")
    with pytest.raises(ImportError, match=r"capgo-async\[otel\]"):
        importlib.import_module("capgo_async.telemetry")
