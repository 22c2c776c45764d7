"""Approval between waves: asked once for each, put off for a minute, and neither skipped nor repeated after a kill."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import anyio
import pytest
from fleet import APP, client_of, copy_job, ids_of, links_of, sandbox_of, write_csv
from virtual_time import in_virtual_time

from capgo_async.bulk import Answer, Bounds, Decision, Job, Options, Question, read_operations
from capgo_async.errors import ConfigurationError, JobError, Problem, SafetyStop
from capgo_async.events import ApprovalAnswered, ApprovalAsked
from capgo_async.rehearsal import Conditions, Rehearsal
from capgo_async.sandbox import Sandbox

pytestmark = pytest.mark.slow

WAVES = (Fraction(1, 10), Fraction(1, 2), Fraction(1))
YES, LATER, NO = Answer(Decision.APPROVED), Answer(Decision.AGAIN), Answer(Decision.DECLINED, "exit code 3")


class Approver:
    """Gives answers in order, then always yes, and records each question with the time and the number of links then."""

    def __init__(self, sandbox: Sandbox, *answers: Answer, takes: float = 0.0) -> None:
        self.asked: list[Question] = []
        self.times: list[float] = []
        self.links: list[int] = []
        self._answers: Sequence[Answer] = answers
        self._sandbox = sandbox
        self._takes = takes

    async def __call__(self, question: Question) -> Answer:
        self.asked.append(question)
        self.times.append(anyio.current_time())
        self.links.append(len(links_of(self._sandbox)))
        await anyio.sleep(self._takes)
        first, self._answers = self._answers[:1], self._answers[1:]
        return first[0] if first else YES


async def make(sandbox: Sandbox, directory: Path, *, waves: tuple[Fraction, ...] = WAVES, bake: float = 0.0) -> Job:
    """Plan to link 40 devices, none of them linked before, to alpha."""
    sandbox.world.apps[APP].overrides.clear()
    source = read_operations(
        write_csv(directory / "rows.csv", [(device,) for device in ids_of(sandbox)[:40]]), app_id=APP, channel="alpha"
    )
    async with client_of(sandbox) as capgo:
        options = Options(waves=waves, bake_seconds=bake)
        return await Job.create(directory / "job.capgo-job", source, client=capgo, options=options)


@in_virtual_time
async def test_each_wave_but_the_first_is_asked_for_after_verification_and_bake(tmp_path: Path) -> None:
    sandbox = sandbox_of()
    approver = Approver(sandbox)
    async with await make(sandbox, tmp_path, bake=600.0) as job, client_of(sandbox) as capgo:
        report = await job.run(capgo, approve=approver)
    assert (report.verified, report.pending) == (40, 0)
    assert approver.links == [4, 20]
    first, second = approver.asked
    assert (first.number, first.times, second.number) == (1, 1, 2)
    assert (first.wave.number, first.wave.state, first.next_wave.number) == (1, "verified", 2)
    assert (first.wave.operations, first.next_wave.operations, second.next_wave.operations) == (4, 16, 20)
    assert (first.done, first.verified, first.contradicted, first.cannot_tell, first.unchecked) == (4, 4, 0, 0, 0)
    assert (first.apps, first.job) == ((APP,), str(job.path))
    assert approver.times[0] > 600.0, "after the bake"
    assert approver.times[1] - approver.times[0] > 600.0
    assert [wave.approval and wave.approval.decision for wave in report.waves] == [Decision.APPROVED, Decision.APPROVED, None]
    assert ", approved " in str(report.waves[0])


@in_virtual_time
async def test_what_is_put_off_is_asked_again_a_minute_later(tmp_path: Path) -> None:
    sandbox = sandbox_of()
    approver = Approver(sandbox, LATER, LATER, takes=7.0)
    async with await make(sandbox, tmp_path) as job, client_of(sandbox) as capgo:
        report = await job.run(capgo, approve=approver)
        moments = [moment.event for moment in (await job.timeline()).moments]
    assert [(question.number, question.times) for question in approver.asked] == [(1, 1), (1, 2), (1, 3), (2, 1)]
    assert approver.links == [4, 4, 4, 20]
    pauses = [after - before for before, after in zip(approver.times, approver.times[1:3], strict=False)]
    assert pauses == pytest.approx([67.0, 67.0], abs=0.1)
    assert report.waves[0].approval is not None
    assert report.waves[0].approval.times == 3
    assert [event.attempt for event in moments if isinstance(event, ApprovalAsked)] == [1, 2, 3, 1]
    answers = [event.answer for event in moments if isinstance(event, ApprovalAnswered)]
    assert answers == ["again", "again", "approved", "approved"]


@in_virtual_time
async def test_a_no_stops_the_run_and_the_next_run_asks_anew(tmp_path: Path) -> None:
    sandbox = sandbox_of()
    async with await make(sandbox, tmp_path) as job, client_of(sandbox) as capgo:
        with pytest.raises(SafetyStop, match=r"after wave 1 \(10%\): the next wave was not approved \(exit code 3\)") as stop:
            await job.run(capgo, approve=Approver(sandbox, NO))
        assert stop.value.problem is Problem.NOT_APPROVED
        report = await job.report()
        assert (report.done, report.pending) == (4, 36)
        assert ", not approved (exit code 3) " in str(report.waves[0])
    approver = Approver(sandbox)
    async with await Job.open(job.path) as job, client_of(sandbox) as capgo:
        report = await job.run(capgo, approve=approver)
    assert [(question.number, question.times, question.wave.number) for question in approver.asked] == [(2, 1, 1), (3, 1, 2)]
    assert report.verified == 40


async def killed_at(job: Job, sandbox: Sandbox, approver: Approver, at: float, copy: Path) -> Path:
    """Run the job, and copy it as a kill leaves it some seconds after the first question."""
    async with client_of(sandbox) as capgo, anyio.create_task_group() as group:

        async def kill() -> None:
            while not approver.asked:  # noqa: ASYNC110 - a test double has no event
                await anyio.sleep(0.01)
            await anyio.sleep(at)
            copy_job(job.path, copy)
            job.abort()

        group.start_soon(kill)
        await job.run(capgo, approve=approver)
    return copy


@pytest.mark.parametrize(
    ("answers", "at", "wave", "pause"),
    [
        # Killed while the answer is awaited: the same question is asked again, at once.
        ((YES,), 5.0, 1, 0.0),
        # Killed in the minute after an answer that put it off: asked again when the minute is over.
        ((LATER,), 40.0, 1, 30.0),
        # Killed after the answer: it is not asked again.
        ((YES,), 10.2, 2, 0.0),
    ],
)
def test_a_kill_neither_skips_nor_repeats_an_approval(
    tmp_path: Path, answers: tuple[Answer, ...], at: float, wave: int, pause: float
) -> None:
    @in_virtual_time
    async def run() -> None:
        sandbox = sandbox_of()
        approver = Approver(sandbox, *answers, takes=10.0)
        async with await make(sandbox, tmp_path) as job:
            killed = await killed_at(job, sandbox, approver, at, tmp_path / "killed.capgo-job")
        number, times = approver.asked[-1].number, approver.asked[-1].times
        again = Approver(sandbox)
        async with await Job.open(killed) as job, client_of(sandbox) as capgo:
            began = anyio.current_time()
            report = await job.run(capgo, approve=again)
        assert report.verified == 40
        assert again.asked[0].wave.number == wave
        if wave == 1:
            assert (again.asked[0].number, again.asked[0].times) == (number, times + 1)
            assert again.links[0] == 4
            # The wall clock does not follow virtual time, so the whole minute is left.
            assert again.times[0] - began == pytest.approx(60.0 if pause else 0.0, abs=1.0)
        else:
            assert all(question.wave.number != 1 for question in again.asked)

    run()


@in_virtual_time
async def test_an_approval_counts_although_nothing_of_the_next_wave_was_sent(tmp_path: Path) -> None:
    sandbox = sandbox_of()
    first, again = Approver(sandbox), Approver(sandbox)
    async with await make(sandbox, tmp_path) as job, client_of(sandbox) as capgo:
        # Four links, and the page that verifies them.
        with pytest.raises(SafetyStop, match="request"):
            await job.run(capgo, bounds=Bounds(max_requests=5), approve=first)
        assert ([question.wave.number for question in first.asked], len(links_of(sandbox))) == ([1], 4)
        report = await job.run(capgo, approve=again)
    assert [question.wave.number for question in again.asked] == [2]
    assert report.verified == 40


@pytest.mark.parametrize("stop", [Job.drain, Job.abort])
def test_an_interrupted_question_stays_unanswered(tmp_path: Path, stop: Callable[[Job], None]) -> None:
    @in_virtual_time
    async def run() -> None:
        sandbox = sandbox_of()
        approver = Approver(sandbox, takes=1000.0)
        async with await make(sandbox, tmp_path) as job, client_of(sandbox) as capgo:
            async with anyio.create_task_group() as group:

                async def end() -> None:
                    await anyio.sleep(60.0)
                    assert job.asks_after == 1
                    stop(job)

                group.start_soon(end)
                report = await job.run(capgo, approve=approver)
            assert anyio.current_time() == pytest.approx(60.0, abs=2.0)
            assert job.asks_after is None
            approval = report.waves[0].approval
            assert approval is not None
            assert (report.done, approval.decision, approval.times) == (4, None, 1)
            assert "no answer recorded" in str(report.waves[0])
            report = await job.run(capgo, approve=Approver(sandbox))
            assert report.verified == 40

    run()


@in_virtual_time
async def test_a_bound_ends_the_wait_for_an_answer(tmp_path: Path) -> None:
    sandbox = sandbox_of()
    async with await make(sandbox, tmp_path) as job, client_of(sandbox) as capgo:
        with pytest.raises(SafetyStop, match="the time limit"):
            await job.run(capgo, bounds=Bounds(max_seconds=100.0), approve=Approver(sandbox, takes=1000.0))
        assert anyio.current_time() == pytest.approx(100.0, abs=2.0)


@in_virtual_time
async def test_an_approval_that_cannot_be_asked_for_ends_the_run_and_loses_nothing(tmp_path: Path) -> None:
    sandbox = sandbox_of()

    async def broken(_question: Question) -> Answer:
        message = "cannot run ./approve: no such file"
        raise SafetyStop(message)

    async with await make(sandbox, tmp_path) as job, client_of(sandbox) as capgo:
        with pytest.raises(SafetyStop, match="cannot run"):
            await job.run(capgo, approve=broken)
        report = await job.run(capgo, approve=Approver(sandbox))
    assert (report.verified, report.planned) == (40, 40)


@in_virtual_time
async def test_a_later_run_has_to_ask_too(tmp_path: Path) -> None:
    sandbox = sandbox_of()
    async with await make(sandbox, tmp_path) as job, client_of(sandbox) as capgo:
        with pytest.raises(SafetyStop):
            await job.run(capgo, approve=Approver(sandbox, NO))
        with pytest.raises(JobError, match="nobody to ask") as error:
            await job.run(capgo)
        assert error.value.problem is Problem.APPROVAL_NEEDED
        assert len(links_of(sandbox)) == 4
        with pytest.raises(SafetyStop):
            await job.run(capgo, approve=Approver(sandbox, YES, NO))
        await job.run(capgo, approve=Approver(sandbox))
        report = await job.run(capgo)
    assert report.verified == 40, "with nothing left to approve, nobody is needed"


@in_virtual_time
async def test_a_job_without_waves_has_nothing_to_approve(tmp_path: Path) -> None:
    sandbox = sandbox_of()
    async with await make(sandbox, tmp_path, waves=()) as job, client_of(sandbox) as capgo:
        with pytest.raises(ConfigurationError, match="has no waves"):
            await job.run(capgo, approve=Approver(sandbox))
    assert not links_of(sandbox)


@in_virtual_time
async def test_nobody_is_asked_about_what_was_begun(tmp_path: Path) -> None:
    sandbox = sandbox_of()
    async with await make(sandbox, tmp_path) as job, client_of(sandbox) as capgo:
        with pytest.raises(SafetyStop):
            await job.run(capgo, approve=Approver(sandbox, YES, NO))
        again = Approver(sandbox)
        await job.run(capgo, approve=again)
        assert [question.wave.number for question in again.asked] == [2]


def test_a_rehearsal_asks_nobody(tmp_path: Path) -> None:
    @in_virtual_time
    async def stop_after_the_first_wave() -> None:
        sandbox = sandbox_of()
        async with await make(sandbox, tmp_path) as job, client_of(sandbox) as capgo:
            with pytest.raises(SafetyStop):
                await job.run(capgo, approve=Approver(sandbox, NO))

    stop_after_the_first_wave()
    rehearsed = Rehearsal(tmp_path / "job.capgo-job", Conditions()).run()
    assert rehearsed is not None
    assert (rehearsed.error, rehearsed.report.done) == (None, 40)
