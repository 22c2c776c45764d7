"""The waves of a job.

Each function takes a connection and is part of a transaction, as in `records`.
"""

import sqlite3
from collections import Counter
from fractions import Fraction
from typing import NamedTuple

import msgspec

from ..report import Approval, Decision, Wave
from .schema import Outcome, Verdict


class StoredWave(NamedTuple):
    """One wave in the file. Its operations have ids above `after`, up to `last`."""

    number: int
    share: Fraction
    after: int
    last: int
    verified_at: str | None
    bake_until: str | None

    @property
    def name(self) -> str:
        """Return the name for display, such as "wave 2 (10%)"."""
        return f"wave {self.number} ({in_percent(self.share)})"


class WaveTotals(NamedTuple):
    """The outcomes of a wave, and how many of them an earlier run has already stopped for.

    `more_follow` is whether operations of later waves are open. `contradicted` and `missing` count all waves so far.
    `told_failed` and `told_contradicted` are the counts at that earlier stop; missing ones count as contradicted.
    """

    open: int
    more_follow: bool
    settled: int
    failed: int
    contradicted: int
    missing: int
    told_failed: int
    told_contradicted: int


def in_percent(share: Fraction) -> str:
    """Return a share as a percentage for display, such as "2.5%"."""
    return f"{float(share * 100):g}%"


def stored_waves(connection: sqlite3.Connection) -> list[StoredWave]:
    """Return the waves in order; an empty list for a job without waves."""
    found = connection.execute("""
        SELECT number, numerator, denominator, lag(last_id, 1, 0) OVER (ORDER BY number), last_id, verified_at, bake_until
        FROM waves ORDER BY number
    """)
    return [StoredWave(number, Fraction(over, under), *rest) for number, over, under, *rest in found]


def apps_in(connection: sqlite3.Connection, wave: StoredWave) -> list[str]:
    """Return the apps in which operations of a wave are done."""
    found = connection.execute(
        """
        SELECT DISTINCT app_id FROM operations JOIN apps ON apps.id = app
        WHERE operations.id > ? AND operations.id <= ? AND outcome = ? ORDER BY 1
        """,
        (wave.after, wave.last, Outcome.DONE),
    )
    return [app_id for (app_id,) in found]


def totals_of(connection: sqlite3.Connection, wave: StoredWave) -> WaveTotals:
    settled, failed = connection.execute(
        "SELECT count(*), coalesce(sum(outcome = ?), 0) FROM operations WHERE id > ? AND id <= ? AND outcome >= ?",
        (Outcome.FAILED, wave.after, wave.last, Outcome.DONE),
    ).fetchone()
    later = connection.execute(
        "SELECT 1 FROM operations WHERE id > ? AND outcome <= ? LIMIT 1", (wave.last, Outcome.SENT)
    ).fetchone()
    contradicted, missing = connection.execute(
        """
        SELECT coalesce(sum(verdict = ?), 0), coalesce(sum(verdict = ?), 0) FROM operations
        WHERE id <= ? AND outcome = ? AND verdict IN (?1, ?2)
        """,
        (Verdict.CONTRADICTED, Verdict.MISSING, wave.last, Outcome.DONE),
    ).fetchone()
    told_failed, told_contradicted = connection.execute(
        "SELECT (SELECT told_failed FROM waves WHERE number = ?), (SELECT max(told_contradicted) FROM waves)", (wave.number,)
    ).fetchone()
    still_open = wave.last - wave.after - settled
    return WaveTotals(still_open, later is not None, settled, failed, contradicted, missing, told_failed, told_contradicted)


def note_stop(connection: sqlite3.Connection, wave: StoredWave) -> None:
    """Record what a run stopped for after a wave. The next run stops only for more than that."""
    found = totals_of(connection, wave)
    connection.execute(
        "UPDATE waves SET told_failed = ?, told_contradicted = ? WHERE number = ?",
        (found.failed, found.contradicted + found.missing, wave.number),
    )


def close_wave(connection: sqlite3.Connection, wave: StoredWave) -> None:
    """Record that a wave is verified, and when the next one may begin."""
    connection.execute(
        "UPDATE waves SET verified_at = ?, bake_until = ? WHERE number = ?", (wave.verified_at, wave.bake_until, wave.number)
    )


def state_of(connection: sqlite3.Connection, wave: StoredWave) -> str:
    """Return what the verification of a wave showed: `verified` or `cannot_tell`."""
    return _shown(_tallied(connection, wave))


def report_waves(connection: sqlite3.Connection) -> tuple[Wave, ...]:
    """Return the waves for display, each with its state."""
    return tuple(_wave(connection, wave) for wave in stored_waves(connection))


def _tallied(connection: sqlite3.Connection, wave: StoredWave) -> Counter[tuple[int, int]]:
    """Count the operations of a wave by outcome and verdict."""
    found = connection.execute(
        "SELECT outcome, verdict, count(*) FROM operations WHERE id > ? AND id <= ? GROUP BY outcome, verdict",
        (wave.after, wave.last),
    )
    return Counter({(outcome, verdict): operations for outcome, verdict, operations in found})


def _shown(tallied: Counter[tuple[int, int]]) -> str:
    """Return `cannot_tell` if the server showed nothing of what was done in a wave, else `verified`."""
    told = any(tallied[Outcome.DONE, verdict] for verdict in (Verdict.VERIFIED, Verdict.CONTRADICTED))
    untold = any(tallied[Outcome.DONE, verdict] for verdict in (Verdict.CANNOT_TELL, Verdict.MISSING))
    return "cannot_tell" if untold and not told else "verified"


def _wave(connection: sqlite3.Connection, wave: StoredWave) -> Wave:
    tallied = _tallied(connection, wave)
    failed = sum(operations for (outcome, _), operations in tallied.items() if outcome == Outcome.FAILED)
    settled = failed + sum(operations for (outcome, _), operations in tallied.items() if outcome == Outcome.DONE)
    stopped_for = connection.execute(
        "SELECT told_failed, told_contradicted FROM waves WHERE number = ?", (wave.number,)
    ).fetchone()
    if wave.verified_at is not None:
        state = _shown(tallied)
    elif any(stopped_for):
        state = "stopped"
    else:
        state = "begun" if settled else "pending"
    return Wave(
        number=wave.number,
        share=in_percent(wave.share),
        operations=wave.last - wave.after,
        settled=settled,
        failed=failed,
        state=state,
        verified_at=wave.verified_at,
        bake_until=wave.bake_until,
        approval=_approval_after(connection, wave),
    )


def _approval_after(connection: sqlite3.Connection, wave: StoredWave) -> Approval | None:
    """Return the last question since a wave was verified, and its answer."""
    found = connection.execute(
        """
        SELECT asked_at, times, answered_at, decision, reason FROM approvals
        WHERE wave = ? AND verified_at = ? ORDER BY id DESC LIMIT 1
        """,
        (wave.number, wave.verified_at),
    ).fetchone()
    if found is None:
        return None
    asked_at, times, answered_at, decision, reason = found
    decision = msgspec.convert(decision, Decision | None)
    return Approval(asked_at=asked_at, times=times, answered_at=answered_at, decision=decision, reason=reason)
