"""The client for one server and one API key.

Longer than 300 lines because it documents and checks every option.
"""

import hashlib
import inspect
import math
import os
import random
import secrets
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, Self

import anyio
import msgspec

from .api.detection import Learner, ok, responds
from .api.resources import ApiKeys, Apps, Bundles, Channels, Devices, Members, Organizations, Statistics
from .api.words import AuthHeader, member, one_of
from .errors import ConfigurationError, Problem
from .events import Event, LimitUse
from .http import wire
from .http.absence import Absence
from .http.credentials import authentication, is_session_token
from .http.dialect import Dialect, Generation
from .http.requester import Counters, Identity, Requester, RetryPolicy
from .limits.known import Known, lasting, with_lessons, with_refusal, with_version
from .limits.lockout import MOST_IN_FLIGHT
from .limits.models import Limit, ScopeKind, parse_rate
from .limits.pacer import Pacer
from .logs import tell_outside
from .masking import Masks
from .version import __version__

if TYPE_CHECKING:
    import aiohttp

    from .http.wire import Transport

DEFAULT_BASE_URL: Final = "https://api.capgo.app"
_PROCESS_SALT: Final = secrets.token_bytes(16)


class _Shared(NamedTuple):
    """What clients of one server share, whatever their keys."""

    base_url: str
    transport: "Transport"
    pacer: Pacer
    generation: Generation
    policy: RetryPolicy
    absence: Absence
    auth_header: str
    user_agent: str
    chance: Callable[[], float]
    masks: Masks
    """Hide every key of these clients in what is told and logged."""

    def requester_for(self, key: str) -> Requester:
        """Return a requester that makes calls with `key`."""
        self.masks.add(key)
        fingerprint = _fingerprinter(key)
        identity = Identity(
            name=secrets.token_hex(6),
            headers={**authentication(key, self.auth_header), "User-Agent": self.user_agent},
            scope=(ScopeKind.KEY, fingerprint(_PROCESS_SALT)[:16]),
            fingerprint=fingerprint,
            chance=self.chance,
            is_token=is_session_token(key),
            base_url=self.base_url,
        )
        return Requester(
            self.transport, self.pacer, identity, policy=self.policy, generation=self.generation, absence=self.absence
        )


