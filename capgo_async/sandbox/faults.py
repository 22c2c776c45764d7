"""Faults to inject, by route and share or by call number, and the grammar that describes them.

    SPEC    = RULE { ";" RULE }
    RULE    = ROUTE ":" FAULT { "," FAULT }
    ROUTE   = "*" | PATH | METHOD " " PATH          PATH as in the route table: /device, /app/:app_id
    FAULT   = "latency=" TIME [ ".." TIME ] [ "@" AMOUNT ]
            | OUTCOME "=" AMOUNT
    TIME    = NUMBER ( "ms" | "s" )
    AMOUNT  = NUMBER "%" | "#" N { "+#" N } | "#" N ".."
                                                    a share of the calls, the N-th call that the rule sees, from 1, or all
                                                    from the N-th on
    OUTCOME = "drop-before" | "drop-after" | "500" | "500-after" | "502" | "502-after" | "503" | "503-after"
            | "503-keys-after" | "lost-keys" | "lost-rights" | "masked" | "unpaid"
            | "429-edge" | "429-unknown" | "429-permanent"

`drop-before`, `502` and the `429` kinds happen in front of the server: nothing is counted or processed. `500` and `503` happen
in the handler: limiters count the request, nothing is written. The `-after` kinds happen once everything is committed.

A 503 is `upstream_unavailable`, that of `503-keys-after` is `database_unavailable`. With `lost-keys` the look-up of the key,
and with `lost-rights` each check of permissions, cannot reach the database. The response depends on the generation (contract
A7). `unpaid` empties the channels and deletes the bundles of the app before the request is handled (contract C5).
"""

import math
import re
from collections.abc import Callable, Mapping
from typing import Final, Literal, Protocol, cast, get_args

import msgspec

from .exchange import (
    Dropped,
    Generation,
    Refusal,
    Reply,
    database_unavailable,
    error_reply,
    json_reply,
    unknown_error,
    upstream_unavailable,
)

Outcome = Literal[
    "drop-before",
    "drop-after",
    "500",
    "500-after",
    "502",
    "502-after",
    "503",
    "503-after",
    "503-keys-after",
    "lost-keys",
    "lost-rights",
    "masked",
    "unpaid",
    "429-edge",
    "429-unknown",
    "429-permanent",
]
OUTCOMES: Final[tuple[str, ...]] = get_args(Outcome)

_ROUTE: Final = re.compile(r"\*|(?:(?:GET|POST|PUT|DELETE|HEAD|OPTIONS|PATCH) +)?/\S*")
_TIME: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s)")
_SHARE: Final = re.compile(r"(\d+(?:\.\d+)?)%")
_CALLS: Final = re.compile(r"#[1-9]\d*(?:\+#[1-9]\d*)*")
_SINCE: Final = re.compile(r"#([1-9]\d*)\.\.")


class Chance(Protocol):
    """A source of randomness, such as `random.Random`."""

    def random(self) -> float: ...


class Amount(msgspec.Struct, frozen=True, kw_only=True):
    """When a fault occurs: in a share of the calls, in those with these numbers, or `since` a number."""

    share: float = 0.0
    calls: frozenset[int] = frozenset()
    since: float = math.inf

    def names(self, number: int) -> bool:
        """Return whether the fault occurs in the call of this number, whatever the share."""
        return number in self.calls or number >= self.since


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """A delay between arrival and handling, in seconds."""

    shortest: float
    longest: float
    amount: Amount = Amount(share=1.0)


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """The faults of one route; a `method` or `path` of `None` matches any."""

    method: str | None = None
    path: str | None = None
    latency: Latency | None = None
    outcomes: tuple[tuple[Outcome, Amount], ...] = ()

    def covers(self, method: str, path: str) -> bool:
        return self.method in {None, method} and self.path in {None, path}

    def gambles(self) -> bool:
        """Return whether the rule needs a source of randomness."""
        waits = self.latency
        chancy = waits is not None and (waits.shortest < waits.longest or 0 < waits.amount.share < 1)
        return chancy or any(amount.share > 0 for _, amount in self.outcomes)


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    latency: float = 0.0
    outcome: Outcome | None = None


class Faults:
    """The rules of one server, with the number of calls that each has seen."""

    def __init__(self, rules: tuple[Rule, ...]) -> None:
        self._rules = list(rules)
        self._seen = [0] * len(rules)

    def add(self, rule: Rule) -> None:
        """Add a rule, which counts the calls that come from now on."""
        self._rules.append(rule)
        self._seen.append(0)

    def decide(self, method: str, path: str, chance: Chance | None) -> Fault:
        """Decide the fault of a request: the first latency that applies, and at most one outcome.

        Call numbers take precedence over shares. One random number decides between the shares of all rules that apply.
        """
        applying: list[tuple[Rule, int]] = []
        for index, rule in enumerate(self._rules):
            if rule.covers(method, path):
                self._seen[index] += 1
                applying.append((rule, self._seen[index]))
        latency = 0.0
        for rule, number in applying:
            if rule.latency is not None and _hit(rule.latency.amount, number, chance):
                latency = _between(rule.latency, chance)
                break
        return Fault(latency=latency, outcome=_outcome(applying, chance))


def parse(spec: str) -> tuple[Rule, ...]:
    """Parse a fault specification such as `POST /device:drop-after=1%,502=0.5%;*:latency=20ms..80ms`.

    Raises `ValueError` that names the invalid part.
    """
    return tuple(_rule(part.strip()) for part in spec.split(";") if part.strip())


