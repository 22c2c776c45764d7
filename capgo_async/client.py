"""The client for one server and one API key.

Longer than 300 lines because it documents and checks every option.
"""

import hashlib
import inspect
import math
import os
import random
import secrets
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, Self

import anyio
import msgspec
from msgspec import UNSET, UnsetType

from .api.detection import Learner, ok, responds
from .api.resources import ApiKeys, Apps, Bundles, Channels, Devices, Members, Organizations, Statistics
from .api.words import AuthHeader, member, one_of
from .errors import ConfigurationError, Problem
from .events import Event, LimitUse
from .http import wire
from .http.absence import Absence
from .http.credentials import authentication, is_session_token
from .http.deadlines import Timed
from .http.dialect import Dialect, Generation
from .http.options import CallOptions
from .http.requester import Counters, Identity, Requester
from .limits.known import Known, lasting, with_lessons, with_refusal, with_version
from .limits.lockout import MOST_IN_FLIGHT
from .limits.models import Limit, Scope, ScopeKind, parse_rate
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
    """What a client shares with those that are made from it, whatever their keys and options."""

    base_url: str
    transport: "Transport"
    pacer: Pacer
    generation: Generation
    absence: Absence
    auth_header: str
    user_agent: str
    chance: Callable[[], float]
    masks: Masks
    """Hide every key of these clients in what is told and logged."""
    recalled: dict[Scope, Known]
    """What earlier clients of each key had learned."""

    def timed(self, options: CallOptions) -> "Transport":
        """Return the transport with the timeout of `options`."""
        return Timed(self.transport, options.timeout, self.base_url)

    def requester_for(self, key: str, options: CallOptions) -> Requester:
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
            self.timed(options), self.pacer, identity, options=options, generation=self.generation, absence=self.absence
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

    `max_wait` is for how many seconds a call may wait in all, for limits and before retries; `None`, the default, is as long as
    it takes. If it shows before that a limit lets the call leave later, `WouldWait` is raised at once: nothing was sent, and
    nothing counts against a limit. A limit that refuses the call ends it in the same way. If an attempt fails and the next one
    would come too late, its error is raised. The time that requests take is not counted; `timeout` bounds it. A listing may
    wait that long for each page. Jobs, inventories and calibrations wait as long as it takes. `headers` are sent with each
    request. `with_options` changes these options for single calls.

    `auth_header` is `authorization` or `capgkey`. Use `capgkey` for keys that are not UUIDs, and for the oldest servers
    (contract A2); session tokens ignore it. `session` is an aiohttp session of yours; the client never closes it. `on_event`
    is called with each event of this client and those made by its `with_key`, see `capgo_async.events`, by the task in which it
    happens. It must be no coroutine function, and must not block. What it raises breaks no call and is logged once.
    `transport` replaces aiohttp, for example in tests. `chance` returns the random numbers, from 0 to 1, that spread retries.

    Raises `ConfigurationError` if the key is missing, the base URL would leak it, or an option is invalid.

    A client belongs to the event loop in which it is first used; in another one it raises `ConfigurationError`. Besides what
    its documentation names, any call may raise `ConfigurationError` for arguments that the server would misread, before
    anything is sent, `AuthenticationError`, `RateLimited`, `ServerError`, `InvalidRequest`, a `TransportError`,
    `UnreadableAnswer`, and `WouldWait` with `max_wait`.
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
        max_wait: float | None = None,
        headers: Mapping[str, str] | None = None,
        dialect: Dialect | Literal["auto", "modern", "seed"] = Dialect.AUTO,
        auth_header: AuthHeader = "authorization",
        session: "aiohttp.ClientSession | None" = None,
        user_agent: str = f"capgo-async/{__version__}",
        on_event: Callable[[Event], object] | None = None,
        trust_env: bool = False,
        allow_plain_http: bool = False,
        transport: "Transport | None" = None,
        chance: Callable[[], float] | None = None,
        _made_of: tuple[_Shared, Requester] | None = None,
    ) -> None:
        if _made_of is None:
            options = CallOptions().replaced(timeout, retries, max_wait, headers or {})
            _check_options(concurrency=concurrency, headroom=headroom, most=max_response_bytes)
            if not 0.0 <= wait_for_server < math.inf:
                message = f"invalid wait_for_server {wait_for_server:g}: it must be at least 0 seconds"
                raise ConfigurationError(message)
            _check_headers(auth_header, user_agent)
            base_url = _checked_url(base_url, allow_plain_http=allow_plain_http)
            key = _checked_key(os.environ.get("CAPGO_API_KEY") if api_key is None else api_key)
            pacer = _pacer(rate, limits, concurrency, headroom)
            shared = _Shared(
                base_url=base_url,
                transport=transport or _transport(base_url, session, max_response_bytes, trust_env=trust_env),
                pacer=pacer,
                generation=Generation(member(Dialect, dialect, "dialect")),
                absence=Absence(wait_for_server, pacer.listeners),
                auth_header=auth_header,
                user_agent=user_agent,
                chance=chance or random.Random().random,  # noqa: S311 - jitter needs no secrecy
                masks=Masks(),
                recalled={},
            )
            tell_outside(shared.pacer.listeners, shared.masks, _checked_hook(on_event))
            _made_of = shared, shared.requester_for(key, options)
            self._closes: Transport | None = _made_of[1].transport
        else:
            self._closes = None
        self._shared, self._requester = _made_of
        self._shared.absence.probe = self._shared.absence.probe or partial(responds, self._requester)
        self.base_url = self._shared.base_url
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

        It shares this client's connections, limits and options, and what it has learned about the server. It works until the
        client that was made first is closed; closing it closes nothing. Raises `ConfigurationError` if the key is missing or
        invalid.
        """
        if not api_key:
            message = "no API key for the additional client: only the first one uses CAPGO_API_KEY"
            raise ConfigurationError(message)
        return CapgoClient(_made_of=(self._shared, self._shared.requester_for(_checked_key(api_key), self._requester.options)))

    def with_options(
        self,
        *,
        timeout: float | UnsetType = UNSET,
        retries: int | UnsetType = UNSET,
        max_wait: float | UnsetType | None = UNSET,
        headers: Mapping[str, str] | UnsetType = UNSET,
    ) -> "CapgoClient":
        """Return a client that makes its calls with other options; those that are not given stay as they are.

        It has the same key, and shares this client's connections, limits and counters, and all that was learned. So it costs
        next to nothing: make one for a single call. `headers` are added to those that are sent already.

            await capgo.with_options(max_wait=2, retries=0).devices.link("com.example.app", device_id, channel="beta")

        It works until the client that was made first is closed; closing it closes nothing. Raises `ConfigurationError` if an
        option is invalid.
        """
        before = self._requester.options
        options = before.replaced(timeout, retries, max_wait, headers)
        transport = self._requester.transport if options.timeout == before.timeout else self._shared.timed(options)
        return CapgoClient(_made_of=(self._shared, self._requester.with_options(options, transport)))

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
        recalled, key = lasting(known, datetime.now(UTC)), self._requester.key_scope
        self._shared.recalled[key] = recalled
        self._shared.pacer.gates.lessons.recall(recalled.limits, key)
        self._shared.pacer.timings.recall(recalled.timings or {})

    def known(self) -> Known:
        """Return what this client has learned about the server and the key, for `recall` of a later client."""
        now, key = datetime.now(UTC), self._requester.key_scope
        lessons, timings = self._shared.pacer.gates.lessons, self._shared.pacer.timings
        recalled = self._shared.recalled.get(key, Known())
        known = with_lessons(with_version(recalled, self.server_version, now), lessons.limits(key), now)
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
        """Close the connections, unless they are shared with an earlier client. Repeating it does nothing.

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
    if on_event is not None and not callable(on_event):
        message = f"on_event must be a function, not {on_event!r}"
        raise ConfigurationError(message)
    if inspect.iscoroutinefunction(on_event) or inspect.iscoroutinefunction(getattr(on_event, "__call__", None)):  # noqa: B004
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


def _check_options(*, concurrency: int, headroom: float, most: int) -> None:
    if concurrency < 1:
        message = f"invalid concurrency {concurrency}: it must be at least 1"
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


def _transport(base_url: str, session: "aiohttp.ClientSession | None", most_bytes: int, *, trust_env: bool) -> "Transport":
    from .http.transport import AiohttpTransport  # noqa: PLC0415 - keeps aiohttp out of the import of this package

    return AiohttpTransport(base_url, session=session, trust_env=trust_env, max_response_bytes=most_bytes)