class CapgoClient:
    """A client for one Capgo server and one API key.

    `api_key` defaults to the environment variable `CAPGO_API_KEY`. The token of a user session (a JWT) may take its place for
    API keys, statistics, the audit log, changes of organizations and new apps; all other calls raise `NeedsApiKey` and send
    nothing (contract A2). `base_url` defaults to `CAPGO_BASE_URL`, and then to the Capgo cloud.

    `rate` is `auto` (the default), `standard`, `enterprise`, `server`, `off`, `N/min` or `N/s`. `limits` replaces it by limits
    of your own. `headroom` is the share of the limits of keys and apps to leave to others, from 0 to below 1.

    At most `concurrency` requests are in flight, and at most 15: all of them are refused if the key expires, and the server
    locks out an address after 20 refusals (contract B2). One attempt takes at most `timeout` seconds, and a response of more
    than `max_response_bytes`, unpacked, is an error. A failed call is retried up to `retries` times if repeating it is harmless
    (contract G1). While the server cannot be reached, such a call and a job wait for up to `wait_for_server` seconds each time:
    one request that counts against no limit probes it after 5 s, 10 s and so on up to a minute.

    `auth_header` is `authorization` or `capgkey`. Use `capgkey` for keys that are not UUIDs, and for the oldest servers
    (contract A2); session tokens ignore it. `session` is an aiohttp session of yours; the client never closes it. `on_event`
    is called with each event of this client and those made by its `with_key`, see `capgo_async.events`, by the task in which it
    happens. It must be no coroutine function, and must not block. What it raises breaks no call and is logged once.
    `transport` replaces aiohttp, for example in tests. `chance` returns the random numbers, from 0 to 1, that spread retries.

    Raises `ConfigurationError` if the key is missing, the base URL would leak it, or an option is invalid.

    A client belongs to the event loop in which it is first used; in another one it raises `ConfigurationError`. Besides what
    its documentation names, any call may raise `ConfigurationError` for arguments that the server would misread, before
    anything is sent, `AuthenticationError`, `RateLimited`, `ServerError`, `InvalidRequest`, a `TransportError` and
    `UnreadableAnswer`.
    """

    def __init__(  # noqa: PLR0913 - the public options, keyword only
        self,
        *,
        api_key: str | None = None,
        base_url: str | None = None,
        rate: str = "auto",
        limits: Sequence[Limit] | None = None,
        headroom: float = 0.0,
        concurrency: int = MOST_IN_FLIGHT,
        timeout: float = 30.0,
        max_response_bytes: int = wire.MAX_RESPONSE_BYTES,
        retries: int = 4,
        wait_for_server: float = 0.0,
        dialect: Dialect | Literal["auto", "modern", "seed"] = Dialect.AUTO,
        auth_header: AuthHeader = "authorization",
        session: "aiohttp.ClientSession | None" = None,
        user_agent: str = f"capgo-async/{__version__}",
        on_event: Callable[[Event], object] | None = None,
        trust_env: bool = False,
        allow_plain_http: bool = False,
        transport: "Transport | None" = None,
        chance: Callable[[], float] | None = None,
        _shared: _Shared | None = None,
    ) -> None:
        if _shared is None:
            _check_options(
                concurrency=concurrency, timeout=timeout, retries=retries, headroom=headroom, most=max_response_bytes
            )
            if not 0.0 <= wait_for_server < math.inf:
                message = f"invalid wait_for_server {wait_for_server:g}: it must be at least 0 seconds"
                raise ConfigurationError(message)
            _check_headers(auth_header, user_agent)
            base_url = _checked_url(base_url, allow_plain_http=allow_plain_http)
            api_key = os.environ.get("CAPGO_API_KEY") if api_key is None else api_key
            pacer = _pacer(rate, limits, concurrency, headroom)
            _shared = _Shared(
                base_url=base_url,
                transport=transport or _transport(base_url, session, timeout, max_response_bytes, trust_env=trust_env),
                pacer=pacer,
                generation=Generation(member(Dialect, dialect, "dialect")),
                policy=RetryPolicy(retries=retries),
                absence=Absence(wait_for_server, pacer.listeners),
                auth_header=auth_header,
                user_agent=user_agent,
                chance=chance or random.Random().random,  # noqa: S311 - jitter needs no secrecy
                masks=Masks(),
            )
            tell_outside(_shared.pacer.listeners, _shared.masks, _checked_hook(on_event))
            self._closes: Transport | None = _shared.transport
        else:
            self._closes = None
        self.base_url = _shared.base_url
        self._shared = _shared
        self._recalled = Known()
        self._requester = _shared.requester_for(_checked_key(api_key))
        _shared.absence.probe = _shared.absence.probe or partial(responds, self._requester)
        learner = Learner(self._requester)
        self.api_keys = ApiKeys(self._requester)
        self.apps = Apps(self._requester)
        self.bundles = Bundles(self._requester, learner)
        self.channels = Channels(self._requester)
        self.devices = Devices(self._requester)
        self.members = Members(self._requester, self.base_url)
        self.organizations = Organizations(self._requester, learner)
        self.statistics = Statistics(self._requester)

    def with_key(self, api_key: str) -> "CapgoClient":
        """Return a client with another key for the same server.

        It shares this client's connections, its limits, and what it has learned about the server. It works until this client
        is closed; closing it closes nothing. Raises `ConfigurationError` if the key is missing or invalid.
        """
        if not api_key:
            message = "no API key for the additional client: only the first one uses CAPGO_API_KEY"
            raise ConfigurationError(message)
        return CapgoClient(api_key=api_key, _shared=self._shared)

    @property
    def counters(self) -> Counters:
        """Return the numbers of requests, retries and refusals so far."""
        return self._requester.counters

    @property
    def dialect(self) -> Dialect:
        """Return the dialect that was set or learned, or `AUTO` while it is unknown."""
        return self._requester.generation.dialect

    @property
    def server_version(self) -> tuple[int, int, int] | None:
        """Return the server's version from its last response, or `None` if no response told it (contract A5)."""
        return self._requester.generation.version

    def recall(self, known: Known) -> None:
        """Start with what an earlier client of the same server and key returned from `known`.

        Anything learned more than a week ago is ignored. Limits are used only with the rate `auto`.
        """
        self._recalled = lasting(known, datetime.now(UTC))
        self._shared.pacer.gates.lessons.recall(self._recalled.limits, self._requester.key_scope)
        self._shared.pacer.timings.recall(self._recalled.timings or {})

    def known(self) -> Known:
        """Return what this client has learned about the server and the key, for `recall` of a later client."""
        now, key = datetime.now(UTC), self._requester.key_scope
        lessons, timings = self._shared.pacer.gates.lessons, self._shared.pacer.timings
        known = with_lessons(with_version(self._recalled, self.server_version, now), lessons.limits(key), now)
        for scope, passed in lessons.suspicions(key).items():
            known = with_refusal(known, scope, passed, now)
        noticed = now if lessons.others_noticed(key) else known.others_noticed_at
        if timings.measured:
            known = msgspec.structs.replace(known, timings=timings.known(), timed_at=now)
        return msgspec.structs.replace(known, others_noticed_at=noticed, updated_at=now)

    def limits_in_use(self) -> list[LimitUse]:
        """Return how many requests count against each limit of keys and apps now, the fullest first."""
        return self._shared.pacer.gates.in_use(anyio.current_time())

    async def check(self) -> None:
        """Check that the server is up, and learn its version; counts against no limit (contract C10).

        Raises `NotFound` if something else responds. Only reads, and can be repeated.
        """
        await self._requester.call(ok(), wire.acknowledge)

    async def aclose(self) -> None:
        """Close the connections of this client; raises nothing, and can be repeated.

        Later calls raise `ConfigurationError`.
        """
        if self._closes is not None:
            await self._closes.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"CapgoClient(base_url={self.base_url!r})"


