"""Prints plans, jobs and reports."""

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec

from ...bulk import Activity, Job, Plan, Report, Rows
from ...bulk.clock import local_time, minute_in, moment_in
from ...bulk.inventory.exporting import Summary
from ...bulk.jobfile.contents import JobRow
from ...bulk.plan import EARLIEST_EXPIRY, Part, ReasonCount
from ...bulk.report import Ended, about, counted
from ...limits.names import WAITED_FOR
from ..output.advice import next_steps
from ..output.exit_codes import exit_code
from ..output.listing import print_pages
from ..output.speech import Speech

_NOTED: Final = 10
"""How many remarks on the apps of an inventory are printed."""


def text_of(report: Report) -> str:
    """Return the totals and the failures by cause, for people."""
    return "\n".join((_rows_of(report), *_outcomes(report)))


def _rows_of(report: Report) -> str:
    rows = counted(report.rows, "row")
    return f"{rows}: {report.planned:,} planned, {report.skipped:,} skipped, {report.rejected:,} rejected"


def _outcomes(report: Report) -> list[str]:
    lines = [f"{report.planned:,} planned: {report.done:,} done, {report.failed:,} failed, {report.pending:,} pending"]
    if report.left:
        lines.append(f"not undone: {counted(report.left, 'target')}")
    if report.done > report.unchecked:
        why = " (not shown by the server)" if report.cannot_tell else ""
        lines.append(
            f"{report.done:,} done: {report.verified:,} verified, {report.contradicted:,} contradicted,"
            f" {report.cannot_tell:,} cannot tell{why}, {report.unchecked:,} unchecked"
        )
    # A run that was killed, or still goes on, has sent more than it has recorded.
    least = "at least " if any(run.ended is None for run in report.runs) else ""
    lines.append(
        f"{least}{counted(report.requests, 'request')} in all runs, {report.retries:,} of them retries,"
        f" {report.rate_limited:,} refused by a rate limit; {_lasted(report)}"
    )
    for failure in report.failures:
        lines.append(f"failed: {failure.count:,} {failure.cause}: {failure.message}")
        lines.append(f"  first: {', '.join(failure.first)}")
        lines.append(f"  what to do: {failure.what_to_do}")
    if report.links_may_expire_from is not None:
        expiry = local_time(datetime.fromisoformat(report.links_may_expire_from))
        lines.append(
            f"these links may expire from {expiry} on, {EARLIEST_EXPIRY.days} days after the first was set;"
            " some servers keep links longer"
        )
    return [*lines, *(f"note: {warning}" for warning in report.warnings)]


_NAMES_OF_RUNS: Final = {
    Ended.PLANNED: "planning",
    Ended.VERIFIED: "the verification",
    Ended.COMPARED: "the check for changes",
}


def _last_run(report: Report) -> str:
    ended = report.runs[-1].ended if report.runs else None
    return _NAMES_OF_RUNS.get(ended, "the last run") if ended else "the last run"


def _lasted(report: Report) -> str:
    # Of a run that was killed, only the last sign of life is known; one that goes on takes longer.
    least = "at least " if report.runs and report.runs[-1].ended is None else ""
    return f"{_last_run(report)} took {least}{report.elapsed_seconds:,.1f} s"


def print_report(report: Report, speech: Speech) -> int:
    """Print `report` as the command's result and return its exit code."""
    if speech.json:
        speech.emit(report)
    else:
        speech.show(text_of(report))
    return exit_code(report)


def print_plan(job: Job, speech: Speech) -> None:
    """Print a job's plan as the command's result."""
    if speech.json:
        speech.emit(JobPlan.of(job))
        return
    speech.show(_foreseen(job.plan))


def tell_plan(job: Job, speech: Speech) -> None:
    """Print a job's plan before it runs."""
    speech.note(_foreseen(job.plan))


def _foreseen(plan: Plan) -> str:
    """Return a plan with the time when it would end, for people."""
    told = plan.told(f"planning with --unknown skip leaves {'it' if plan.unknown == 1 else 'them'} out")
    return f"{told}\nif sent now, it ends at {minute_in(plan.seconds)}" if plan.seconds else told


def origin_of(job: Job) -> str:
    """Return where a job comes from, for people."""
    facts = job.facts
    return f"{job.path}: from {facts.source}, made {local_time(facts.created_at)} for {facts.binding.base_url}"


AT_REST: Final = frozenset({"idle", "killed"})
"""States of a job that no process runs."""


_WAITS: Final[Mapping[str, str]] = {
    "bake": "pause between waves until {}",
    "approval": "waiting for approval of the next wave",
    "server": "waiting for the server, which cannot be reached; next try at {}",
}


def doing_of(activity: Activity) -> list[str]:
    """Return what happens to a job now, for people; nothing if it is idle."""
    if activity.state == "killed":
        return [f"run {activity.run} was killed; nothing runs the job now"]
    if not activity.waits_for:
        return [] if activity.state == "idle" else ["running now"]
    until = "" if activity.until is None else local_time(datetime.fromisoformat(activity.until))
    if activity.waits_for in _WAITS:
        return [f"running now: {_WAITS[activity.waits_for].format(until)}"]
    limit = f"limit of {activity.app}" if activity.app else WAITED_FOR[activity.waits_for]
    return [f"running now: resting until {until} ({limit})"]


