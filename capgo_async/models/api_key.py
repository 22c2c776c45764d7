"""API keys (contract C4)."""

import msgspec


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """One API key (contract C4, D33).

    `key` is the secret: modern servers tell it once, to who creates or regenerates it; no repr shows it. `mode` is a word of
    the seed era.
    """

    id: int
    name: str = ""
    key: str | None = None
    mode: str | None = None
    user_id: str | None = None
    created_at: str | None = None
    updated_at: str | None = None
    expires_at: str | None = None
    limited_to_apps: list[str] | None = None
    limited_to_orgs: list[str] | None = None
    rbac_id: str | None = None
    is_hashed_key: bool | None = None
    global_permissions: list[str] | None = None

    def __repr__(self) -> str:
        return f"ApiKey(id={self.id}, name={self.name!r})"


class CreatedApiKey(msgspec.Struct, frozen=True, kw_only=True, rename={"key": "apikey"}):
    """A new key in the envelope of the seed era (contract C4, D34)."""

    key: ApiKey
