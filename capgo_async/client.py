"""The client: puts the parts together and owns their lifetime."""

import hashlib
import itertools
import os
import random
import secrets
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple, Self

import msgspec

from . import wire
from .dialect import Dialect, Generation
from .endpoints.server import ok
from .errors import ConfigurationError, Problem
from .known import Known, lasting, with_lessons, with_version
from .learning import Learner
from .limits import Limit, ScopeKind, parse_rate
from .pacing import Pacer
from .requester import Attempt, Counters, Identity, Requester, RetryPolicy
from .resources import ApiKeys, Apps, Bundles, Channels, Devices, Members, Organizations, Statistics
from .version import __version__

if TYPE_CHECKING:
    import aiohttp

    from .wire import Transport

DEFAULT_BASE_URL: Final = "https://api.capgo.app"
_AUTH_HEADERS: Final = frozenset({"authorization", "capgkey"})
_PROCESS_SALT: Final = secrets.token_bytes(16)


class _Open(NamedTuple):
    """What clients of one server share, whatever their keys."""

    transport: "Transport"
    pacer: Pacer
    generation: Generation
    policy: RetryPolicy
    auth_header: str
    user_agent: str
    on_attempt: Callable[[Attempt], None] | None
    chance: Callable[[], float]


class CapgoClient:
    """Speak to one Capgo server with one API key.

    `api_key` and `base_url` fall back to the environment variables `CAPGO_API_KEY` and `CAPGO_BASE_URL`, the latter then to
    the vendor's cloud. `rate` is `auto` (default), `standard`, `enterprise`, `server`, `off`, `N/min` or `N/s`;
    `limits` are limiter models of the caller's own in its place. `headroom` is the share of the limits of keys and apps, from 0
    to below 1, that is left to others. At most `concurrency` requests are in flight; one attempt
    takes at most `timeout` seconds, and a call that fails is tried again up to `retries` times, where that is harmless
    (contract G1).

    `auth_header` is `authorization` or `capgkey`; the latter is for keys that are no UUIDs and for the oldest servers (contract
    A2). `session` is an aiohttp session of the caller's, which is never closed here. `on_attempt` receives a frozen record of
    each attempt. `transport` and `pacer` replace what would be made otherwise, for doubles and for clients that share a pace;
    `chance`, from 0 to 1, what spreads retries.

    Raises `ConfigurationError` for a missing key, a base URL that would leak it, or an option that means nothing.
    """

    def __init__(  # noqa: PLR0913 - the public options, keyword only
        self,
        *,
        api_key: str | None = None,
        base_url: str | None = None,
        rate: str = "auto",
        limits: Sequence[Limit] | None = None,
        headroom: float = 0.0,
        concurrency: int = 16,
        timeout: float = 30.0,
        retries: int = 4,
        dialect: Dialect | str = Dialect.AUTO,
        auth_header: str = "authorization",
        session: "aiohttp.ClientSession | None" = None,
        user_agent: str = f"capgo-async/{__version__}",
        on_attempt: Callable[[Attempt], None] | None = None,
        trust_env: bool = False,
        allow_plain_http: bool = False,
        transport: "Transport | None" = None,
        pacer: Pacer | None = None,
        chance: Callable[[], float] | None = None,
    ) -> None:
        _check_options(concurrency=concurrency, timeout=timeout, retries=retries, headroom=headroom)
        _check_headers(auth_header, user_agent)
        self.base_url = _checked_url(base_url, allow_plain_http=allow_plain_http)
        self._open = _Open(
            transport=transport or _transport(self.base_url, session, timeout, trust_env=trust_env),
            pacer=pacer or _pacer(rate, limits, concurrency, headroom),
            generation=Generation(_checked_dialect(dialect)),
            policy=RetryPolicy(retries=retries),
            auth_header=auth_header,
            user_agent=user_agent,
            on_attempt=on_attempt,
            chance=chance or random.Random().random,  # noqa: S311 - jitter is no secret
        )
        self._owns_transport = True
        self._assemble(_checked_key(api_key if api_key is not None else os.environ.get("CAPGO_API_KEY", "")))

    def with_key(self, api_key: str) -> "CapgoClient":
        """Return a client of another key for the same server: it shares connections, pace and what was learned.

        It works as long as this client is open; closing it closes nothing. Raises `ConfigurationError`.
        """
        sibling = CapgoClient.__new__(CapgoClient)
        sibling.base_url = self.base_url
        sibling._open = self._open  # noqa: SLF001 - of the same class
        sibling._owns_transport = False  # noqa: SLF001 - one of its own kind
        sibling._assemble(_checked_key(api_key))  # noqa: SLF001 - one of its own kind
        return sibling

    def _assemble(self, key: str) -> None:
        self.name = secrets.token_hex(6)
        self._recalled = Known()
        self._fingerprint_of_key = _fingerprinter(key)
        self._requester = Requester(
            self._open.transport,
            self._open.pacer,
            Identity(
                headers={self._open.auth_header: key, "User-Agent": self._open.user_agent},
                scope=(ScopeKind.KEY, self.fingerprint(_PROCESS_SALT)[:16]),
                request_ids=_request_ids(self.name),
                chance=self._open.chance,
            ),
            policy=self._open.policy,
            on_attempt=self._open.on_attempt,
            generation=self._open.generation,
        )
        learner = Learner(self._requester)
        self.api_keys = ApiKeys(self._requester)
        self.apps = Apps(self._requester)
        self.bundles = Bundles(self._requester, learner)
        self.channels = Channels(self._requester)
        self.devices = Devices(self._requester)
        self.members = Members(self._requester, self.base_url)
        self.organizations = Organizations(self._requester, learner)
        self.statistics = Statistics(self._requester)

    @property
    def requester(self) -> Requester:
        """Return what makes the calls, for engines that make their own."""
        return self._requester

    @property
    def pacer(self) -> Pacer:
        """Return what paces the calls."""
        return self._requester.pacer

    @property
    def policy(self) -> RetryPolicy:
        """Return how often calls are tried again."""
        return self._requester.policy

    @property
    def clients(self) -> "tuple[CapgoClient, ...]":
        """Return this client: alone, it is a ring of one key."""
        return (self,)

    def client_of(self, _app_id: str) -> "CapgoClient":
        """Return this client, whatever the app."""
        return self

    async def prepare(self) -> None:
        """Do nothing: there is one key for all apps."""

    @property
    def counters(self) -> Counters:
        """Return how many requests, retries and refusals there were so far."""
        return self._requester.counters

    @property
    def dialect(self) -> Dialect:
        """Return the dialect that was set or learned, `AUTO` while it is unknown."""
        return self._requester.generation.dialect

    @property
    def server_version(self) -> tuple[int, int, int] | None:
        """Return the server's version as its last answer told it; `None` when no answer has (contract A5)."""
        return self._requester.generation.version

    def recall(self, known: Known) -> None:
        """Begin with what an earlier client of the same server and key learned: see `known`.

        What was learned more than a week ago is left out, and a rate that learns nothing takes no limits.
        """
        self._recalled = lasting(known, datetime.now(UTC))
        self.pacer.recall(self._recalled.limits, self._requester.key_scope)

    def known(self) -> Known:
        """Return what is known of the server and the key by now, for the next client to `recall`."""
        now, key = datetime.now(UTC), self._requester.key_scope
        known = with_lessons(with_version(self._recalled, self.server_version, now), self.pacer.lessons(key), now)
        noticed = now if self.pacer.others_noticed(key) else known.others_noticed_at
        return msgspec.structs.replace(known, others_noticed_at=noticed, updated_at=now)

    def fingerprint(self, salt: bytes) -> str:
        """Return a digest by which one key can be told from another, and from which nobody gets the key."""
        return self._fingerprint_of_key(salt)

    async def check(self) -> None:
        """Ask the server for its health and learn its version; takes no quota and no key (contract C10)."""
        await self._requester.call(ok(), wire.acknowledge)

    async def aclose(self) -> None:
        """Close the connections that this client opened."""
        if self._owns_transport:
            await self._open.transport.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"CapgoClient(base_url={self.base_url!r})"


