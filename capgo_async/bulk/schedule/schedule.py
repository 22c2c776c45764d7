"""The schedule: which operation of a run leaves next.

It spends the limits of keys and apps as well as it can. Each app, or organization, is a lane. Of the lanes of a key, the one
with most left goes first, as long as the window of its app is open. Lanes that no limit of their app slows down take turns. Of
several keys, one sends until its limit is full, and others send while it rests (`resting`). The file is longer than 300 lines
because lanes, keys and fetching share their counts.
"""

import heapq
import itertools
import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from ...limits.models import ScopeKind
from ..operations.operations import Planned
from .gauge import Gauge
from .keys import Key, first_to_send
from .resting import Prospect, Rules, in_wholes, levelled
from .share import Share

_FIRST: Final = 1 << 60
"""More than the need of any lane."""


class Waiting(NamedTuple):
    """An operation that waited for its own target.

    If it is `in_doubt`, an attempt may have been processed.
    """

    planned: Planned
    in_doubt: bool


class _Lane:
    """The operations of one app: `left` in the journal, `ready` and `again` at hand, `parked` for later."""

    def __init__(self, app_id: str, key: "_Key") -> None:
        self.key = key
        self.app_id = app_id
        self.left = 0
        self.each = 1
        self.windowed = False
        self.apart = False
        self.ready: deque[Planned] = deque()
        self.again: deque[Waiting] = deque()
        self.parked = 0
        self.in_flight = 0
        self.turn = -1
        """Its number in the queue, or -1 if it is not queued."""
        self.closed = False

    @property
    def at_hand(self) -> int:
        return len(self.ready) + len(self.again)

    @property
    def may_go(self) -> bool:
        """Whether something at hand may leave, as far as the lane can tell."""
        return bool(self.at_hand) and not self.closed and not (self.apart and self.in_flight)

    @property
    def waits(self) -> int:
        """How many operations have yet to leave."""
        return self.left + self.at_hand + self.parked

    @property
    def requests(self) -> int:
        return self.waits * self.each

    @property
    def need(self) -> int:
        """The requests that its own limit has to let pass: the lane with the greatest need goes first.

        A lane with operations that waited goes before all others, so that they do not pile up.
        """
        return _FIRST if self.again else self.requests if self.windowed else 0


class _Key(Key):
    """A key and its lanes.

    `queue` holds the lanes that may go, by need and turn; `closed` holds those whose apps wait, by time.
    """

    lanes: list[_Lane]

    def __init__(self, name: str) -> None:
        super().__init__([])
        self.name = name
        self.queue: list[tuple[int, int, _Lane]] = []
        self.closed: list[tuple[float, int, _Lane]] = []
        self.unsure: list[_Lane] = []
        """Lanes that wait for a response, because only that can tell when their apps are free."""
        self.at_hand = 0
        """How many operations are at hand of lanes that are not closed."""
        self.in_flight = 0

    @property
    def has_work(self) -> bool:
        """Whether a lane that is not closed has operations, at hand or in the journal."""
        return any(not lane.closed and (lane.left or lane.at_hand) for lane in self.lanes)


