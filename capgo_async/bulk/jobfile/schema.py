"""The job file: its tables, its format version, and the codes in its columns."""

import enum
from collections.abc import Mapping
from typing import Final

import msgspec

from ..operations.reasons import Cause, Reason
from .staging_sql import FORMERS

APPLICATION_ID: Final = 0x43617067
"""Marks an SQLite file as a job: "Capg" in `application_id`."""

FORMAT: Final = 6
"""Format version that this code reads and writes, stored in `user_version`."""


class Outcome(enum.IntEnum):
    """How far a planned operation has come."""

    PENDING = 0
    SENT = 1
    DONE = 2
    FAILED = 3


class Verdict(enum.IntEnum):
    """What a fresh listing shows about an operation that is done."""

    UNCHECKED = 0
    VERIFIED = 1
    CONTRADICTED = 2
    CANNOT_TELL = 3
    SHOWN_UNLINKED = 4
    """Only while a listing is read. The end of the listing decides what it means."""
    MISSING = 5
    """The server must show the device or its link and does not (contract C7)."""


class Which(enum.StrEnum):
    """The operations that a run sends: open ones, failed ones, or those that a listing contradicts."""

    OPEN = "open"
    FAILED = "failed"
    CONTRADICTED = "contradicted"


_REOPENED_BEFORE: Final = "AND run IS NOT NULL"
TAKEN: Final[Mapping[Which, str]] = {
    Which.OPEN: "",
    Which.FAILED: _REOPENED_BEFORE,
    Which.CONTRADICTED: _REOPENED_BEFORE,
}
"""SQL condition for the operations that a run takes. Reopened ones keep the number of an earlier run."""
REOPENED: Final[Mapping[Which, str]] = {
    Which.OPEN: "FALSE",
    Which.FAILED: f"outcome = {Outcome.FAILED}",
    Which.CONTRADICTED: f"outcome = {Outcome.DONE} AND verdict = {Verdict.CONTRADICTED}",
}
"""SQL condition for the finished operations that a run sends again."""


_VALUES: Final = msgspec.json.Decoder(tuple[str | int, ...])


def columns_of(reason: Reason | None) -> tuple[str | None, str | None, str | None]:
    """Return a reason as the columns `cause`, `details` and `places`."""
    if reason is None:
        return None, None, None
    return reason.cause, _text(reason.details), _text(reason.places)


def reason_of(cause: str, details: str | None, places: str | None = None) -> Reason:
    """Return the reason stored in these columns."""
    return Reason(msgspec.convert(cause, Cause), _VALUES.decode(details or "[]"), _VALUES.decode(places or "[]"))


def _text(values: tuple[str | int, ...]) -> str | None:
    return msgspec.json.encode(values).decode() if values else None


_TALLIED_AS: Final = f"iif({{0}}.outcome = {Outcome.SENT}, {Outcome.PENDING}, {{0}}.outcome)"
TABLES: Final = (
    "CREATE TABLE job (name TEXT PRIMARY KEY, value ANY) STRICT, WITHOUT ROWID",
    "CREATE TABLE apps (id INTEGER PRIMARY KEY, app_id TEXT NOT NULL UNIQUE) STRICT",
    # For a member, the app is the organization.
    "CREATE TABLE changes (id INTEGER PRIMARY KEY, kind TEXT NOT NULL, argument TEXT NOT NULL, UNIQUE (kind, argument)) STRICT",
    # The id is the order of sending within an app. A wave is a range of ids.
    """CREATE TABLE operations (
        id INTEGER PRIMARY KEY,
        line INTEGER NOT NULL,
        app INTEGER NOT NULL REFERENCES apps,
        name TEXT NOT NULL,
        change INTEGER NOT NULL REFERENCES changes,
        former TEXT NOT NULL,
        former_value TEXT,
        outcome INTEGER NOT NULL DEFAULT 0,
        verdict INTEGER NOT NULL DEFAULT 0,
        run INTEGER,
        cause TEXT,
        status INTEGER,
        message TEXT,
        request_id TEXT
    ) STRICT""",
    # Operations of each app by outcome and verdict, so that totals need no pass over the file. Those sent count as pending.
    """CREATE TABLE tallies (
        app INTEGER NOT NULL REFERENCES apps,
        outcome INTEGER NOT NULL,
        verdict INTEGER NOT NULL,
        operations INTEGER NOT NULL,
        PRIMARY KEY (app, outcome, verdict)
    ) STRICT, WITHOUT ROWID""",
    f"""CREATE TRIGGER tallied AFTER UPDATE OF outcome, verdict ON operations
        WHEN {_TALLIED_AS.format("old")} <> {_TALLIED_AS.format("new")} OR old.verdict <> new.verdict
    BEGIN
        UPDATE tallies SET operations = operations - 1
            WHERE app = old.app AND outcome = {_TALLIED_AS.format("old")} AND verdict = old.verdict;
        INSERT INTO tallies VALUES (new.app, {_TALLIED_AS.format("new")}, new.verdict, 1)
            ON CONFLICT DO UPDATE SET operations = operations + 1;
    END""",
    # Few operations fail, and a report names some of them.
    f"CREATE INDEX failed ON operations (outcome) WHERE outcome = {Outcome.FAILED}",
    """CREATE TABLE others (
        line INTEGER PRIMARY KEY,
        fate TEXT NOT NULL,
        cause TEXT NOT NULL,
        details TEXT,
        places TEXT,
        app_id TEXT,
        name TEXT,
        change INTEGER REFERENCES changes
    ) STRICT""",
    # The custom ids of rows that name their devices by these.
    "CREATE TABLE custom_ids (line INTEGER PRIMARY KEY, custom_id TEXT NOT NULL) STRICT",
    # last_id is the id of the wave's last operation. A run has already stopped for told_failed and told_contradicted.
    """CREATE TABLE waves (
        number INTEGER PRIMARY KEY,
        numerator INTEGER NOT NULL,
        denominator INTEGER NOT NULL,
        last_id INTEGER NOT NULL DEFAULT 0,
        told_failed INTEGER NOT NULL DEFAULT 0,
        told_contradicted INTEGER NOT NULL DEFAULT 0,
        verified_at TEXT,
        bake_until TEXT
    ) STRICT""",
    # Whether the wave after this one may begin. Each verification of a wave has a question of its own.
    """CREATE TABLE approvals (
        id INTEGER PRIMARY KEY,
        wave INTEGER NOT NULL REFERENCES waves,
        verified_at TEXT NOT NULL,
        question TEXT NOT NULL,
        asked_at TEXT NOT NULL,
        times INTEGER NOT NULL DEFAULT 1,
        answered_at TEXT,
        decision TEXT,
        reason TEXT NOT NULL DEFAULT ''
    ) STRICT""",
    """CREATE TABLE runs (
        id INTEGER PRIMARY KEY,
        started_at TEXT NOT NULL,
        sends INTEGER NOT NULL DEFAULT 0,
        ended TEXT,
        elapsed REAL NOT NULL DEFAULT 0,
        done INTEGER NOT NULL DEFAULT 0,
        failed INTEGER NOT NULL DEFAULT 0,
        requests INTEGER NOT NULL DEFAULT 0,
        retries INTEGER NOT NULL DEFAULT 0,
        rate_limited INTEGER NOT NULL DEFAULT 0,
        reason TEXT,
        limits TEXT NOT NULL DEFAULT '{}',
        program TEXT NOT NULL DEFAULT '',
        servers TEXT NOT NULL DEFAULT '[]',
        operations INTEGER NOT NULL DEFAULT 0
    ) STRICT""",
    # The timeline. Each step is `width` seconds long and holds the buckets of all apps.
    "CREATE TABLE steps (start INTEGER PRIMARY KEY, buckets BLOB NOT NULL) STRICT",
    """CREATE TABLE moments (
        id INTEGER PRIMARY KEY,
        at REAL NOT NULL,
        run INTEGER NOT NULL,
        kind TEXT NOT NULL,
        event TEXT NOT NULL
    ) STRICT""",
)

