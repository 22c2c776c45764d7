"""Rehearsals: run a copy of a job against a sandbox in virtual time, to see its outcome and duration."""

from .rehearsing import Conditions, Rehearsal, Rehearsed, RehearsedWave

__all__ = ["Conditions", "Rehearsal", "Rehearsed", "RehearsedWave"]
