"""Learns which generation a server is of, once, by what costs least (contract C1, C10)."""

import contextlib
from typing import Final

import anyio

from . import wire
from .dialect import Dialect, Generation, Version, dialect_of_probe
from .endpoints.organizations import probe_organizations
from .endpoints.server import ok
from .errors import DangerousCall, NotFound
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
            if self.generation.version is None and not self.generation.asked:
                with contextlib.suppress(NotFound):
                    await self._requester.call(ok(), wire.acknowledge)
                self.generation.asked = True
        return self.generation.version

    async def dialect(self) -> Dialect:
        """Return the dialect, `AUTO` where neither the user nor the server tells it."""
        if self.generation.dialect is Dialect.AUTO:
            await self.version()
        return self.generation.dialect

    async def proven_dialect(self) -> Dialect:
        """Return the dialect for a call that the wrong verb would turn into another; probes where nothing else tells.

        Raises `DangerousCall` where the probe shows nothing either.
        """
        if await self.dialect() is Dialect.AUTO:
            self.generation.probed = await self._requester.call(probe_organizations(), _read_probe)
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
