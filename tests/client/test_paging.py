"""Walks over pages: exact request counts, exact sets, and every known trap (contract C6, C7, G3)."""

# ruff: noqa: FBT001 - what a test is given comes by name

import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import count, cycle
from random import Random

import pytest
from hypothesis import given, strategies as st

from capgo_async.errors import ListingError
from capgo_async.listing.walks import (
    MASKED_EMPTY,
    NO_ORDER,
    SHORT_FIRST,
    TIES,
    CursorWalk,
    DeviceWalk,
    Page,
    PageWalk,
    Position,
    Walk,
    last_below_smallest,
    last_unless_full,
    never_last,
)

Fetch = Callable[[Position], Page[int]]


@dataclass(frozen=True)
class PagedServer:
    """A server's page arithmetic: with `bug`, page n > 0 ends where page `n` followed by the digit 1 would (contract C6)."""

    rows: int
    bug: bool = True
    size: int = 50
    cap: int | None = 1000

    def __call__(self, position: Position) -> Page[int]:
        page = int(dict(position).get("page", "0"))
        first = page * self.size
        end = int(f"{page}1") * self.size if self.bug and page else first + self.size
        longest = end - first if self.cap is None else min(end - first, self.cap)
        return Page(tuple(range(first, min(first + longest, self.rows))))


def walked(walk: Walk[int], fetch: Fetch, most: int = 10_000) -> tuple[list[int], int, tuple[str, ...]]:
    """Return the rows, the number of requests, and the caveats."""
    found: list[int] = []
    caveats: list[str] = []
    position: Position | None = walk.start()
    for requests in range(1, most + 1):
        assert position is not None
        rows, step = walk.feed(fetch(position))
        found += rows
        caveats += step.caveats
        position = step.next
        if position is None:
            return found, requests, tuple(dict.fromkeys(caveats))
    pytest.fail(f"no end after {most} requests")


def of_channels() -> PageWalk[int]:
    return PageWalk(lambda row: row, last=last_unless_full)


def of_seed_devices() -> PageWalk[int]:
    return PageWalk(lambda row: row, last=never_last, caveat=NO_ORDER)


@pytest.mark.parametrize(
    ("rows", "bug", "right"),
    [
        (130, 2, 3),
        (230, 2, 5),
        (50, 2, 2),
        (100, 3, 3),
        (0, 1, 1),
        (120, 2, 3),
        (549, 2, 11),
        (1500, 4, 31),
        (10_000, 13, 201),
        (1, 1, 1),
        (49, 1, 1),
        (51, 2, 2),
    ],
)
def test_requests_of_a_list_by_pages(rows: int, bug: int, right: int) -> None:
    assert walked(of_channels(), PagedServer(rows))[:2] == (list(range(rows)), bug)
    assert walked(of_channels(), PagedServer(rows, bug=False))[:2] == (list(range(rows)), right)


COUNTS = sorted({*range(310), *range(0, 6001, 331), *(n + d for n in range(500, 6001, 500) for d in (-1, 0, 1))})
"""Every small list, and the large ones around the sizes of pages and caps."""


@pytest.mark.slow
@pytest.mark.parametrize("size", [50, 100])
@pytest.mark.parametrize("cap", [1000, 500, 100, 1024, None])
@pytest.mark.parametrize("bug", [True, False], ids=["as it is", "right"])
@pytest.mark.parametrize("walk", [of_channels, of_seed_devices], ids=["channels", "seed devices"])
def test_the_set_is_exact_whatever_the_size_and_the_cap(
    walk: Callable[[], Walk[int]], bug: bool, cap: int | None, size: int
) -> None:
    for rows in COUNTS:
        assert walked(walk(), PagedServer(rows, bug, size, cap))[0] == list(range(rows)), rows


