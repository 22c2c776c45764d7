"""The options of a rehearsal, and its result for people and programs."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Final

import msgspec
from typer import Option

from ...bulk.clock import duration
from ...bulk.report import Failures, about, counted
from ...errors import ConfigurationError
from ...limits.lockout import MOST_IN_FLIGHT
from ...limits.names import limits_met
from ...rehearsal import Conditions, Rehearsed, RehearsedWave
from ...sandbox import PRESETS, Thresholds, parse_faults
from ...sandbox.faults import read_time
from ..options.group import Group
from ..options.options import Headroom, read_headroom
from ..options.stopping import Limits
from ..output.exit_codes import exit_code
from ..output.failing import code_of, explain
from ..output.speech import Speech

_PER_MINUTE: Final = re.compile(r"([1-9]\d*)/min", re.ASCII)


class Rehearsing(Group, frozen=True, kw_only=True):
    """The simulated server, and how the job runs."""

    limits: Annotated[
        str, Option("--limits", metavar="LIMITS", help="Rate limits of the simulated server: server, published, off or N/min.")
    ] = "server"
    latency: Annotated[
        str | None,
        Option(
            "--latency",
            metavar="TIME",
            help="Latency of the server, such as 80ms or 1.5s.  [default: as measured during planning]",
            show_default=False,
        ),
    ] = None
    faults: Annotated[
        str, Option("--faults", metavar="SPEC", help='Faults to inject, such as "*:502=1%".', show_default=False)
    ] = ""
    seed: Annotated[int, Option("--seed", metavar="N", help="Seed for random faults; the same seed gives the same faults.")] = 1
    rate: Annotated[str, Option("--rate", metavar="RATE", help="auto, standard, enterprise, server, off, N/min or N/s.")] = (
        "auto"
    )
    headroom: Headroom = None
    concurrency: Annotated[
        int, Option("--concurrency", metavar="N", help="Maximum number of requests in flight, at most 15.")
    ] = MOST_IN_FLIGHT

    def conditions(self, limits: Limits) -> Conditions:
        """Return the conditions of the rehearsal; raises `ConfigurationError`."""
        try:
            return Conditions(
                limits=self._thresholds(),
                latency=None if self.latency is None else read_time(self.latency),
                faults=parse_faults(self.faults),
                rate=self.rate,
                headroom=read_headroom(self.headroom),
                concurrency=self.concurrency,
                rules=limits.rules,
                bounds=limits.bounds,
                seed=self.seed,
            )
        except ValueError as error:
            raise ConfigurationError(str(error)) from None

    def _thresholds(self) -> Thresholds:
        if found := _PER_MINUTE.fullmatch(self.limits):
            return Thresholds(published=int(found[1]))
        if self.limits not in PRESETS:
            message = f"invalid --limits {self.limits}: use server, published, off or N/min"
            raise ConfigurationError(message)
        return PRESETS[self.limits]


class RehearsalReport(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a rehearsal.

    `makespan_seconds` is the virtual duration of the run, `forecast_seconds` the estimate made before it, and `took_seconds`
    the real duration of the rehearsal. `error` is the error that would stop the run, and `exit_code` its exit code.
    """

    job: str
    planned: int
    done: int
    failed: int
    pending: int
    verified: int
    contradicted: int
    makespan_seconds: float
    forecast_seconds: float | None
    latency_seconds: float
    took_seconds: float
    requests: int
    retries: int
    rate_limited: int
    limits_met: Mapping[str, int]
    remarks: Sequence[str]
    waves: Sequence[RehearsedWave]
    failures: Sequence[Failures]
    error: str | None
    limits: str
    exit_code: int

    @classmethod
    def of(cls, rehearsed: Rehearsed, limits: str, exit_code: int) -> "RehearsalReport":
        report, run = rehearsed.report, rehearsed.report.runs[-1]
        return cls(
            job=report.job,
            planned=report.planned,
            done=report.done,
            failed=report.failed,
            pending=report.pending,
            verified=report.verified,
            contradicted=report.contradicted,
            makespan_seconds=rehearsed.makespan,
            forecast_seconds=rehearsed.forecast,
            latency_seconds=rehearsed.latency,
            took_seconds=round(rehearsed.took, 3),
            requests=run.requests,
            retries=run.retries,
            rate_limited=run.rate_limited,
            limits_met=run.limits_met,
            remarks=rehearsed.remarks,
            waves=rehearsed.waves,
            failures=report.failures,
            error=None if rehearsed.error is None else str(rehearsed.error),
            limits=limits,
            exit_code=exit_code,
        )


def code_of_rehearsal(rehearsed: Rehearsed) -> int:
    """Return the exit code that the run would have."""
    return exit_code(rehearsed.report) if rehearsed.error is None else code_of(rehearsed.error)


def print_rehearsal(rehearsed: Rehearsed, rehearsing: Rehearsing, speech: Speech) -> int:
    """Print the result of a rehearsal, and return the exit code that the run would have."""
    code = code_of_rehearsal(rehearsed)
    if speech.json:
        speech.emit(RehearsalReport.of(rehearsed, rehearsing.limits, code))
        return code
    speech.show("\n".join(_lines(rehearsed, rehearsing)))
    if rehearsed.error is not None:
        speech.say(f"the run would end with this message: {explain(rehearsed.error)}")
    return code


def _lines(rehearsed: Rehearsed, rehearsing: Rehearsing) -> Iterator[str]:
    report, run = rehearsed.report, rehearsed.report.runs[-1]
    server = f"limits {rehearsing.limits}, latency {rehearsed.latency * 1000:,.0f} ms, {rehearsing.concurrency} in flight"
    yield f"rehearsed in {rehearsed.took:,.1f} s, nothing was sent ({server})"
    forecast = "" if rehearsed.forecast is None else f" (forecast: {about(rehearsed.forecast)})"
    yield f"the run would take {about(rehearsed.makespan)}{forecast}"
    yield f"{report.planned:,} planned: {report.done:,} done, {report.failed:,} failed, {report.pending:,} pending"
    refused = limits_met(run.limits_met)
    requests = f"{counted(run.requests, 'request')}, {run.retries:,} of them retries"
    yield f"{requests}, {run.rate_limited:,} refused by a rate limit{f': {refused}' if refused else ''}"
    yield from map(_wave, rehearsed.waves)
    yield from (f"failed: {failure.count:,} {failure.cause}: {failure.message}" for failure in report.failures)
    yield from (f"note: {remark}" for remark in rehearsed.remarks)


def _wave(wave: RehearsedWave) -> str:
    told = f"wave {wave.number}, up to {wave.share}: {counted(wave.operations, 'operation')}"
    if wave.verified_after is not None:
        told += f", {wave.failed:,} failed, {wave.state.replace('_', ' ')} after {_clock(wave.verified_after)}"
    return told if wave.baked_after is None else f"{told}, pause over after {_clock(wave.baked_after)}"


def _clock(seconds: float) -> str:
    return duration(round(seconds))
