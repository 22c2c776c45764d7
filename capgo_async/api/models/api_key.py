"""API keys (contract C4)."""

import msgspec


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """An API key (contract C4, D33).

    `key` is the secret. Modern servers return it only when the key is created or regenerated. It never appears in a repr.
    `mode` is set by servers of the seed era. A key with an `owner_org_id` belongs to an organization, and others may use it.
    """

    id: int
    name: str = ""
    key: str | None = None
    mode: str | None = None
    user_id: str | None = None
    owner_org_id: str | None = None
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
    """A new key as servers of the seed era return it (contract C4, D34)."""

    key: ApiKey
