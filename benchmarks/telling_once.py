"""One relink whose events are heard. Started by `telling`."""

import argparse
import asyncio
import json
import logging
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Final, NamedTuple

from benchmarks.contenders import Load, client, engine
from benchmarks.measuring import Spent
from capgo_async.events import Event

WHAT: Final = {"engine": engine, "client": client}
Hook = Callable[[Event], object] | None


class Way(NamedTuple):
    """One way to hear events. `start` prepares it and returns the hook, if it is one."""

    meaning: str
    start: Callable[[], Hook]
    needs: str | None = None

    @property
    def missing(self) -> bool:
        """Whether a package that it needs is not installed."""
        return self.needs is not None and find_spec(self.needs) is None


class _Nowhere(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        """Format the record and drop it."""
        self.format(record)


def logged() -> Hook:
    """Log everything at DEBUG."""
    package = logging.getLogger("capgo_async")
    package.setLevel(logging.DEBUG)
    package.addHandler(_Nowhere())
    package.propagate = False
    return None


def hooked() -> Hook:
    """Return a hook that does nothing."""
    return lambda _: None


def traced() -> Hook:
    """Return the hook of OpenTelemetry, whose spans are made, and dropped when they end."""
    from opentelemetry.sdk.metrics import MeterProvider  # noqa: PLC0415 - an extra
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader  # noqa: PLC0415 - an extra
    from opentelemetry.sdk.trace import SpanProcessor, TracerProvider  # noqa: PLC0415 - an extra

    from capgo_async.telemetry import OpenTelemetry  # noqa: PLC0415 - an extra

    traces = TracerProvider()
    traces.add_span_processor(SpanProcessor())
    return OpenTelemetry(tracer_provider=traces, meter_provider=MeterProvider(metric_readers=[InMemoryMetricReader()]))


WAYS: Final = {
    "hooked": Way("a hook that does nothing", hooked),
    "logged": Way("everything logged at DEBUG, and dropped", logged),
    "traced": Way("OpenTelemetry, spans and metrics, dropped", traced, needs="opentelemetry"),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one relink and print what it spent as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", choices=WHAT, required=True)
    parser.add_argument("--way", choices=WAYS, required=True)
    parser.add_argument("--base-url", required=True)
    parser.add_argument("--operations", type=int, required=True)
    parser.add_argument("--concurrency", type=int, required=True)
    options = parser.parse_args(arguments)
    load = Load(options.base_url, options.operations, options.concurrency, WAYS[options.way].start())
    taken: Spent = asyncio.run(WHAT[options.name](load))
    print(json.dumps(taken._asdict()))


if __name__ == "__main__":
    main()
