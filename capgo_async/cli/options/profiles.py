"""Profiles: named servers and keys, in a file that holds no secrets itself.

[profiles.production]
base_url = "https://api.capgo.app"
api_key = {env = "CAPGO_PRODUCTION_KEY"}

[profiles.production.organizations]
"046a36ac-0000-4000-8000-000000000001" = {file = "~/.secrets/capgo-second-organization"}

[profiles.production.apps]
"com.example.app" = {env = "CAPGO_EXAMPLE_KEY"}

Larger plans need their exact number of operations as confirmation. "Larger" is more than `confirm_operations` operations, more
than `confirm_destroying` deletions, or more than `confirm_share` (such as "25%") of the devices of an app with at least
`confirm_share_from` operations. Changes of protected channels, and links to them, are refused. Those are the
`protected_channels` of the profile and, for every profile, these:

[protected]
channels = ["production", "com.example.app/beta"]
"""

import contextlib
import os
from codecs import BOM_UTF8
from collections.abc import Callable
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
    """The place of a secret: an environment variable, or a file (without its final newline)."""

    env: str | None = None
    file: str | None = None

    def secret(self) -> str:
        """Return the secret; raises `ConfigurationError`, which never shows it."""
        if (self.env is None) is (self.file is None):
            message = "a key in a profile must be {env = NAME} or {file = PATH}"
            raise ConfigurationError(message)
        if self.env is not None:
            if self.env not in os.environ:
                message = f"the profile takes a key from the environment variable {self.env}, which is not set"
                raise ConfigurationError(message)
            return os.environ[self.env]
        try:
            return Path(str(self.file)).expanduser().read_text(encoding="utf-8-sig").strip()
        except (OSError, ValueError, RuntimeError) as error:
            reason = "not UTF-8 text" if isinstance(error, UnicodeDecodeError) else getattr(error, "strerror", None) or error
            message = f"the profile takes a key from {self.file}, which cannot be read: {reason}"
            raise ConfigurationError(message) from None


class Profile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One profile. Values that it does not set keep their defaults.

    `organizations` and `apps` can have their own keys. `keeps_links` is whether the server keeps links for good (contract K7).
    """

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
    keeps_links: bool = False
    protected_channels: tuple[str, ...] = ()
    organizations: dict[str, Reference] = {}
    apps: dict[str, Reference] = {}

    def thresholds(self) -> Thresholds:
        """Return the sizes up to which a plan needs no more than a yes; raises `ConfigurationError`."""
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
        """Return every key that can be read, even if others cannot."""
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


def path_of_profiles() -> Path | None:
    """Return the file of the profiles, or `None` if the user has no home directory.

    It is in the platform's configuration directory, unless the environment names another.
    """
    named = os.environ.get(FILE_VARIABLE)
    if named:
        return Path(named)
    directory = of_user(platformdirs.user_config_path)
    return None if directory is None else directory / "config.toml"


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return False  # HOME is the directory of another user


def of_user(find: Callable[[str], Path]) -> Path | None:
    """Return the program's directory, or `None` if the user has no home directory.

    `find` is a function of platformdirs. In containers, a user id may have no account and HOME may be unset.
    """
    try:
        found = find("capgo-async")
    except (RuntimeError, KeyError):
        return None
    return found if found.is_absolute() else None


def read_profile(name: str) -> Profile:
    """Return the profile of this name; raises `ConfigurationError` with the file and the reason."""
    path = path_of_profiles()
    if path is None:
        message = f"there are no profiles, because this user has no home directory: {FILE_VARIABLE} can name a file"
        raise ConfigurationError(message)
    found = _read(path)
    if name not in found.profiles:
        known = ", ".join(found.profiles) or "none"
        message = f"{path} has no profile {name!r} (profiles: {known})"
        raise ConfigurationError(message)
    return found.profiles[name]


def read_protected() -> tuple[str, ...]:
    """Return the channels that are protected for every profile.

    Raises `ConfigurationError` like `read_profile`.

    If no file is named and the default one does not exist, nothing is protected.
    """
    path = path_of_profiles()
    if path is None or (not os.environ.get(FILE_VARIABLE) and not _is_there(path)):
        return ()
    return _read(path).protected.channels


class _Keys(msgspec.Struct, frozen=True, kw_only=True):
    """The keys of a profile, of any type."""

    api_key: object = None
    organizations: dict[str, object] = {}
    apps: dict[str, object] = {}


def _holds_a_key(settings: bytes) -> bool:
    """Return whether a profile contains a key itself instead of its place."""
    with contextlib.suppress(msgspec.ValidationError):
        profiles: object = msgspec.toml.decode(settings, type=dict[str, object]).get("profiles", {})
        found = msgspec.convert(profiles, dict[str, _Keys]).values()
        return any(
            isinstance(key, str) for each in found for key in (each.api_key, *each.organizations.values(), *each.apps.values())
        )
    return False


def _unknown_setting(settings: bytes) -> str:
    """Return which profile has an unknown setting, or an empty string."""
    with contextlib.suppress(msgspec.ValidationError):
        profiles: object = msgspec.toml.decode(settings, type=dict[str, object]).get("profiles", {})
        known = Profile.__struct_fields__
        for profile, found in msgspec.convert(profiles, dict[str, dict[str, object]]).items():
            for name in found.keys() - set(known):
                return f"profile {profile}: unknown setting {name} (known: {', '.join(known)})"
    return ""


def _read(path: Path) -> _File:
    settings = b""
    try:
        settings = path.read_bytes().removeprefix(BOM_UTF8)
        return msgspec.toml.decode(settings, type=_File)
    except FileNotFoundError as error:
        message = f"{FILE_VARIABLE} names {path}, which does not exist"
        if not os.environ.get(FILE_VARIABLE):
            message = f"there are no profiles: {path} does not exist"
        raise ConfigurationError(message) from error
    except OSError as error:
        message = f"cannot read the profiles in {path}: {error.strerror}"
        raise ConfigurationError(message) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        # A key that was written into the file must not be shown.
        reason = _unknown_setting(settings) or str(error) if isinstance(error, msgspec.ValidationError) else "not TOML"
        if isinstance(error, msgspec.ValidationError) and _holds_a_key(settings):
            reason = "give a key as {env = NAME} or {file = PATH}, never the key itself"
        message = f"{path}: {reason}"
        raise ConfigurationError(message) from None
