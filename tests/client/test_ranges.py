"""One list walked at several places at once: the same rows as by one cursor, whatever the ids, the order and the answers."""

import uuid
from bisect import bisect_right
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from random import Random
from typing import Any
from unicodedata import normalize
from zlib import crc32

import pytest
from hypothesis import given, strategies as st

from capgo_async.errors import ListingError
from capgo_async.listing.ruler import Ruler
from capgo_async.listing.split_walk import Ask, SplitWalk, Stretch
from capgo_async.listing.walks import NO_ORDER, DeviceWalk, Page, Position

Fetch = Callable[[Position], Page[str]]


def itself(name: str) -> str:
    return name


def behind(name: str) -> Position:
    return (("cursor", f"any|{name}"),)


@dataclass
class KeyedServer:
    """A server whose list has an order, and can be begun behind any id."""

    ids: set[str]
    limit: int = 10
    order: Callable[[str], Any] = str
    asked: list[str | None] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.sorted: list[str] = sorted(self.ids, key=self.order)

    def add(self, name: str) -> None:
        self.ids.add(name)
        self.__post_init__()

    def remove(self, name: str) -> None:
        self.ids.discard(name)
        self.__post_init__()

    def __call__(self, position: Position) -> Page[str]:
        after = dict(position)["cursor"].partition("|")[2] if position else None
        self.asked.append(after)
        begin = 0 if after is None else bisect_right(self.sorted, self.order(after), key=self.order)
        rows, more = tuple(self.sorted[begin : begin + self.limit]), begin + self.limit < len(self.sorted)
        return Page(rows, more, f"2026|{rows[-1]}" if more else None)


def split(
    fetch: Fetch, cursors: int = 8, chance: Random | None = None, between: Callable[[], object] | None = None
) -> tuple[list[str], int, tuple[str, ...]]:
    """Return the rows, the number of requests, and the caveats; `chance` chooses whose answer comes next."""
    walk = SplitWalk(itself, behind, cursors)
    under_way: list[tuple[Ask[str], Page[str]]] = []
    found: list[str] = []
    caveats: list[str] = []
    requests = 0
    while True:
        while ask := walk.take():
            requests += 1
            assert requests < 10_000
            under_way.append((ask, fetch(ask.position)))
        assert len(under_way) <= cursors
        if not under_way:
            assert walk.complete
            return found, requests, tuple(dict.fromkeys(caveats))
        if between:
            between()
        rows, said = walk.feed(*under_way.pop(chance.randrange(len(under_way)) if chance else 0))
        found += rows
        caveats += said


def alone(fetch: Fetch) -> tuple[list[str], int]:
    walk = DeviceWalk(itself)
    position: Position | None = walk.start()
    found: list[str] = []
    requests = 0
    while position is not None:
        requests += 1
        rows, step = walk.feed(fetch(position))
        found += rows
        position = step.next
    return found, requests


def uuids(count: int, seed: int = 1) -> set[str]:
    chance = Random(seed)
    return {str(uuid.UUID(int=chance.getrandbits(128), version=4)) for _ in range(count)}


def in_time(count: int) -> set[str]:
    """Return ids that begin with the time, as UUIDs of version 7 do: 90 days are a small part of what there could be."""
    chance = Random(2)
    return {str(uuid.UUID(int=((0x0190_0000_0000 + chance.randrange(7_776_000_000)) << 80) | n)) for n in range(count)}


def numbered(count: int) -> set[str]:
    return {f"device-{number:010}" for number in range(count)}


