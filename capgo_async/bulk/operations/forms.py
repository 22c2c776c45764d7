"""Forms: the columns of each kind of list, and the operation that a row becomes."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import msgspec

from ...api.endpoints.arguments import LONGEST_NAME, checked
from ...api.endpoints.bundles import BundleMetadata
from ...api.endpoints.channels import ChannelSettings, checked_settings
from ...api.endpoints.devices import LONGEST_CUSTOM_ID
from ...api.models.device import stored_id
from ...api.models.member import stored_email
from ...http.wire import encode
from .operations import (
    DeleteBundle,
    DeleteChannel,
    LinkDevice,
    Operation,
    PromoteBundle,
    RemoveMember,
    RenewDevice,
    Row,
    SetBundleMetadata,
    UnlinkDevice,
    UpdateChannel,
)

CUSTOM_ID: Final = "custom_id"
"""The column of lists that name devices by their custom ids."""


class Form(NamedTuple):
    """How the rows of a list become operations.

    `name`, `app` and `argument` are names of columns. `make` is called with the app, the name of the target and the argument,
    which is empty without an argument column. `settings` are values that apply to all rows, as text, for the record. `stored`
    converts a name to the spelling that the server stores. `longest` is the most characters of a name.
    """

    kind: str
    name: str
    make: Callable[[str, str, str], Operation]
    app: str = "app_id"
    argument: str | None = None
    settings: str | None = None
    stored: Callable[[str], str] = str
    longest: int = LONGEST_NAME

    @property
    def by_custom_id(self) -> bool:
        """Return whether rows name devices by their custom ids."""
        return self.name == CUSTOM_ID

    def row(self, line: int, app_id: str, name: str, argument: str) -> Row:
        """Return the row made of these texts."""
        if self.by_custom_id:
            return Row(line, self.make(app_id, "", argument), custom_id=name)
        return Row(line, self.make(app_id, name, argument))

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the names of the columns that are read."""
        return (self.name, self.app) if self.argument is None else (self.name, self.app, self.argument)


LINKING: Final = Form(
    "LinkDevice",
    "device_id",
    lambda app_id, name, argument: LinkDevice(app_id=app_id, device_id=name, channel=argument),
    argument="channel",
    stored=stored_id,
)
UNLINKING: Final = Form(
    "UnlinkDevice", "device_id", lambda app_id, name, _: UnlinkDevice(app_id=app_id, device_id=name), stored=stored_id
)
RENEWING: Final = Form(
    "RenewDevice", "device_id", lambda app_id, name, _: RenewDevice(app_id=app_id, device_id=name), stored=stored_id
)
PROMOTING: Final = Form(
    "PromoteBundle",
    "channel",
    lambda app_id, name, argument: PromoteBundle(app_id=app_id, channel=name, bundle=argument),
    argument="bundle",
)
DELETING_CHANNELS: Final = Form("DeleteChannel", "channel", lambda app_id, name, _: DeleteChannel(app_id=app_id, channel=name))
DELETING_BUNDLES: Final = Form("DeleteBundle", "bundle", lambda app_id, name, _: DeleteBundle(app_id=app_id, bundle=name))
REMOVING_MEMBERS: Final = Form(
    "RemoveMember", "email", lambda org_id, name, _: RemoveMember(org_id=org_id, email=name), app="org_id", stored=stored_email
)
OF_DEVICES: Final[Mapping[type[Operation], Form]] = {LinkDevice: LINKING, UnlinkDevice: UNLINKING, RenewDevice: RENEWING}
"""Forms for lists of devices."""


def with_custom_ids(form: Form) -> Form | None:
    """Return the form for a list that names devices by custom id, or `None` if `form` is not of devices."""
    if form not in OF_DEVICES.values():
        return None
    return form._replace(name=CUSTOM_ID, stored=str, longest=LONGEST_CUSTOM_ID)


def updating(settings: ChannelSettings) -> Form:
    """Return the form for a list of channels to update. Raises `ConfigurationError` for invalid settings."""
    checked_settings(settings)
    return Form(
        "UpdateChannel",
        "channel",
        lambda app_id, name, _: UpdateChannel(app_id=app_id, channel=name, settings=settings),
        settings=encode(settings).decode(),
    )


def describing(metadata: BundleMetadata) -> Form:
    """Return the form for a list of bundles to describe. Raises `ConfigurationError` for invalid metadata."""
    checked(metadata)
    return Form(
        "SetBundleMetadata",
        "bundle",
        lambda app_id, name, _: SetBundleMetadata(app_id=app_id, bundle=name, metadata=metadata),
        settings=msgspec.json.encode(metadata).decode(),
    )


def form_of(operation: Operation) -> tuple[Form, str]:
    """Return the form and the argument that make `operation`."""
    match operation:
        case LinkDevice(channel=channel):
            return LINKING, channel
        case PromoteBundle(bundle=bundle):
            return PROMOTING, bundle
        case UpdateChannel(settings=settings):
            return updating(settings), ""
        case SetBundleMetadata(metadata=metadata):
            return describing(metadata), ""
        case _:
            return _FORMS[type(operation)], ""


_FORMS: Final[Mapping[type[Operation], Form]] = {
    **OF_DEVICES,
    DeleteChannel: DELETING_CHANNELS,
    DeleteBundle: DELETING_BUNDLES,
    RemoveMember: REMOVING_MEMBERS,
}


@functools.cache
def decoder_of(columns: tuple[str, ...], keys: tuple[str | None, ...]) -> msgspec.json.Decoder[msgspec.Struct]:
    """Return the decoder of a JSON line with these columns, each under its key.

    Only the first one is required. Columns without a key are not read, and `None` in every line.
    """
    named = {column: key for column, key in zip(columns, keys, strict=True) if key is not None}
    first, *others = named
    fields: list[Any] = [(first, str), *((name, str | None, None) for name in others)]
    left_out = dict.fromkeys(name for name in columns if name not in named)
    return msgspec.json.Decoder(msgspec.defstruct("Line", fields, namespace=left_out, rename=named, gc=False))
