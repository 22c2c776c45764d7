"""What the devices of an inventory run, compared with where a job moved them.

The tables of the job and those of the inventory are attached to one connection. Each function takes it and is part of a
transaction.
"""

import sqlite3
from collections.abc import Collection, Sequence
from typing import Final, NamedTuple

import msgspec

from ..adoption import Adoption, AppUptake, DayUptake, Doubt, DoubtCount, Straggler, Uptake
from ..operations.operations import Former
from .schema import Outcome

_DONE: Final = f"""
    operations JOIN apps ON apps.id = app JOIN changes ON changes.id = change AND kind IN ('link_device', 'unlink_device')
    AND outcome = {Outcome.DONE}
"""


class Target(NamedTuple):
    """A channel to which a job moved devices of an app, or `None` if it unlinked them."""

    app_id: str
    channel: str | None


class Serving(NamedTuple):
    """The bundles that a channel serves, as pairs of id and name, or why they are unknown."""

    bundles: Collection[tuple[int | None, str | None]] = ()
    doubt: Doubt | None = None


class Listed(NamedTuple):
    """Whether the inventory shows devices of an app, and whether it is proven complete."""

    app_id: str
    shown: bool
    complete: bool


def moves_of(connection: sqlite3.Connection) -> list[Target]:
    """Return where the job moved devices."""
    found = connection.execute(f"SELECT DISTINCT app_id, nullif(argument, '') FROM {_DONE} ORDER BY app_id, argument")
    return [Target(app_id, channel) for app_id, channel in found]


def moved_by_app(connection: sqlite3.Connection) -> dict[str, int]:
    """Return how many devices of each app the job moved."""
    return dict(connection.execute(f"SELECT app_id, count(*) FROM {_DONE} GROUP BY app_id").fetchall())


def moved_in(connection: sqlite3.Connection, apps: Collection[str]) -> dict[str, list[str]]:
    """Return the devices of these apps that the job moved."""
    found: dict[str, list[str]] = {app_id: [] for app_id in apps}
    for app_id, device_id in connection.execute(f"SELECT app_id, operations.name FROM {_DONE}"):
        if app_id in found:
            found[app_id].append(device_id)
    return found


_STANDINGS: Final = f"""
    CREATE TEMP VIEW standings AS
    SELECT operations.id, apps.app_id, operations.name AS device_id, argument AS target, devices.custom_id,
        devices.channel AS linked_to, devices.version_name, devices.updated_at, devices.device_id IS NOT NULL AS is_listed,
        CASE
            WHEN kind = 'unlink_device' THEN '{Doubt.UNLINKED.value}'
            WHEN NOT listed.shown THEN '{Doubt.HIDDEN.value}'
            WHEN serving.doubt IS NOT NULL THEN serving.doubt
            WHEN devices.device_id IS NULL AND former <> '{Former.UNKNOWN.value}' THEN '{Doubt.MISSING.value}'
            WHEN devices.device_id IS NULL THEN iif(listed.complete, 'unlisted', '{Doubt.INCOMPLETE.value}')
            WHEN devices.version_name IS NULL AND devices.version_id IS NULL THEN '{Doubt.NOT_REPORTED.value}'
            WHEN EXISTS (
                SELECT 1 FROM bundles WHERE bundles.app_id = apps.app_id AND bundles.target = argument
                AND (bundles.name = devices.version_name OR bundles.id = devices.version_id)
            ) THEN 'taken'
            ELSE 'behind'
        END AS standing
    FROM {_DONE}
    JOIN listed ON listed.app_id = apps.app_id
    LEFT JOIN serving ON serving.app_id = apps.app_id AND serving.target = argument
    LEFT JOIN devices ON devices.app_id = apps.app_id AND devices.device_id = operations.name
"""
_COUNTS: Final = """
    count(*), total(standing = 'taken'), total(standing = 'behind'), total(standing = 'unlisted'),
    total(standing NOT IN ('taken', 'behind', 'unlisted'))
"""
_DAY: Final = """
    iif(updated_at GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]*', substr(updated_at, 1, 10), NULL)
"""


def prepare(connection: sqlite3.Connection, listed: Collection[Listed], serving: Collection[tuple[Target, Serving]]) -> None:
    """Store what each app lists and what the channels serve, for the functions below."""
    connection.execute("CREATE TEMP TABLE listed (app_id TEXT PRIMARY KEY, shown INTEGER, complete INTEGER) STRICT")
    connection.execute("CREATE TEMP TABLE serving (app_id TEXT, target TEXT, doubt TEXT) STRICT")
    connection.execute("CREATE TEMP TABLE bundles (app_id TEXT, target TEXT, id INTEGER, name TEXT) STRICT")
    connection.executemany("INSERT INTO listed VALUES (?, ?, ?)", listed)
    connection.executemany("INSERT INTO serving VALUES (?, ?, ?)", ((*target, served.doubt) for target, served in serving))
    connection.executemany(
        "INSERT INTO bundles VALUES (?, ?, ?, ?)",
        ((*target, *bundle) for target, served in serving for bundle in served.bundles),
    )
    connection.execute(_STANDINGS)


def adoption_of(connection: sqlite3.Connection, as_of: str, remarks: Sequence[str]) -> Adoption:
    """Return the totals, by app and by day of last contact."""
    apps = connection.execute(f"SELECT app_id, {_COUNTS} FROM standings GROUP BY app_id ORDER BY app_id").fetchall()
    days = connection.execute(
        f"SELECT {_DAY} AS day, {_COUNTS} FROM standings WHERE is_listed AND standing <> ? GROUP BY day ORDER BY day DESC",
        (Doubt.UNLINKED.value,),
    ).fetchall()
    doubts = connection.execute(
        """
        SELECT app_id, standing, count(*) FROM standings WHERE standing NOT IN ('taken', 'behind', 'unlisted')
        GROUP BY app_id, standing ORDER BY app_id, standing
        """
    ).fetchall()
    by_app = [AppUptake(app_id=app_id, **_counted(counts)) for app_id, *counts in apps]
    by_day = [DayUptake(day=day, **_counted(counts)) for day, *counts in days]
    return Adoption(
        as_of=as_of,
        **_counted([sum(column) for column in zip(*(counts for _, *counts in apps), strict=True)]),
        apps=by_app,
        days=by_day,
        doubts=[DoubtCount(app_id=app_id, doubt=Doubt(doubt), devices=count) for app_id, doubt, count in doubts],
        remarks=remarks,
    )


def _counted(counts: Sequence[float]) -> dict[str, int]:
    return {name: int(count) for name, count in zip(Uptake.__struct_fields__, counts, strict=True)}


def stragglers_of(connection: sqlite3.Connection, after: int, most: int) -> list[tuple[int, Straggler]]:
    """Return up to `most` devices that do not run their bundle, each with the id of its operation."""
    found = connection.execute(
        """
        SELECT id, app_id, device_id, target, custom_id, linked_to, version_name, updated_at FROM standings
        WHERE id > ? AND standing IN ('behind', 'unlisted') ORDER BY id LIMIT ?
        """,
        (after, most),
    )
    return [
        (number, msgspec.convert(dict(zip(Straggler.__struct_fields__, row, strict=True)), Straggler)) for number, *row in found
    ]
