"""Says what a plan or a job came to."""

import shlex
from pathlib import Path

import msgspec

from ..bulk import Job, Plan, Report
from ..bulk.report import exit_code
from .options import Connection
from .speech import Speech


def text_of(report: Report) -> str:
    """Return the totals and the failures by cause, for people."""
    lines = [
        f"{report.rows:,} rows: {report.planned:,} planned, {report.skipped:,} skipped, {report.rejected:,} rejected",
        f"{report.planned:,} planned: {report.done:,} done, {report.failed:,} failed, {report.pending:,} pending",
    ]
    if report.done > report.unchecked:
        lines.append(
            f"{report.done:,} done: {report.verified:,} verified, {report.contradicted:,} contradicted,"
            f" {report.cannot_tell:,} that no inventory shows, {report.unchecked:,} unchecked"
        )
    lines.append(
        f"{report.requests:,} requests, {report.retries:,} of them retries, {report.rate_limited:,} refused by a rate limit;"
        f" took {report.elapsed_seconds:,.1f} s"
    )
    for failure in report.failures:
        lines.append(f"failed: {failure.count:,} {failure.cause}: {failure.message}")
        lines.append(f"  first: {', '.join(failure.first)}")
    return "\n".join(lines)


def print_report(report: Report, speech: Speech) -> int:
    """Print `report` as the command's result and return the exit code that it means."""
    if speech.json:
        speech.emit(report)
    else:
        speech.show(text_of(report))
    return exit_code(report)


def print_plan(job: Job, speech: Speech) -> None:
    """Print a job's plan as the command's result."""
    if speech.json:
        speech.emit(_PlanOf.of(job))
    else:
        speech.show(str(job.plan))


def print_job(job: Job, report: Report, speech: Speech) -> None:
    """Print where a job comes from and how far it is."""
    facts = {name: job.facts.get(name) for name in ("source", "base_url", "created_at", "remarks")}
    if speech.json:
        speech.emit({**msgspec.to_builtins(report), **facts})
        return
    speech.show(f"{job.path}: from {facts['source']}, made {facts['created_at']} for {facts['base_url']}")
    speech.show(text_of(report))
    for remark in job.plan.remarks:
        speech.show(f"note: {remark}")


def resume_line(path: Path, connection: Connection) -> str:
    """Say how to go on with a job."""
    return f"to go on: {shlex.join(['capgo-async', 'job', 'run', str(path), *connection.server()])}"


class _PlanOf(Plan, frozen=True, kw_only=True):
    job: str

    @classmethod
    def of(cls, job: Job) -> "_PlanOf":
        return cls(job=str(job.path), **{name: getattr(job.plan, name) for name in job.plan.__struct_fields__})
