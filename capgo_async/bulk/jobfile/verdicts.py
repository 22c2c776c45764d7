"""Verdicts of fresh listings on operations that are done.

A look at an app works on a copy of its verdicts. Only one that reached its end replaces them, so that a server that cannot be
read leaves the earlier verdicts as they are. Each function takes a connection and is part of a transaction.
"""

import enum
import sqlite3
from collections.abc import Sequence
from typing import Final

from ..operations.operations import Former
from .schema import Outcome, Verdict
from .seen import OF_APP, index_names

_LOOKED_OF_APP: Final = f"id IN (SELECT id FROM operations WHERE {OF_APP})"
_FORGET: Final = f"DELETE FROM looked WHERE {_LOOKED_OF_APP}"


def done_by_app(connection: sqlite3.Connection, *, contradicted: bool) -> list[tuple[str, str, int]]:
    """Return how many operations of each app and kind are done, or only the contradicted ones."""
    return connection.execute(
        f"""
        SELECT app_id, kind, count(*) FROM operations JOIN apps ON apps.id = app JOIN changes ON changes.id = change
        WHERE outcome = {Outcome.DONE} AND (NOT ? OR verdict = {Verdict.CONTRADICTED}) GROUP BY app, kind ORDER BY app_id
        """,
        (contradicted,),
    ).fetchall()


def begin(connection: sqlite3.Connection, app_id: str, *, anew: bool) -> None:
    """Copy the verdicts of an app for a look, or begin `anew` with none; index the names."""
    index_names(connection)
    connection.execute("CREATE TEMP TABLE IF NOT EXISTS looked (id INTEGER PRIMARY KEY, verdict INTEGER NOT NULL) STRICT")
    connection.execute(_FORGET, (app_id,))
    connection.execute(
        f"""
        INSERT INTO looked (id, verdict)
        SELECT id, iif(?2, {Verdict.UNCHECKED}, verdict) FROM operations
        WHERE outcome = {Outcome.DONE} AND app = (SELECT id FROM apps WHERE app_id = ?1)
        """,
        (app_id, anew),
    )


def judge(connection: sqlite3.Connection, app_id: str, shown: Sequence[tuple[str, str | None]]) -> None:
    """Compare done operations of an app with the devices of one response, each given with its channel.

    A response that shows no link of any device proves of none that it has no link (contract C7).
    """
    proves_nothing = all(channel is None for _, channel in shown)
    connection.executemany(
        f"""
        UPDATE looked
        SET verdict = CASE
            WHEN ?4 THEN {Verdict.SHOWN_UNLINKED}
            WHEN (
                SELECT iif(kind = 'unlink_device', NULL, argument)
                FROM operations JOIN changes ON changes.id = change WHERE operations.id = looked.id
            ) IS ?1 THEN {Verdict.VERIFIED}
            ELSE {Verdict.CONTRADICTED} END
        WHERE id IN (SELECT id FROM operations WHERE app = (SELECT id FROM apps WHERE app_id = ?2) AND name = ?3)
        """,
        ((channel, app_id, device, proves_nothing) for device, channel in shown),
    )


def in_doubt(connection: sqlite3.Connection, app_id: str) -> bool:
    """Return whether a device was listed without a link in a response that proves nothing."""
    found = f"SELECT EXISTS (SELECT 1 FROM looked WHERE verdict = {Verdict.SHOWN_UNLINKED} AND {_LOOKED_OF_APP})"
    (doubt,) = connection.execute(found, (app_id,)).fetchone()
    return bool(doubt)


class Extent(enum.Enum):
    """How far a listing of devices tells which of them have a link (contract C5, C7)."""

    LINKS = enum.auto()
    """A device listed without a link has none."""
    PART = enum.auto()
    """Only a part of the list was read."""
    NO_LINKS = enum.auto()
    """No link was shown, and the server does not count links. Servers of the seed era never show any."""
    LINKS_HIDDEN = enum.auto()
    """No link was shown, although the server counts links."""
    SOME_LINKS_HIDDEN = enum.auto()
    """Fewer links were shown than the server counts."""


_UNLINKED: Final = "(SELECT kind = 'unlink_device' FROM changes WHERE changes.id = change)"
_LISTED_WITHOUT_LINK: Final = {
    Extent.LINKS: f"iif({_UNLINKED}, {Verdict.VERIFIED}, {Verdict.CONTRADICTED})",
    Extent.PART: f"{Verdict.UNCHECKED}",
    Extent.NO_LINKS: f"{Verdict.CANNOT_TELL}",
    Extent.LINKS_HIDDEN: f"{Verdict.MISSING}",
    Extent.SOME_LINKS_HIDDEN: f"iif({_UNLINKED}, {Verdict.MISSING}, {Verdict.CONTRADICTED})",
}


def close(connection: sqlite3.Connection, app_id: str, extent: Extent) -> None:
    """Settle the verdict of devices that were listed without a link where that proves nothing."""
    _settle_all(connection, app_id, Verdict.SHOWN_UNLINKED, _LISTED_WITHOUT_LINK[extent])


def settle(connection: sqlite3.Connection, verdicts: Sequence[tuple[int, Verdict]]) -> None:
    connection.executemany("UPDATE looked SET verdict = ?2 WHERE id = ?1", verdicts)


def settle_unlisted(connection: sqlite3.Connection, app_id: str, *, listed: bool) -> None:
    """Settle the verdict of operations that are still unchecked: no listing shows their devices.

    The server must show devices that it showed before. If it has `listed` no device at all, it must show those that the job
    has changed.
    """
    meaning = f"iif(former <> '{Former.UNKNOWN}', {Verdict.MISSING}, {Verdict.CANNOT_TELL})" if listed else f"{Verdict.MISSING}"
    _settle_all(connection, app_id, Verdict.UNCHECKED, meaning)


def _settle_all(connection: sqlite3.Connection, app_id: str, verdict: Verdict, meaning: str) -> None:
    """Replace a verdict of an app by what it means, an SQL expression on the operation."""
    connection.execute(
        f"""
        UPDATE looked SET verdict = (SELECT {meaning} FROM operations WHERE operations.id = looked.id)
        WHERE verdict = {verdict} AND {_LOOKED_OF_APP}
        """,
        (app_id,),
    )


def end(connection: sqlite3.Connection, app_id: str) -> None:
    """Replace the verdicts of an app by those of the look, which has reached its end."""
    connection.execute(
        f"UPDATE operations SET verdict = looked.verdict FROM looked WHERE looked.id = operations.id AND {OF_APP}", (app_id,)
    )
    connection.execute(_FORGET, (app_id,))