def steps_after(job: Job, report: Report, server: Sequence[str], running: Sequence[str] | None = None) -> Iterator[str]:
    """Yield the commands that continue a job, or that show what became of it.

    `server` and `running` are as in `next_steps`. The job file does not keep which command approves its waves.
    """
    if running is None:
        running = ("--approve", "CMD") if job.facts.needs_approval else ()
    return next_steps(report, job.path, server, running, links=any(part.kind == "link_device" for part in job.plan.changes))


def tell_steps(steps: Iterable[str], code: int, speech: Speech) -> None:
    """Print what to do next; after a success, as notes."""
    say = speech.say if code else speech.note
    for step in steps:
        say(step)


def print_job(job: Job, report: Report, activity: Activity, speech: Speech) -> None:
    """Print where a job comes from, what it does and how far it is."""
    plan, seconds = job.plan, job.seconds_left(activity)
    if speech.json:
        speech.emit(JobStatus.of(job, report, activity, seconds))
        return
    lines = [origin_of(job), *doing_of(activity), _rows_of(report)]
    lines += [*plan.contents(), *map(str, plan.waves)]
    lines += _outcomes(report)
    if seconds:
        by = "at the default --rate" if activity.seconds_left is None else "by the forecast of the run"
        lines.append(f"the pending operations take {about(seconds)} {by}")
    speech.show("\n".join((*lines, *(f"note: {remark}" for remark in plan.remarks))))


async def print_rows(job: Job, wanted: Rows, speech: Speech) -> int:
    """Print the rows of a job with a given outcome, with their custom ids if they have some."""
    rows = job.rows(wanted)
    first: list[JobRow] = []
    async for page in rows:
        first += page
        break
    columns = _COLUMNS[wanted]
    if any(row.custom_id is not None for row in first):
        columns = (*columns[:1], "custom_id", *columns[1:])

    async def pages() -> AsyncIterator[Sequence[JobRow]]:
        if first:
            yield first
        async for page in rows:
            yield page

    code = await print_pages(pages(), columns, speech)
    if not first:
        speech.note("none")
    return code


_COLUMNS: Final[Mapping[Rows, tuple[str, ...]]] = {
    # Of a bad row, often only the line is known.
    Rows.REJECTED: ("line", "reason", "target", "app_id", "what"),
    Rows.SKIPPED: ("target", "line", "reason", "what", "app_id"),
    Rows.FAILED: ("target", "line", "cause", "reason", "what", "app_id"),
    Rows.PENDING: ("target", "line", "what", "app_id"),
    Rows.CONTRADICTED: ("target", "line", "what", "app_id"),
    Rows.CANNOT_TELL: ("target", "line", "what", "app_id"),
}


def tell_checks(summary: Summary, speech: Speech) -> None:
    """Print how an inventory was checked for completeness, and what could not be proven."""
    tell = speech.note if summary.complete else speech.say
    tell(str(summary))
    # The summary itself says why it cannot believe the first empty list.
    checks = [check for check in summary.checks if check not in summary.contradicted[:1]]
    remarks = [f"{check.app_id or 'the list of apps'}: {caveat}" for check in checks for caveat in check.caveats]
    for remark in remarks[:_NOTED]:
        tell(f"note: {remark}")
    if len(remarks) > _NOTED:
        tell(f"and {counted(len(remarks) - _NOTED, 'more note')}")


class JobPlan(Plan, frozen=True, kw_only=True):
    """The plan of a job, its file, and when it would end if it were sent now."""

    job: str
    ends_at: str | None

    @classmethod
    def of(cls, job: Job) -> "JobPlan":
        seconds = job.plan.seconds
        ends_at = None if seconds is None else moment_in(seconds)
        told = None if ends_at is None else ends_at.astimezone(UTC).isoformat(timespec="seconds")
        return cls(job=str(job.path), ends_at=told, **msgspec.structs.asdict(job.plan))


class JobStatus(Report, frozen=True, kw_only=True):
    """What a job does and how far it is: its report, and parts of its plan.

    `seconds` is how long the pending operations take, by the forecast of the run under way, or else at the default rate.
    `remarks` are sentences for people.
    """

    source: str
    base_url: str
    created_at: str
    remarks: Sequence[str]
    changes: Sequence[Part]
    reasons: Sequence[ReasonCount]
    unknown: int
    seconds: float | None
    no_way_back: Sequence[ReasonCount]
    bake_seconds: float
    planning_requests: int
    saved: int
    activity: Activity

    @classmethod
    def of(cls, job: Job, report: Report, activity: Activity, seconds: float | None) -> "JobStatus":
        facts, plan = job.facts, job.plan
        return cls(
            **msgspec.structs.asdict(msgspec.structs.replace(report, waves=plan.waves)),
            source=facts.source,
            base_url=facts.binding.base_url,
            created_at=facts.created_at.isoformat(),
            remarks=facts.remarks,
            changes=plan.changes,
            reasons=plan.reasons,
            unknown=plan.unknown,
            seconds=seconds,
            no_way_back=plan.no_way_back,
            bake_seconds=plan.bake_seconds,
            planning_requests=plan.planning_requests,
            saved=plan.saved,
            activity=activity,
        )


OF_A_JOB: Final = (JobPlan, Report)
"""What commands print that plan changes and run them as a job."""
