"""Runs a job wave after wave: each is verified before the next, and rests for its bake (contract G4)."""

import math
from datetime import datetime, timedelta
from fractions import Fraction
from typing import NamedTuple

import anyio

from ...concurrency import fan_out
from ...errors import Problem, SafetyStop
from ...key_ring import KeyRing
from ..clock import Clock
from ..jobfile import waves
from ..jobfile.facts import add_remarks
from ..jobfile.journal import Journal
from ..jobfile.waves import StoredWave, WaveTotals
from ..report import counted
from .runner import Runner, StopReason
from .verification import verify


class Pace(NamedTuple):
    """How long to rest between waves by which clock, and which share of failures is too many."""

    bake_seconds: float
    failures: Fraction | None
    clock: Clock


class Waves:
    """The waves of one run; a job without waves is run at once."""

    def __init__(self, journal: Journal, runner: Runner, client: KeyRing, pace: Pace) -> None:
        self._journal = journal
        self._database = journal.database
        self._runner = runner
        self._client = client
        self._pace = pace
        self.baking_until: datetime | None = None
        """When the bake ends that is under way."""

    async def run(self) -> None:
        """Run to the end, or until the runner is drained.

        Raises `SafetyStop` where a fresh listing contradicts what a wave did, or too many of its operations failed, however few
        they are. The next run goes on from there unless there is more to tell.
        """
        found = await self._database.run(waves.stored_waves)
        if not found:
            await self._runner.run()
            return
        for wave in found:
            if wave.last == wave.after:
                continue
            # What failed may have been opened again, in a wave that was verified without it.
            if wave.verified_at is None or (await self._database.run(waves.totals_of, wave)).open:
                await self._perform(wave)
                if self._runner.drained:
                    return
                # A run of what failed leaves the rest of a wave to another.
                if (await self._database.run(waves.totals_of, wave)).open:
                    continue
                if (judged := await self._judge(wave)) is None:
                    return
                wave = judged  # noqa: PLW2901 - the same, with its times
            if not await self._baked(wave):
                return

    async def _perform(self, wave: StoredWave) -> None:
        self._journal.confine(wave.last)
        try:
            await self._runner.run()
        except SafetyStop as error:
            await self._database.run(waves.note_stop, wave)
            message = f"{error}, in {wave.name}"
            raise SafetyStop(message, problem=error.problem) from error

    async def _judge(self, wave: StoredWave) -> StoredWave | None:
        """Verify what is done so far in the apps of a wave, and stop or write down when the next may begin.

        `None` where the run is drained before: the next one begins to verify anew.
        """
        remarks = await self._verified(wave)
        if remarks is None:
            return None
        await self._database.run(add_remarks, remarks)
        found = await self._database.run(waves.totals_of, wave)
        reason = self._too_bad(found)
        if reason is not None and found.more_follow:
            await self._database.run(waves.note_stop, wave)
            message = f"stopped after {wave.name}: {reason.text}"
            raise SafetyStop(message, problem=reason.problem)
        now = self._pace.clock()
        bakes = found.more_follow and self._pace.bake_seconds > 0
        until = _written(now + timedelta(seconds=self._pace.bake_seconds)) if bakes else None
        wave = wave._replace(verified_at=_written(now), bake_until=until)
        await self._database.run(waves.close_wave, wave, wave.verified_at or "", wave.bake_until)
        return wave

    async def _verified(self, wave: StoredWave) -> tuple[str, ...] | None:
        """Verify, and return what could not be proven; `None` where the run was drained, raise where its time was over."""
        found: list[tuple[str, ...]] = []
        apps = await self._database.run(waves.apps_in, wave)
        with anyio.CancelScope() as scope:

            async def look() -> None:
                found.append(await verify(self._journal, self._client, self._runner.rest, apps))
                scope.cancel()

            async def wait_for_end() -> None:
                await self._runner.rest(math.inf)
                scope.cancel()

            await fan_out((look, wait_for_end), lambda work: work(), 2)
        return found[0] if found else None

    def _too_bad(self, found: WaveTotals) -> StopReason | None:
        if found.contradicted > found.told_contradicted:
            verb = "is" if found.contradicted == 1 else "are"
            text = f"{counted(found.contradicted, 'operation')} that succeeded {verb} contradicted by a fresh listing"
            return StopReason(text, Problem.CONTRADICTED)
        share = self._pace.failures
        if share is not None and found.failed > found.told_failed and found.failed > share * found.settled:
            text = f"{found.failed:,} of {counted(found.settled, 'operation')} failed"
            return StopReason(text, Problem.TOO_MANY_FAILED)
        return None

    async def _baked(self, wave: StoredWave) -> bool:
        """Wait for the end of a bake, which may have begun in another process; tell whether to go on."""
        if wave.bake_until is None:
            return True
        self.baking_until = datetime.fromisoformat(wave.bake_until)
        # A clock that was set back must not make a bake longer than it was to be.
        left = min((self.baking_until - self._pace.clock()).total_seconds(), self._pace.bake_seconds)
        try:
            await self._runner.rest(max(0.0, left))
        finally:
            self.baking_until = None
        return not self._runner.drained


def _written(time: datetime) -> str:
    return time.isoformat(timespec="milliseconds")
