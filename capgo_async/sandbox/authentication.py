"""Authentication: which header is read, and which caller it identifies (contract A2)."""

import re
from typing import Final, Literal

import msgspec

from .exchange import Incoming, Refusal
from .state.access import Caller, Key
from .state.world import World

Auth = Literal["key", "user"]
Order = Literal["keyed", "user", "seed statistics"]

_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII | re.IGNORECASE)
_SUBKEY: Final = re.compile(r"[1-9]\d{0,15}", re.ASCII)
_LARGEST_SUBKEY: Final = 2**53 - 1


class Credential(msgspec.Struct, frozen=True, kw_only=True):
    """The credential of a request: an API key, or with `token` a user's JWT.

    A JWT is `bare` if it came without `Bearer`.
    """

    secret: str
    token: bool = False
    bare: bool = False

    @property
    def is_key(self) -> bool:
        return bool(self.secret) and not self.token

    def __repr__(self) -> str:
        return "Credential()"


def header_order(auth: Auth, path: str, *, seed: bool) -> Order:
    """Return the headers that a route reads; in the seed era only the statistics routes accepted users."""
    if auth == "key" or (seed and not path.startswith("/statistics")):
        return "keyed"
    return "seed statistics" if seed else "user"


def credential(request: Incoming, order: Order) -> Credential:
    """Choose the header that counts; the others are ignored, even if this one is invalid.

    On key-only routes, `capgkey` hides `authorization`. On the others, `authorization` comes first: a value in the form of a
    UUID is an API key, anything else a JWT. The statistics routes of the seed era took any value for a JWT.
    """
    capgkey = request.headers.get("capgkey")
    authorization = request.headers.get("authorization")
    if order == "keyed":
        return Credential(secret=(authorization if capgkey is None else capgkey) or "")
    if authorization:
        if order == "user" and _UUID.fullmatch(authorization):
            return Credential(secret=authorization)
        token = authorization.removeprefix("Bearer ")
        return Credential(secret=token, token=True, bare=order == "user" and token == authorization)
    other = None if order == "seed statistics" else request.headers.get("x-api-key")
    return Credential(secret=capgkey or other or "")


def authenticate(world: World, request: Incoming, shown: Credential, order: Order, now: float) -> Caller:
    """Return the caller; each refusal counts as a failed login."""
    if not shown.secret:
        if order == "keyed":
            raise Refusal(401, "no_key_provided", "No key provided")
        raise Refusal(401, "no_jwt_apikey_or_subkey", "No JWT, apikey or subkey provided")
    if shown.token:
        session = world.session_of(shown.secret, now, bare=shown.bare)
        if session is None:
            raise Refusal(401, "invalid_jwt", "Invalid JWT")
        return session
    key = world.keys.of(shown.secret)
    if key is None or key.expired(now):
        raise invalid_key()
    subkey = request.headers.get("x-limited-key-id")
    if subkey is not None and (_SUBKEY.fullmatch(subkey) is None or int(subkey) > _LARGEST_SUBKEY):
        raise Refusal(401, "invalid_subkey", "Invalid x-limited-key-id")
    return key


def invalid_key() -> Refusal:
    """Return the refusal of a key that is unknown or expired."""
    return Refusal(401, "invalid_apikey", "Invalid apikey")


def narrowed(world: World, key: Key, request: Incoming, now: float) -> Key:
    """Return the named subkey; it must be of the same user, unhashed and bound to single apps."""
    number = request.headers.get("x-limited-key-id")
    if number is None:
        return key
    subkey = world.keys.numbered(int(number))
    if (
        subkey is None
        or subkey.user_id != key.user_id
        or subkey.hashed
        or subkey.expired(now)
        or any(binding.app_id is None for binding in subkey.bindings)
    ):
        raise Refusal(401, "invalid_subkey", "Invalid subkey")
    return subkey
