"""The full report of a job with all its runs, and every operation as CSV."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import anyio
import msgspec

from ...bulk import Activity, Job, OperationRow, Run
from ...bulk.inventory.formats import CsvLines, Format
from ...bulk.report import counted
from ...bulk.storage.places import real
from ...errors import ConfigurationError
from ...limits.names import limits_met
from ..options.options import reaching
from ..output.exit_codes import ExitCode
from ..output.listing import print_items
from ..output.speech import Speech
from .reporting import AT_REST, origin_of, steps_after, text_of

STDOUT: Final = "-"


class _RunRow(msgspec.Struct, frozen=True, kw_only=True):
    run: str
    ended: str
    done: int
    failed: int
    requests: int
    seconds: str
    limits_met: str
    server: str
    started: str
    retries: int
    program: str


async def print_account(job: Job, speech: Speech) -> int:
    """Print the report of a job and all its runs."""
    report = await job.report()
    if speech.json:
        speech.emit(report)
        return ExitCode.OK
    speech.show(origin_of(job))
    speech.show(text_of(report))
    for wave in report.waves:
        speech.show(str(wave))
    for run in report.runs:
        if run.reason:
            speech.show(f"run {run.number}: {run.reason}")
    activity = await job.activity()
    if activity.state in AT_REST:
        for line in steps_after(job, report, reaching(job.facts.binding.base_url)):
            speech.note(line)
    return await print_items([_row(run, activity) for run in report.runs], _RunRow.__struct_fields__, speech)


def _row(run: Run, activity: Activity) -> _RunRow:
    return _RunRow(
        run=str(run.number),
        ended=run.ended or ("running" if run.number == activity.run and activity.state not in AT_REST else "killed"),
        started=run.started_at[:19],
        seconds=f"{run.elapsed_seconds:,.1f}",
        done=run.done,
        failed=run.failed,
        requests=run.requests,
        retries=run.retries,
        limits_met=limits_met(run.limits_met),
        server=", ".join(run.servers),
        program=run.program,
    )


async def write_operations(job: Job, to: str, chosen: Format, speech: Speech) -> int:
    """Write every operation of a job as a line of CSV to the file `to`, or to stdout, in bounded memory."""
    if to == STDOUT:
        async for text in _lines(job, chosen):
            speech.show(text)
            if not speech.heard:
                break
        return ExitCode.STOPPED if speech.lost else ExitCode.OK
    refuse_job_file(to, job.path)
    try:
        async with await anyio.open_file(to, "w", encoding="utf-8", errors="backslashreplace", newline="") as file:
            async for text in _lines(job, chosen):
                await file.write(f"{text}\n")
    except OSError as error:
        message = f"cannot write {to}: {error.strerror}"
        raise ConfigurationError(message) from None
    report = await job.report()
    speech.note(f"wrote {counted(report.planned, 'operation')} to {to}")
    return ExitCode.OK


def refuse_job_file(name: str, path: Path) -> None:
    """Raise `ConfigurationError` if an output is the job file itself."""
    if real(Path(name)) == real(path):
        message = f"{name} is the job file; choose another name"
        raise ConfigurationError(message)


async def _lines(job: Job, chosen: Format) -> AsyncIterator[str]:
    """Yield the header, then lines in batches."""
    lines = CsvLines(chosen, OperationRow.__struct_fields__)
    yield "\n".join(lines.head)
    async for rows in job.operations():
        yield "\n".join(lines([msgspec.structs.astuple(row) for row in rows]))