@pytest.mark.parametrize("size", [50, 500])
def test_apps_are_exact_also_where_the_server_ignores_the_asked_size(size: int) -> None:
    for rows in COUNTS:
        walk: PageWalk[int] = PageWalk(lambda row: row, last=last_below_smallest, caveat=NO_ORDER)
        found, requests, caveats = walked(walk, PagedServer(rows, bug=False, size=size))
        assert found == list(range(rows))
        assert requests <= rows // size + 2
        assert (NO_ORDER in caveats) is (rows > size)


@given(
    ids=st.sets(st.integers(0, 10**6), max_size=400),
    size=st.sampled_from([50, 100, 150]),
    bug=st.booleans(),
    chance=st.randoms(),
)
def test_any_set_by_pages_comes_once(ids: set[int], size: int, bug: bool, chance: Random) -> None:
    order = list(ids)
    chance.shuffle(order)
    server = PagedServer(len(order), bug, size)

    found, _, _ = walked(of_channels(), lambda position: Page(tuple(order[row] for row in server(position).rows)))

    assert found == order


def test_the_seed_era_s_first_page_of_49_rows() -> None:
    """Page 0 ends one row early, and that row is shown nowhere: the walk goes on, and says so."""

    def fetch(position: Position) -> Page[int]:
        page = PagedServer(130, bug=False)(position)
        return Page(page.rows[:49]) if not position or position == (("page", "0"),) else page

    found, requests, caveats = walked(DeviceWalk(lambda row: row), fetch)

    assert found == [*range(49), *range(50, 130)]
    assert requests == 4
    assert caveats == (SHORT_FIRST, NO_ORDER)


def test_a_legacy_server_that_ignores_pages_is_read_once() -> None:
    found, requests, _ = walked(DeviceWalk(lambda row: row), lambda _: Page(tuple(range(777))))

    assert (found, requests) == (list(range(777)), 2)


# Ties and caveats


def times_of(*times: str | None) -> tuple[PageWalk[int], Fetch]:
    walk: PageWalk[int] = PageWalk(lambda row: row, last=last_unless_full, tie=lambda row: times[row])
    return walk, PagedServer(len(times), bug=False)


@pytest.mark.parametrize("bug", [True, False])
@pytest.mark.parametrize(
    ("border", "caveats"), [({49: "x", 50: "x"}, (TIES,)), ({48: "x", 49: "x"}, ()), ({50: "x", 51: "x"}, ()), ({}, ())]
)
def test_a_tie_matters_only_at_the_border_of_two_pages(bug: bool, border: dict[int, str], caveats: tuple[str, ...]) -> None:
    times = [border.get(row, str(row)) for row in range(80)]
    walk: PageWalk[int] = PageWalk(lambda row: row, last=last_unless_full, tie=lambda row: times[row])

    assert walked(walk, PagedServer(80, bug))[2] == caveats


def test_a_tie_at_the_border_of_an_oversized_page() -> None:
    # Page 1 brings rows 50 to 549, so that page 11 is next.
    times = ["same" if row in {549, 550} else str(row) for row in range(710)]
    walk: PageWalk[int] = PageWalk(lambda row: row, last=last_unless_full, tie=lambda row: times[row])

    assert walked(walk, PagedServer(710))[1:] == (3, (TIES,))


def test_rows_without_a_time_are_ties_too() -> None:
    assert walked(*times_of(*[None] * 80))[2] == (TIES,)


def test_one_page_has_no_border() -> None:
    assert walked(*times_of(*["x"] * 30))[2] == ()
    assert walked(*times_of(*["x"] * 50))[2] == ()


# Cursors


@dataclass(frozen=True)
class CursorServer:
    """A server with a cursor: the last row of a page."""

    ids: tuple[int, ...]
    limit: int = 50

    def __call__(self, position: Position) -> Page[int]:
        after = dict(position).get("cursor")
        rest = [row for row in self.ids if after is None or row > int(after)]
        rows, more = tuple(rest[: self.limit]), len(rest) > self.limit
        return Page(rows, more, str(rows[-1]) if more else None)