KINDS: dict[str, Callable[[int], set[str]]] = {
    "uuids": uuids,
    "by time": in_time,
    "numbered": numbered,
    "numbers": lambda count: {str(number) for number in range(count)},
    "two clusters": lambda count: {f"{'0a' if number % 2 else 'fb'}-{number:08x}" for number in range(count)},
    "upper case": lambda count: {name.upper() for name in uuids(count)},
    "mixed": lambda count: {*uuids(count // 2), *numbered(count // 4), *(f"ÄÖ {n}|" for n in range(count // 4))},
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cursors", [2, 8, 16])
def test_the_same_rows_as_alone_with_few_requests_more(kind: str, cursors: int) -> None:
    ids = KINDS[kind](20_000)
    server = KeyedServer(ids, limit=50)

    found, requests, caveats = split(server, cursors)

    assert sorted(found) == sorted(server.ids)
    assert caveats == ()
    assert requests <= len(server.ids) / 50 + 8 * cursors


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_eight_cursors_share_the_work(kind: str) -> None:
    """Count rounds in which each cursor gets one answer."""
    server = KeyedServer(KINDS[kind](50_000), limit=50)
    walk = SplitWalk(itself, behind, 8)
    rounds = 0
    while not walk.complete:
        rounds += 1
        asks = list(iter(walk.take, None))
        for ask in asks:
            walk.feed(ask, server(ask.position))

    assert 1000 / rounds > 7


@pytest.mark.parametrize("count", [0, 1, 9, 10, 11, 20, 30])
def test_a_small_app_costs_what_it_costs_alone(count: int) -> None:
    ids = uuids(count)

    assert split(KeyedServer(ids))[:2] == alone(KeyedServer(ids))


@pytest.mark.parametrize("count", [31, 40, 41, 50, 100, 200])
def test_a_somewhat_larger_app_costs_little_more(count: int) -> None:
    ids = uuids(count)

    found, requests, _ = split(KeyedServer(ids))

    assert sorted(found) == sorted(ids)
    assert requests <= alone(KeyedServer(ids))[1] + 8


names = st.one_of(
    st.uuids().map(str),
    st.uuids().map(lambda each: str(each).upper()),
    st.text(st.characters(codec="utf-8", exclude_characters="|"), min_size=1, max_size=4),
    st.text("aäBbzö", min_size=1, max_size=4),
    st.integers(0, 300).map(lambda number: f"7f0000{number:03x}"),
    st.integers(0, 300).map(lambda number: f"Device_{number}"),
)
ORDERS: dict[str, Callable[[str], Any]] = {
    "bytes": str,
    "collation": lambda name: (normalize("NFD", name.lower()), name),
    "from the end": lambda name: name[::-1],
    "none": lambda name: (crc32(name.encode()), name),
}


@pytest.mark.slow
@pytest.mark.parametrize("order", ORDERS)
@given(
    ids=st.sets(names, max_size=150),
    limit=st.integers(1, 12),
    cursors=st.integers(2, 9),
    chance=st.randoms(use_true_random=False),
)
def test_any_set_in_any_order_comes_once(order: str, ids: set[str], limit: int, cursors: int, chance: Random) -> None:
    found, _, caveats = split(KeyedServer(ids, limit, ORDERS[order]), cursors, chance)

    assert sorted(found) == sorted(ids)
    assert not ids or caveats == ()


@pytest.mark.slow
@given(
    ids=st.sets(st.uuids().map(str), min_size=60, max_size=200),
    others=st.sets(st.uuids().map(str), max_size=20),
    gone=st.integers(0, 4),
    chance=st.randoms(use_true_random=False),
)
def test_who_stays_is_listed_once_while_others_come_and_go(ids: set[str], others: set[str], gone: int, chance: Random) -> None:
    """Fewer than a page vanish, and none at the very end: an announced page that is empty is an error."""
    server = KeyedServer(set(ids), limit=5)
    appearing, vanishing = sorted(others - ids), chance.sample(sorted(ids)[:-10], gone)

    def change() -> None:
        if appearing and chance.random() < 0.5:
            server.add(appearing.pop())
        if vanishing and chance.random() < 0.5:
            server.remove(vanishing.pop())

    found, _, _ = split(server, chance=chance, between=change)

    assert len(found) == len(set(found))
    assert server.ids - others <= set(found) <= ids | others


@pytest.mark.parametrize("seed", range(20))
def test_rows_that_ascend_at_first_and_later_not_come_once(seed: int) -> None:
    """Where the server's order is not that of strings, nothing proves that a row was not listed yet."""
    ids = uuids(300, seed)

    found, _, caveats = split(KeyedServer(ids, 5, lambda name: (name[0] in "789", name)), 8, Random(seed))

    assert sorted(found) == sorted(ids)
    assert caveats == ()


# Walks that are left and gone on with


def walked_by_parts(server: KeyedServer, cursors: int, chance: Random, patience: int) -> tuple[list[str], int]:
    """Leave the walk again and again, with answers under way; return the rows and how often that was."""
    found: list[str] = []
    stretches: tuple[Stretch, ...] = ()
    left = 0
    while True:
        walk = SplitWalk(itself, behind, cursors, walked=stretches)
        under_way: list[tuple[Ask[str], Page[str]]] = []
        answers = chance.randint(patience, 3 * patience)
        while not walk.complete and answers:
            while ask := walk.take():
                under_way.append((ask, server(ask.position)))
            found += walk.feed(*under_way.pop(chance.randrange(len(under_way))))[0]
            answers -= 1
        stretches = walk.stretches()
        if walk.complete:
            return found, left
        left += 1


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_walk_that_is_left_is_gone_on_with_at_every_place(kind: str) -> None:
    server = KeyedServer(KINDS[kind](20_000), limit=50)

    found, left = walked_by_parts(server, 8, Random(1), 40)

    assert set(found) == server.ids
    assert left >= 3
    assert len(server.asked) <= len(server.ids) / 50 + 8 * 8 + 3 * 8 * left


@pytest.mark.slow
@pytest.mark.parametrize("order", ORDERS)
@given(
    ids=st.sets(names, min_size=20, max_size=150),
    limit=st.integers(2, 12),
    cursors=st.integers(2, 9),
    chance=st.randoms(use_true_random=False),
)
def test_nobody_is_lost_between_walks_whatever_the_order(
    order: str, ids: set[str], limit: int, cursors: int, chance: Random
) -> None:
    found, _ = walked_by_parts(KeyedServer(ids, limit, ORDERS[order]), cursors, chance, 4)

    assert set(found) == ids


def test_ranges_that_met_are_one_stretch_and_the_last_is_at_the_end() -> None:
    server = KeyedServer(uuids(400))
    walk = SplitWalk(itself, behind, 8)
    assert walk.stretches() == ()
    while ask := walk.take():
        walk.feed(ask, server(ask.position))

    (stretch,) = walk.stretches()
    assert (stretch.first, stretch.before_last, stretch.last) == (server.sorted[0], *server.sorted[-2:])
    assert stretch.at_end


def test_what_vanished_while_nobody_walked_is_no_end_and_no_loss() -> None:
    """Both the row that was shown last of a part, and the one that the next part began with."""
    server = KeyedServer(uuids(1000))
    walk = SplitWalk(itself, behind, 4)
    found: list[str] = []
    for _ in range(8):
        for ask in list(iter(walk.take, None)):
            found += walk.feed(ask, server(ask.position))[0]
    stretches = walk.stretches()
    assert len(stretches) > 1
    for stretch in stretches:
        server.remove(stretch.first)
        server.remove(stretch.last)
    walk = SplitWalk(itself, behind, 4, walked=stretches)
    while left := walk.take():
        found += walk.feed(left, server(left.position))[0]

    assert walk.complete
    assert server.ids <= set(found)


# Servers that do not let their lists be begun anywhere


class Stubborn(KeyedServer):
    """A server that knows the cursors that it gave, and answers others as `otherwise` says."""

    otherwise: Callable[[], Page[str]]

    def __call__(self, position: Position) -> Page[str]:
        if position and position[0][1].startswith("any|"):
            self.asked.append("refused")
            return self.otherwise()
        return super().__call__(position)


def stubborn(count: int, answer: Callable[[Stubborn], Page[str]]) -> Stubborn:
    server = Stubborn(uuids(count))
    server.otherwise = lambda: answer(server)
    return server


ANSWERS: dict[str, Callable[[Stubborn], Page[str]]] = {
    "an empty page": lambda _: Page((), has_more=False),
    "an empty page with more": lambda _: Page((), has_more=True, next_cursor="x"),
    "the first page": lambda server: KeyedServer.__call__(server, ()),
    "the last page": lambda server: Page(tuple(server.sorted[-5:]), has_more=False),
    "descending rows": lambda server: Page(tuple(server.sorted[::-1][:10]), has_more=True, next_cursor="x"),
    "a bare page": lambda server: Page(tuple(server.sorted[:10])),
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_one_cursor_goes_on_alone_where_the_first_trial_fails(answer: str) -> None:
    server = stubborn(100, ANSWERS[answer])

    found, requests, caveats = split(server)

    assert (found, caveats) == (server.sorted, ())
    assert server.asked.count("refused") == 1
    assert requests == 11


@pytest.mark.parametrize("trials", [1, 2, 3])
@pytest.mark.parametrize("answer", ANSWERS)
def test_trials_that_fail_later_lose_nothing(answer: str, trials: int) -> None:
    server = stubborn(300, ANSWERS[answer])
    fetched = 0

    def fetch(position: Position) -> Page[str]:
        nonlocal fetched
        fetched += bool(position) and position[0][1].startswith("any|")
        honest = fetched <= trials
        return KeyedServer.__call__(server, position) if honest else server(position)

    found, _, caveats = split(fetch)

    assert (sorted(found), caveats) == (server.sorted, ())
    assert server.asked.count("refused") <= 2 * 8 + 30 // 16 + 1


def test_an_error_instead_of_a_trial_is_gone_on_without() -> None:
    server = KeyedServer(uuids(100))
    walk = SplitWalk(itself, behind, 8)
    found: list[str] = []
    while ask := walk.take():
        if ask.trial:
            walk.refuse(ask)
        else:
            found += walk.feed(ask, server(ask.position))[0]

    assert (found, walk.complete) == (server.sorted, True)
    assert len(server.asked) == 10


def test_a_seed_server_is_read_by_pages_and_never_tried() -> None:
    ids = sorted(uuids(260))

    def fetch(position: Position) -> Page[str]:
        page = int(dict(position).get("page", "0"))
        assert "cursor" not in dict(position)
        return Page(tuple(ids[page * 50 : page * 50 + 50]))

    found, requests, caveats = split(fetch)

    assert (found, requests, caveats) == (ids, 7, (NO_ORDER,))


def test_an_end_before_rows_that_were_shown_is_looked_at_again() -> None:
    """The server once says of a page in the middle that it is the last."""
    server = KeyedServer(uuids(400))
    lied: list[str] = []

    def fetch(position: Position) -> Page[str]:
        page = server(position)
        if not lied and len(server.asked) >= 20 and page.rows[-1] < "8":
            lied.append(page.rows[-1])
            return Page(page.rows, has_more=False)
        return page

    found, _, _ = split(fetch)

    assert lied
    assert sorted(found) == server.sorted


def test_an_empty_second_look_is_an_error() -> None:
    server = KeyedServer(uuids(400))
    lied = False

    def fetch(position: Position) -> Page[str]:
        nonlocal lied
        page = server(position)
        if not lied and len(server.asked) >= 20 and page.rows[-1] < "8":
            lied = True
            return Page(page.rows, has_more=False)
        return Page((), has_more=False) if lied and position[0][1].startswith("any|") else page

    with pytest.raises(ListingError, match="incomplete"):
        split(fetch)


def test_an_empty_page_in_the_middle_is_an_error_as_it_is_alone() -> None:
    server = KeyedServer(uuids(400))

    def fetch(position: Position) -> Page[str]:
        page = server(position)
        return Page((), has_more=False) if len(server.asked) > 20 else page

    with pytest.raises(ListingError, match="empty page, twice"):
        split(fetch)


# Measures


@given(ids=st.lists(st.uuids().map(str), min_size=3, max_size=3, unique=True))
def test_a_place_between_two_ids_has_a_name_between_them(ids: list[str]) -> None:
    ruler = Ruler(uuids(10))
    first, _, last = sorted(ids)
    middle = ruler.name((ruler.measure(first) + ruler.measure(last)) // 2)

    assert first < middle < last


def test_a_measure_ascends_with_ids_of_its_characters() -> None:
    names_of: Iterable[str] = ("", "0", "00", "01", "1", "1" * 40, "2")
    ruler = Ruler(("012",))

    measured = [ruler.measure(name) for name in names_of]

    assert measured == sorted(measured)
    assert ruler.measure("3") <= ruler.end
    assert [ruler.name(ruler.measure(name)) for name in ("", "0", "01", "2")] == ["", "0", "01", "2"]
