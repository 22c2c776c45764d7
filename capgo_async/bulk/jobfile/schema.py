"""The job file: its tables, its format version, and the codes that stand in them."""

import enum
from collections.abc import Mapping
from typing import Final

APPLICATION_ID: Final = 0x43617067
"""What tells a job file from other SQLite files: "Capg"."""

FORMAT: Final = 1
"""The format that this version writes, kept in `user_version`."""

MIGRATIONS: Final[Mapping[int, tuple[str, ...]]] = {}
"""For each older format, the statements that make the next one of it."""


class Outcome(enum.IntEnum):
    """How far a planned operation has come."""

    PENDING = 0
    SENT = 1
    DONE = 2
    FAILED = 3


class Verdict(enum.IntEnum):
    """What a fresh listing says of an operation that is done."""

    UNCHECKED = 0
    VERIFIED = 1
    CONTRADICTED = 2
    CANNOT_TELL = 3
    SHOWN_UNLINKED = 4
    """While a listing is read: what that means is known at its end."""


class Which(enum.StrEnum):
    """Which operations a run sends: all that are open, or those that failed before."""

    OPEN = "open"
    FAILED = "failed"


TAKEN: Final[Mapping[Which, str]] = {Which.OPEN: "", Which.FAILED: "AND run IS NOT NULL"}
"""What failed before and is open again keeps the number of the run that it failed in."""


TABLES: Final = (
    "CREATE TABLE job (name TEXT PRIMARY KEY, value ANY) STRICT, WITHOUT ROWID",
    "CREATE TABLE apps (id INTEGER PRIMARY KEY, app_id TEXT NOT NULL UNIQUE) STRICT",
    # Of a member the app is the organization.
    "CREATE TABLE changes (id INTEGER PRIMARY KEY, kind TEXT NOT NULL, argument TEXT NOT NULL, UNIQUE (kind, argument)) STRICT",
    # id is the order of the run.
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
    """CREATE TABLE others (
        line INTEGER PRIMARY KEY,
        fate TEXT NOT NULL,
        reason TEXT NOT NULL,
        app_id TEXT,
        name TEXT,
        change INTEGER REFERENCES changes
    ) STRICT""",
    # last_id is that of the last operation of the wave; what a stop told of is not told again.
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
    """CREATE TABLE runs (
        id INTEGER PRIMARY KEY,
        started_at TEXT NOT NULL,
        sends INTEGER NOT NULL DEFAULT 0,
        ended TEXT,
        elapsed REAL NOT NULL DEFAULT 0,
        requests INTEGER NOT NULL DEFAULT 0,
        retries INTEGER NOT NULL DEFAULT 0,
        rate_limited INTEGER NOT NULL DEFAULT 0,
        reason TEXT,
        limits TEXT NOT NULL DEFAULT '{}',
        program TEXT NOT NULL DEFAULT '',
        servers TEXT NOT NULL DEFAULT '[]'
    ) STRICT""",
)

BY_NAME: Final = "CREATE INDEX IF NOT EXISTS operations_name ON operations (app, name)"
"""Made when a job is verified: the run itself does not need it."""

STAGING: Final = (
    # A row is staged until its fate is known; `fate` is empty for those that stay to be planned. Where `former` is empty, the
    # inventory tells. What is not as the change `expected` leaves it was changed by others.
    """CREATE TABLE staged (
        line INTEGER PRIMARY KEY,
        app INTEGER NOT NULL,
        name TEXT NOT NULL,
        change INTEGER NOT NULL,
        expected INTEGER,
        fate TEXT NOT NULL DEFAULT '',
        reason TEXT NOT NULL DEFAULT '',
        former TEXT NOT NULL DEFAULT '',
        former_value TEXT
    ) STRICT""",
    """CREATE TABLE inventory (
        app INTEGER NOT NULL, device TEXT NOT NULL, channel TEXT, PRIMARY KEY (app, device)
    ) STRICT, WITHOUT ROWID""",
    "CREATE TABLE scans (app INTEGER PRIMARY KEY, complete INTEGER NOT NULL, saw_override INTEGER NOT NULL) STRICT",
)

BY_TARGET: Final = "CREATE INDEX staged_target ON staged (app, name, line)"

