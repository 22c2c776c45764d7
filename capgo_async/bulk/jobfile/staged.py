"""Rows while they are compared, with each other and with what the server shows: their tables and the statements."""

from typing import Final

from ..reasons import Cause

TABLES: Final = (
    # A row is staged until its fate is known; `fate` is empty for those that stay to be planned. Cause, details and places are
    # its reason. Where `former` is empty, the inventory tells. What is not as the change `expected` leaves it was changed by
    # others.
    """CREATE TEMP TABLE staged (
        line INTEGER PRIMARY KEY,
        app INTEGER NOT NULL,
        name TEXT NOT NULL,
        change INTEGER NOT NULL,
        expected INTEGER,
        fate TEXT NOT NULL DEFAULT '',
        cause TEXT,
        details TEXT,
        places TEXT,
        former TEXT NOT NULL DEFAULT '',
        former_value TEXT
    ) STRICT""",
    "CREATE INDEX temp.staged_rejected ON staged (line) WHERE fate = 'rejected'",
    # What was listed for this plan; what was known before stands in a file of its own.
    """CREATE TEMP TABLE inventory (
        app INTEGER NOT NULL, device TEXT NOT NULL, channel TEXT, PRIMARY KEY (app, device)
    ) STRICT, WITHOUT ROWID""",
    # How far a listing of an app went; `known` is the id of the app where it was known before instead.
    """CREATE TEMP TABLE scans (
        app INTEGER PRIMARY KEY, complete INTEGER NOT NULL, saw_override INTEGER NOT NULL, known TEXT
    ) STRICT""",
    # The devices of rows that either of them shows.
    "CREATE TEMP TABLE shown (line INTEGER PRIMARY KEY, channel TEXT) STRICT",
)
"""Where rows stand until they are planned: in a file without a name, so that the job's own never has room to give back."""

# The name first: names nearly always differ, and numbers nearly never.
BY_TARGET: Final = "CREATE INDEX staged_target ON staged (name, app)"

REPEATED: Final = """
    CREATE TEMP TABLE repeated AS
    SELECT name, app, min(line) AS first, max(line) AS last, min(change) <> max(change) AS contradictory
    FROM (SELECT name, app FROM staged GROUP BY name, app HAVING count(*) > 1) CROSS JOIN staged USING (name, app)
    GROUP BY name, app
"""
# Every row of a target whose rows do not agree is bad; a later row that says the same again is a duplicate.
CONTRADICTIONS: Final = f"""
    UPDATE staged SET fate = 'rejected', cause = '{Cause.CONTRADICTION}', details = json_array(?),
        places = json_array(first, last)
    FROM repeated WHERE contradictory AND staged.app = repeated.app AND staged.name = repeated.name
"""
DUPLICATES: Final = f"""
    UPDATE staged SET fate = 'skipped', cause = '{Cause.DUPLICATE}', places = json_array(found.first)
    FROM (
        SELECT app, name, min(line) AS first FROM repeated JOIN staged USING (app, name)
        WHERE fate = '' GROUP BY app, name HAVING count(*) > 1
    ) AS found
    WHERE staged.app = found.app AND staged.name = found.name AND staged.line > found.first AND staged.fate = ''
"""

# Rows and devices in one order, that of their ids; then back to the order of lines.
SHOWN_LISTED: Final = """
    INSERT INTO shown (line, channel)
    SELECT staged.line, i.channel
    FROM staged INDEXED BY staged_target CROSS JOIN scans ON scans.app = staged.app
    CROSS JOIN inventory AS i ON i.app = staged.app AND i.device = staged.name
    WHERE scans.known IS NULL ORDER BY staged.line
"""
SHOWN_KNOWN: Final = """
    INSERT INTO shown (line, channel)
    SELECT staged.line, i.channel
    FROM staged INDEXED BY staged_target CROSS JOIN scans ON scans.app = staged.app
    CROSS JOIN known.devices AS i ON i.app_id = scans.known AND i.device_id = staged.name
    ORDER BY staged.line
"""
SCAN_OF_KNOWN: Final = """
    INSERT INTO scans (app, complete, saw_override, known)
    SELECT id, ?2, EXISTS (SELECT 1 FROM known.devices WHERE app_id = ?1 AND channel IS NOT NULL), ?1
    FROM apps WHERE app_id = ?1
"""

