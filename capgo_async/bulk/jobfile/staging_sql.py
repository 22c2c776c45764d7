"""Tables and statements that compare staged rows with each other and with what the server shows."""

from typing import Final

from ..operations.operations import no_way_back
from ..operations.reasons import Cause

TABLES: Final = (
    # Rows whose fate is still open; `fate` is empty for those still to be planned. `cause`, `details` and `places` are the
    # reason for the fate. `expected` is the change whose result the target must still show; otherwise others have changed it
    # since. `former` is empty where the inventory supplies it.
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
    # Devices listed for this plan. Those of an inventory are in an attached database, `known`. `proven` is whether the same
    # response showed the link of any device, so that a device without one has none (contract C7).
    """CREATE TEMP TABLE inventory (
        app INTEGER NOT NULL, device TEXT NOT NULL, channel TEXT, proven INTEGER NOT NULL, PRIMARY KEY (app, device)
    ) STRICT, WITHOUT ROWID""",
    # How far the listing of each app went, and the former state of a device that it shows without a link where that is not
    # `proven`. `saw_override` is whether a page showed a link, `linkless` whether all links that the server counts were shown,
    # `hidden` whether it lists no device although something contradicts that. For an app of the attached inventory, `known` is
    # its id there.
    """CREATE TEMP TABLE scans (
        app INTEGER PRIMARY KEY, complete INTEGER NOT NULL, unlinked TEXT NOT NULL, known TEXT,
        saw_override INTEGER NOT NULL DEFAULT FALSE, linkless INTEGER NOT NULL DEFAULT FALSE, hidden INTEGER NOT NULL
    ) STRICT""",
    # Rows whose device the listing or the inventory shows.
    "CREATE TEMP TABLE shown (line INTEGER PRIMARY KEY, channel TEXT, proven INTEGER NOT NULL) STRICT",
    # Rows that name their device by its custom id, and the devices that have one of these.
    """CREATE TEMP TABLE wanted (
        line INTEGER PRIMARY KEY, app INTEGER NOT NULL, custom_id TEXT NOT NULL, change INTEGER NOT NULL
    ) STRICT""",
    """CREATE TEMP TABLE bearers (
        app INTEGER NOT NULL, custom_id TEXT NOT NULL, device TEXT NOT NULL, PRIMARY KEY (app, custom_id, device)
    ) STRICT, WITHOUT ROWID""",
)
"""The staging tables. They are temporary, so that the job file itself never holds free pages."""

ADD: Final = "INSERT INTO staged (line, name, app, change) VALUES (?, ?, ?, ?)"
ADD_ROW: Final = """
    INSERT INTO staged (line, app, name, change, expected, fate, cause, details, places) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
ADD_WANTED: Final = "INSERT INTO wanted (line, custom_id, app, change) VALUES (?, ?, ?, ?)"
ADD_ALIKE: Final = "INSERT INTO staged (line, name, app, change) SELECT ?1 + key, value, ?2, ?3 FROM json_each(?4)"
# The app of each row is passed as one character of four bytes. SQLite finds it by position, without counting characters.
FIRST_CHARACTER: Final = 0x10000
MOST_AT_ONCE: Final = 0x100000
ADD_OF_APPS: Final = f"""
    INSERT INTO staged (line, name, app, change)
    SELECT ?1 + key, value, unicode(substr(?2, 4 * key + 1, 4)) - {FIRST_CHARACTER}, ?3 FROM json_each(?4)
"""
_NAMED_BEARERS: Final = """(
    SELECT group_concat(device, ', ') || iif(devices > 3, ', ...', '') FROM (
        SELECT device FROM bearers WHERE bearers.app = found.app AND bearers.custom_id = found.custom_id LIMIT 3
    )
)"""
REJECT: Final = """
    UPDATE staged SET fate = 'rejected', cause = ?1, details = ?2, places = ?3
    WHERE fate = '' AND app = ?4 AND (?5 IS NULL OR change = ?5)
"""

WANTED_BY_ID: Final = "CREATE INDEX IF NOT EXISTS temp.wanted_custom_id ON wanted (app, custom_id)"
ADD_BEARER: Final = """
    INSERT OR IGNORE INTO bearers (app, custom_id, device)
    SELECT ?1, ?2, ?3 WHERE EXISTS (SELECT 1 FROM wanted WHERE app = ?1 AND custom_id = ?2)
