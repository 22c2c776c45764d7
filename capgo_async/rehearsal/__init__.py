"""Rehearsals: a job run against a sandbox in virtual time, to know beforehand what comes of it and when it ends."""

from .rehearsing import DEFAULT_LATENCY, Conditions, Rehearsal, Rehearsed

__all__ = ["DEFAULT_LATENCY", "Conditions", "Rehearsal", "Rehearsed"]