def _fingerprinter(key: str) -> Callable[[bytes], str]:
    encoded = key.encode()
    return lambda salt: hashlib.scrypt(encoded, salt=salt, n=2, r=8, p=1, dklen=32).hex()


def _checked_key(key: str) -> str:
    if not key:
        message = "no API key: set CAPGO_API_KEY, or pass api_key"
        raise ConfigurationError(message, problem=Problem.NO_API_KEY)
    if not key.isprintable() or not key.isascii() or " " in key:
        message = "the API key has characters that no key has, such as a line end or a space; it is sent bare, without `Bearer`"
        raise ConfigurationError(message)
    return key


def _checked_url(base_url: str | None, *, allow_plain_http: bool) -> str:
    from .transport import checked_base_url  # noqa: PLC0415 - keeps aiohttp out of the import of this package

    return checked_base_url(base_url or os.environ.get("CAPGO_BASE_URL") or DEFAULT_BASE_URL, allow_plain_http=allow_plain_http)


def _checked_dialect(dialect: Dialect | str) -> Dialect:
    try:
        return Dialect(dialect)
    except ValueError:
        message = f"dialect {dialect!r} is none of {', '.join(Dialect)}"
        raise ConfigurationError(message) from None


def _check_options(*, concurrency: int, timeout: float, retries: int, headroom: float) -> None:
    if concurrency < 1:
        message = f"concurrency {concurrency} is below 1: nothing could ever be sent"
    elif not timeout > 0:
        message = f"timeout {timeout:g} is not above 0 seconds"
    elif retries < 0:
        message = f"retries {retries} is below 0: 0 tries everything once"
    elif not 0.0 <= headroom < 1.0:
        message = f"headroom {headroom:g} is not from 0 to below 1: it is the share of the limits that is left to others"
    else:
        return
    raise ConfigurationError(message)


def _check_headers(auth_header: str, user_agent: str) -> None:
    if auth_header not in _AUTH_HEADERS:
        message = f"auth_header {auth_header!r} is neither authorization nor capgkey, the two that the server takes everywhere"
        raise ConfigurationError(message)
    if not user_agent.isprintable() or not user_agent.isascii():
        message = f"user_agent {user_agent!r} has characters that no header may have"
        raise ConfigurationError(message)


def _pacer(rate: str, limits: Sequence[Limit] | None, concurrency: int, headroom: float) -> Pacer:
    try:
        models = parse_rate(rate) if limits is None else tuple(limits)
    except ValueError as error:
        raise ConfigurationError(str(error)) from None
    if headroom and not models:
        message = "headroom leaves a share of the limits to others, and rate off has none"
        raise ConfigurationError(message)
    return Pacer(models, concurrency=concurrency, adaptive=rate == "auto", headroom=headroom)


def _transport(base_url: str, session: "aiohttp.ClientSession | None", timeout: float, *, trust_env: bool) -> "Transport":
    from .transport import AiohttpTransport  # noqa: PLC0415 - keeps aiohttp out of the import of this package

    return AiohttpTransport(base_url, session=session, timeout=timeout, trust_env=trust_env)


def _request_ids(client: str) -> Callable[[], str]:
    """Return what makes ids for attempts, in the form that the server echoes (contract A5)."""
    serial = itertools.count(1)
    return lambda: f"{client}-{next(serial):06d}"
