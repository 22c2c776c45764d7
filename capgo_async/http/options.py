"""How calls are made, as far as each client may choose it: what `with_options` changes."""

import math
import re
from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec import UNSET, UnsetType

from ..errors import ConfigurationError

_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)
_OWN: Final = frozenset({"Authorization", "Capgkey", "User-Agent", "X-Request-Id"})
"""Headers that the client sets itself."""
_OF_CONNECTIONS: Final = frozenset({"Connection", "Content-Length", "Content-Type", "Host", "Transfer-Encoding"})


class CallOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The options of all calls of a client.

    One attempt takes at most `timeout` seconds. A failed call is retried up to `retries` times, and for `retry_seconds`,
    without the time that limits take. All its waits together last at most `max_wait` seconds. `headers` go with each request.

    Raises `ConfigurationError` if an option is invalid.
    """

    timeout: float = 30.0
    retries: int = 4
    retry_seconds: float = 120.0
    max_wait: float = math.inf
    headers: Mapping[str, str] = {}

    def __post_init__(self) -> None:
        if not _is_number(self.timeout) or not self.timeout > 0:
            message = f"invalid timeout {self.timeout!r}: it must be more than 0 seconds"
        elif not _is_number(self.retries) or self.retries < 0 or self.retries % 1:
            message = f"invalid retries {self.retries!r}: it must be at least 0"
        elif not _is_number(self.max_wait) or not self.max_wait >= 0:
            message = f"invalid max_wait {self.max_wait!r}: it must be at least 0 seconds, or None to wait as long as it takes"
        else:
            return
        raise ConfigurationError(message)

    def __repr__(self) -> str:
        """Leave out what headers contain, which may be secret."""
        return (
            f"CallOptions(timeout={self.timeout:g}, retries={self.retries}, max_wait={self.max_wait:g}, "
            f"headers={sorted(self.headers)})"
        )

    def replaced(
        self,
        timeout: float | UnsetType = UNSET,
        retries: int | UnsetType = UNSET,
        max_wait: float | UnsetType | None = UNSET,
        headers: Mapping[str, str] | UnsetType = UNSET,
    ) -> "CallOptions":
        """Return options of which those that are given are others; `headers` are added to those of before."""
        return CallOptions(
            timeout=self.timeout if timeout is UNSET else timeout,
            retries=self.retries if retries is UNSET else retries,
            retry_seconds=self.retry_seconds,
            max_wait=self.max_wait if max_wait is UNSET else math.inf if max_wait is None else max_wait,
            headers=self.headers if headers is UNSET else {**self.headers, **_checked(headers)},
        )


def _is_number(value: object) -> bool:
    """Return whether a caller without a type checker passed a number, and not the text of a setting."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _checked(headers: Mapping[str, str]) -> dict[str, str]:
    """Return headers with names in one form, so that no header is sent twice."""
    named = {name.title(): value for name, value in headers.items()}
    for name, value in named.items():
        if not _TOKEN.fullmatch(name):
            message = f"invalid header name {name!r}"
        elif name in _OWN:
            message = f"invalid header {name}: the client sets it; see api_key, auth_header and user_agent"
        elif name in _OF_CONNECTIONS:
            message = f"invalid header {name}: it describes the connection or the body"
        elif not value.isprintable() or not value.isascii():
            message = f"invalid value of header {name}: use printable ASCII characters only"
        else:
            continue
        raise ConfigurationError(message)
    return named