# What devices to renew are linked to is known only now; nothing is renewed that no listing shows.
RENEWALS: Final = (
    """
    INSERT OR IGNORE INTO changes (kind, argument)
    SELECT DISTINCT 'renew_device', shown.channel
    FROM staged JOIN changes ON changes.id = staged.change JOIN shown ON shown.line = staged.line
    WHERE staged.fate = '' AND changes.kind = 'renew_device' AND shown.channel IS NOT NULL
    """,
    """
    UPDATE staged SET change = renewed.id
    FROM changes AS asked, shown, changes AS renewed
    WHERE staged.fate = '' AND asked.id = staged.change AND asked.kind = 'renew_device' AND asked.argument = ''
        AND shown.line = staged.line AND renewed.kind = 'renew_device' AND renewed.argument = shown.channel
    """,
    f"""
    UPDATE staged SET fate = 'skipped', cause = '{Cause.NO_LINK_TO_RENEW}'
    FROM changes
    WHERE staged.fate = '' AND changes.id = staged.change AND changes.kind = 'renew_device' AND changes.argument = ''
    """,
)
ALREADY_LINKED: Final = f"""
    UPDATE staged SET fate = 'skipped', cause = '{Cause.ALREADY_LINKED}', details = json_array(changes.argument)
    FROM shown, changes
    WHERE staged.fate = '' AND shown.line = staged.line
        AND changes.id = staged.change AND changes.kind = 'link_device' AND changes.argument = shown.channel
"""
ALREADY_UNLINKED: Final = f"""
    UPDATE staged SET fate = 'skipped', cause = '{Cause.ALREADY_UNLINKED}'
    FROM shown, scans, changes
    WHERE staged.fate = '' AND changes.id = staged.change AND changes.kind = 'unlink_device'
        AND shown.line = staged.line AND shown.channel IS NULL AND scans.app = staged.app AND scans.saw_override
"""
# What shows no link may have one that the listing does not tell: the way back from a link is not gone then, either.
CHANGED_SINCE: Final = (
    f"""
    UPDATE staged SET fate = 'skipped',
        cause = iif(shown.channel IS NULL, '{Cause.UNLINKED_SINCE}', '{Cause.RELINKED_SINCE}'),
        details = iif(shown.channel IS NULL, NULL, json_array(shown.channel))
    FROM changes, shown
    WHERE staged.fate = '' AND changes.id = staged.expected AND shown.line = staged.line
        AND shown.channel IS NOT iif(changes.kind = 'unlink_device', NULL, changes.argument)
    """,
    f"""
    UPDATE staged SET fate = 'skipped', cause = '{Cause.NOT_LISTED}'
    WHERE staged.fate = '' AND staged.expected IS NOT NULL AND NOT EXISTS (SELECT 1 FROM shown WHERE shown.line = staged.line)
    """,
)

# The place of each row that is planned among those of its app. The lines are turns enough: they rise with them.
QUEUE: Final = ("CREATE TEMP VIEW queue AS SELECT line, line AS turn FROM staged WHERE fate = ''",)
# Waves are shares of an app, for which the places are counted from 1. By a function of ours, row by row: for a window SQLite
# would sort all rows, and keep them twice.
QUEUE_IN_WAVES: Final = (
    "CREATE TEMP TABLE queue (line INTEGER PRIMARY KEY, turn INTEGER NOT NULL) STRICT",
    "INSERT INTO queue (line, turn) SELECT line, turn_of(app) FROM staged WHERE fate = '' ORDER BY line",
)

# Former states count as known only from a scan that showed overrides at all: a look-up of overrides may fail silently.
FORMERS: Final = """
    SELECT staged.line, staged.app, staged.name, staged.change, queue.turn,
        CASE WHEN staged.former <> '' THEN staged.former
            WHEN shown.channel IS NOT NULL THEN 'channel'
            WHEN shown.line IS NOT NULL AND scans.saw_override THEN 'none'
            ELSE 'unknown' END AS former,
        coalesce(staged.former_value, shown.channel) AS former_value
    FROM queue CROSS JOIN staged ON staged.line = queue.line
    LEFT JOIN shown ON shown.line = staged.line
    LEFT JOIN scans ON scans.app = staged.app
"""

UNKNOWN_DEVICES: Final = f"""
    UPDATE staged SET fate = 'skipped', cause = '{Cause.UNKNOWN_DEVICE}'
    WHERE staged.fate = '' AND staged.app IN (SELECT app FROM scans WHERE complete)
        AND NOT EXISTS (SELECT 1 FROM shown WHERE shown.line = staged.line)
"""

# The place of each row, as `census` counts them.
CENSUS: Final = """
    SELECT app, change, expected IS NOT NULL, shown.line IS NOT NULL, channel
    FROM staged LEFT JOIN shown ON shown.line = staged.line WHERE fate = ''
"""
# How many devices of an app are linked to a channel.
LINKED: Final = "SELECT count(*) FROM inventory WHERE app = ? AND channel = ?"
LINKED_KNOWN: Final = """
    SELECT count(*) FROM known.devices WHERE app_id = (SELECT known FROM scans WHERE app = ?) AND channel = ?
"""

# How many devices each app has, where a listing showed all of them, and where it did not.
LISTED: Final = """
    SELECT app_id, count(*) FROM inventory JOIN scans ON scans.app = inventory.app JOIN apps ON apps.id = inventory.app
    WHERE complete = ? GROUP BY inventory.app
"""
LISTED_KNOWN: Final = """
    SELECT known, (SELECT count(*) FROM known.devices WHERE app_id = known) FROM scans WHERE complete = ? AND known IS NOT NULL
"""
# How many devices of each app have a link.
WITH_A_LINK: Final = """
    SELECT app_id, count(channel) FROM inventory JOIN apps ON apps.id = inventory.app GROUP BY inventory.app
"""
WITH_A_LINK_KNOWN: Final = """
    SELECT known, (SELECT count(channel) FROM known.devices WHERE app_id = known) FROM scans WHERE known IS NOT NULL
"""
