"""The server's six limiters, and the published per-key limit of an edge (contract B1 to B3).

All times are whole milliseconds, as in the server, so a caller that waits exactly until the announced reset gets through.
"""

from collections import OrderedDict, deque
from collections.abc import Hashable, Mapping
from typing import Final, Literal

import msgspec

from .exchange import Refusal

Operation = Literal["get", "set", "delete"]

_MINUTE: Final = 60_000
_SECOND: Final = 1_000
_LOCK_OUT: Final = 15 * _MINUTE


class Thresholds(msgspec.Struct, frozen=True, kw_only=True):
    """Number of requests that each limiter allows; `None` switches a limiter off.

    As with the server's own variables (contract B2), `api_key` is the number of the request that is refused (2000: 1999 pass).
    The others are the number of the last request that passes.
    """

    api_key: int | None = None
    channel_self_ip: int | None = None
    failed_auth: int | None = None
    burst: int | None = None
    same_set: int | None = None
    published: int | None = None


PRESETS: Final[Mapping[str, Thresholds]] = {
    "off": Thresholds(),
    "server": Thresholds(api_key=2000, channel_self_ip=1000, failed_auth=20, burst=5, same_set=1),
    "published": Thresholds(published=100),
}

VARIABLES: Final[Mapping[str, str]] = {
    "RATE_LIMIT_API_KEY": "api_key",
    "RATE_LIMIT_CHANNEL_SELF_IP": "channel_self_ip",
    "RATE_LIMIT_FAILED_AUTH": "failed_auth",
}


def thresholds(preset: str, variables: Mapping[str, int] | None = None) -> Thresholds:
    """Return a preset (`off`, `server` or `published`) with the server's own variables applied on top."""
    if preset not in PRESETS:
        message = f"unknown limits {preset!r}; known are {', '.join(PRESETS)}"
        raise ValueError(message)
    changes: dict[str, int] = {}
    for name, value in (variables or {}).items():
        if name not in VARIABLES or value < 1:
            message = f"{name}={value}: expected one of {', '.join(VARIABLES)}, with a number of 1 or more"
            raise ValueError(message)
        changes[VARIABLES[name]] = value
    return msgspec.structs.replace(PRESETS[preset], **changes)


class DeviceCall(msgspec.Struct, frozen=True, kw_only=True):
    """The fields that the `/device` limiters read; `device_id` is as sent for `get`, else lower-case."""

    operation: Operation
    address: str
    app_id: str
    device_id: str | None = None
    channel: str | None = None


