"""Walking one list with several cursors without losing or repeating a row (contract C7, G3).

A list that is sorted by id can be read from after any id. Each cursor walks one range of it.

A range ends where its walk meets the first row of another range. It does not end at an id that compares as larger, because the
server may sort differently from Python. So each row belongs to exactly one range, in any order of the server.

Ids are compared for two purposes only: to choose where to cut, and to prove that the first row of a new range was not listed
yet. As long as rows ascend, the listed rows of a range lie between its first and its last. If they do not ascend, no more cuts
are made, and the existing ranges are walked to their ends.

What was walked can be returned as stretches, from which another walk continues. This file is longer than 300 lines because the
proof spans all of it.
"""

from bisect import bisect_right, insort
from collections.abc import Callable, Sequence
from itertools import pairwise
from math import isqrt
from typing import Final, Generic, NamedTuple, TypeVar

import msgspec

from ..errors import ListingError
from ..http.dialect import Dialect
from .ruler import Ruler
from .walks import DeviceWalk, Page, Position

T = TypeVar("T")

_ALONE: Final = 3
"""Pages after which a list is long enough to be cut."""
_WORTH_PAGES: Final = 4
"""Fewest pages of a new range, as far as can be estimated: each range re-reads up to one page."""
_USELESS_CUTS: Final = 2
_PAGES_A_USELESS_CUT: Final = 16
"""Cuts that may prove useless: two for each cursor, and one for every 16 pages."""
_SEARCHING: Final = 2
"""Concurrent cuts of a range that seems to have rows at its beginning only."""


class Stretch(msgspec.Struct, frozen=True):
    """Rows from `first` to `last` that were walked without a gap; another walk can continue after them.

    `newest` is the first row of the last page. `at_end` tells whether `last` is the last row of the list.
    """

    first: str
    newest: str
    before_last: str
    last: str
    at_end: bool


class _Range(Generic[T]):
    """A part of the list, from the first row of its walk to the last one so far."""

    def __init__(self, walk: DeviceWalk[T], behind: str, start: Position | None) -> None:
        self.walk = walk
        self.next = start
        self.asked = False
        self.looking = False
        self.first = self.newest = self.last = self.before_last = behind
        self.pages = 0
        self.empty_from: str | None = None
        self.searching = False
        self.at_end = False
        self.met: _Range[T] | None = None

    def go_on_behind(self, stretch: Stretch, start: Position) -> None:
        """Continue after `stretch`.

        The page at `start` must show its last row again, because an empty page proves nothing.
        """
        self.first, self.newest = stretch.first, stretch.newest
        self.before_last, self.last = stretch.before_last, stretch.last
        self.pages = 1
        self.at_end = stretch.at_end
        self.looking = not stretch.at_end
        self.next = None if stretch.at_end else start

    def step(self, ruler: Ruler) -> int:
        """Return the distance that the newest page covered."""
        return max(1, ruler.measure(self.last) - ruler.measure(self.newest))


class Ask(NamedTuple, Generic[T]):
    """A page to request, of a range or of a new one after the id `cut`.

    It must begin with the id `shows`, if set.
    """

    position: Position
    range: _Range[T] | None
    cut: str = ""
    shows: str = ""

    @property
    def trial(self) -> bool:
        """Return whether the walk can do without this page."""
        return not self.range or (bool(self.shows) and not self.range.looking)


