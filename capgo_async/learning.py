"""Learns which generation a server is of, once, by what costs least (contract C1, C10)."""

import contextlib
from typing import Final

import anyio

from . import wire
from .dialect import Dialect, Generation, Version, dialect_of_probe
from .endpoints.organizations import probe_organizations
from .endpoints.server import ok
from .errors import DangerousCall, NotFound, UnreadableAnswer
from .requester import Requester
from .wire import Response

_NO_VERDICT: Final = frozenset({401, 429})
_SERVER_FAILED: Final = 500


class Learner:
    """Ask for a server's version and dialect when they are needed and nobody knows them."""

    def __init__(self, requester: Requester) -> None:
        self._requester = requester
        self._asking = anyio.Lock()

    @property
    def generation(self) -> Generation:
        """Return what is known without asking."""
        return self._requester.generation

    async def version(self) -> Version | None:
        """Return the server's version; asks `GET /ok`, which costs no quota, where no answer told it yet."""
        async with self._asking:
            await self._ask()
        return self.generation.version

    async def _ask(self) -> None:
        if self.generation.version is None and not self.generation.asked:
            # A server that has no such route, or says something else there, tells no version: that is an answer, too.
            with contextlib.suppress(NotFound, UnreadableAnswer):
                await self._requester.call(ok(), wire.acknowledge)
            self.generation.asked = True

    async def dialect(self) -> Dialect:
        """Return the dialect, `AUTO` where neither the user nor the server tells it."""
        if self.generation.dialect is Dialect.AUTO:
            await self.version()
        return self.generation.dialect

    async def proven_dialect(self) -> Dialect:
        """Return the dialect for a call that the wrong verb would turn into another; probes where nothing else tells.

        Raises `DangerousCall` where the probe shows nothing either, or where a set dialect is not the server's.
        """
        async with self._asking:
            if self.generation.dialect is Dialect.AUTO:
                await self._ask()
            if self.generation.dialect is Dialect.AUTO:
                self.generation.probed = await self._requester.call(probe_organizations(), _read_probe)
        if self.generation.chosen is Dialect.SEED and self.generation.worker_source is not None:
            message = "dialect='seed' was set, but the server tells a version, which no server of that time does: leave it out"
            raise DangerousCall(message)
        if self.generation.dialect is Dialect.AUTO:
            message = (
                "the server does not show which verb updates an organization, and the wrong one would create another: "
                "set dialect='modern' or dialect='seed'"
            )
            raise DangerousCall(message)
        return self.generation.dialect


def _read_probe(response: Response, operation: str) -> Dialect:
    if response.status in _NO_VERDICT or response.status >= _SERVER_FAILED:
        raise wire.error_of(response, operation)
    return dialect_of_probe(response.status, response.body)
