"""API keys in text, made unreadable, in every form in which they get there."""

import functools
import re
from collections.abc import Iterable
from typing import Any, Final, TypeVar, get_origin
from urllib.parse import quote

import msgspec

T = TypeVar("T", bound=msgspec.Struct)

_MASK: Final = "[API key]"
_SHORTEST: Final = 8
"""A shorter key is not masked: it protects nothing, and masking it would garble the text."""
_NEVER: Final = re.compile(r"(?!)")


class Masks:
    """Masks keys in text.

    A key is found as it is, in another case, percent-encoded, quoted in JSON, and as a part of an error code, which is made of
    words of a server.
    """

    __slots__ = ("_forms", "_pattern")

    def __init__(self, keys: Iterable[str] = ()) -> None:
        self._forms: tuple[str, ...] = ()
        self._pattern = _NEVER
        for key in keys:
            self.add(key)

    def add(self, key: str) -> None:
        """Mask `key`, too."""
        if len(key) < _SHORTEST:
            return
        lowered = key.lower()
        quoted = lowered.replace("\\", "\\\\").replace('"', '\\"')
        forms = (lowered, quoted, quote(key, safe="").lower(), re.sub(r"[^a-z0-9]+", "_", lowered).strip("_"))
        known = {*self._forms, *(form for form in forms if len(form) >= _SHORTEST)}
        # The longest first: one form may be a part of another.
        self._forms = tuple(sorted(known, key=len, reverse=True))
        self._pattern = re.compile("|".join(map(re.escape, self._forms)), re.IGNORECASE)

    def __call__(self, text: str) -> str:
        """Return `text` without keys."""
        return self._pattern.sub(_MASK, text) if self._in(text) else text

    def event(self, event: T) -> T:
        """Return an event whose fields contain no key."""
        names = _texts_of(type(event))
        if names is not None and not self._in("\n".join([text for name in names if (text := getattr(event, name))])):
            return event
        fields = zip(event.__struct_fields__, msgspec.structs.astuple(event), strict=True)
        return msgspec.structs.replace(event, **{name: self._masked(value) for name, value in fields})

    def _in(self, text: str) -> bool:
        lowered = text.lower()
        for form in self._forms:  # noqa: SIM110 - every event comes here, and a generator takes three times as long
            if form in lowered:
                return True
        return False

    def _masked(self, value: Any) -> Any:
        if isinstance(value, str):
            return self(value)
        if isinstance(value, tuple):
            return tuple(map(self._masked, value))
        return self.event(value) if isinstance(value, msgspec.Struct) else value


@functools.cache
def _texts_of(kind: type[msgspec.Struct]) -> tuple[str, ...] | None:
    """Return the names of the fields that hold text, or `None` if it holds other structs."""
    fields = msgspec.structs.fields(kind)
    if any(get_origin(field.type) is tuple for field in fields):
        return None
    return tuple(field.name for field in fields if field.type in {str, str | None})