# Every row of a target whose rows do not agree is bad; a later row that says the same again is a duplicate.
CONTRADICTIONS: Final = """
    UPDATE staged SET fate = 'rejected', reason = 'contradicts another row for the same {target} (' || found.lines || ')'
    FROM (
        SELECT app, name, 'lines ' || min(line) || ' and ' || max(line) AS lines
        FROM staged GROUP BY app, name HAVING count(*) > 1 AND count(DISTINCT change) > 1
    ) AS found
    WHERE staged.app = found.app AND staged.name = found.name
"""
DUPLICATES: Final = """
    UPDATE staged SET fate = 'skipped', reason = 'identical to line ' || found.first
    FROM (SELECT app, name, min(line) AS first FROM staged WHERE fate = '' GROUP BY app, name HAVING count(*) > 1) AS found
    WHERE staged.app = found.app AND staged.name = found.name AND staged.line > found.first AND staged.fate = ''
"""

_CHANGED_CHANNEL: Final = """
    CASE WHEN kind = 'link_device' THEN argument
        WHEN kind IN ('update_channel', 'promote_bundle', 'delete_channel') THEN name END
"""
# Unlinking a device, moving it away or renewing its link changes nothing for whoever protects a channel.
PROTECTED: Final = f"""
    UPDATE staged SET fate = 'rejected', reason = found.channel || ' of ' || found.app_id || ' is protected by ' || ?2
    FROM (
        SELECT line, app_id, {_CHANGED_CHANNEL} AS channel
        FROM staged JOIN apps ON apps.id = app JOIN changes ON changes.id = change WHERE fate = ''
    ) AS found
    WHERE staged.line = found.line
        AND EXISTS (SELECT 1 FROM json_each(?1) WHERE value IN (found.channel, found.app_id || '/' || found.channel))
"""

STILL_PROTECTED: Final = f"""
    SELECT app_id, channel
    FROM (
        SELECT DISTINCT app, {_CHANGED_CHANNEL} AS channel
        FROM operations JOIN changes ON changes.id = change WHERE outcome <= ?1 OR outcome = ?3
    ) AS open JOIN apps ON apps.id = open.app
    WHERE EXISTS (SELECT 1 FROM json_each(?2) WHERE value IN (channel, app_id || '/' || channel))
    ORDER BY app_id, channel
"""

# What devices to renew are linked to is known only now; nothing is renewed that no listing shows.
RENEWALS: Final = (
    """
    INSERT OR IGNORE INTO changes (kind, argument)
    SELECT DISTINCT 'renew_device', inventory.channel
    FROM staged JOIN changes ON changes.id = staged.change
    JOIN inventory ON inventory.app = staged.app AND inventory.device = staged.name
    WHERE staged.fate = '' AND changes.kind = 'renew_device' AND inventory.channel IS NOT NULL
    """,
    """
    UPDATE staged SET change = renewed.id
    FROM changes AS asked, inventory, changes AS renewed
    WHERE staged.fate = '' AND asked.id = staged.change AND asked.kind = 'renew_device' AND asked.argument = ''
        AND inventory.app = staged.app AND inventory.device = staged.name
        AND renewed.kind = 'renew_device' AND renewed.argument = inventory.channel
    """,
    """
    UPDATE staged SET fate = 'skipped', reason = 'no listing shows a link to renew'
    FROM changes
    WHERE staged.fate = '' AND changes.id = staged.change AND changes.kind = 'renew_device' AND changes.argument = ''
    """,
)
ALREADY: Final = (
    """
    UPDATE staged SET fate = 'skipped', reason = 'already linked to ' || changes.argument
    FROM inventory, changes
    WHERE staged.fate = '' AND inventory.app = staged.app AND inventory.device = staged.name
        AND changes.id = staged.change AND changes.kind = 'link_device' AND changes.argument = inventory.channel
    """,
    """
    UPDATE staged SET fate = 'skipped', reason = 'already without a link'
    FROM inventory, scans, changes
    WHERE staged.fate = '' AND changes.id = staged.change AND changes.kind = 'unlink_device'
        AND inventory.app = staged.app AND inventory.device = staged.name AND inventory.channel IS NULL
        AND scans.app = staged.app AND scans.saw_override
    """,
)
# What shows no link may have one that the listing does not tell: the way back from a link is not gone then, either.
CHANGED_SINCE: Final = (
    """
    UPDATE staged SET fate = 'skipped',
        reason = 'changed since: now ' || coalesce('linked to ' || inventory.channel, 'without a link')
    FROM changes, inventory
    WHERE staged.fate = '' AND changes.id = staged.expected
        AND inventory.app = staged.app AND inventory.device = staged.name
        AND inventory.channel IS NOT iif(changes.kind = 'unlink_device', NULL, changes.argument)
    """,
    """
    UPDATE staged SET fate = 'skipped', reason = 'no listing shows it now'
    WHERE staged.fate = '' AND staged.expected IS NOT NULL
        AND NOT EXISTS (SELECT 1 FROM inventory AS i WHERE i.app = staged.app AND i.device = staged.name)
    """,
)