class SplitWalk(Generic[T]):
    """Walks a list of devices with up to `cursors` cursors, if the server lets the list begin at any id.

    The walk starts with one cursor. To try the server, it requests the page after the second last row seen. If that page
    begins with the last row, and rows ascend, more ranges are begun in the same way. Otherwise one cursor reads the whole list.

    `behind` returns the position after an id. If parts of the list were `walked` before, the walk continues after each of them.
    A single part is treated as a list that begins after it, and the server is tried again before a cut.
    """

    def __init__(
        self,
        key: Callable[[T], str],
        behind: Callable[[str], Position],
        cursors: int,
        *,
        expected: Dialect = Dialect.AUTO,
        walked: Sequence[Stretch] = (),
    ) -> None:
        self._key = key
        self._behind = behind
        self._cursors = cursors
        walk = DeviceWalk(key, expected=expected)
        begins = walked[0].before_last if len(walked) == 1 else ""
        self._ranges = [_Range(walk, begins, behind(begins) if begins else walk.start())]
        self._borders: dict[str, _Range[T]] = {}
        """The first page of every range; a whole page, because its first row may vanish."""
        self._ruler: Ruler | None = None
        self._tried = cursors == 1
        self._cuts: list[str] = []
        self._useless_cuts = 0
        if len(walked) > 1:
            self._go_on_behind(walked)

    @property
    def complete(self) -> bool:
        """Return whether every range was walked to its end."""
        return all(each.next is None for each in self._ranges)

    def stretches(self) -> tuple[Stretch, ...]:
        """Return what was walked so far; ranges that have met are joined."""
        met = [each.met for each in self._ranges]
        found: list[Stretch] = []
        for each in self._ranges:
            if not each.pages or each in met:
                continue
            end = each
            for _ in self._ranges:
                end = end.met or end
            found.append(Stretch(each.first, end.newest, end.before_last, end.last, end.at_end))
        return tuple(found)

    def take(self) -> Ask[T] | None:
        """Return a page to request now, or `None` if there is none before the next response."""
        under_way = [each for each in self._ranges if each.next is not None]
        for each in under_way:
            if not each.asked:
                each.asked = True
                return self._ask(each)
        cut = self._where_to_cut(under_way) if len(under_way) + len(self._cuts) < self._cursors else ""
        if not cut:
            return None
        insort(self._cuts, cut)
        return Ask(self._behind(cut), None, cut=cut)

    def feed(self, ask: Ask[T], page: Page[T]) -> tuple[tuple[T, ...], tuple[str, ...]]:
        """Return the new rows of `page`, and what the listing cannot prove."""
        each = ask.range
        if each is None:
            return self._begin(ask.cut, page), ()
        each.asked = False
        if ask.shows:
            shown = bool(page.rows) and self._key(page.rows[0]) == ask.shows
            if each.looking:
                self._believe(each, page)
            elif shown and page.has_more is not None:
                self._ruler = Ruler(self._borders)
            else:
                return (), ()
            if shown:
                page = msgspec.structs.replace(page, rows=page.rows[1:])
            if not page.rows:
                each.next = each.next if page.has_more else None
                each.at_end = each.next is None
                return (), ()
        return self._go_on(each, page)

    def refuse(self, ask: Ask[T]) -> None:
        """Continue without a page that the server refused."""
        if ask.range is None:
            self._cuts.remove(ask.cut)
        else:
            ask.range.asked = False
        self._ruler = None

    def _go_on_behind(self, walked: Sequence[Stretch]) -> None:
        self._ranges.clear()
        for stretch in sorted(walked, key=lambda stretch: stretch.first):
            each = _Range(DeviceWalk(self._key, expected=Dialect.MODERN), "", None)
            each.go_on_behind(stretch, self._behind(stretch.before_last))
            self._ranges.append(each)
            self._borders[stretch.first] = each
        self._tried = True
        self._ruler = Ruler(name for each in walked for name in (each.first, each.newest, each.before_last, each.last))

    def _ask(self, each: _Range[T]) -> Ask[T]:
        assert each.next is not None  # noqa: S101 - the range is not at its end
        if each.looking:
            return Ask(each.next, each, shows=each.last)
        if not self._tried and each.pages >= _ALONE and each.before_last:
            self._tried = True
            return Ask(self._behind(each.before_last), each, shows=each.last)
        return Ask(each.next, each)

    def _begin(self, cut: str, page: Page[T]) -> tuple[T, ...]:
        """Begin a range after `cut`, if its first row was not listed yet."""
        self._cuts.remove(cut)
        names = [self._key(row) for row in page.rows]
        if self._ruler is None:
            return ()
        if page.has_more is None or not _ascend(cut, names):
            self._ruler = None
            return ()
        known = not names or names[0] in self._borders or any(each.first <= names[0] <= each.last for each in self._ranges)
        within = self._ranges[bisect_right(self._ranges, cut, key=lambda each: each.first) - 1]
        begun = _Range(DeviceWalk(self._key, expected=Dialect.MODERN), cut, None)
        begun.empty_from = within.empty_from
        if known or self._ruler.measure(names[0]) > self._ruler.measure(cut) + within.step(self._ruler):
            within.searching = True
            within.empty_from = min(cut, within.empty_from or cut)
        else:
            within.searching = False
        if known:
            self._useless_cuts += 1
            return ()
        rows, _ = self._go_on(begun, page)
        insort(self._ranges, begun, key=lambda each: each.first)
        return rows

    def _believe(self, each: _Range[T], page: Page[T]) -> None:
        """Continue or end a range, after its end was read a second time."""
        if not page.rows and self._shown_beyond(each):
            message = "the server ended the list before rows that it had sent earlier: the listing is incomplete"
            raise ListingError(message)
        each.looking = False
        each.next = self._behind(each.last)

    def _go_on(self, each: _Range[T], page: Page[T]) -> tuple[tuple[T, ...], tuple[str, ...]]:
        """Return the rows of a range up to the first row of another range."""
        rows, step = each.walk.feed(page)
        self._tried |= page.has_more is None
        self._note(each, [self._key(row) for row in page.rows])
        names = [self._key(row) for row in rows]
        if each.pages > 1 and self._borders.keys().isdisjoint(names):
            end = None
        else:
            end = next((place for place, name in enumerate(names) if self._borders.get(name, each) is not each), None)
        if each.pages == 1:
            self._borders.update(dict.fromkeys(names[:end], each))
        if end is not None:
            each.next, each.met = None, self._borders[names[end]]
            return rows[:end], step.caveats
        each.next, each.at_end = step.next, step.next is None
        if step.next is None and self._shown_beyond(each):
            # There are rows beyond this end, so it must show a second time.
            each.walk = DeviceWalk(self._key, expected=Dialect.MODERN)
            each.next, each.at_end, each.looking = self._behind(each.before_last), False, True
        return rows, step.caveats

    def _shown_beyond(self, each: _Range[T]) -> bool:
        return any(other.first > each.last for other in self._ranges)

    def _note(self, each: _Range[T], names: list[str]) -> None:
        if not names:
            return
        if not _ascend(each.last, names):
            self._ruler, self._tried = None, True
        if not each.pages:
            each.first = names[0]
        each.pages += 1
        each.newest = names[0]
        each.before_last, each.last = (each.last, *names)[-2:]
        if self._ruler is not None and not self._ruler.knows(each.last):
            self._ruler = Ruler((*self._borders, each.last))

    def _where_to_cut(self, under_way: Sequence[_Range[T]]) -> str:
        """Return the id at which a new range would take over the most pages, or an empty string if too few."""
        read = sum(each.pages for each in self._ranges)
        allowed = _USELESS_CUTS * self._cursors + read // _PAGES_A_USELESS_CUT
        if self._ruler is None or self._useless_cuts + len(self._cuts) >= allowed:
            return ""
        pieces = [piece for each in under_way if (piece := self._piece(each, self._ruler))]
        most = max(pieces, default=None, key=lambda piece: piece.pages)
        if most is None or most.pages < _WORTH_PAGES:
            return ""
        cut = self._ruler.name(most.middle())
        return cut if most.range.last < cut and cut not in self._cuts else ""

    def _piece(self, each: _Range[T], ruler: Ruler) -> "_Piece[T] | None":
        """Return the rest of a range that can be cut."""
        after = next((other.first for other in self._ranges if other.first > each.last), None)
        ends = [ruler.measure(end) for end in (after, each.empty_from) if end is not None and end > each.last]
        here, end = ruler.measure(each.last), min(ends, default=ruler.end)
        cuts = [place for cut in self._cuts if here < (place := ruler.measure(cut)) < end]
        if end <= here or (each.searching and len(cuts) >= _SEARCHING):
            return None
        return _Piece(each, each.step(ruler), here, (here, *cuts, end))


class _Piece(NamedTuple, Generic[T]):
    """The rest of a range with its pending cuts at `places`; `page` is the distance that a page covers."""

    range: _Range[T]
    page: int
    here: int
    places: tuple[int, ...]

    @property
    def pages(self) -> int:
        """Return the estimated pages of a part, if rows are as dense as so far."""
        return (self.places[-1] - self.here) // self.page // (len(self.places) - 1)

    def middle(self) -> int:
        """Return the middle of the largest part, on a log scale while searching for the end of the rows."""
        if not self.range.searching:
            left, right = max(pairwise(self.places), key=lambda part: part[1] - part[0])
            return (left + right) // 2
        distances = [max(place - self.here, 2 * self.page) for place in self.places]
        left, right = max(pairwise(distances), key=lambda part: part[1] / part[0])
        return self.here + isqrt(left * right)


def _ascend(behind: str, names: list[str]) -> bool:
    return not names or (behind < names[0] and sorted(set(names)) == names)
