"""The approvals of a job: what was asked between waves, and what was answered.

Each function takes a connection and is part of a transaction, as in `records`.
"""

import sqlite3
from typing import NamedTuple

import msgspec

from ..report import Decision, Question
from .facts import read_facts
from .schema import Outcome, Verdict
from .waves import StoredWave, apps_in, report_waves

_BEGUN = f"SELECT 1 FROM operations WHERE id > ? AND (outcome > {Outcome.PENDING} OR run IS NOT NULL) LIMIT 1"


class Pending(NamedTuple):
    """A question without a final answer. `put_off_at` is when an answer postponed it, in UTC."""

    number: int
    put_off_at: str | None


def is_needed(connection: sqlite3.Connection) -> bool:
    """Return whether a run of the open operations would begin a wave that needs approval."""
    if not read_facts(connection).needs_approval:
        return False
    (last,) = connection.execute("SELECT max(last_id) FROM waves WHERE last_id < (SELECT max(id) FROM operations)").fetchone()
    return last is not None and connection.execute(_BEGUN, (last,)).fetchone() is None


def pending_after(connection: sqlite3.Connection, wave: StoredWave) -> Pending | None:
    """Return the question that has to be answered before the wave after a verified one begins.

    Its number is new if nothing was asked yet, or if the last answer declined. Returns `None` if the next wave is approved, has
    begun, or does not exist.
    """
    follows = connection.execute("SELECT 1 FROM operations WHERE id > ? LIMIT 1", (wave.last,)).fetchone()
    if follows is None or connection.execute(_BEGUN, (wave.last,)).fetchone() is not None:
        return None
    found = connection.execute(
        "SELECT id, decision, answered_at FROM approvals WHERE wave = ? AND verified_at = ? ORDER BY id DESC LIMIT 1",
        (wave.number, wave.verified_at),
    ).fetchone()
    if found is None or found[1] == Decision.DECLINED:
        (number,) = connection.execute("SELECT coalesce(max(id), 0) + 1 FROM approvals").fetchone()
        return Pending(number, None)
    number, decision, answered_at = found
    return None if decision == Decision.APPROVED else Pending(number, answered_at)


def ask(connection: sqlite3.Connection, number: int, wave: StoredWave, job: str, at: str) -> Question:
    """Record that a question is asked, and return it."""
    before = connection.execute("SELECT times FROM approvals WHERE id = ?", (number,)).fetchone()
    question = _question(connection, number, wave, job, 1 if before is None else before[0] + 1)
    connection.execute(
        """
        INSERT INTO approvals (id, wave, verified_at, question, asked_at, times) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
        ON CONFLICT DO UPDATE SET question = ?4, asked_at = ?5, times = ?6, answered_at = NULL, decision = NULL, reason = ''
        """,
        (number, wave.number, wave.verified_at, msgspec.json.encode(question).decode(), at, question.times),
    )
    return question


def answer(connection: sqlite3.Connection, number: int, decision: Decision, reason: str, at: str) -> None:
    """Record an answer."""
    connection.execute(
        "UPDATE approvals SET decision = ?, reason = ?, answered_at = ? WHERE id = ?", (decision, reason, at, number)
    )


def _question(connection: sqlite3.Connection, number: int, wave: StoredWave, job: str, times: int) -> Question:
    waves = [each for each in report_waves(connection) if each.operations]
    place = next(place for place, each in enumerate(waves) if each.number == wave.number)
    verdicts: dict[int, int] = dict(
        connection.execute(
            "SELECT verdict, count(*) FROM operations WHERE id > ? AND id <= ? AND outcome = ? GROUP BY verdict",
            (wave.after, wave.last, Outcome.DONE),
        )
    )
    return Question(
        number=number,
        times=times,
        job=job,
        base_url=read_facts(connection).binding.base_url,
        wave=msgspec.structs.replace(waves[place], approval=None),
        next_wave=waves[place + 1],
        done=sum(verdicts.values()),
        verified=verdicts.get(Verdict.VERIFIED, 0),
        contradicted=verdicts.get(Verdict.CONTRADICTED, 0),
        cannot_tell=verdicts.get(Verdict.CANNOT_TELL, 0) + verdicts.get(Verdict.MISSING, 0),
        unchecked=verdicts.get(Verdict.UNCHECKED, 0) + verdicts.get(Verdict.SHOWN_UNLINKED, 0),
        apps=tuple(apps_in(connection, wave)),
    )