"""
ADD_KNOWN_BEARERS: Final = """
    INSERT OR IGNORE INTO bearers (app, custom_id, device)
    SELECT ?1, custom_id, device_id FROM known.devices AS found
    WHERE app_id = ?2 AND EXISTS (SELECT 1 FROM wanted WHERE wanted.app = ?1 AND wanted.custom_id = found.custom_id)
"""
REJECT_WANTED: Final = """
    INSERT INTO others (line, fate, cause, details, places, app_id, name, change)
    SELECT line, 'rejected', ?1, ?2, ?3, app_id, custom_id, change FROM wanted JOIN apps ON apps.id = app WHERE app = ?4
"""
FORGET_WANTED: Final = "DELETE FROM wanted WHERE app = ?"
# Each row whose custom id one device has is staged. All others are rejected.
STAGE_WANTED: Final = (
    """
    CREATE TEMP TABLE found AS
    SELECT line, wanted.app, wanted.custom_id, change, min(device) AS device, count(device) AS devices
    FROM wanted LEFT JOIN bearers ON bearers.app = wanted.app AND bearers.custom_id = wanted.custom_id GROUP BY line
    """,
    "INSERT INTO staged (line, name, app, change) SELECT line, device, app, change FROM found WHERE devices = 1",
    "INSERT INTO main.custom_ids (line, custom_id) SELECT line, custom_id FROM found WHERE devices = 1",
    f"""
    INSERT INTO others (line, fate, cause, details, places, app_id, name, change)
    SELECT line, 'rejected', iif(devices, '{Cause.AMBIGUOUS_CUSTOM_ID}', '{Cause.UNKNOWN_CUSTOM_ID}'), json_array(app_id),
        iif(devices, json_array(custom_id, devices, {_NAMED_BEARERS}), json_array(custom_id)), app_id, custom_id, change
    FROM found JOIN apps ON apps.id = app WHERE devices <> 1
    """,
)
FOUND: Final = """
    SELECT count(*), sum(devices = 1) FROM (SELECT max(devices) AS devices FROM found GROUP BY app, custom_id)
"""
NAMED_FOUND: Final = "SELECT DISTINCT custom_id, device FROM found WHERE devices = 1 ORDER BY line LIMIT ?"

# Devices whose ids have another form than a UUID.
ODD_NAMES: Final = "FROM staged WHERE fate = '' AND name NOT GLOB '????????-????-????-????-????????????'"

# The name comes first because names nearly always differ, and app numbers nearly never.
BY_TARGET: Final = "CREATE INDEX staged_target ON staged (name, app)"

REPEATED: Final = """
    CREATE TEMP TABLE repeated AS
    SELECT name, app, min(line) AS first, max(line) AS last, min(change) <> max(change) AS contradictory
    FROM (SELECT name, app FROM staged GROUP BY name, app HAVING count(*) > 1) CROSS JOIN staged USING (name, app)
    GROUP BY name, app
"""
# If the rows of a target contradict each other, all are bad. If they agree, the later ones are duplicates.
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

# A response that shows no link does not replace what another one has shown.
OBSERVE: Final = """
    INSERT INTO inventory (app, device, channel, proven) VALUES (?, ?, ?, ?)
    ON CONFLICT DO UPDATE SET channel = excluded.channel, proven = excluded.proven WHERE excluded.proven
"""
NOT_REACHED: Final = """
    SELECT name FROM staged
    WHERE fate = '' AND app = ?1 AND NOT EXISTS (SELECT 1 FROM inventory WHERE inventory.app = ?1 AND device = name)
    ORDER BY line LIMIT ?2
"""
# Rows and devices are both read in the order of device ids, then sorted by line.
SHOWN_LISTED: Final = """
    INSERT INTO shown (line, channel, proven)
    SELECT staged.line, i.channel, i.proven
    FROM staged INDEXED BY staged_target CROSS JOIN scans ON scans.app = staged.app
    CROSS JOIN inventory AS i ON i.app = staged.app AND i.device = staged.name
    WHERE scans.known IS NULL ORDER BY staged.line
