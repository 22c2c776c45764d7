"""How API keys and session tokens are sent (contract A2)."""

import base64
import re
from collections.abc import Mapping
from typing import Final

import msgspec

from .wire import decoder_of

_PARTS: Final = re.compile(r"([A-Za-z0-9_-]+)\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+", re.ASCII)


class _Header(msgspec.Struct):
    alg: str


_read: Final = decoder_of(_Header).decode


def is_session_token(secret: str) -> bool:
    """Return whether `secret` has the form of a JWT, as the tokens of user sessions have."""
    parts = _PARTS.fullmatch(secret)
    if parts is None:
        return False
    try:
        _read(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, msgspec.DecodeError):
        return False
    return True


def authentication(secret: str, key_header: str) -> Mapping[str, str]:
    """Return the header that carries `secret`.

    Keys go bare in `key_header`, tokens always as `Bearer` in `authorization`. Without `Bearer`, the server accepts a token
    and finds nothing (contract A2).
    """
    return {"authorization": f"Bearer {secret}"} if is_session_token(secret) else {key_header: secret}
