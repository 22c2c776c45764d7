"""Runs a job wave by wave.

Each wave is verified and bakes, and the next may need approval, before that begins (contract G4).
"""

from datetime import datetime, timedelta
from fractions import Fraction
from typing import NamedTuple

import anyio

from ...errors import Problem, SafetyStop
from ...events import BakeBegan, BakeEnded, WaveBegan, WaveEnded
from ...key_ring import KeyRing, pacer_of
from ..clock import Clock
from ..jobfile import waves
from ..jobfile.facts import add_remarks
from ..jobfile.journal import Journal
from ..jobfile.waves import StoredWave, WaveTotals
from ..report import counted
from .approval import Approvals
from .runner import Runner, StopReason
from .verification import verify


class Pace(NamedTuple):
    """How long a wave bakes, the largest share of failures, and the clock for bakes."""

    bake_seconds: float
    failures: Fraction | None
    clock: Clock


class Waves:
    """The waves of one run. A job without waves runs in one go."""

    def __init__(self, journal: Journal, runner: Runner, client: KeyRing, pace: Pace, approvals: Approvals) -> None:
        self._journal = journal
        self._database = journal.database
        self._runner = runner
        self._client = client
        self._pace = pace
        self._listeners = pacer_of(client).listeners
        self._approvals = approvals
        self.baking_until: datetime | None = None
        """End of the current bake."""

    async def run(self) -> None:
        """Run to the end, or until the runner is drained.

        Raises `SafetyStop` if a fresh listing contradicts a wave or hides its devices, or if too large a share of it failed.
        Unlike the stop rules, this applies to any number of operations. The next run continues after that wave, unless there
        are new failures or contradictions. Raises `SafetyStop`, too, if the next wave is not approved; the next run asks again.
        """
        found = await self._database.run(waves.stored_waves)
        if not found:
            await self._runner.run()
            return
        for wave in found:
            if wave.last == wave.after:
                continue
            # A verified wave has open operations again if its failed ones were reopened.
            if wave.verified_at is None or (await self._database.run(waves.totals_of, wave)).open:
                await self._perform(wave)
                if self._runner.drained:
                    return
                # A run of failed operations leaves the other open ones of a wave to a later run.
                if (await self._database.run(waves.totals_of, wave)).open:
                    continue
                if (judged := await self._judge(wave)) is None:
                    return
                wave = judged  # noqa: PLW2901 - the same wave, with its times
            if not (await self._baked(wave) and await self._approvals.granted(wave)):
                return

    async def _perform(self, wave: StoredWave) -> None:
        self._journal.confine(wave.last)
        share = waves.in_percent(wave.share)
        self._listeners.announce(WaveBegan(wave=wave.number, share=share, operations=wave.last - wave.after))
        try:
            await self._runner.run()
        except SafetyStop as error:
            await self._database.run(waves.note_stop, wave)
            message = f"{error}, in {wave.name}"
            raise SafetyStop(message, problem=error.problem) from error

    async def _judge(self, wave: StoredWave) -> StoredWave | None:
        """Verify the apps of a wave, and record when the next may begin. Raises `SafetyStop` if it went wrong.

        Returns `None` if the run is drained first. The next run then verifies anew.
        """
        remarks = await self._verified(wave)
        if remarks is None:
            return None
        await self._database.run(add_remarks, remarks)
        found = await self._database.run(waves.totals_of, wave)
        reason = self._reason_to_stop(found)
        if reason is not None and found.more_follow:
            await self._database.run(waves.note_stop, wave)
            self._tell_end(wave, "stopped", found)
            message = f"stopped after {wave.name}: {reason.text}"
            raise SafetyStop(message, problem=reason.problem)
        now = self._pace.clock()
        bakes = found.more_follow and self._pace.bake_seconds > 0
        until = _written(now + timedelta(seconds=self._pace.bake_seconds)) if bakes else None
        wave = wave._replace(verified_at=_written(now), bake_until=until)
        await self._database.run(waves.close_wave, wave)
        self._tell_end(wave, await self._database.run(waves.state_of, wave), found)
        return wave

    def _tell_end(self, wave: StoredWave, state: str, found: WaveTotals) -> None:
        done = found.settled - found.failed
        self._listeners.announce(
            WaveEnded(wave=wave.number, state=state, done=done, failed=found.failed, contradicted=found.contradicted)
        )

    async def _verified(self, wave: StoredWave) -> tuple[str, ...] | None:
        """Verify the apps of a wave and return the remarks, or `None` if the run was drained.

        Raises `SafetyStop` at the deadline of the run.
        """
        apps = await self._database.run(waves.apps_in, wave)
        return await self._runner.unless_drained(lambda: verify(self._journal, self._client, self._runner.rest, apps))

    def _reason_to_stop(self, found: WaveTotals) -> StopReason | None:
        if found.contradicted + found.missing > found.told_contradicted:
            if found.contradicted:
                text = f"a fresh listing contradicts {counted(found.contradicted, 'operation')} that succeeded"
                return StopReason(text, Problem.CONTRADICTED)
            text = (
                f"cannot tell whether {counted(found.missing, 'operation')} took effect: the server does not list their devices"
            )
            return StopReason(text, Problem.NOT_LISTED)
        share = self._pace.failures
        if share is not None and found.failed > found.told_failed and found.failed > share * found.settled:
            text = f"{found.failed:,} of {counted(found.settled, 'operation')} failed"
            return StopReason(text, Problem.TOO_MANY_FAILED)
        return None

    async def _baked(self, wave: StoredWave) -> bool:
        """Wait for the end of a bake, and return whether to continue. Another process may have begun the bake."""
        if wave.bake_until is None:
            return True
        self.baking_until = datetime.fromisoformat(wave.bake_until)
        # A clock that was set back must not make the bake longer than planned.
        left = min((self.baking_until - self._pace.clock()).total_seconds(), self._pace.bake_seconds)
        began_at, seconds = anyio.current_time(), max(0.0, left)
        self._listeners.announce(BakeBegan(wave=wave.number, seconds=seconds))
        await self._journal.keep()
        try:
            await self._runner.rest(seconds)
        finally:
            self.baking_until = None
            left = max(0.0, began_at + seconds - anyio.current_time())
            self._listeners.announce(BakeEnded(wave=wave.number, left=left))
        return not self._runner.drained


def _written(time: datetime) -> str:
    return time.isoformat(timespec="milliseconds")
