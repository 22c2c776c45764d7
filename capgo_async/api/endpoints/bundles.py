"""Bundles (contract C8)."""

import re
from typing import Annotated, Final

import msgspec
from msgspec import UNSET, Meta, UnsetType

from ...errors import BundleNotFound, ConfigurationError
from ...http.call import Call
from ...http.wire import Request, encode
from .arguments import Comment, Name, Url, body_of, checked, checked_app_id, named

_SEMVER: Final = re.compile(
    r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)"
    r"(-(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)(\.(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*)?"
    r"(\+[0-9a-zA-Z-]+(\.[0-9a-zA-Z-]+)*)?",
    re.ASCII,
)
"""SemVer 2.0, which the server requires for the names of new bundles (contract A4)."""


class NewBundle(msgspec.Struct, frozen=True, kw_only=True):
    """A new bundle that is stored outside Capgo (contract C8).

    `version` is its name. `external_url` starts with `https://`. `session_key` and `key_id` are for encrypted bundles.
    """

    version: Name
    external_url: Url
    checksum: Name
    session_key: str | UnsetType = UNSET
    key_id: Annotated[str, Meta(max_length=20)] | UnsetType = UNSET


class BundleMetadata(msgspec.Struct, frozen=True, kw_only=True):
    """The link and the comment of a bundle; fields that are left out stay as they are."""

    link: Url | UnsetType = UNSET
    comment: Comment | UnsetType = UNSET


def list_bundles(app_id: str, page: int) -> Call:
    """List one page of bundles; the first page is 0 (contract C8)."""
    query = (("app_id", checked_app_id(app_id)), ("page", str(page)))
    return Call(f"list bundles of {app_id}", Request(method="GET", path="/bundle", query=query), app=app_id)


def create_bundle(app_id: str, new: NewBundle) -> Call:
    """Register a bundle; a repeat is refused because the name is taken (contract C8, G1)."""
    checked(new)
    if not _SEMVER.fullmatch(new.version):
        message = f"bundle version {new.version!r} is not a semantic version, such as 1.2.3 or 1.2.3-beta.1"
        raise ConfigurationError(message)
    if not new.external_url.startswith("https://"):
        message = f"external_url {new.external_url!r} does not start with https://"
        raise ConfigurationError(message)
    named(new.checksum, "checksum")
    request = Request(method="POST", path="/bundle", body=body_of({"app_id": checked_app_id(app_id)}, new))
    return Call(f"create bundle {new.version} of {app_id}", request, app=app_id)


def find_bundle(app_id: str, version: str) -> Call:
    """Ask for the bundle with this name (contract K5).

    Servers that do not know the filter list their newest bundles instead.
    """
    query = (("app_id", checked_app_id(app_id)), ("version", named(version, "bundle version")))
    return Call(f"find bundle {version} of {app_id}", Request(method="GET", path="/bundle", query=query), app=app_id)


def promote_bundle(app_id: str, version_id: int, channel_id: int) -> Call:
    """Make a bundle the stable one of a channel; a repeat changes nothing (contract C8, G1).

    Without `target`, a server may give the bundle to the channel's rollout instead. The target `rollout` is never sent: servers
    that do not know it replace the stable bundle (contract K1).
    """
    identity = {"app_id": checked_app_id(app_id), "version_id": _number(version_id), "channel_id": _number(channel_id)}
    request = Request(method="PUT", path="/bundle", body=encode({**identity, "target": "stable"}))
    return Call(f"promote bundle {version_id} of {app_id} to channel {channel_id}", request, app=app_id)


def set_bundle_metadata(app_id: str, version_id: int, metadata: BundleMetadata) -> Call:
    identity: dict[str, str | int] = {"app_id": checked_app_id(app_id), "version_id": _number(version_id)}
    request = Request(method="POST", path="/bundle/metadata", body=body_of(identity, checked(metadata)))
    return Call(f"set metadata of bundle {version_id} of {app_id}", request, app=app_id)


def delete_bundle(app_id: str, version: str) -> Call:
    """Delete one bundle by name. An empty name is refused: the server would delete all (contract C8)."""
    if not isinstance(version, str):
        message = f"a bundle is deleted by its name, which is text, not by {version!r}"
        raise ConfigurationError(message)
    query = (("app_id", checked_app_id(app_id)), ("version", named(version, "bundle version")))
    request = Request(method="DELETE", path="/bundle", query=query)
    return Call(f"delete bundle {version} of {app_id}", request, settled_by=(BundleNotFound,), app=app_id)


def _number(value: int) -> int:
    if type(value) is not int or value < 1:
        message = f"{value!r} is not the number of a bundle or channel: expected a positive integer"
        raise ConfigurationError(message)
    return value
