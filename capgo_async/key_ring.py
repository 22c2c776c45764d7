"""Several API keys for one server, so that one run can span organizations."""

import hashlib
from collections.abc import Mapping
from uuid import UUID

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
        siblings = {key: client.with_key(key) for key in dict.fromkeys(keys.values())}
        self.base_url = client.base_url
        self.clients = (client, *siblings.values())
        self._default = client
        self._by_app = {name: siblings[key] for name, key in keys.items() if not _is_organization(name)}
        self._by_organization = {name: siblings[key] for name, key in keys.items() if _is_organization(name)}
        self._prepared = False

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
        if self._prepared:
            return
        for org_id, client in self._by_organization.items():
            async for app in client.apps.list(org_id=org_id):
                self._by_app.setdefault(app.app_id, client)
        self._prepared = True

    def client_of(self, app_id: str) -> CapgoClient:
        """Return the client with the key for this app; call `prepare` first."""
        return self._by_app.get(app_id, self._default)

    def __repr__(self) -> str:
        return f"KeyRing(base_url={self.base_url!r}, {len(self.clients)} keys)"


def ring_of(client: CapgoClient | KeyRing) -> KeyRing:
    """Return `client` itself if it is a ring, else a ring with its key alone."""
    return client if isinstance(client, KeyRing) else KeyRing(client, {})


def pacer_of(client: CapgoClient | KeyRing) -> Pacer:
    """Return the pacer that all keys share."""
    return requester_of(ring_of(client).clients[0]).pacer


def absence_of(client: CapgoClient | KeyRing) -> Absence:
    """Return what waits for the server while it is away, which all keys share."""
    return requester_of(ring_of(client).clients[0]).absence


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
