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


class Which(enum.StrEnum):
    """Which operations a run sends: all that are open, or those that failed before."""

    OPEN = "open"
    FAILED = "failed"


TAKEN: Final[Mapping[Which, str]] = {Which.OPEN: "", Which.FAILED: "AND run IS NOT NULL"}
"""What failed before and is open again keeps the number of the run that it failed in."""


TABLES: Final = (
    "CREATE TABLE job (name TEXT PRIMARY KEY, value ANY) STRICT, WITHOUT ROWID",
    "CREATE TABLE apps (id INTEGER PRIMARY KEY, app_id TEXT NOT NULL UNIQUE) STRICT",
    "CREATE TABLE channels (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT",
    # id is the order of the run; without a channel the operation unlinks.
    """CREATE TABLE operations (
        id INTEGER PRIMARY KEY,
        line INTEGER NOT NULL,
        app INTEGER NOT NULL REFERENCES apps,
        device TEXT NOT NULL,
        channel INTEGER REFERENCES channels,
        former TEXT NOT NULL DEFAULT 'unknown',
        former_channel TEXT,
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
        device TEXT,
        channel TEXT
    ) STRICT""",
    """CREATE TABLE runs (
        id INTEGER PRIMARY KEY,
        started_at TEXT NOT NULL,
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

BY_DEVICE: Final = "CREATE INDEX IF NOT EXISTS operations_device ON operations (app, device)"
"""Made when a job is verified: the run itself does not need it."""

STAGING: Final = (
    # A row is staged until its fate is known; `fate` is empty for those that stay to be planned.
    """CREATE TABLE staged (
        line INTEGER PRIMARY KEY,
        app INTEGER NOT NULL,
        device TEXT NOT NULL,
        channel INTEGER,
        fate TEXT NOT NULL DEFAULT '',
        reason TEXT NOT NULL DEFAULT ''
    ) STRICT""",
    """CREATE TABLE inventory (
        app INTEGER NOT NULL, device TEXT NOT NULL, channel TEXT, PRIMARY KEY (app, device)
    ) STRICT, WITHOUT ROWID""",
    "CREATE TABLE scans (app INTEGER PRIMARY KEY, complete INTEGER NOT NULL, saw_override INTEGER NOT NULL) STRICT",
)

BY_TARGET: Final = "CREATE INDEX staged_target ON staged (app, device, line)"

# Every row of a target whose rows do not agree is bad; a later row that says the same again is a duplicate.
CONTRADICTIONS: Final = """
    UPDATE staged SET fate = 'rejected', reason = 'contradicts another row for the same device (' || found.lines || ')'
    FROM (
        SELECT app, device, 'lines ' || min(line) || ' and ' || max(line) AS lines
        FROM staged GROUP BY app, device HAVING count(*) > 1 AND count(DISTINCT coalesce(channel, 0)) > 1
    ) AS found
    WHERE staged.app = found.app AND staged.device = found.device
"""
DUPLICATES: Final = """
    UPDATE staged SET fate = 'skipped', reason = 'identical to line ' || found.first
    FROM (SELECT app, device, min(line) AS first FROM staged WHERE fate = '' GROUP BY app, device HAVING count(*) > 1) AS found
    WHERE staged.app = found.app AND staged.device = found.device AND staged.line > found.first AND staged.fate = ''
"""

# Former states count as known only from a scan that showed overrides at all: a look-up of overrides may fail silently.
FORMERS: Final = """
    SELECT staged.line, staged.app, staged.device, staged.channel,
        CASE WHEN i.channel IS NOT NULL THEN 'channel' WHEN i.device IS NOT NULL AND s.saw_override THEN 'none'
            ELSE 'unknown' END AS former,
        i.channel AS former_channel
    FROM staged
    LEFT JOIN inventory AS i ON i.app = staged.app AND i.device = staged.device
    LEFT JOIN scans AS s ON s.app = staged.app
    WHERE staged.fate = ''
"""
ALREADY: Final = (
    """
    UPDATE staged SET fate = 'skipped', reason = 'already linked to ' || channels.name
    FROM inventory, channels
    WHERE staged.fate = '' AND inventory.app = staged.app AND inventory.device = staged.device
        AND channels.id = staged.channel AND channels.name = inventory.channel
    """,
    """
    UPDATE staged SET fate = 'skipped', reason = 'already without a link'
    FROM inventory, scans
    WHERE staged.fate = '' AND staged.channel IS NULL AND inventory.app = staged.app AND inventory.device = staged.device
        AND inventory.channel IS NULL AND scans.app = staged.app AND scans.saw_override
    """,
)

UNKNOWN: Final = """
    staged.fate = '' AND EXISTS (SELECT 1 FROM scans WHERE scans.app = staged.app AND scans.complete)
    AND NOT EXISTS (SELECT 1 FROM inventory AS i WHERE i.app = staged.app AND i.device = staged.device)
"""

# Interleaved by app, in the order of the input within an app, so that the limits of all apps are used together.
PLAN: Final = f"""
    INSERT INTO operations (line, app, device, channel, former, former_channel)
    SELECT line, app, device, channel, former, former_channel
    FROM (SELECT *, row_number() OVER (PARTITION BY app ORDER BY line) AS turn FROM ({FORMERS}))
    ORDER BY turn, app
"""
OTHERS: Final = """
    INSERT INTO others (line, fate, reason, app_id, device, channel)
    SELECT staged.line, staged.fate, staged.reason, apps.app_id, staged.device, channels.name
    FROM staged JOIN apps ON apps.id = staged.app LEFT JOIN channels ON channels.id = staged.channel
    WHERE staged.fate <> ''
"""