@pytest.mark.parametrize(
    ("rows", "limit", "requests"),
    [(350, 50, 7), (350, 100, 4), (350, 500, 1), (50, 50, 1), (100, 50, 2), (100, 100, 1), (1, 1, 1)],
)
def test_requests_of_a_list_by_cursor(rows: int, limit: int, requests: int) -> None:
    server = CursorServer(tuple(range(rows)), limit)

    for unordered in (False, True):
        assert walked(DeviceWalk(lambda row: row, unordered=unordered), server) == (list(range(rows)), requests, ())


@given(ids=st.sets(st.integers(0, 10**6), min_size=1, max_size=300), limit=st.integers(1, 60), unordered=st.booleans())
def test_any_set_by_cursor_comes_once(ids: set[int], limit: int, unordered: bool) -> None:
    server = CursorServer(tuple(sorted(ids)), limit)

    assert walked(DeviceWalk(lambda row: row, unordered=unordered), server)[0] == sorted(ids)


def more(cursor: str | None, *rows: int) -> Page[int]:
    return Page(rows, has_more=True, next_cursor=cursor)


def last(*rows: int) -> Page[int]:
    return Page(rows, has_more=False)


def bare(*rows: int) -> Page[int]:
    return Page(rows)


def script(*pages: Page[int]) -> Fetch:
    """Give `pages` in order, whatever is asked for."""
    following = iter(pages)
    return lambda _: next(following)


@pytest.mark.parametrize("unordered", [False, True])
@pytest.mark.parametrize(
    ("pages", "sentence"),
    [
        ([more("a", 1), more("a", 2)], "same cursor twice"),
        ([more("a", 1), more("b", 2), more("a", 3)], "same cursor twice"),
        ([more("a", 1, 2), more("b", 1, 2)], "same page twice"),
        ([more("a", 1, 2), more("b", 2, 1)], "same page twice"),
        ([more("a", 1), more("b"), more("b")], "empty page, twice"),
        ([more("a", 1), last(), last()], "empty page, twice"),
        ([more("a"), more("a")], "empty page, twice"),
        ([more(None), more(None)], "empty page, twice"),
        ([more(None, 1)], "sent no cursor"),
        ([more("", 1)], "sent no cursor"),
        ([more("a", 1), bare(2)], "changed the form of its pages"),
        ([bare(1), more("a", 2)], "changed the form of its pages"),
        ([bare(1), last(2)], "changed the form of its pages"),
    ],
)
def test_a_listing_that_does_not_advance_is_an_error(pages: list[Page[int]], sentence: str, unordered: bool) -> None:
    with pytest.raises(ListingError, match=sentence):
        walked(DeviceWalk(lambda row: row, unordered=unordered), script(*pages))


def test_a_walk_in_circles_under_ever_new_cursors_is_an_error() -> None:
    cursors = count()
    pages = cycle([(1, 2), (3, 4), (5, 6)])

    with pytest.raises(ListingError, match="same page twice"):
        walked(CursorWalk(lambda row: row), lambda _: more(str(next(cursors)), *next(pages)), most=10)


def test_a_last_page_that_was_shown_long_before_is_an_error() -> None:
    pages = [more("a", 1, 2), more("b", 3, 4), last(1, 2)]

    with pytest.raises(ListingError, match="same page twice"):
        walked(CursorWalk(lambda row: row), script(*pages))


def test_neighbouring_pages_may_overlap() -> None:
    pages = [more("a", 1, 2), more("b", 2, 3), last(3)]

    assert walked(CursorWalk(lambda row: row), script(*pages))[0] == [1, 2, 3]


def test_a_row_that_stands_twice_in_a_page_comes_once() -> None:
    pages = [more("a", 1, 1, 2, 1), last(3, 3)]

    assert walked(CursorWalk(lambda row: row), script(*pages))[0] == [1, 2, 3]
    assert walked(of_channels(), script(bare(1, 1, 2, 1)))[0] == [1, 2]