_CHANGED_CHANNEL: Final = """
    CASE WHEN kind = 'link_device' THEN argument
        WHEN kind IN ('update_channel', 'promote_bundle', 'delete_channel') THEN name END
"""
# Unlinking a device, moving it to another channel or renewing its link does not change the protected channel.
PROTECTED: Final = f"""
    UPDATE staged SET fate = 'rejected', cause = '{Cause.PROTECTED}', details = json_array(found.channel, found.app_id, ?2)
    FROM (
        SELECT line, app_id, {_CHANGED_CHANNEL} AS channel
        FROM staged JOIN apps ON apps.id = app JOIN changes ON changes.id = change WHERE fate = ''
    ) AS found
    WHERE staged.line = found.line
        AND EXISTS (SELECT 1 FROM json_each(?1) WHERE value IN (found.channel, found.app_id || '/' || found.channel))
"""

STILL_PROTECTED: Final[Mapping[Which, str]] = {
    which: f"""
        SELECT app_id, channel
        FROM (
            SELECT DISTINCT app, {_CHANGED_CHANNEL} AS channel
            FROM operations JOIN changes ON changes.id = change WHERE outcome <= {Outcome.SENT} OR ({reopened})
        ) AS open JOIN apps ON apps.id = open.app
        WHERE EXISTS (SELECT 1 FROM json_each(?1) WHERE value IN (channel, app_id || '/' || channel))
        ORDER BY app_id, channel
    """
    for which, reopened in REOPENED.items()
}

_PLANNED: Final = f"""
    INSERT INTO operations (line, app, name, change, former, former_value)
    SELECT line, app, name, change, former, former_value FROM ({FORMERS})
"""
# Operations of one app have consecutive ids, in the order of the input. A run takes from each app what the limits allow.
PLAN: Final = f"{_PLANNED} ORDER BY app, turn"
# The first wave of all apps comes before the second of any. Shares are rounded up, so each wave has operations of every app.
PLAN_IN_WAVES: Final = f"""{_PLANNED}
    JOIN (SELECT app AS of, count(*) AS total FROM staged WHERE fate = '' GROUP BY app) ON of = app
    ORDER BY (SELECT min(number) FROM waves WHERE (turn - 1) * denominator < numerator * total), app, turn
"""
LAST_OF_WAVES: Final = """
    UPDATE waves SET last_id = (
        SELECT coalesce(sum((total * numerator + denominator - 1) / denominator), 0)
        FROM (SELECT count(*) AS total FROM operations GROUP BY app)
    )
"""
TALLIED: Final = "INSERT INTO tallies SELECT app, outcome, verdict, count(*) FROM operations GROUP BY app, outcome, verdict"
OTHERS: Final = """
    INSERT INTO others (line, fate, cause, details, places, app_id, name, change)
    SELECT staged.line, staged.fate, staged.cause, staged.details, staged.places, apps.app_id, staged.name, staged.change
    FROM staged JOIN apps ON apps.id = staged.app
    WHERE staged.fate <> ''
"""
