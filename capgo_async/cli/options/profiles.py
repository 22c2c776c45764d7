"""Profiles: which server and which keys, by name, in a file that holds no secret itself.

[profiles.production]
base_url = "https://api.capgo.app"
api_key = {env = "CAPGO_PRODUCTION_KEY"}

[profiles.production.organizations]
"046a36ac-0000-4000-8000-000000000001" = {file = "~/.secrets/capgo-second-organization"}

[profiles.production.apps]
"com.example.app" = {env = "CAPGO_EXAMPLE_KEY"}

A plan that reaches further than `confirm_operations`, `confirm_share` (such as "25%") of an app in which at least
`confirm_share_from` operations fall, or `confirm_destroying` asks for its exact number. What changes a protected channel, or
links devices to it, is refused: `protected_channels` of the profile and, whatever the profile,

[protected]
channels = ["production", "com.example.app/beta"]
"""

import contextlib
import os
from pathlib import Path
from typing import Final

import msgspec
import platformdirs

from ...bulk import Thresholds
from ...bulk.running.stopping import read_share
from ...errors import ConfigurationError

FILE_VARIABLE: Final = "CAPGO_CONFIG"
"""The environment variable that names another file."""


class Reference(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a secret is: in an environment variable or, without the line's end, in a file."""

    env: str | None = None
    file: str | None = None

    def secret(self) -> str:
        """Return the secret; raises `ConfigurationError`, which never shows it."""
        if (self.env is None) is (self.file is None):
            message = "a key in a profile is either {env = NAME} or {file = PATH}"
            raise ConfigurationError(message)
        if self.env is not None:
            if self.env not in os.environ:
                message = f"the profile takes a key from the environment variable {self.env}, which is not set"
                raise ConfigurationError(message)
            return os.environ[self.env]
        try:
            return Path(str(self.file)).expanduser().read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is no text"
            message = f"the profile takes a key from {self.file}, which cannot be read: {reason}"
            raise ConfigurationError(message) from None


class Profile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One profile; what it does not say stays as it is without it. `organizations` and `apps` have keys of their own."""

    base_url: str | None = None
    api_key: Reference | None = None
    rate: str | None = None
    headroom: str | None = None
    concurrency: int | None = None
    auth_header: str | None = None
    dialect: str | None = None
    confirm_operations: int | None = None
    confirm_share: str | None = None
    confirm_share_from: int | None = None
    confirm_destroying: int | None = None
    protected_channels: tuple[str, ...] = ()
    organizations: dict[str, Reference] = {}
    apps: dict[str, Reference] = {}

    def thresholds(self) -> Thresholds:
        """Return up to what a plan needs no more than a yes; raises `ConfigurationError`."""
        try:
            share = None if self.confirm_share is None else read_share(self.confirm_share)
        except ValueError as error:
            message = f"confirm_share of the profile: {error}"
            raise ConfigurationError(message) from None
        given = {
            "operations": self.confirm_operations,
            "share": share,
            "share_from": self.confirm_share_from,
            "destroying": self.confirm_destroying,
        }
        return msgspec.structs.replace(Thresholds(), **{name: value for name, value in given.items() if value is not None})

    def keys(self) -> dict[str, str]:
        """Return the keys of organizations and apps, by id."""
        return {name: reference.secret() for name, reference in (*self.organizations.items(), *self.apps.items())}

    def secrets(self) -> list[str]:
        """Return every key that can be read: one that cannot does not make the others known."""
        found: list[str] = []
        for reference in (self.api_key, *self.organizations.values(), *self.apps.values()):
            with contextlib.suppress(ConfigurationError):
                found += [reference.secret()] if reference else []
        return found


class _Protected(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    channels: tuple[str, ...] = ()


class _File(msgspec.Struct, frozen=True, kw_only=True):
    protected: _Protected = _Protected()
    profiles: dict[str, Profile] = {}


def path_of_profiles() -> Path:
    """Return where profiles stand: in the platform's directory for configurations, unless the environment says otherwise."""
    named = os.environ.get(FILE_VARIABLE)
    return Path(named) if named else platformdirs.user_config_path("capgo-async") / "config.toml"


def read_profile(name: str) -> Profile:
    """Return the profile of this name; raises `ConfigurationError` with the file and the reason."""
    path = path_of_profiles()
    found = _read(path)
    if name not in found.profiles:
        known = ", ".join(found.profiles) or "none"
        message = f"{path} has no profile {name!r}; it has {known}"
        raise ConfigurationError(message)
    return found.profiles[name]


def read_protected() -> tuple[str, ...]:
    """Return the channels that are protected whatever the profile; raises `ConfigurationError` like `read_profile`.

    Where no file is named and none lies in the platform's directory, nothing is protected.
    """
    path = path_of_profiles()
    if not os.environ.get(FILE_VARIABLE) and not path.exists():
        return ()
    return _read(path).protected.channels


class _Keys(msgspec.Struct, frozen=True, kw_only=True):
    """What stands in a profile where keys belong."""

    api_key: object = None
    organizations: dict[str, object] = {}
    apps: dict[str, object] = {}


def _holds_a_key(settings: bytes) -> bool:
    """Tell whether a key itself is written where a profile names its place."""
    with contextlib.suppress(msgspec.ValidationError):
        profiles: object = msgspec.toml.decode(settings, type=dict[str, object]).get("profiles", {})
        found = msgspec.convert(profiles, dict[str, _Keys]).values()
        return any(
            isinstance(key, str) for each in found for key in (each.api_key, *each.organizations.values(), *each.apps.values())
        )
    return False


def _read(path: Path) -> _File:
    settings = b""
    try:
        settings = path.read_bytes()
        return msgspec.toml.decode(settings, type=_File)
    except OSError as error:
        message = f"{path}, where profiles stand, cannot be read: {error.strerror}"
        raise ConfigurationError(message) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        # A key that was written into the file must not be shown.
        reason = str(error) if isinstance(error, msgspec.ValidationError) else "it is not TOML"
        if isinstance(error, msgspec.ValidationError) and _holds_a_key(settings):
            reason = "give a key as {env = NAME} or {file = PATH}, never the key itself"
        message = f"{path}: {reason}"
        raise ConfigurationError(message) from None
