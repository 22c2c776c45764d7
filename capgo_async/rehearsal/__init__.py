"""Rehearsals: a job run against a sandbox in virtual time, to know beforehand what comes of it and when it ends."""

from .rehearsing import Conditions, Rehearsal, Rehearsed, RehearsedWave

__all__ = ["Conditions", "Rehearsal", "Rehearsed", "RehearsedWave"]