def _rule(text: str) -> Rule:
    route, colon, faults = text.rpartition(":")
    route = route.strip()
    if not colon or _ROUTE.fullmatch(route) is None:
        message = f"fault rule {text!r}: expected ROUTE:FAULT, where ROUTE is *, /path or METHOD /path"
        raise ValueError(message)
    method, _, path = route.rpartition(" ")
    latency: Latency | None = None
    outcomes: list[tuple[Outcome, Amount]] = []
    for part in faults.split(","):
        name, _, value = (piece.strip() for piece in part.partition("="))
        if name == "latency":
            latency = _latency(value)
        elif name in OUTCOMES:
            outcomes.append((cast("Outcome", name), _amount(name, value)))
        else:
            message = f"fault rule {text!r}: unknown fault {name!r}; known are latency, {', '.join(OUTCOMES)}"
            raise ValueError(message)
    if sum(amount.share for _, amount in outcomes) > 1:
        message = f"fault rule {text!r}: the shares add up to more than 100%"
        raise ValueError(message)
    return Rule(
        method=method.strip() or None,
        path=None if path == "*" else path,
        latency=latency,
        outcomes=tuple(outcomes),
    )


def _latency(value: str) -> Latency:
    times, at, amount = value.partition("@")
    shortest, dots, longest = times.partition("..")
    first = read_time(shortest)
    last = read_time(longest) if dots else first
    if last < first:
        message = f"latency {value!r}: the end of the range is below its start"
        raise ValueError(message)
    return Latency(shortest=first, longest=last, amount=_amount("latency", amount) if at else Amount(share=1.0))


def read_time(text: str) -> float:
    """Return a time such as `20ms` or `1.5s` in seconds; raises `ValueError`."""
    match = _TIME.fullmatch(text.strip())
    if match is None:
        message = f"latency {text!r}: expected a time such as 20ms or 1.5s"
        raise ValueError(message)
    return float(match[1]) / (1000 if match[2] == "ms" else 1)


def _amount(name: str, text: str) -> Amount:
    text = text.strip()
    share = _SHARE.fullmatch(text)
    if share is not None and float(share[1]) <= 100:  # noqa: PLR2004 -- per cent
        return Amount(share=float(share[1]) / 100)
    if _CALLS.fullmatch(text) is not None:
        return Amount(calls=frozenset(int(number) for number in text.replace("#", "").split("+")))
    if (since := _SINCE.fullmatch(text)) is not None:
        return Amount(since=int(since[1]))
    message = f"fault {name}={text}: expected a share from 0% to 100% or call numbers such as #3, #3+#7 or #3.."
    raise ValueError(message)


def _hit(amount: Amount, number: int, chance: Chance | None) -> bool:
    return amount.names(number) or amount.share >= 1 or (amount.share > 0 and _draw(chance) < amount.share)


def _between(latency: Latency, chance: Chance | None) -> float:
    if latency.shortest == latency.longest:
        return latency.shortest
    return latency.shortest + (latency.longest - latency.shortest) * _draw(chance)


def _outcome(applying: list[tuple[Rule, int]], chance: Chance | None) -> Outcome | None:
    for rule, number in applying:
        for outcome, amount in rule.outcomes:
            if amount.names(number):
                return outcome
    shares = [(outcome, amount.share) for rule, _ in applying for outcome, amount in rule.outcomes if amount.share > 0]
    if not shares:
        return None
    drawn = _draw(chance)
    for outcome, share in shares:
        drawn -= share
        if drawn < 0:
            return outcome
    return None


def _draw(chance: Chance | None) -> float:
    if chance is None:
        message = "these faults are random: pass a random.Random"
        raise ValueError(message)
    return chance.random()


_HTML = b"<html>\n<head><title>502 Bad Gateway</title></head>\n<body><h1>502 Bad Gateway</h1></body>\n</html>\n"

IN_FRONT: frozenset[str | None] = frozenset({"drop-before", "502", "429-edge", "429-unknown", "429-permanent"})
"""Outcomes of requests that never reach the server."""


_AFTER: Final[Mapping[str, Callable[[], Refusal]]] = {
    "500-after": unknown_error,
    "503-after": upstream_unavailable,
    "503-keys-after": database_unavailable,
}


def spoilt(
    outcome: Outcome | None, generation: Generation, headers: Mapping[str, str], dated: Mapping[str, str]
) -> Reply | Dropped | None:
    """Return the response that replaces the server's own, or `None` to keep it.

    `headers` are those of the server, `dated` those of an edge that never asked the server.
    """
    match outcome:
        case "drop-before" | "drop-after":
            return Dropped(processed=outcome == "drop-after")
        case "502" | "502-after":
            return Reply(status=502, headers={"content-type": "text/html", **dated}, body=_HTML)
        case "500-after" | "503-after" | "503-keys-after":
            return error_reply(_AFTER[outcome](), generation, headers)
        case "429-edge":
            return Reply(status=429, headers={"content-type": "text/plain", **dated}, body=b"error code: 1015")
        case "429-unknown" | "429-permanent":
            return _too_many(outcome, headers)
        case _:
            return None


def _too_many(outcome: Outcome, headers: Mapping[str, str]) -> Reply:
    if outcome == "429-permanent":
        return json_reply(429, {"error": "on_premise_app", "message": "On-premise app detected"}, headers)
    more = {"reason": "some_new_limit_exceeded"}
    return error_reply(Refusal(429, "too_many_requests", "Too many requests", more), "2026-07", headers)