# Former states count as known only from a scan that showed overrides at all: a look-up of overrides may fail silently.
FORMERS: Final = """
    SELECT staged.line, staged.app, staged.name, staged.change,
        CASE WHEN staged.former <> '' THEN staged.former
            WHEN i.channel IS NOT NULL THEN 'channel'
            WHEN i.device IS NOT NULL AND s.saw_override THEN 'none'
            ELSE 'unknown' END AS former,
        coalesce(staged.former_value, i.channel) AS former_value
    FROM staged
    LEFT JOIN inventory AS i ON i.app = staged.app AND i.device = staged.name
    LEFT JOIN scans AS s ON s.app = staged.app
    WHERE staged.fate = ''
"""

UNKNOWN: Final = """
    staged.fate = '' AND EXISTS (SELECT 1 FROM scans WHERE scans.app = staged.app AND scans.complete)
    AND NOT EXISTS (SELECT 1 FROM inventory AS i WHERE i.app = staged.app AND i.device = staged.name)
"""

# Where all devices that are linked to a channel go to another: channel, the other, and how many, most first.
MOVED_TOGETHER: Final = """
    SELECT app_id, moving.channel, moving.goal, moving.devices
    FROM (
        SELECT staged.app AS app, i.channel AS channel, min(argument) AS goal, count(*) AS devices
        FROM staged JOIN changes ON changes.id = staged.change
        JOIN inventory AS i ON i.app = staged.app AND i.device = staged.name
        WHERE staged.fate = '' AND kind = 'link_device' AND i.channel IS NOT NULL
        GROUP BY staged.app, i.channel HAVING count(DISTINCT argument) = 1 AND count(*) > 1
    ) AS moving
    JOIN (SELECT app, channel, count(*) AS devices FROM inventory GROUP BY app, channel) AS linked
        ON linked.app = moving.app AND linked.channel = moving.channel AND linked.devices = moving.devices
    JOIN scans ON scans.app = moving.app AND scans.complete
    JOIN apps ON apps.id = moving.app
    ORDER BY moving.devices DESC, app_id, moving.channel LIMIT ?
"""

# How many devices listings showed of each app, where that was all of them and where it was not, and how many have a link.
LISTED: Final = """
    SELECT app_id, count(*) FROM inventory JOIN scans ON scans.app = inventory.app JOIN apps ON apps.id = inventory.app
    WHERE complete = ? GROUP BY inventory.app
"""
LINKED: Final = """
    SELECT app_id, count(channel) FROM inventory JOIN apps ON apps.id = inventory.app GROUP BY inventory.app
"""

# Interleaved by app, in the order of the input within an app, so that the limits of all apps are used together.
PLAN: Final = f"""
    INSERT INTO operations (line, app, name, change, former, former_value)
    SELECT line, app, name, change, former, former_value
    FROM (SELECT *, row_number() OVER (PARTITION BY app ORDER BY line) AS turn FROM ({FORMERS}))
    ORDER BY turn, app
"""
# The first shares of all apps before the rest of any. A share of an app is rounded up: also the smallest app is in each wave.
PLAN_IN_WAVES: Final = f"""
    INSERT INTO operations (line, app, name, change, former, former_value)
    SELECT line, app, name, change, former, former_value
    FROM (SELECT *, row_number() OVER (PARTITION BY app ORDER BY line) AS turn FROM ({FORMERS}))
    JOIN (SELECT app AS of, count(*) AS total FROM staged WHERE fate = '' GROUP BY app) ON of = app
    ORDER BY (SELECT min(number) FROM waves WHERE (turn - 1) * denominator < numerator * total), turn, app
"""
LAST_OF_WAVES: Final = """
    UPDATE waves SET last_id = (
        SELECT coalesce(sum((total * numerator + denominator - 1) / denominator), 0)
        FROM (SELECT count(*) AS total FROM operations GROUP BY app)
    )
"""
OTHERS: Final = """
    INSERT INTO others (line, fate, reason, app_id, name, change)
    SELECT staged.line, staged.fate, staged.reason, apps.app_id, staged.name, staged.change
    FROM staged JOIN apps ON apps.id = staged.app
    WHERE staged.fate <> ''
"""
