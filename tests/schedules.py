"""The least makespan of tiny instances by trying every schedule, to check the formulas with.

Time is in whole seconds. That loses nothing if latency and windows are whole: if every request leaves as early as its order
allows, all times are sums of these.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

NEVER = 99


class Instance(NamedTuple):
    """The key and the requests of each app, and the limits.

    A request that has to wait leaves `step` seconds after the one that it waits for.
    """

    apps: tuple[tuple[int, int], ...]
    places: int
    latency: int
    step: int
    key: int = NEVER
    app: int = NEVER
    sliding: int = NEVER


class _State(NamedTuple):
    """A state of the search.

    `recent` has the departures in each of the last seconds, latest first. Counters of `keys` and `windows` are (age, used).
    """

    left: tuple[int, ...]
    recent: tuple[int, ...]
    keys: tuple[tuple[int, int], ...]
    windows: tuple[tuple[int, int], ...]


def least_of(instance: Instance) -> int:
    """Return the least makespan."""
    rested = (instance.step, 0)
    keys = 1 + max(key for key, _ in instance.apps)
    left = tuple(requests for _, requests in instance.apps)
    states = {_State(left, (0,) * instance.step, (rested,) * keys, (rested,) * len(left))}
    second = 0
    while True:
        after = {_after(instance, state, sent) for state in states for sent in _choices(instance, state)}
        if any(not any(state.left) for state in after):
            return second + instance.latency
        states = {_older(instance, state) for state in after}
        second += 1


def _choices(instance: Instance, state: _State) -> Iterator[tuple[int, ...]]:
    """Yield the possible numbers of requests of each app that may leave now."""
    free = min(
        instance.places - sum(state.recent[: instance.latency - 1]), instance.sliding - sum(state.recent[: instance.step - 1])
    )
    keys = [instance.key - (0 if age >= instance.step else used) for age, used in state.keys]
    yield from _shares(instance, state, 0, free, keys)


def _shares(instance: Instance, state: _State, app: int, free: int, keys: Sequence[int]) -> Iterator[tuple[int, ...]]:
    if app == len(state.left):
        yield ()
        return
    key = instance.apps[app][0]
    age, used = state.windows[app]
    most = min(state.left[app], free, keys[key], instance.app - (0 if age >= instance.step else used))
    for sent in range(most + 1):
        others = [left - (sent if number == key else 0) for number, left in enumerate(keys)]
        for rest in _shares(instance, state, app + 1, free - sent, others):
            yield (sent, *rest)


def _after(instance: Instance, state: _State, sent: tuple[int, ...]) -> _State:
    """Return the state after `sent` requests of each app have left now.

    `recent` still begins a second ago, so it is one longer.
    """
    keys = list(state.keys)
    windows = list(state.windows)
    for app, requests in enumerate(sent):
        if requests:
            key = instance.apps[app][0]
            keys[key] = (0, requests + (0 if keys[key][0] >= instance.step else keys[key][1]))
            age, used = windows[app]
            windows[app] = (0, requests) if age >= instance.step else (age, used + requests)
    left = tuple(before - requests for before, requests in zip(state.left, sent, strict=True))
    return _State(left, (sum(sent), *state.recent), tuple(keys), tuple(windows))


def _older(instance: Instance, state: _State) -> _State:
    """Return the state a second later. Expired counters become equal."""
    keys, windows = (
        tuple((age + 1, used) if age + 1 < instance.step else (instance.step, 0) for age, used in counters)
        for counters in (state.keys, state.windows)
    )
    return _State(state.left, state.recent[: instance.step], keys, windows)


class _Failing(NamedTuple):
    """The state of one app and key when some requests fail.

    `waiting` has the seconds until each repeat may leave.
    """

    ready: int
    waiting: tuple[int, ...]
    number: int
    recent: tuple[int, ...]
    age: int
    used: int


def least_with_failures(operations: int, failed: Sequence[int], instance: Instance) -> int:
    """Return the least makespan of one app and key when the requests numbered `failed` are repeated.

    Requests are numbered from 1 in the order of departure.
    """
    states = {_Failing(operations, (), 0, (0,) * instance.step, instance.step, 0)}
    second = 0
    while True:
        after = {later for state in states for later in _repeating(instance, failed, state)}
        if any(not state.ready and not state.waiting for state in after):
            return second + instance.latency
        states = after
        second += 1


def _repeating(instance: Instance, failed: Sequence[int], state: _Failing) -> Iterator[_Failing]:
    """Yield the possible states a second later, one for each number of requests that may leave now."""
    ready = state.ready + sum(1 for seconds in state.waiting if seconds <= 0)
    waiting = tuple(seconds for seconds in state.waiting if seconds > 0)
    used = 0 if state.age >= instance.step else state.used
    free = min(ready, instance.places - sum(state.recent[: instance.latency - 1]), instance.key - used)
    for sent in range(free + 1):
        failures = sum(1 for each in failed if state.number < each <= state.number + sent)
        yield _Failing(
            ready - sent,
            tuple(seconds - 1 for seconds in (*waiting, *(instance.step,) * failures)),
            state.number + sent,
            (sent, *state.recent[:-1]),
            1 if sent else min(state.age + 1, instance.step),
            used + sent,
        )
