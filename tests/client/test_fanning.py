"""Fan-out: so many at a time, in order, and the first failure as it is."""

from collections.abc import AsyncIterator, Iterator

import anyio
import pytest
from virtual_time import in_virtual_time

from capgo_async.concurrency import fan_out, results
from capgo_async.errors import ListingError


class Work:
    """Work of a second that remembers what was begun and ended, and fails for some."""

    def __init__(self, *failing: int) -> None:
        self.failing = failing
        self.begun: list[int] = []
        self.ended: list[int] = []
        self.under_way = self.most = 0

    async def __call__(self, item: int) -> int:
        self.begun.append(item)
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            await anyio.sleep(1 + item / 100)
            if item in self.failing:
                message = f"no {item}"
                raise ListingError(message)
        finally:
            self.under_way -= 1
        self.ended.append(item)
        return -item


async def numbers(count: int) -> AsyncIterator[int]:
    for number in range(count):
        yield number


@in_virtual_time
async def test_all_is_done_so_many_at_a_time() -> None:
    work = Work()
    began = anyio.current_time()

    await fan_out(range(10), work, 4)

    assert sorted(work.ended) == list(range(10))
    assert work.most == 4
    assert anyio.current_time() - began < 4


@in_virtual_time
async def test_items_are_taken_when_they_are_needed() -> None:
    work = Work()
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(5):
            taken.append(number)
            yield number
            assert len(taken) <= len(work.ended) + 2

    await fan_out(items(), work, 2)

    assert taken == list(range(5))


@in_virtual_time
async def test_the_first_failure_ends_the_others_and_comes_bare() -> None:
    work = Work(2, 3)

    with pytest.raises(ListingError, match="no 2"):
        await fan_out(range(10), work, 4)

    assert work.begun == [0, 1, 2, 3, 4, 5]
    assert work.ended == [0, 1]
    assert work.under_way == 0


@in_virtual_time
async def test_a_fault_of_ours_comes_bare_too() -> None:
    async def broken(item: int) -> None:
        raise KeyError(item)

    with pytest.raises(KeyError):
        await fan_out([1, 2], broken, 2)


@in_virtual_time
async def test_who_cancels_cancels_all() -> None:
    work = Work()

    with anyio.move_on_after(0.5) as scope:
        await fan_out(range(10), work, 4)

    assert scope.cancelled_caught
    assert (work.ended, work.under_way) == ([], 0)


@in_virtual_time
async def test_nothing_to_do_is_done() -> None:
    await fan_out((), Work(), 4)
    assert [result async for result in results(numbers(0), Work(), 4)] == []


@in_virtual_time
async def test_results_come_in_the_order_of_their_items() -> None:
    work = Work()

    assert [result async for result in results(numbers(10), work, 4)] == [-number for number in range(10)]
    assert work.most == 4


@in_virtual_time
async def test_whoever_stops_at_a_result_leaves_nothing_under_way() -> None:
    work = Work()

    async for result in results(numbers(10), work, 4):
        if result == -1:
            break

    assert work.begun == [0, 1, 2, 3]
    assert work.under_way == 0
