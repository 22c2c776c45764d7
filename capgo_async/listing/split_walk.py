"""One list walked at several places at once: where to cut it, and why nothing is lost or listed twice (contract C7, G3).

A list by id can be begun behind any id. The order of the server need not be that of Python's strings, so a range does not end
at an id that is larger than another: it ends where its walk meets a row that another range began with. Then each row belongs
to one range, whatever the order is. Strings are compared to choose where to cut, and to prove of the row that a new range
begins with that nobody has listed it: what was listed of a range lies between its first row and its last, as long as rows
ascend. Where they do not, nothing is cut any more, and the ranges that are there are walked to their ends.

What was walked can be told as stretches, from which another walk goes on. Past 300 lines because this proof is one.
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
"""Pages after which a list is long enough to be cut; until then it costs what it costs without."""
_WORTH_PAGES: Final = 4
"""Pages that a range has at least, as far as that can be foreseen: each costs up to one page that another shows, too."""
_USELESS_CUTS: Final = 2
_PAGES_A_USELESS_CUT: Final = 16
"""Cuts that may turn out to be useless: so many for each cursor, and one for so many pages."""
_SEARCHING: Final = 2
"""Cuts at once of a range that has rows at its beginning only, it seems."""


class Stretch(msgspec.Struct, frozen=True):
    """Rows that were walked from `first` to `last` with none between them left out, so that another walk can go on behind them.

    `newest` is what the last page began with; `at_end` tells that the list ended with `last`.
    """

    first: str
    newest: str
    before_last: str
    last: str
    at_end: bool


class _Range(Generic[T]):
    """A part of the list, from the row that its walk began with to the one that it showed last."""

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
        """Take what was walked before, the last row of which is seen again at `start`: an empty page would prove nothing."""
        self.first, self.newest = stretch.first, stretch.newest
        self.before_last, self.last = stretch.before_last, stretch.last
        self.pages = 1
        self.at_end = stretch.at_end
        self.looking = not stretch.at_end
        self.next = None if stretch.at_end else start

    def step(self, ruler: Ruler) -> int:
        """Return how far its newest page took, measured."""
        return max(1, ruler.measure(self.last) - ruler.measure(self.newest))


class Ask(NamedTuple, Generic[T]):
    """A page to ask for: of a range, or where one is to begin, behind the id `cut`; `shows` is with which id it must begin."""

    position: Position
    range: _Range[T] | None
    cut: str = ""
    shows: str = ""

    @property
    def trial(self) -> bool:
        """Tell that the list can do without an answer."""
        return not self.range or (bool(self.shows) and not self.range.looking)


class SplitWalk(Generic[T]):
    """Walk a list of devices with `cursors` cursors, where the server lets its list be begun anywhere.

    It begins with one. Then the second last row that was seen takes the place of the server's cursor: where the answer begins
    with the last one, and the rows ascend, other ranges are begun likewise. Else one cursor goes on as without.
    `behind` makes the position behind an id. Where parts of the list were `walked` before, it goes on behind each of them; one
    part alone is as good as a list that begins behind it, and is not cut before that has been tried again.
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
        """The rows that ranges began with: a page of each, in case that some of them vanish."""
        self._ruler: Ruler | None = None
        self._tried = cursors == 1
        self._cuts: list[str] = []
        self._useless_cuts = 0
        if len(walked) > 1:
            self._go_on_behind(walked)

    @property
    def complete(self) -> bool:
        """Tell that every range was walked to its end."""
        return all(each.next is None for each in self._ranges)

    def stretches(self) -> tuple[Stretch, ...]:
        """Return what was walked until now, the ranges that have met as one."""
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
        """Return a page to ask for now; `None` when there is none before another answer, or ever."""
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
        """Return the rows of `page` that are new, and what the listing cannot prove."""
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
        """Go on without the answer to a trial."""
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
        assert each.next is not None  # noqa: S101 - only such a range is asked for
        if each.looking:
            return Ask(each.next, each, shows=each.last)
        if not self._tried and each.pages >= _ALONE and each.before_last:
            self._tried = True
            return Ask(self._behind(each.before_last), each, shows=each.last)
        return Ask(each.next, each)

    def _begin(self, cut: str, page: Page[T]) -> tuple[T, ...]:
        """Begin a range behind `cut`, if there is something that no other range has shown."""
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
        """Let a range go on, or end, as the second look at its end says."""
        if not page.rows and self._shown_beyond(each):
            message = "the server ended the list before rows that it had shown: the listing is not complete"
            raise ListingError(message)
        each.looking = False
        each.next = self._behind(each.last)

    def _go_on(self, each: _Range[T], page: Page[T]) -> tuple[tuple[T, ...], tuple[str, ...]]:
        """Take the rows of a range up to where another began."""
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
            # There are rows beyond: the end is believed when it is seen behind the last row a second time.
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
        """Return the place where a new range takes most work from others; none where there is little of it."""
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
        """Return the part of a range that is best cut next."""
        after = next((other.first for other in self._ranges if other.first > each.last), None)
        ends = [ruler.measure(end) for end in (after, each.empty_from) if end is not None and end > each.last]
        here, end = ruler.measure(each.last), min(ends, default=ruler.end)
        cuts = [place for cut in self._cuts if here < (place := ruler.measure(cut)) < end]
        if end <= here or (each.searching and len(cuts) >= _SEARCHING):
            return None
        return _Piece(each, each.step(ruler), here, (here, *cuts, end))


class _Piece(NamedTuple, Generic[T]):
    """What is left of a range, `page` being what it shows at a time, and cut already where answers are awaited."""

    range: _Range[T]
    page: int
    here: int
    places: tuple[int, ...]

    @property
    def pages(self) -> int:
        """Return the pages of a part, if rows are as close as where the range was walked."""
        return (self.places[-1] - self.here) // self.page // (len(self.places) - 1)

    def middle(self) -> int:
        """Return the middle of the largest part; while it is searched for where rows end, of the numbers of digits."""
        if not self.range.searching:
            left, right = max(pairwise(self.places), key=lambda part: part[1] - part[0])
            return (left + right) // 2
        distances = [max(place - self.here, 2 * self.page) for place in self.places]
        left, right = max(pairwise(distances), key=lambda part: part[1] / part[0])
        return self.here + isqrt(left * right)


def _ascend(behind: str, names: list[str]) -> bool:
    return not names or (behind < names[0] and sorted(set(names)) == names)