class Schedule:
    """The operations of a run that are at hand, and the choice of the next one to leave.

    If nothing may leave now, `look_again_at` is the time to choose again; infinity while only a response can change that.
    """

    def __init__(self, shares: Iterable[Share], gauge: Gauge) -> None:
        self.look_again_at = math.inf
        self._gauge = gauge
        self._lanes: dict[str, _Lane] = {}
        self._keys: dict[str, _Key] = {}
        self._order: list[_Key] = []
        """The keys, in the order in which they send."""
        self._order_again_at = -math.inf
        self._turns = itertools.count()
        self._in_flight = 0
        for share in shares:
            self._add(share)

    def _add(self, share: Share) -> None:
        name = self._gauge.key_of(share.app_id)
        key = self._keys.setdefault(name, _Key(name))
        lane = self._lanes.get(share.app_id)
        if lane is None:
            lane = self._lanes[share.app_id] = _Lane(share.app_id, key)
            key.lanes.append(lane)
        # Several kinds of operations on one app share its lane, and the strictest rule of each holds for all.
        lane.left += share.operations
        lane.each = max(lane.each, share.each)
        lane.windowed = lane.windowed or ScopeKind.APP_ADDRESS in share.limits
        lane.apart = lane.apart or share.apart

    @property
    def exhausted(self) -> bool:
        """Whether the journal has nothing more."""
        return not any(lane.left for lane in self._lanes.values())

    @property
    def empty(self) -> bool:
        """Whether nothing is at hand."""
        return not any(lane.at_hand for lane in self._lanes.values())

    @property
    def some_waited(self) -> bool:
        """Whether something at hand waited for its own target."""
        return any(lane.again for lane in self._lanes.values())

    @property
    def rests_until(self) -> float:
        """Time until which all keys with operations rest by choice; a past time if one does not."""
        resting = (key.resting_until for key in self._keys.values() if any(lane.waits for lane in key.lanes))
        return min(resting, default=-math.inf)

    def waiting(self) -> dict[str, int]:
        """Return how many operations of each app have yet to leave."""
        return {app_id: lane.waits for app_id, lane in self._lanes.items()}

    def resting(self, now: float) -> dict[str, float]:
        """Return the keys that rest by choice, each with the seconds that are left of the rest."""
        return {key.name: key.resting_until - now for key in self._keys.values() if now < key.resting_until}

    def put(self, planned: Sequence[Planned], asked: Mapping[str, int]) -> None:
        """Add operations from the journal.

        If there are fewer than `asked` for an app, the journal has no more of that app.
        """
        found = dict.fromkeys(asked, 0)
        for each in planned:
            app_id = each.operation.app_id
            found[app_id] += 1
            self._lanes[app_id].ready.append(each)
        for app_id, count in found.items():
            lane = self._lanes[app_id]
            lane.key.at_hand += 0 if lane.closed else count
            lane.left = max(0, lane.left - count) if count == asked[app_id] else 0
            self._line_up(lane)

    def park(self, planned: Planned) -> None:
        """Take note that an operation that left waits for its own target."""
        self._lanes[planned.operation.app_id].parked += 1

    def come_back(self, waiting: Waiting) -> None:
        """Add an operation that has waited for its own target."""
        lane = self._lanes[waiting.planned.operation.app_id]
        lane.parked -= 1
        lane.again.append(waiting)
        lane.key.at_hand += 0 if lane.closed else 1
        lane.turn = -1
        self._line_up(lane)

    def answered(self, app_id: str) -> None:
        """Take note that an operation that left has ended, or waits for its target."""
        lane = self._lanes[app_id]
        key = lane.key
        lane.in_flight -= 1
        key.in_flight -= 1
        self._in_flight -= 1
        if lane.apart:
            self._line_up(lane)
        if not key.in_flight and len(self._keys) > 1 and key is not self._order[0]:
            # Now it is known when its silence ends.
            self._order_again_at = -math.inf
        if key.unsure:
            unsure, key.unsure = key.unsure, []
            for each in unsure:
                self._reopen(each)

    def take_back(self) -> list[Waiting]:
        """Return everything at hand, and forget it."""
        found: list[Waiting] = []
        for lane in self._lanes.values():
            found += (Waiting(each, in_doubt=False) for each in lane.ready)
            found += lane.again
            lane.ready.clear()
            lane.again.clear()
        for key in self._keys.values():
            key.at_hand = 0
        return found

    def choose(self, now: float) -> Planned | None:
        """Return the operation that leaves now, or `None` if none may."""
        self.look_again_at = math.inf
        if self._gauge.is_full(self._in_flight):
            # It would wait in the pacer's queue, and there also for the window of its app, while other apps could send.
            return None
        order = self._in_order(now)
        for key in order:
            lane = self._open_lane(key, now)
            if len(order) > 1 and (lane is None or key is not order[0]):
                # While the first key waits, another may take its turn.
                self._order_again_at = -math.inf
            if lane is not None:
                return self._leave(lane)
        return None

    def wanted(self, most: int, now: float) -> dict[str, int]:
        """Return how many operations of each app to fetch, about `most` in total.

        No worker should have to wait for the journal.
        """
        for key in self._in_order(now):
            lanes = [lane for lane in key.lanes if lane.left and not lane.closed]
            if not lanes or self._free_at(key, now) > now:
                continue
            period = self._gauge.period(key.name, now)
            amount = int(min(most, key.quota, most if period is None else period.limit - period.used))
            if key.at_hand < amount and key.at_hand <= most // 2 and (wanted := _shared_out(lanes, amount)):
                return wanted
            # Operations that must wait for others in flight are no reason to let other keys wait.
            if key.at_hand < amount and any(lane.may_go for lane in key.lanes):
                return {}
        return {}

    def is_low(self, most: int) -> bool:
        """Return whether at most half of `most` is at hand for the sending key while the journal has more."""
        if not self._order:
            return False
        first = self._order[0]
        return first.at_hand <= most // 2 and any(lane.left for lane in first.lanes)

    def _in_order(self, now: float) -> list[_Key]:
        """Return the keys in the order in which they send.

        The order changes when a key becomes free, or the first one has to rest.
        """
        if now < self._order_again_at:
            return self._order
        came = False
        self._order_again_at = math.inf
        for key in self._keys.values():
            free_at = self._free_at(key, now)
            before, key.free = key.free, free_at <= now and key.has_work
            came = came or (key.free and not before)
            opens_at = key.closed[0][0] if key.closed else math.inf
            self._order_again_at = min(self._order_again_at, free_at if free_at > now else opens_at)
        if came or not self._order or not self._order[0].free:
            self._put_in_order(now)
        return self._order

    def _put_in_order(self, now: float) -> None:
        free = [key for key in self._keys.values() if key.free]
        self._order = sorted(self._keys.values(), key=lambda key: (not key.free, -key.requests))
        if len(free) > 1:
            first = first_to_send(free, (self._prospect(key, now) for key in free))
            self._order.remove(first)
            self._order.insert(0, first)

    def _prospect(self, key: _Key, now: float) -> Prospect | None:
        period = self._gauge.period(key.name, now)
        rules = self._rules(key, next((lane for lane in key.lanes if lane.windowed), None))
        return None if period is None or rules is None else key.prospect(period.limit - period.used, rules)

    def _rules(self, key: _Key, windowed: _Lane | None) -> Rules | None:
        rules = self._gauge.rules(key.name, None if windowed is None else windowed.app_id)
        return rules if rules is None or windowed is None else in_wholes(rules, windowed.each)

    def _free_at(self, key: _Key, now: float) -> float:
        """Return when a key may send. A past time means now, infinity that only a response can tell."""
        if key.quota < 1:
            if key.in_flight:
                return math.inf
            period = self._gauge.period(key.name, now)
            key.rests_until(period.fresh_at if period is not None else now)
        if now < key.resting_until:
            return key.resting_until
        free_at = self._gauge.key_free_at(key.name, now)
        # If only a response can tell, and this run has no request out, sending is the way to find out.
        if free_at > now and (free_at < math.inf or key.in_flight):
            return free_at
        while key.closed and key.closed[0][0] <= now:
            self._reopen(heapq.heappop(key.closed)[2])
        return now

    def _open_lane(self, key: _Key, now: float) -> _Lane | None:
        """Return the lane of a key that sends next, or `None` if none may."""
        free_at = self._free_at(key, now)
        if free_at > now:
            self._look_again(free_at)
            return None
        while key.queue:
            _, turn, lane = key.queue[0]
            if turn == lane.turn and self._is_open(lane, now):
                return lane
            heapq.heappop(key.queue)
            if turn == lane.turn:
                lane.turn = -1
        self._wait_for_windows(key, now)
        return None

    def _is_open(self, lane: _Lane, now: float) -> bool:
        """Return whether a lane of the queue may send. If its app has to wait, put the lane aside."""
        if not (lane.ready or lane.again) or (lane.apart and lane.in_flight):
            return False
        if not lane.windowed:
            return True
        # An operation of several requests leaves when there is room for all of them, and for those that are under way. If it
        # had to wait in between, it would hold a place, and keep its key from resting.
        requests = lane.each if lane.each == 1 else lane.each * (lane.in_flight + 1)
        at = self._gauge.app_free_at(lane.app_id, requests, now)
        if at <= now or (at == math.inf and not lane.in_flight):
            return True
        lane.closed = True
        lane.key.at_hand -= lane.at_hand
        if at == math.inf:
            lane.key.unsure.append(lane)
        else:
            heapq.heappush(lane.key.closed, (at, next(self._turns), lane))
        return False

    def _wait_for_windows(self, key: _Key, now: float) -> None:
        """Wait for the first window that opens, or for a silence of the key if the job ends sooner so."""
        if not key.closed:
            return
        opens_at = key.closed[0][0]
        self._look_again(opens_at)
        if key.decided < opens_at and not key.unsure and not key.in_flight and not key.has_work:
            period, rules = self._gauge.period(key.name, now), self._rules(key, key.closed[0][2])
            if key.rests_early(opens_at, now, period, rules):
                self._look_again(key.resting_until)

    def _leave(self, lane: _Lane) -> Planned:
        key = lane.key
        found = lane.again.popleft().planned if lane.again else lane.ready.popleft()
        key.at_hand -= 1
        key.quota -= lane.each
        key.in_flight += 1
        self._in_flight += 1
        lane.in_flight += 1
        # The only lane keeps its place.
        if len(key.queue) > 1:
            lane.turn = next(self._turns)
            heapq.heapreplace(key.queue, (-lane.need, lane.turn, lane))
        return found

    def _line_up(self, lane: _Lane) -> None:
        """Give a lane a place in the queue, unless it has one, has nothing at hand, or is closed."""
        if lane.turn < 0 and lane.at_hand and not lane.closed:
            lane.turn = next(self._turns)
            heapq.heappush(lane.key.queue, (-lane.need, lane.turn, lane))

    def _reopen(self, lane: _Lane) -> None:
        lane.closed = False
        lane.key.at_hand += lane.at_hand
        self._line_up(lane)

    def _look_again(self, at: float) -> None:
        self.look_again_at = min(self.look_again_at, at)


def _shared_out(lanes: Sequence[_Lane], amount: int) -> dict[str, int]:
    """Return how many operations to fetch for each lane: those that leave among the next `amount`."""
    waits = [lane.waits * lane.each if lane.windowed else 0 for lane in lanes]
    if any(waits):
        due = [before - after for before, after in zip(waits, levelled(waits, amount), strict=True)]
    else:
        due = [amount / len(lanes)] * len(lanes)
    wanted: dict[str, int] = {}
    # The lanes with most due come first. Each number is rounded up, so with many lanes the last ones get nothing yet.
    for share, lane in sorted(zip(due, lanes, strict=True), key=lambda pair: -pair[0]):
        count = min(lane.left, math.ceil(share / lane.each) - lane.at_hand, amount)
        if count > 0:
            wanted[lane.app_id] = count
            amount -= count
    return wanted