class Counters:
    """Counters of one limiter, each with the time at which it expires; expired ones take no memory."""

    def __init__(self, window: int) -> None:
        self._window = window
        self._live: OrderedDict[Hashable, tuple[int, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._live)

    def look(self, key: Hashable, now: int) -> tuple[int, int]:
        """Return the count and the time at which it expires."""
        count, end = self._live.get(key, (0, now))
        return (count, end) if end > now else (0, now)

    def add(self, key: Hashable, now: int) -> None:
        """Count one request; the window starts with the first."""
        self._forget(now)
        count, end = self._live.get(key, (0, now + self._window))
        self._live[key] = (count + 1, end)

    def restart(self, key: Hashable, now: int) -> None:
        """Count one request; the window starts with this one."""
        self._forget(now)
        count, _ = self._live.get(key, (0, now))
        self._live[key] = (count + 1, now + self._window)
        self._live.move_to_end(key)

    def _forget(self, now: int) -> None:
        # All windows have one length and a restart moves its entry to the end, so the first entry always expires next.
        while self._live and next(iter(self._live.values()))[1] <= now:
            self._live.popitem(last=False)


class Sliding:
    """At most a number of requests in any window, counted by key; refused ones do not count."""

    def __init__(self, window: int) -> None:
        self._window = window
        self._passed: OrderedDict[Hashable, deque[int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._passed)

    def take(self, key: Hashable, now: int, most: int) -> int | None:
        """Allow a request, or return the time from which the next one is allowed."""
        while self._passed and next(iter(self._passed.values()))[-1] + self._window <= now:
            self._passed.popitem(last=False)
        passed = self._passed.setdefault(key, deque())
        while passed and passed[0] + self._window <= now:
            passed.popleft()
        if len(passed) >= most:
            return passed[0] + self._window
        passed.append(now)
        self._passed.move_to_end(key)
        return None


class Limiters:
    """All limiters of one server; its methods raise the 429 that a request gets."""

    def __init__(self, limits: Thresholds, *, speed: float = 1.0, same_set_seconds: int = 60) -> None:
        """Divide every window by `speed`; announced waits are in real seconds."""
        self._limits = limits
        self._edge = Sliding(_scaled(_MINUTE, speed))
        self._failures = Counters(_scaled(_LOCK_OUT, speed))
        self._keys = Counters(_scaled(_MINUTE, speed))
        self._addresses = Counters(_scaled(_MINUTE, speed))
        self._bursts = Counters(_scaled(_SECOND, speed))
        self._same_sets = Counters(_scaled(same_set_seconds * _SECOND, speed))

    def __len__(self) -> int:
        counters = (self._failures, self._keys, self._addresses, self._bursts, self._same_sets)
        return len(self._edge) + sum(len(held) for held in counters)

    def pass_edge(self, secret: str | None, now: int) -> None:
        """Count a request with a key at the edge; requests without a key are not limited."""
        if self._limits.published is None or not secret:
            return
        end = self._edge.take(secret, now, self._limits.published)
        if end is not None:
            raise _too_many({}, end, now)

    def check_lock_out(self, address: str, now: int) -> None:
        _check(self._failures, address, self._limits.failed_auth, {"reason": "too_many_failed_auth_attempts"}, now)

    def count_failure(self, address: str, now: int) -> None:
        """Count a failed login; without an address there is nothing to count by (contract B2.4)."""
        if self._limits.failed_auth is not None and address:
            self._failures.restart(address, now)

    def count_request(self, key_id: int, now: int) -> None:
        """Count a request of a key and refuse it if the limit is reached; refused ones count, too."""
        if self._limits.api_key is not None:
            self._keys.restart(key_id, now)
            more = {"reason": "api_key_rate_limit_exceeded", "apikey_id": key_id}
            _check(self._keys, key_id, self._limits.api_key, more, now)

    def check_device(self, call: DeviceCall, now: int) -> None:
        """Refuse a `/device` request that comes too soon; counts nothing (contract B2.3)."""
        limits = self._limits
        more = {"reason": "ip_rate_limit_exceeded", "app_id": call.app_id}
        _check(self._addresses, (call.app_id, call.address), limits.channel_self_ip, more, now)
        if call.device_id is None:
            return
        more = {"app_id": call.app_id, "device_id": call.device_id}
        _check(self._bursts, (call.app_id, call.device_id, call.operation), limits.burst, more, now)
        if call.channel is not None:
            _check(self._same_sets, (call.app_id, call.device_id, call.channel), limits.same_set, more, now)

    def record_device(self, call: DeviceCall, now: int) -> None:
        """Count a `/device` request that was handled, whatever its outcome."""
        if self._limits.channel_self_ip is not None and call.address:
            self._addresses.add((call.app_id, call.address), now)
        if call.device_id is None:
            return
        if self._limits.burst is not None:
            self._bursts.add((call.app_id, call.device_id, call.operation), now)
        if self._limits.same_set is not None and call.channel is not None:
            self._same_sets.restart((call.app_id, call.device_id, call.channel), now)


def _scaled(window: int, speed: float) -> int:
    return max(1, round(window / speed))


def _check(counters: Counters, key: Hashable, limit: int | None, more: Mapping[str, object], now: int) -> None:
    count, end = counters.look(key, now)
    if limit is not None and count >= limit:
        raise _too_many(more, end, now)


def _too_many(what: Mapping[str, object], end: int, now: int) -> Refusal:
    wait = -((now - end) // 1000)
    more = {**what, "rateLimitResetAt": end, "retryAfterSeconds": wait}
    refusal = Refusal(429, "too_many_requests", "Too many requests", more)
    refusal.headers = {"retry-after": str(wait), "x-ratelimit-reset": str(-(-end // 1000))}
    return refusal