"""
SHOWN_KNOWN: Final = """
    INSERT INTO shown (line, channel, proven)
    SELECT staged.line, i.channel, FALSE
    FROM staged INDEXED BY staged_target CROSS JOIN scans ON scans.app = staged.app
    CROSS JOIN known.devices AS i ON i.app_id = scans.known AND i.device_id = staged.name
    ORDER BY staged.line
"""
KNOWN_WITH_LINKS: Final = "SELECT DISTINCT app_id FROM known.devices WHERE channel IS NOT NULL"
SCAN_OF_KNOWN: Final = """
    INSERT INTO scans (app, complete, hidden, unlinked, known)
    SELECT id, ?2, ?3,
        iif(EXISTS (SELECT 1 FROM known.devices WHERE app_id = ?1 AND channel IS NOT NULL), 'none', 'unknown'), ?1
    FROM apps WHERE app_id = ?1
"""
SET_UNLINKED: Final = "UPDATE scans SET unlinked = ?2, linkless = ?3 WHERE app = (SELECT id FROM apps WHERE app_id = ?1)"
# Rows whose device may have a link that was not shown (contract C7): whether it was shown without one, or not at all. Rows that
# renew links are only for those that are shown.
DOUBTFUL: Final = """
    SELECT staged.app, shown.line IS NOT NULL
    FROM staged LEFT JOIN shown ON shown.line = staged.line JOIN scans ON scans.app = staged.app
    WHERE fate = '' AND unlinked <> 'none' AND change NOT IN (SELECT id FROM changes WHERE kind = 'renew_device')
        AND iif(shown.line IS NULL, NOT complete, shown.channel IS NULL AND NOT shown.proven)
"""
LINKS_SHOWN: Final = "SELECT count(channel) FROM inventory WHERE app = ?"
SCANNED: Final = """
    SELECT app_id, EXISTS (SELECT 1 FROM inventory WHERE inventory.app = scans.app AND channel IS NOT NULL)
    FROM scans JOIN apps ON apps.id = scans.app
"""

# Only the inventory shows which channel a link to renew leads to. Devices that it does not show are not renewed.
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
NEEDLESS_RENEWALS: Final = f"""
    UPDATE staged SET fate = 'skipped', cause = '{Cause.LINKS_ARE_KEPT}'
    WHERE fate = '' AND change IN (SELECT id FROM changes WHERE kind = 'renew_device')
"""
ALREADY_LINKED: Final = f"""
    UPDATE staged SET fate = 'skipped', cause = '{Cause.ALREADY_LINKED}', details = json_array(changes.argument)
    FROM shown, changes
    WHERE staged.fate = '' AND shown.line = staged.line
        AND changes.id = staged.change AND changes.kind = 'link_device' AND changes.argument = shown.channel
"""
_HAS_NO_LINK: Final = "(shown.proven OR scans.unlinked = 'none')"
ALREADY_UNLINKED: Final = f"""
    UPDATE staged SET fate = 'skipped', cause = '{Cause.ALREADY_UNLINKED}'
    FROM shown, scans, changes
    WHERE staged.fate = '' AND changes.id = staged.change AND changes.kind = 'unlink_device'
        AND shown.line = staged.line AND shown.channel IS NULL AND scans.app = staged.app AND {_HAS_NO_LINK}
