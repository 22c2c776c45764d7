"""Bulk changes: a source becomes a plan, and the plan a job."""

import contextlib
import itertools
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import anyio

from ...bulk import Job, Source
from ...bulk.inventory.columns import InventoryKind
from ...bulk.storage.lock import LOCK
from ...concurrency import alongside
from ...errors import InputError
from ...key_ring import KeyRing
from ..framework import Invocation
from ..options.choosing import Drawing
from ..options.options import Connection, Planning, Undertaking
from ..options.stopping import Stopping
from ..output.exit_codes import ExitCode
from .progress import Reading
from .rejections import Rejections
from .reporting import print_plan, tell_checks, tell_plan
from .running import Manner, Terms, confirm_and_run, open_question

Intended = Source | Drawing | Callable[[KeyRing], Source]
"""The changes: a list, devices chosen from an inventory, or a source that asks the server first."""

Plan = Callable[[Path, KeyRing, Rejections], Awaitable[Job]]
"""Makes the job in a file of this name, and reports bad rows."""

_SUFFIX: Final = ".capgo-job"
_OTHERWISE: Final = "pass --yes to send without asking, or --plan-only to stop after the plan"


async def change_many(
    source: Intended,
    verb: str,
    planning: Planning,
    stopping: Stopping,
    connection: Connection,
    invocation: Invocation,
) -> int:
    """Plan the changes of `source`, run them unless only the plan is wanted, and return the exit code."""

    async def plan(path: Path, caller: KeyRing, rejections: Rejections) -> Job:
        options = planning.options(connection)
        if not isinstance(source, Drawing):
            rejections.listed = not callable(source)
            rows = source(caller) if callable(source) else source
            try:
                return await Job.create(path, rows, client=caller, options=options, on_rejected=rejections)
            except InputError as error:
                if rejections.listed or not error.rejected:
                    raise
                bad = "this target" if error.count == 1 else "these targets"
                skipping = f". To leave out {bad}, pass --reject-bad-rows, or name the other apps with --app"
                message = f"nothing was sent{skipping if error.good else ''}"
                raise InputError(message) from error
        chosen = source.source(caller, planning.job)
        reading = Reading(InventoryKind.DEVICES, source.tally, caller, invocation.speech)
        job = await alongside(
            reading.follow, lambda: Job.create(path, chosen, client=caller, options=options, on_rejected=rejections)
        )
        if chosen.summary is not None:
            tell_checks(chosen.summary, invocation.speech)
        for remark in chosen.remarks:
            invocation.speech.note(remark)
        return job

    return await carry_out(plan, verb, planning, stopping, connection, invocation)


async def carry_out(
    plan: Plan, verb: str, undertaking: Undertaking, stopping: Stopping, connection: Connection, invocation: Invocation
) -> int:
    """Make a job with `plan`, run it unless only the plan is wanted, and return the exit code."""
    manner = Manner.of(undertaking, stopping, invocation.speech)
    question = None if undertaking.plan_only else open_question(undertaking, _OTHERWISE)
    try:
        async with connection.ring() as caller, await _planned(plan, verb, undertaking.job, caller, invocation) as job:
            terms = Terms(caller, connection, manner, question, invocation)
            if undertaking.plan_only:
                return await _stop_after_plan(job, terms)
            return await _go_on(job, terms)
    finally:
        if question is not None:
            question.close()


async def _planned(plan: Plan, verb: str, named: Path | None, caller: KeyRing, invocation: Invocation) -> Job:
    rejections = Rejections(invocation.speech.say)
    with contextlib.nullcontext(named) if named else unused(f"{verb}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}") as path:
        try:
            return await plan(path, caller, rejections)
        finally:
            rejections.tell(path)
            if path.exists():
                invocation.speech.note(f"job file: {path}")


async def _go_on(job: Job, terms: Terms) -> int:
    tell_plan(job, terms.invocation.speech)
    try:
        return await confirm_and_run(job, terms)
    except anyio.get_cancelled_exc_class():
        with anyio.CancelScope(shield=True):
            if await job.to_send():
                terms.invocation.speech.say(terms.to_go_on(job))
        raise


async def _stop_after_plan(job: Job, terms: Terms) -> int:
    print_plan(job, terms.invocation.speech)
    if await job.to_send():
        terms.invocation.speech.note(terms.to_go_on(job))
    return ExitCode.INCOMPLETE if job.plan.rejected or job.plan.left else ExitCode.OK


@contextlib.contextmanager
def unused(stem: str) -> Iterator[Path]:
    """Yield an unused name for a job file and reserve it. If no job was made, nothing is left behind."""
    for number in itertools.count(1):
        path = Path(f"{stem}{f'-{number}' if number > 1 else ''}{_SUFFIX}")
        # Whoever creates the lock file first has the name; it outlives the run.
        lock = path.with_name(path.name + LOCK)
        try:
            if not path.exists():
                lock.touch(exist_ok=False)
                break
        except FileExistsError:
            continue
        except OSError:
            break  # making the job reports why
    try:
        yield path
    finally:
        if not path.exists():
            # If the directory is not writable, there is no lock file.
            with contextlib.suppress(OSError):
                lock.unlink(missing_ok=True)
