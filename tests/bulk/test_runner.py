"""The runner alone: no HTTP, no files, virtual time."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial

import anyio
import pytest
from hypothesis import given, strategies as st
from virtual_time import in_virtual_time

from capgo_async.bulk.operations.operations import LinkDevice, Operation, Planned
from capgo_async.bulk.operations.results import Done, Failed, Later, NotSent, Result, Settled
from capgo_async.bulk.running.runner import MOST_PARKED, Brakes, Runner, StopReason
from capgo_async.bulk.schedule.schedule import Schedule
from capgo_async.bulk.schedule.share import Share
from capgo_async.errors import DiskFull, NotConnected, Problem, SafetyStop
from capgo_async.sandbox.virtual_time import run_in_virtual_time

APP = "com.example.app"


class Boundless:
    """The gauge of a run without limits."""

    def key_of(self, _app_id: str) -> str:
        return ""

    def is_full(self, _own: int) -> bool:
        return False

    def key_free_at(self, _key: str, now: float) -> float:
        return now

    def app_free_at(self, _app_id: str, _requests: int, now: float) -> float:
        return now

    def period(self, _key: str, _now: float) -> None:
        return None

    def rules(self, _key: str, _app_id: str | None) -> None:
        return None


UNLIMITED = partial(Schedule, gauge=Boundless())


class MemoryJournal:
    """A journal in memory that remembers in which order things became durable."""

    def __init__(self, count: int, *, commit_seconds: float = 0.0) -> None:
        self.plan = [Planned(n, LinkDevice(app_id=APP, device_id=f"d{n}", channel="beta")) for n in range(1, count + 1)]
        self.handed_out = 0
        self.settled: dict[int, Done | Failed] = {}
        self.sent: set[int] = set()
        self.returned: set[int] = set()
        self.commits = 0
        self.commit_seconds = commit_seconds
        self.fail_after: int | None = None

    async def shares(self) -> Sequence[Share]:
        return [Share(APP, len(self.plan) - self.handed_out)] if self.plan else []

    async def advance(self, settled: Sequence[Settled], returned: Sequence[int], take: Mapping[str, int]) -> Sequence[Planned]:
        self.commits += 1
        if self.fail_after is not None and self.commits > self.fail_after:
            message = "no room"
            raise DiskFull(message)
        await anyio.sleep(self.commit_seconds)
        for number, result, _ in settled:
            assert number not in self.settled, "an operation has one outcome"
            self.settled[number] = result
        self.returned.update(returned)
        planned = self.plan[self.handed_out : self.handed_out + take.get(APP, 0)]
        self.handed_out += len(planned)
        self.sent.update(entry.id for entry in planned)
        return planned


def number_of(operation: Operation) -> int:
    return int(operation.target.name[1:])


Execute = Callable[[Operation], Awaitable[Result]]


def taking(seconds: float, journal: MemoryJournal | None = None, log: list[tuple[float, int]] | None = None) -> Execute:
    async def execute(operation: Operation) -> Result:
        number = number_of(operation)
        if journal is not None:
            assert number in journal.sent, "the intent is durable before the operation leaves"
        if log is not None:
            log.append((anyio.current_time(), number))
        await anyio.sleep(seconds)
        return Done()

    return execute


@pytest.mark.slow
@given(count=st.integers(0, 400), workers=st.integers(1, 40), commit_seconds=st.sampled_from([0.0, 0.05, 3.0]))
def test_every_operation_has_exactly_one_outcome(count: int, workers: int, commit_seconds: float) -> None:
    journal = MemoryJournal(count, commit_seconds=commit_seconds)
    run_in_virtual_time(Runner(journal, taking(0.1, journal), workers=workers, schedule=UNLIMITED).run())
    assert set(journal.settled) == set(range(1, count + 1))


@in_virtual_time
async def test_no_more_than_the_workers_run_at_once_and_none_is_idle() -> None:
    log: list[tuple[float, int]] = []
    journal = MemoryJournal(1000)
    await Runner(journal, taking(1.0, journal, log), workers=10, schedule=UNLIMITED).run()
    starts = [time for time, _ in log]
    assert all(sum(1 for other in starts if time <= other < time + 1.0) <= 10 for time in starts)
    assert anyio.current_time() < 102.0


@pytest.mark.slow
@in_virtual_time
async def test_commits_are_batched_and_operations_go_in_order() -> None:
    log: list[tuple[float, int]] = []
    journal = MemoryJournal(10_000)
    await Runner(journal, taking(0.01, journal, log), workers=16, schedule=UNLIMITED).run()
    assert journal.commits < 100
    assert [number for _, number in log] == list(range(1, 10_001))


@in_virtual_time
async def test_outcomes_do_not_wait_for_the_next_batch() -> None:
    journal = MemoryJournal(40)
    seen: list[int] = []

    async def watch() -> None:
        await anyio.sleep(21.5)
        seen.append(len(journal.settled))

    async with anyio.create_task_group() as group:
        group.start_soon(watch)
        await Runner(journal, taking(10.0), workers=2, schedule=UNLIMITED).run()
    assert seen == [4]


@in_virtual_time
async def test_a_parked_operation_frees_its_worker_and_comes_back_in_time() -> None:
    parked: set[int] = set()
    log: list[tuple[float, int]] = []

    async def execute(operation: Operation) -> Result:
        number = number_of(operation)
        log.append((anyio.current_time(), number))
        await anyio.sleep(1.0)
        if number % 10 == 0 and number not in parked:
            parked.add(number)
            return Later(anyio.current_time() + 60.0)
        return Done()

    journal = MemoryJournal(100)
    await Runner(journal, execute, workers=1, schedule=UNLIMITED).run()
    assert set(journal.settled) == set(range(1, 101))
    again = [(time, number) for position, (time, number) in enumerate(log) if number in [n for _, n in log[:position]]]
    first = {number: time for time, number in reversed(log)}
    assert len(again) == 10
    assert all(61.0 <= time - first[number] < 63.0 for time, number in again)
    assert anyio.current_time() < 170.0, "100 s of work and the last pause"


@pytest.mark.slow
@in_virtual_time
async def test_what_waits_for_its_target_does_not_grow_without_bound() -> None:
    taken: list[int] = []

    async def execute(operation: Operation) -> Result:
        number = number_of(operation)
        taken.append(number)
        return Later(1e6) if anyio.current_time() < 1e6 else Done()

    journal = MemoryJournal(MOST_PARKED + 5000)
    runner = Runner(journal, execute, workers=4, schedule=UNLIMITED)
    async with anyio.create_task_group() as group:
        group.start_soon(runner.run)
        await anyio.sleep(1000.0)
        assert len(taken) <= MOST_PARKED + 4
        runner.drain()


class UntilFive(Boundless):
    """A key that has sent `most` and sends nothing more before second 5."""

    def __init__(self, most: int) -> None:
        self.left = most

    def key_free_at(self, _key: str, now: float) -> float:
        return now if self.left > 0 or now >= 5.0 else 5.0


@pytest.mark.slow
@in_virtual_time
async def test_who_may_take_nothing_new_does_not_look_again_when_a_limit_lets_more_pass() -> None:
    gauge = UntilFive(MOST_PARKED)

    async def execute(_: Operation) -> Result:
        gauge.left -= 1
        # Some of these are still under way when the others look for more, and find that the limit is met.
        await anyio.sleep(1e-4 * (1 + gauge.left % 3))
        return Later(60.0) if anyio.current_time() < 60.0 else Done()

    journal = MemoryJournal(MOST_PARKED + 100)
    with anyio.fail_after(1000.0):
        await Runner(journal, execute, workers=4, schedule=partial(Schedule, gauge=gauge)).run()
    assert len(journal.settled) == MOST_PARKED + 100
    assert 60.0 < anyio.current_time() < 75.0


@in_virtual_time
async def test_a_drain_finishes_what_is_in_flight_and_takes_the_rest_back() -> None:
    journal = MemoryJournal(500)
    runner = Runner(journal, taking(1.0, journal), workers=8, schedule=UNLIMITED)
    async with anyio.create_task_group() as group:
        group.start_soon(runner.run)
        await anyio.sleep(2.5)
        runner.drain()
    assert anyio.current_time() == pytest.approx(3.0)
    assert len(journal.settled) == 24
    assert journal.sent - set(journal.settled) == journal.returned
    assert runner.drained


@in_virtual_time
async def test_what_was_not_sent_is_taken_back() -> None:
    async def execute(operation: Operation) -> Result:
        return NotSent() if number_of(operation) == 3 else Done()

    journal = MemoryJournal(5)
    await Runner(journal, execute, workers=1, schedule=UNLIMITED).run()
    assert journal.returned == {3}
    assert set(journal.settled) == {1, 2, 4, 5}


@in_virtual_time
async def test_an_exception_about_the_run_stops_it_and_keeps_all_outcomes() -> None:
    async def execute(operation: Operation) -> Result:
        await anyio.sleep(1.0)
        if number_of(operation) == 20:
            message = "no server"
            raise NotConnected(message)
        return Done()

    journal = MemoryJournal(500)
    with pytest.raises(NotConnected):
        await Runner(journal, execute, workers=8, schedule=UNLIMITED).run()
    assert 16 <= len(journal.settled) <= 31, "those in flight are finished, no more"
    assert 20 not in journal.settled


@in_virtual_time
async def test_a_journal_that_fails_ends_the_run_and_nothing_leaves_that_is_not_written_down() -> None:
    journal = MemoryJournal(5000)
    journal.fail_after = 3
    with pytest.raises(DiskFull):
        await Runner(journal, taking(0.1, journal), workers=8, schedule=UNLIMITED).run()
    assert len(journal.settled) < 5000


@in_virtual_time
async def test_a_cancelled_run_records_what_it_knows() -> None:
    journal = MemoryJournal(500)
    with anyio.move_on_after(2.5):
        await Runner(journal, taking(1.0), workers=8, schedule=UNLIMITED).run()
    assert len(journal.settled) == 16
    assert anyio.current_time() == pytest.approx(2.5)


@in_virtual_time
async def test_a_run_that_is_cancelled_while_it_records_does_not_end_as_if_it_were_through() -> None:
    class Shielded(MemoryJournal):
        async def advance(
            self, settled: Sequence[Settled], returned: Sequence[int], take: Mapping[str, int]
        ) -> Sequence[Planned]:
            handed_out: Sequence[Planned] = ()
            with anyio.CancelScope(shield=True):
                if self.commits == 1:
                    in_commit.set()
                    await anyio.sleep(5.0)
                handed_out = await super().advance(settled, returned, take)
            return handed_out  # noqa: RET504 - for the type checker, that a shield ends well is not sure

    in_commit = anyio.Event()
    returned = False
    with anyio.CancelScope() as outer:
        async with anyio.create_task_group() as group:

            async def cancel() -> None:
                await in_commit.wait()
                outer.cancel()

            group.start_soon(cancel)
            await Runner(Shielded(40), taking(1.0), workers=16, schedule=UNLIMITED).run()
            returned = True
    assert outer.cancelled_caught
    assert not returned


@in_virtual_time
async def test_progress_hears_of_every_result() -> None:
    heard: list[Done | Failed] = []

    async def execute(operation: Operation) -> Result:
        return Failed("no_such_thing") if number_of(operation) == 2 else Done()

    await Runner(MemoryJournal(3), execute, workers=1, schedule=UNLIMITED, progress=heard.append).run()
    assert [type(result) for result in heard] == [Done, Failed, Done]


@in_virtual_time
async def test_a_rule_stops_the_run_at_the_outcome_that_it_names_and_leaves_the_rest() -> None:
    journal = MemoryJournal(5000)
    seen: list[int] = []

    def watch(settled: Settled) -> StopReason | None:
        seen.append(settled.id)
        return StopReason("enough is enough", Problem.TOO_MANY_FAILED) if len(seen) == 100 else None

    runner = Runner(journal, taking(0.1), workers=8, schedule=UNLIMITED, brakes=Brakes(watch=watch))
    with pytest.raises(SafetyStop, match="stopped: enough is enough") as stopped:
        await runner.run()
    assert stopped.value.problem is Problem.TOO_MANY_FAILED
    assert seen == list(journal.settled)[:100]
    assert len(journal.settled) < 5000
    assert journal.sent == set(journal.settled) | journal.returned