def test_rows_that_move_during_an_ordered_walk_come_once() -> None:
    pages = [more("a", 1, 2), more("b", 3, 4), more("c", 5, 1), last(2, 6)]

    assert walked(CursorWalk(lambda row: row, unordered=True), script(*pages))[0] == [1, 2, 3, 4, 5, 6]


def test_an_empty_page_between_is_asked_for_again() -> None:
    asked: list[Position] = []
    pages = script(more("a", 1), more("b"), last(2))

    def fetch(position: Position) -> Page[int]:
        asked.append(position)
        return pages(position)

    assert walked(DeviceWalk(lambda row: row), fetch)[0] == [1, 2]
    assert asked == [(), (("cursor", "a"),), (("cursor", "a"),)]


@pytest.mark.parametrize("empty", [last(), bare()], ids=["modern", "seed"])
def test_an_empty_first_page_is_asked_for_again_and_stated(empty: Page[int]) -> None:
    assert walked(DeviceWalk(lambda row: row), lambda _: empty) == ([], 2, (MASKED_EMPTY,))


@pytest.mark.parametrize("empty", [last(), bare()], ids=["modern", "seed"])
@pytest.mark.parametrize("full", [last(1, 2), bare(1, 2)], ids=["then modern", "then seed"])
def test_an_empty_first_page_that_was_a_failure(empty: Page[int], full: Page[int]) -> None:
    following = script(empty, full)

    if empty.has_more is False and full.has_more is None:
        with pytest.raises(ListingError, match="changed the form of its pages"):
            walked(DeviceWalk(lambda row: row), following)
    else:
        found = walked(DeviceWalk(lambda row: row), lambda position: following(position) if not position else bare())
        assert found[0] == [1, 2]
        assert MASKED_EMPTY not in found[2]


class Id:
    """An id that tells when nobody keeps it any more."""

    def __init__(self, number: int) -> None:
        self.number = number


def test_a_walk_in_the_default_order_does_not_keep_every_id() -> None:
    walk: CursorWalk[int] = CursorWalk(lambda row: made[row])
    made: dict[int, Id] = {}
    alive: weakref.WeakSet[Id] = weakref.WeakSet()

    for page in range(200):
        made = {row: Id(row) for row in range(page * 50, page * 50 + 50)}
        alive.update(made.values())
        walk.feed(more(str(page), *made))

    made = {}
    assert len(alive) <= 200 + 50


pages_of_few_rows = st.builds(
    Page,
    st.lists(st.integers(0, 11), max_size=5).map(tuple),
    st.sampled_from([True, True, True, False, None]),
    st.sampled_from([None, "a", "b", "new", "new", "new"]),
)


def adversary(pages: Iterable[Page[int]]) -> Fetch:
    """Give `pages`, with a cursor never seen before where they say `new`."""
    following, cursors = iter(pages), count()

    def fetch(_position: Position) -> Page[int]:
        page = next(following)
        return Page(page.rows, page.has_more, f"c{next(cursors)}" if page.next_cursor == "new" else page.next_cursor)

    return fetch


WALKS: list[Callable[[], Walk[int]]] = [
    of_channels,
    of_seed_devices,
    lambda: CursorWalk(lambda row: row),
    lambda: CursorWalk(lambda row: row, unordered=True),
    lambda: DeviceWalk(lambda row: row),
    lambda: DeviceWalk(lambda row: row, unordered=True),
]


@pytest.mark.slow
@pytest.mark.parametrize("make", WALKS)
@given(
    pages=st.lists(pages_of_few_rows, min_size=1, max_size=12), chance=st.randoms(use_true_random=False), random=st.booleans()
)
def test_every_walk_ends(make: Callable[[], Walk[int]], pages: list[Page[int]], chance: Random, random: bool) -> None:
    """Whatever comes: twelve ids, each empty page asked for twice, and the end."""
    endless = iter(lambda: chance.choice(pages), None) if random else cycle(pages)
    try:
        found, _, _ = walked(make(), adversary(endless), most=2 * (12 + 2) + 2)
    except ListingError:
        return
    assert set(found) <= set(range(12))
