"""Rehearsals: a copy of a job runs against a sandbox in virtual time, to show its outcome and duration beforehand."""

from .rehearsing import Conditions, Rehearsal, Rehearsed, RehearsedWave

__all__ = ["Conditions", "Rehearsal", "Rehearsed", "RehearsedWave"]
