"""The listing over the walks: items, pages, all; again; not to the end."""

import pytest

from capgo_async.errors import ConfigurationError, ListingError
from capgo_async.listing.listing import Listing
from capgo_async.listing.walks import MASKED_EMPTY, DeviceWalk, Page, PageWalk, Position, last_unless_full


class Server:
    """Five pages of two rows, or what a test puts there."""

    def __init__(self) -> None:
        self.asked: list[Position] = []
        self.pages = {page: Page((page * 2, page * 2 + 1), page < 4, f"c{page + 1}") for page in range(5)}

    async def fetch(self, position: Position) -> Page[int]:
        self.asked.append(position)
        return self.pages[int(position[0][1][1:]) if position else 0]

    def listing(self) -> Listing[int]:
        return Listing(lambda: DeviceWalk(lambda row: row), self.fetch)


async def test_nothing_is_asked_for_before_it_is_wanted() -> None:
    server = Server()

    listing = server.listing()

    assert (server.asked, listing.complete, listing.caveats) == ([], False, ())


async def test_items_pages_and_all_show_the_same() -> None:
    listing = Server().listing()

    assert [row async for row in listing] == list(range(10))
    assert [page async for page in listing.pages()] == [(0, 1), (2, 3), (4, 5), (6, 7), (8, 9)]
    assert await listing.all() == list(range(10))
    assert listing.complete


async def test_the_first_rows_take_no_more_pages_than_they_fill() -> None:
    server = Server()
    listing = server.listing()

    assert (await listing.first(0), len(server.asked)) == ([], 0)
    assert (await listing.first(3), len(server.asked)) == ([0, 1, 2], 2)
    assert not listing.complete
    assert (await listing.first(99), listing.complete) == (list(range(10)), True)
    with pytest.raises(ConfigurationError, match="-1"):
        await listing.first(-1)


async def test_the_count_is_that_of_all_rows() -> None:
    listing = Server().listing()

    assert (await listing.count(), listing.complete) == (10, True)


async def test_each_iteration_begins_anew() -> None:
    server = Server()
    listing = server.listing()

    await listing.all()
    del server.pages[4]
    server.pages[3] = Page((6,), has_more=False)

    assert await listing.all() == [0, 1, 2, 3, 4, 5, 6]
    assert server.asked.count(()) == 2


async def test_who_stops_early_asks_for_no_more() -> None:
    server = Server()
    listing = server.listing()

    async for row in listing:
        if row == 2:
            break

    assert len(server.asked) == 2
    assert not listing.complete
    assert await listing.all() == list(range(10))


async def test_a_listing_that_breaks_is_not_complete() -> None:
    server = Server()
    listing = server.listing()
    await listing.all()
    server.pages[2] = Page((4, 5), has_more=True)
    rows = aiter(listing)

    assert [await anext(rows) for _ in range(4)] == [0, 1, 2, 3]
    with pytest.raises(ListingError):
        await anext(rows)
    assert not listing.complete


async def test_a_fetch_that_fails_is_not_the_end() -> None:
    server = Server()
    listing = server.listing()
    del server.pages[2]

    with pytest.raises(KeyError):
        await listing.all()

    assert not listing.complete


async def test_caveats_are_stated_once_and_forgotten_by_the_next_iteration() -> None:
    server = Server()
    listing = server.listing()
    whole = server.pages[0]
    server.pages[0] = Page((), has_more=False)

    assert [page async for page in listing.pages()] == []
    assert (listing.complete, listing.caveats) == (True, (MASKED_EMPTY,))

    server.pages[0] = whole
    await listing.all()
    assert listing.caveats == ()


async def test_pages_without_new_rows_are_not_shown() -> None:
    async def fetch(_: Position) -> Page[int]:
        return Page(tuple(range(50)))

    listing: Listing[int] = Listing(lambda: PageWalk(lambda row: row, last=last_unless_full), fetch)

    assert [page async for page in listing.pages()] == [tuple(range(50))]
    assert listing.complete
