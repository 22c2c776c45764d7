"""How the generation of a server is found out, once and with the cheapest request (contract C1, C10)."""

from collections.abc import Iterable, Mapping
from typing import Final

import anyio

from ..errors import ApiError, CapgoError, DangerousCall, RateLimited, SafetyStop, UnreadableAnswer
from ..http import wire
from ..http.call import Call
from ..http.dialect import Dialect, Generation, Version, dialect_of_probe
from ..http.effort import Effort, Patience, Wait
from ..http.requester import Requester
from ..http.waiting import in_turn
from ..http.wire import Request, Response
from .endpoints.organizations import probe_organizations
from .models import Channel

_SHOWS_PACKAGES: Final = "channels show updatePackage"
"""A feature of servers since 2026-08-14 (contract K0)."""
_NO_VERDICT: Final = frozenset({401, 429})
_SERVER_FAILED: Final = 500


def ok() -> Call:
    """Return the health check, which needs no key and counts against no limit (contract C10)."""
    return Call("check the server", Request(method="GET", path="/ok"), keyed=False)


async def responds(requester: Requester) -> bool:
    """Send the health check once, and return whether the server responded as it should.

    Raises `SafetyStop` if no more requests may be sent.
    """
    try:
        return not isinstance(await requester.call_or_wait(ok(), wire.acknowledge, Effort(Patience.NONE)), Wait)
    except SafetyStop:
        raise
    except CapgoError:
        return False


def note_channels(generation: Generation, channels: Iterable[Channel]) -> None:
    """Note the features of the server that these rows show (contract K0)."""
    for channel in channels:
        generation.features[_SHOWS_PACKAGES] = channel.update_package is not None


def is_newest(features: Mapping[str, bool]) -> bool:
    """Return whether responses have shown changes after 12.201.7: a hint, no licence (contract K0)."""
    return features.get(_SHOWS_PACKAGES, False)


class Learner:
    """Finds out the version and dialect of a server when they are needed."""

    def __init__(self, requester: Requester) -> None:
        self._requester = requester
        self._asking = anyio.Lock()

    @property
    def generation(self) -> Generation:
        """Return what is known so far."""
        return self._requester.generation

    async def version(self) -> Version | None:
        """Return the server's version, from the health check if no response has told it yet."""
        async with in_turn(self._asking):
            await self._ask()
        return self.generation.version

    async def _ask(self) -> None:
        if self.generation.version is None and not self.generation.asked:
            # Any other response, from the server or a proxy, means that the version stays unknown.
            try:
                await self._requester.call(ok(), wire.acknowledge)
            except RateLimited:
                raise
            except (ApiError, UnreadableAnswer):
                pass
            self.generation.asked = True

    async def dialect(self) -> Dialect:
        """Return the dialect, or `AUTO` if it is unknown; one that the user set is checked first."""
        if self.generation.chosen is not Dialect.AUTO:
            return await self.proven_dialect()
        if self.generation.dialect is Dialect.AUTO:
            await self.version()
        return self.generation.dialect

    async def proven_dialect(self) -> Dialect:
        """Return the dialect for a call that would do something else with the wrong verb.

        If the server does not tell its version, a probe is sent before each such call, because the server may have been
        upgraded. Raises `DangerousCall` if the dialect stays unknown, or differs from the one that the user set.
        """
        async with in_turn(self._asking):
            if self.generation.worker_source is None:
                await self._ask()
            if self.generation.worker_source is None:
                self.generation.probed = await self._requester.call(probe_organizations(), _read_probe)
        return _agreed(self.generation)

    async def proven_anew(self) -> Dialect:
        """Forget what earlier responses have shown, and return the dialect as `proven_dialect` does."""
        self.generation.forget()
        return await self.proven_dialect()


def _agreed(generation: Generation) -> Dialect:
    shown, chosen = generation.shown, generation.chosen
    if Dialect.AUTO is shown is chosen:
        message = (
            "the generation of the server is unknown, and the wrong verb would create another organization: "
            "set dialect='modern' or dialect='seed'"
        )
        raise DangerousCall(message)
    if Dialect.AUTO not in {shown, chosen} and shown is not chosen:
        message = (
            f"dialect={chosen.value!r} was set, but the server is {shown.value}, where the same verb does something else to "
            f"organizations: omit the dialect, or set dialect={shown.value!r}"
        )
        raise DangerousCall(message)
    return generation.dialect


def _read_probe(response: Response, operation: str) -> Dialect:
    if response.status in _NO_VERDICT or response.status >= _SERVER_FAILED:
        raise wire.error_of(response, operation)
    return dialect_of_probe(response)
