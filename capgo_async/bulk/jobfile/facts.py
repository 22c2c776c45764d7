"""The facts of a job: how it was planned, what planning saw, and its server and keys."""

import enum
import re
import sqlite3
from collections.abc import Mapping, Sequence
from datetime import datetime
from fractions import Fraction
from itertools import pairwise
from typing import Final, NamedTuple, Self

import msgspec

from ...api.words import member
from ...client import requester_of
from ...errors import ConfigurationError
from ...key_ring import KeyRing
from ...limits.gates import ScopeUsage
from ...limits.timing import Timing
from ..adoption import Adoption
from ..clock import LONGEST
from ..operations.operations import Change, Operation
from ..operations.reasons import Reason
from ..plan import Displaced, Thresholds
from ..report import storable
from ..spreading import PAGE

_FINEST: Final = 10**8
"""Greatest denominator of a wave's share. Times the number of operations, it fits SQLite's integers."""


class Unknown(enum.StrEnum):
    """What to do with devices that the inventory does not show. The server links them, too (contract C7)."""

    SEND = "send"
    SKIP = "skip"
    REFUSE = "refuse"


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How a plan is made.

    - `reject_bad_rows`: leave bad rows out instead of refusing the input.
    - `unknown`: what to do with devices that the inventory does not show. By default they are changed, too, unless something
      contradicts an empty inventory: then it cannot be told which they are, and the plan is refused.
    - `old_servers`: change channel settings even on servers that may clear the channel's bundle (contract C6).
    - `end_rollouts`: make changes that end the rollout of a channel; rows with such changes are rejected otherwise.
    - `links_are_kept`: the server keeps links for good, so that none need be renewed (contract K7).
    - `waves`: rising shares of each app, the last of them 1. Each wave is verified before the next one begins.
    - `bake_seconds`: the pause between a verified wave and the next one.
    - `thresholds`: a plan above them needs its exact number of operations as confirmation.
    - `protected`: channels, each as `NAME` or `APP/NAME`. Rows that change one, or link devices to it, are rejected.
    - `protected_by`: where `protected` is set. The reason of a rejected row names it.
    - `inventory`: path of a database that an export of devices wrote. The apps in it are not listed again.
    """

    reject_bad_rows: bool = False
    unknown: Unknown | None = None
    old_servers: bool = False
    end_rollouts: bool = False
    links_are_kept: bool = False
    waves: tuple[Fraction, ...] = ()
    bake_seconds: float = 0.0
    thresholds: Thresholds = Thresholds()
    protected: tuple[str, ...] = ()
    protected_by: str = "the options of the plan"
    inventory: str | None = None

    def __post_init__(self) -> None:
        if self.unknown is not None:
            msgspec.structs.force_setattr(self, "unknown", member(Unknown, self.unknown, "unknown"))
        rising = all(first < second for first, second in pairwise((Fraction(0), *self.waves)))
        if self.waves and (not rising or self.waves[-1] != 1):
            message = "waves must rise from above 0% to 100%, for example 1%,10%,100%"
            raise ConfigurationError(message)
        if any(share.denominator > _FINEST for share in self.waves):
            message = "a wave cannot be finer than a millionth of a percent"
            raise ConfigurationError(message)
        if not 0 <= self.bake_seconds <= LONGEST or (self.bake_seconds and not self.waves):
            message = "a bake time needs waves, and must be from 0 to a hundred years"
            raise ConfigurationError(message)

    def kept(self) -> Self:
        """Return the options as the job file stores them.

        Protected channels are left out, because each run looks them up again.
        """
        inventory = None if self.inventory is None else storable(self.inventory)
        return msgspec.structs.replace(self, protected=(), protected_by="", inventory=inventory)


class JobBinding(msgspec.Struct, frozen=True, kw_only=True):
    """The server and the API keys that a job may run with. Of the keys, only a salted hash is stored."""

    base_url: str
    key_salt: bytes
    key_fingerprint: str
    keys: int

    @classmethod
    def of(cls, ring: KeyRing, salt: bytes) -> Self:
        return cls(
            base_url=ring.base_url,
            key_salt=salt,
            key_fingerprint=ring.fingerprint(salt),
            keys=len({requester_of(each).identity.fingerprint(salt) for each in ring.clients}),
        )


class Pair(NamedTuple):
    """One app and one change that rows ask for, and the number of these rows.

    `expecting` is whether they are meant only for targets that are still as another operation left them.
    """

    app_id: str
    change: Change
    rows: int
    expecting: bool


class Survey(msgspec.Struct, frozen=True, kw_only=True):
    """What planning saw and counted.

    For each app, `listed` is the number of devices in a complete listing, `listed_in_part` the least number in one that was not
    read to its end, and `linked` is the number of devices with a link. `unknown` is the number of devices that no complete
    inventory shows. `planned` counts the operations of each app and change. `displaced` are the public channels that lose their
    place.
    """

    unknown: int
    listed: dict[str, int]
    listed_in_part: dict[str, int]
    linked: dict[str, int]
    planned: tuple[Pair, ...]
    displaced: tuple[Displaced, ...] = ()


class JobFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What the job file stores about the job as a whole.

    `asked` holds the values that the source sets for every row. `observed_at` is the time of the oldest observation that the
    plan rests on: `created_at`, or when the inventory was taken. `remarks` are sentences for people. `page` is the number of
    devices per page in the listings of the plan. `links` are the server's counts of links, in apps that may have
    hidden some. `no_way_back` counts the planned operations that nothing can undo, for each reason. `timings` is
    how long each kind of request took so far. `features` are those that the server's responses have shown while planning
    (contract K0). `needs_approval` is whether a run asked for approval between waves, so that later runs have to ask, too.
    """

    source: str
    source_digest: str
    asked: dict[str, str | None]
    options: Options
    created_at: datetime
    observed_at: datetime
    survey: Survey
    binding: JobBinding
    remarks: tuple[str, ...]
    page: int = PAGE
    links: dict[str, int] = {}
    no_way_back: tuple[tuple[Reason, int], ...] = ()
    timings: dict[str, Timing] = {}
    features: dict[str, bool] = {}
    needs_approval: bool = False


