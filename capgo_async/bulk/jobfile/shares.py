"""The waves of a job in its file: functions of a connection, each a part of a transaction, as in `records`."""

import sqlite3
from fractions import Fraction
from typing import NamedTuple

from ..report import Wave
from .schema import Outcome, Verdict


class Span(NamedTuple):
    """One wave in the file: its operations are those behind `after` up to `last`."""

    number: int
    share: Fraction
    after: int
    last: int
    verified_at: str | None
    bake_until: str | None

    @property
    def name(self) -> str:
        """Return what people call it, such as "wave 2 (10%)"."""
        return f"wave {self.number} ({in_percent(self.share)})"


class Findings(NamedTuple):
    """What came of a wave, `contradicted` of all waves so far, and how much of that an earlier run stopped for.

    `behind`: something is open behind the wave.
    """

    open: int
    behind: bool
    settled: int
    failed: int
    contradicted: int
    told_failed: int
    told_contradicted: int


def in_percent(share: Fraction) -> str:
    """Return a share as people write it, such as "2.5%"."""
    return f"{float(share * 100):g}%"


def spans_of(connection: sqlite3.Connection) -> list[Span]:
    """Return the waves in their order; none where the job has no waves."""
    found = connection.execute("""
        SELECT number, numerator, denominator, lag(last_id, 1, 0) OVER (ORDER BY number), last_id, verified_at, bake_until
        FROM waves ORDER BY number
    """)
    return [Span(number, Fraction(over, under), *rest) for number, over, under, *rest in found]


def apps_of(connection: sqlite3.Connection, span: Span) -> list[str]:
    """Return the apps in which operations of a wave are done."""
    found = connection.execute(
        """
        SELECT DISTINCT app_id FROM operations JOIN apps ON apps.id = app
        WHERE operations.id > ? AND operations.id <= ? AND outcome = ? ORDER BY 1
        """,
        (span.after, span.last, Outcome.DONE),
    )
    return [app_id for (app_id,) in found]


def findings_of(connection: sqlite3.Connection, span: Span) -> Findings:
    """Count what came of a wave."""
    settled, failed = connection.execute(
        "SELECT count(*), coalesce(sum(outcome = ?), 0) FROM operations WHERE id > ? AND id <= ? AND outcome >= ?",
        (Outcome.FAILED, span.after, span.last, Outcome.DONE),
    ).fetchone()
    behind = connection.execute(
        "SELECT 1 FROM operations WHERE id > ? AND outcome <= ? LIMIT 1", (span.last, Outcome.SENT)
    ).fetchone()
    (contradicted,) = connection.execute(
        "SELECT count(*) FROM operations WHERE id <= ? AND outcome = ? AND verdict = ?",
        (span.last, Outcome.DONE, Verdict.CONTRADICTED),
    ).fetchone()
    told_failed, told_contradicted = connection.execute(
        "SELECT (SELECT told_failed FROM waves WHERE number = ?), (SELECT max(told_contradicted) FROM waves)", (span.number,)
    ).fetchone()
    still_open = span.last - span.after - settled
    return Findings(still_open, behind is not None, settled, failed, contradicted, told_failed, told_contradicted)


def tell(connection: sqlite3.Connection, span: Span) -> None:
    """Write down that a run stopped for what came of a wave: the next one stops only for more."""
    found = findings_of(connection, span)
    connection.execute(
        "UPDATE waves SET told_failed = ?, told_contradicted = ? WHERE number = ?",
        (found.failed, found.contradicted, span.number),
    )


def close(connection: sqlite3.Connection, span: Span, verified_at: str, bake_until: str | None) -> None:
    """Write down that a wave is verified, and when what follows may begin."""
    connection.execute(
        "UPDATE waves SET verified_at = ?, bake_until = ? WHERE number = ?", (verified_at, bake_until, span.number)
    )


def waves_of(connection: sqlite3.Connection) -> tuple[Wave, ...]:
    """Return the waves for people, each with how far it is."""
    return tuple(_wave(connection, span) for span in spans_of(connection))


def _is_shown(connection: sqlite3.Connection, span: Span) -> bool:
    """Tell whether the server showed anything of what was done in a wave, or nothing was."""
    (told, untold) = connection.execute(
        """
        SELECT coalesce(sum(verdict IN (?1, ?2)), 0), coalesce(sum(verdict = ?3), 0) FROM operations
        WHERE id > ?4 AND id <= ?5 AND outcome = ?6
        """,
        (Verdict.VERIFIED, Verdict.CONTRADICTED, Verdict.CANNOT_TELL, span.after, span.last, Outcome.DONE),
    ).fetchone()
    return bool(told) or not untold


def _wave(connection: sqlite3.Connection, span: Span) -> Wave:
    found = findings_of(connection, span)
    stopped = found.told_failed or connection.execute(
        "SELECT told_contradicted FROM waves WHERE number = ?", (span.number,)
    ).fetchone() != (0,)
    if span.verified_at is not None:
        state = "verified" if _is_shown(connection, span) else "cannot_tell"
    elif stopped:
        state = "stopped"
    else:
        state = "begun" if found.settled else "pending"
    return Wave(
        number=span.number,
        share=in_percent(span.share),
        operations=span.last - span.after,
        settled=found.settled,
        failed=found.failed,
        state=state,
        verified_at=span.verified_at,
        bake_until=span.bake_until,
    )
