"""The API keys of a server: found by secret or number, added, changed and revoked (contract C4)."""

from collections.abc import Iterator
from hashlib import sha256

import msgspec

from .access import Key


class Keyring:
    """All API keys. For a hashed key, only its SHA-256 is stored."""

    def __init__(self) -> None:
        self._held: dict[str, Key] = {}

    def __iter__(self) -> Iterator[Key]:
        """Iterate over the keys, oldest first."""
        return iter(sorted(self._held.values(), key=lambda key: key.key_id))

    def add(self, key: Key) -> None:
        self._held[key.secret] = key

    def remove(self, key: Key) -> None:
        del self._held[key.secret]

    def replace(self, key: Key, changed: Key) -> None:
        self.remove(key)
        self.add(changed)

    def of(self, secret: str) -> Key | None:
        """Return a key by its plain text, compared byte for byte."""
        plain = self._held.get(secret)
        if plain is not None:
            return None if plain.hashed else plain
        return self._held.get(digest(secret))

    def numbered(self, key_id: int) -> Key | None:
        return next((key for key in self._held.values() if key.key_id == key_id), None)

    def unbind(self, org_id: str, user_id: str | None = None) -> None:
        """Remove the roles of keys, of one user or of all, in an organization (contract C2)."""
        for key in list(self._held.values()):
            left = tuple(binding for binding in key.bindings if binding.org_id != org_id)
            if left != key.bindings and user_id in {None, key.user_id}:
                self._held[key.secret] = msgspec.structs.replace(key, bindings=left)


def digest(secret: str) -> str:
    """Hash a secret the way hashed keys are stored."""
    return sha256(secret.encode(errors="surrogateescape")).hexdigest()