class LastUsage(msgspec.Struct, frozen=True):
    """What a client had counted against each limit, and the operations that it may have sent since.

    `at` is the time of the count, in UTC, ISO 8601. `client` identifies the client.
    """

    at: str
    client: str
    usage: tuple[ScopeUsage, ...]
    uncounted: tuple[Operation, ...] = ()


def read_facts(connection: sqlite3.Connection) -> JobFacts:
    rows = connection.execute("SELECT name, value FROM job").fetchall()
    return _FACTS.decode(msgspec.json.encode({name: msgspec.Raw(value.encode()) for name, value in rows}))


def write_facts(connection: sqlite3.Connection, facts: JobFacts) -> None:
    _write(connection, **msgspec.structs.asdict(facts))


def bind(connection: sqlite3.Connection, binding: JobBinding) -> None:
    """Bind the job to another server, or to other keys."""
    _write(connection, binding=binding)


def require_approval(connection: sqlite3.Connection) -> None:
    """Record that no later run may begin a wave without approval."""
    _write(connection, needs_approval=True)


def add_remarks(connection: sqlite3.Connection, remarks: Sequence[str]) -> None:
    """Add remarks. One that differs from an earlier one only in its numbers replaces that."""
    told = {_NUMBERS.sub("", remark): remark for remark in (*read_facts(connection).remarks, *remarks)}
    _write(connection, remarks=tuple(told.values()))


_NUMBERS: Final = re.compile(r"(?<![\w.-])\d[\d,]*(?![\w.-])")
"""Numbers of their own, unlike those within names."""


def read_usage(connection: sqlite3.Connection) -> LastUsage | None:
    """Return what the last client counted, or `None` before the first one."""
    row = connection.execute("SELECT value FROM job WHERE name = 'usage'").fetchone()
    return None if row is None else msgspec.json.decode(row[0], type=LastUsage)


def write_usage(connection: sqlite3.Connection, usage: LastUsage, timings: Mapping[str, Timing]) -> None:
    """Store what a client counted and measured. One that has measured nothing changes no timing."""
    _write(connection, usage=usage, **({"timings": timings} if timings else {}))


def read_adoption(connection: sqlite3.Connection) -> Adoption | None:
    """Return the last adoption that was measured, or `None` if there is none."""
    row = connection.execute("SELECT value FROM job WHERE name = 'adoption'").fetchone()
    return None if row is None else msgspec.json.decode(row[0], type=Adoption)


def write_adoption(connection: sqlite3.Connection, adoption: Adoption) -> None:
    _write(connection, adoption=adoption)


def _write(connection: sqlite3.Connection, **facts: object) -> None:
    connection.executemany(
        "INSERT OR REPLACE INTO job VALUES (?, ?)",
        ((name, msgspec.json.encode(value, enc_hook=str).decode()) for name, value in facts.items()),
    )


_FACTS: Final = msgspec.json.Decoder(JobFacts, dec_hook=lambda wanted, text: wanted(text))