"""
# A device shown without a link may still have one that the listing omits, so undoing a link remains possible.
CHANGED_SINCE: Final = (
    f"""
    UPDATE staged SET fate = 'skipped',
        cause = CASE WHEN shown.channel IS NOT NULL THEN '{Cause.RELINKED_SINCE}'
            WHEN {_HAS_NO_LINK} THEN '{Cause.UNLINKED_SINCE}' ELSE '{Cause.LINKS_NOT_SHOWN}' END,
        details = iif(shown.channel IS NULL, NULL, json_array(shown.channel))
    FROM changes, shown, scans
    WHERE staged.fate = '' AND changes.id = staged.expected AND shown.line = staged.line AND scans.app = staged.app
        AND shown.channel IS NOT iif(changes.kind = 'unlink_device', NULL, changes.argument)
    """,
    f"""
    UPDATE staged SET fate = 'skipped', cause = '{Cause.NOT_LISTED}'
    WHERE staged.fate = '' AND staged.expected IS NOT NULL AND NOT EXISTS (SELECT 1 FROM shown WHERE shown.line = staged.line)
    """,
)

# The turn of each planned row among the rows of its app. Line numbers serve, since they rise.
QUEUE: Final = ("CREATE TEMP VIEW queue AS SELECT line, line AS turn FROM staged WHERE fate = ''",)
# Waves are shares of an app, so turns are counted from 1. A Python function counts them row by row: for a window function
# SQLite would sort all rows and store them twice.
QUEUE_IN_WAVES: Final = (
    "CREATE TEMP TABLE queue (line INTEGER PRIMARY KEY, turn INTEGER NOT NULL) STRICT",
    "INSERT INTO queue (line, turn) SELECT line, turn_of(app) FROM staged WHERE fate = '' ORDER BY line",
)

# If all links of an app were shown, devices that its listing did not reach have none.
_NOT_REACHED: Final = "shown.line IS NULL AND scans.linkless AND NOT scans.complete"
# Whether a link that was removed existed is not shown afterwards, so only a proof beforehand counts.
_NOT_PROVEN: Final = """
    scans.unlinked = 'unknown' OR
    (scans.unlinked = 'shown_unlinked' AND staged.change IN (SELECT id FROM changes WHERE kind = 'unlink_device'))
"""
FORMERS: Final = f"""
    SELECT staged.line, staged.app, staged.name, staged.change, queue.turn,
        CASE WHEN staged.former <> '' THEN staged.former
            WHEN shown.channel IS NOT NULL THEN 'channel'
            WHEN shown.proven OR {_NOT_REACHED} THEN 'none'
            WHEN shown.line IS NULL OR {_NOT_PROVEN} THEN 'unknown'
            ELSE scans.unlinked END AS former,
        CASE WHEN staged.former <> '' THEN staged.former_value
            WHEN shown.channel IS NOT NULL THEN shown.channel
            WHEN shown.proven OR {_NOT_REACHED} THEN NULL
            WHEN shown.line IS NULL AND scans.hidden THEN '{no_way_back(Cause.DEVICES_HIDDEN).value}'
            WHEN shown.line IS NULL THEN '{no_way_back(Cause.NEVER_LISTED).value}'
            WHEN {_NOT_PROVEN} THEN '{no_way_back(Cause.LINKS_NOT_SHOWN).value}' END AS former_value
    FROM queue CROSS JOIN staged ON staged.line = queue.line
    LEFT JOIN shown ON shown.line = staged.line
    LEFT JOIN scans ON scans.app = staged.app
"""

UNKNOWN_DEVICES: Final = f"""
    UPDATE staged SET fate = 'skipped', cause = '{Cause.UNKNOWN_DEVICE}'
    WHERE staged.fate = '' AND staged.app IN (SELECT app FROM scans WHERE complete)
        AND NOT EXISTS (SELECT 1 FROM shown WHERE shown.line = staged.line)
"""

# The `Place` of each row.
PLACES: Final = """
    SELECT app, change, expected IS NOT NULL, shown.line IS NOT NULL, channel
    FROM staged LEFT JOIN shown ON shown.line = staged.line WHERE fate = ''
"""
# Number of devices of an app that are linked to a channel.
LINKED: Final = "SELECT count(*) FROM inventory WHERE app = ? AND channel = ?"
LINKED_KNOWN: Final = """
    SELECT count(*) FROM known.devices WHERE app_id = (SELECT known FROM scans WHERE app = ?) AND channel = ?
"""

# For each app, whether it was listed completely, and how many devices were seen, with and without a link, and with one.
SEEN: Final = """
    SELECT app_id, complete, count(*), count(channel)
    FROM inventory JOIN scans ON scans.app = inventory.app JOIN apps ON apps.id = inventory.app GROUP BY inventory.app
"""
SEEN_KNOWN: Final = """
    SELECT known, complete, count(device_id), count(channel)
    FROM scans LEFT JOIN known.devices AS found ON found.app_id = known WHERE known IS NOT NULL GROUP BY known
"""
