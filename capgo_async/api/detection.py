"""Learns which generation a server is of, once, by what costs least (contract C1, C10)."""

from typing import Final

import anyio

from ..errors import ApiError, DangerousCall, RateLimited, UnreadableAnswer
from ..http import wire
from ..http.call import Call
from ..http.dialect import Dialect, Generation, Version, dialect_of_probe
from ..http.requester import Requester
from ..http.wire import Request, Response
from .endpoints.organizations import probe_organizations

_NO_VERDICT: Final = frozenset({401, 429})
_SERVER_FAILED: Final = 500


def ok() -> Call:
    """Ask the server for its health: no key, no quota (contract C10)."""
    return Call("check the server", Request(method="GET", path="/ok"), keyed=False)


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
            # Whatever else is said there, by the server or before it, tells no version: that is an answer, too.
            try:
                await self._requester.call(ok(), wire.acknowledge)
            except RateLimited:
                raise
            except (ApiError, UnreadableAnswer):
                pass
            self.generation.asked = True

    async def dialect(self) -> Dialect:
        """Return the dialect, `AUTO` where neither the user nor the server tells it; a set one is made sure of."""
        if self.generation.chosen is not Dialect.AUTO:
            return await self.proven_dialect()
        if self.generation.dialect is Dialect.AUTO:
            await self.version()
        return self.generation.dialect

    async def proven_dialect(self) -> Dialect:
        """Return the dialect for a call that the wrong verb would turn into another; probes where nothing else tells.

        Without the header a probe comes before each such call: the server may have been renewed since the last one. Raises
        `DangerousCall` where nothing is set and nothing shows, or where a set dialect is not the server's.
        """
        async with self._asking:
            if self.generation.worker_source is None:
                await self._ask()
            if self.generation.worker_source is None:
                self.generation.probed = await self._requester.call(probe_organizations(), _read_probe)
        return _agreed(self.generation)

    async def proven_anew(self) -> Dialect:
        """Return the dialect as `proven_dialect` does, and trust nothing that the server told before."""
        self.generation.forget()
        return await self.proven_dialect()


def _agreed(generation: Generation) -> Dialect:
    shown, chosen = generation.shown, generation.chosen
    if Dialect.AUTO is shown is chosen:
        message = (
            "the server does not show which verb updates an organization, and the wrong one would create another: "
            "set dialect='modern' or dialect='seed'"
        )
        raise DangerousCall(message)
    if Dialect.AUTO not in {shown, chosen} and shown is not chosen:
        message = (
            f"dialect={chosen.value!r} was set, but the server shows that it is {shown.value}, where that verb does something "
            f"else to organizations: leave the dialect out, or set dialect={shown.value!r}"
        )
        raise DangerousCall(message)
    return generation.dialect


def _read_probe(response: Response, operation: str) -> Dialect:
    if response.status in _NO_VERDICT or response.status >= _SERVER_FAILED:
        raise wire.error_of(response, operation)
    return dialect_of_probe(response)