def requester_of(client: CapgoClient) -> Requester:
    """Return the requester of `client`, for engines that make calls of their own."""
    return client._requester  # noqa: SLF001 - private to users, not to this package


def _checked_hook(on_event: Callable[[Event], object] | None) -> Callable[[Event], object] | None:
    if inspect.iscoroutinefunction(on_event):
        message = "on_event must be a plain function: nothing would await a coroutine function"
        raise ConfigurationError(message)
    return on_event


def _fingerprinter(key: str) -> Callable[[bytes], str]:
    encoded = key.encode()
    return lambda salt: hashlib.scrypt(encoded, salt=salt, n=2, r=8, p=1, dklen=32).hex()


def _checked_key(api_key: str | None) -> str:
    if not api_key:
        message = "no API key: set CAPGO_API_KEY or pass one"
        raise ConfigurationError(message, problem=Problem.NO_API_KEY)
    if not api_key.isprintable() or not api_key.isascii() or " " in api_key:
        message = (
            "the API key contains an invalid character, such as a line break or a space; "
            "pass the bare key or token, without `Bearer`"
        )
        raise ConfigurationError(message)
    return api_key


def _checked_url(base_url: str | None, *, allow_plain_http: bool) -> str:
    from .http.transport import checked_base_url  # noqa: PLC0415 - keeps aiohttp out of the import of this package

    if base_url is None:
        base_url = os.environ.get("CAPGO_BASE_URL", DEFAULT_BASE_URL)
    return checked_base_url(base_url, allow_plain_http=allow_plain_http)


def _check_options(*, concurrency: int, timeout: float, retries: int, headroom: float, most: int) -> None:
    if concurrency < 1:
        message = f"invalid concurrency {concurrency}: it must be at least 1"
    elif not timeout > 0:
        message = f"invalid timeout {timeout:g}: it must be more than 0 seconds"
    elif retries < 0:
        message = f"invalid retries {retries}: it must be at least 0"
    elif most < 1:
        message = f"invalid max_response_bytes {most}: it must be at least 1"
    elif not 0.0 <= headroom < 1.0:
        message = f"invalid headroom {headroom:g}: it must be at least 0 and below 1"
    else:
        return
    raise ConfigurationError(message)


def _check_headers(auth_header: str, user_agent: str) -> None:
    one_of(auth_header, AuthHeader, "auth_header")
    if not user_agent.isprintable() or not user_agent.isascii():
        message = f"invalid user_agent {user_agent!r}: use printable ASCII characters only"
        raise ConfigurationError(message)


def _pacer(rate: str, limits: Sequence[Limit] | None, concurrency: int, headroom: float) -> Pacer:
    try:
        models = parse_rate(rate) if limits is None else tuple(limits)
    except ValueError as error:
        raise ConfigurationError(str(error)) from None
    if headroom and not models:
        message = "headroom cannot be used with the rate off, which has no limits"
        raise ConfigurationError(message)
    return Pacer(models, concurrency=min(concurrency, MOST_IN_FLIGHT), adaptive=rate == "auto", headroom=headroom)


def _transport(
    base_url: str, session: "aiohttp.ClientSession | None", timeout: float, most_bytes: int, *, trust_env: bool
) -> "Transport":
    from .http.transport import AiohttpTransport  # noqa: PLC0415 - keeps aiohttp out of the import of this package

    return AiohttpTransport(base_url, session=session, timeout=timeout, trust_env=trust_env, max_response_bytes=most_bytes)
