"""Several API keys for one server, so that one run can span organizations."""

import copy
import hashlib
import math
from collections.abc import Mapping
from uuid import UUID

from msgspec import UNSET, UnsetType

from .client import CapgoClient, requester_of
from .errors import ConfigurationError
from .http.absence import Absence
from .http.requester import Counters
from .limits.pacer import Pacer


class KeyRing:
    """Several API keys for one server, of which each app has its own.

    `keys` maps app ids and organization ids to API keys. An app's own entry takes precedence over that of its organization;
    all other apps use the key of `client`. All keys share the client's connections and limits, because the server counts an
    app's requests by address, whatever their key (contract B2). Close the client, not the ring.

    Raises `ConfigurationError` if a name is neither an app id nor an organization id.
    """

    def __init__(self, client: CapgoClient, keys: Mapping[str, str]) -> None:
        places = {key: place for place, key in enumerate(dict.fromkeys(keys.values()), 1)}
        self.base_url = client.base_url
        self.clients = (client, *map(client.with_key, places))
        self._by_app = {name: places[key] for name, key in keys.items() if not _is_organization(name)}
        """The place of the client of each app in `clients`."""
        self._unasked = {name: places[key] for name, key in keys.items() if _is_organization(name)}
        """The places of the clients of organizations whose apps are not known yet."""

    def with_options(
        self,
        *,
        timeout: float | UnsetType = UNSET,
        retries: int | UnsetType = UNSET,
        max_wait: float | UnsetType | None = UNSET,
        headers: Mapping[str, str] | UnsetType = UNSET,
    ) -> "KeyRing":
        """Return a ring whose clients make their calls with other options, see `CapgoClient.with_options`.

        It shares everything else, also what `prepare` finds out.
        """
        ring = copy.copy(self)
        ring.clients = tuple(
            client.with_options(timeout=timeout, retries=retries, max_wait=max_wait, headers=headers) for client in self.clients
        )
        return ring

    @property
    def counters(self) -> Counters:
        """Return the numbers of requests, retries and refusals so far, over all keys."""
        counters = Counters()
        for client in self.clients:
            counters.requests += client.counters.requests
            counters.retries += client.counters.retries
            counters.rate_limited += client.counters.rate_limited
            counters.answers += client.counters.answers
            counters.seconds += client.counters.seconds
            counters.limits_met += client.counters.limits_met
        return counters

    def fingerprint(self, salt: bytes) -> str:
        """Return a digest that identifies this set of keys without revealing one."""
        prints = sorted({requester_of(client).identity.fingerprint(salt) for client in self.clients})
        return hashlib.sha256("".join(prints).encode()).hexdigest()

    async def prepare(self) -> None:
        """Find out which apps each organization has. Repeating it does nothing.

        Raises as `CapgoClient.apps.list` does.
        """
        for org_id, place in tuple(self._unasked.items()):
            async for app in self.clients[place].apps.list(org_id=org_id):
                self._by_app.setdefault(app.app_id, place)
            self._unasked.pop(org_id, None)

    def client_of(self, app_id: str) -> CapgoClient:
        """Return the client with the key for this app; call `prepare` first."""
        return self.clients[self._by_app.get(app_id, 0)]

    def __repr__(self) -> str:
        return f"KeyRing(base_url={self.base_url!r}, {len(self.clients)} keys)"


def ring_of(client: CapgoClient | KeyRing) -> KeyRing:
    """Return a ring of `client`, or itself if it is one, for engines: it waits as long as it takes."""
    ring = client if isinstance(client, KeyRing) else KeyRing(client, {})
    patient = all(requester_of(each).options.max_wait == math.inf for each in ring.clients)
    return ring if patient else ring.with_options(max_wait=None)


def pacer_of(client: CapgoClient | KeyRing) -> Pacer:
    """Return the pacer that all keys share."""
    return requester_of(client.clients[0] if isinstance(client, KeyRing) else client).pacer


def absence_of(client: CapgoClient | KeyRing) -> Absence:
    """Return the wait for an unreachable server, which all keys share."""
    return requester_of(client.clients[0] if isinstance(client, KeyRing) else client).absence


def _is_organization(name: str) -> bool:
    """Return whether `name` is an organization id, a UUID; an app id contains a dot."""
    if "." in name:
        return False
    try:
        UUID(name)
    except ValueError:
        message = f"{name!r} is neither an app id, such as com.example.app, nor an organization id, which is a UUID"
        raise ConfigurationError(message) from None
    return True
