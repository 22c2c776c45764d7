"""Reasons why a row of the input is rejected or skipped: a code, its values, and a sentence.

Code acts on the `Cause`, never on the sentence. The job file stores causes and values; sentences are made for display.
"""

import enum
from collections.abc import Mapping
from typing import Final

import msgspec


class Cause(enum.StrEnum):
    """Why a row was rejected or skipped. The values are stored in job files and printed as JSON."""

    # The row cannot be read.
    MISSING_VALUE = "missing_value"
    ONLY_EXPORTED = "only_exported"
    CONFLICTING_VALUE = "conflicting_value"
    MALFORMED_APP_ID = "malformed_app_id"
    MALFORMED_ORG_ID = "malformed_org_id"
    INVISIBLE_CHARACTER = "invisible_character"
    QUOTATION_MARK = "quotation_mark"
    REPEATED_HEADER = "repeated_header"
    VALUE_TOO_LONG = "value_too_long"
    LINE_TOO_LONG = "line_too_long"
    NOT_UTF8 = "not_utf8"
    NUL_BYTE = "nul_byte"
    NOT_JSON = "not_json"
    WRONG_TYPE = "wrong_type"
    NOT_CSV = "not_csv"
    CELL_COUNT = "cell_count"
    UNCLOSED_QUOTE = "unclosed_quote"
    MISPLACED_QUOTE = "misplaced_quote"
    UNPAIRED_QUOTE = "unpaired_quote"

    # The row names no device, or more than one.
    UNKNOWN_CUSTOM_ID = "unknown_custom_id"
    AMBIGUOUS_CUSTOM_ID = "ambiguous_custom_id"

    # The change cannot or must not be made.
    CONTRADICTION = "contradiction"
    PROTECTED = "protected"
    NO_ACCESS = "no_access"
    NO_CHANNEL = "no_channel"
    NO_BUNDLE = "no_bundle"
    LINK_TO_PUBLIC_CHANNEL = "link_to_public_channel"
    DELETION_OF_PUBLIC_CHANNEL = "deletion_of_public_channel"
    BUNDLE_IN_USE = "bundle_in_use"
    INVITED_WITHOUT_ACCOUNT = "invited_without_account"
    ENDS_ROLLOUT = "ends_rollout"
    UNKNOWN_SETTING = "unknown_setting"
    LAST_SUPER_ADMIN = "last_super_admin"
    MAYBE_LAST_SUPER_ADMIN = "maybe_last_super_admin"

    # No request is needed.
    DUPLICATE = "duplicate"
    ALREADY_LINKED = "already_linked"
    ALREADY_UNLINKED = "already_unlinked"
    ALREADY_SET = "already_set"
    ALREADY_ON_BUNDLE = "already_on_bundle"
    ALREADY_GONE = "already_gone"
    NOT_A_MEMBER = "not_a_member"

    # The target is left alone, because that was asked for or is the only safe choice.
    UNKNOWN_DEVICE = "unknown_device"
    NO_LINK_TO_RENEW = "no_link_to_renew"
    LINKS_ARE_KEPT = "links_are_kept"
    NOT_LISTED = "not_listed"
    CHANGED_SINCE = "changed_since"
    RELINKED_SINCE = "relinked_since"
    UNLINKED_SINCE = "unlinked_since"
    OTHER_PUBLIC_CHANNEL_SINCE = "other_public_channel_since"

    # The change has no way back, so an undo leaves the target as it is.
    IRREVERSIBLE = "irreversible"
    RENEWED = "renewed"
    NEVER_LISTED = "never_listed"
    DEVICES_HIDDEN = "devices_hidden"
    LINKS_NOT_SHOWN = "links_not_shown"
    SETTING_NOT_SHOWN = "setting_not_shown"
    OTHERS_MADE_PRIVATE = "others_made_private"
    BUNDLE_DELETED = "bundle_deleted"
    TEXT_NOT_REMOVABLE = "text_not_removable"
    PAUSE_ENDED = "pause_ended"


ALREADY_SO: Final = frozenset(
    {
        Cause.ALREADY_LINKED,
        Cause.ALREADY_UNLINKED,
        Cause.ALREADY_SET,
        Cause.ALREADY_ON_BUNDLE,
        Cause.ALREADY_GONE,
        Cause.NOT_A_MEMBER,
    }
)
"""Causes of rows whose target already is as wanted. Each such row saves the requests of its operation."""

NO_WAY_BACK: Final[Mapping[Cause, str]] = {
    Cause.IRREVERSIBLE: "what is deleted or removed cannot be restored",
    Cause.RENEWED: "a renewal restarts the lifetime of a link, and nothing sets that back",
    Cause.NEVER_LISTED: "nothing shows the link of a device that the server does not show",
    Cause.DEVICES_HIDDEN: "the server could not show its devices when this was planned",
    Cause.LINKS_NOT_SHOWN: "a response that shows no link of any device does not prove that a device has none",
    Cause.SETTING_NOT_SHOWN: "the server does not show {}",
    Cause.OTHERS_MADE_PRIVATE: "an undo does not make {} public again",
    Cause.BUNDLE_DELETED: "the bundle {} is deleted, so no channel can return to it",
    Cause.TEXT_NOT_REMOVABLE: "the server cannot remove a {} that was not there before",
    Cause.PAUSE_ENDED: "the rollout is paused, and the start of its pause cannot be set again",
}
"""Why a change cannot be undone: the end of the sentence "... have no way back, because"."""

LEFT_BY_UNDO: Final = frozenset(
    {
        *NO_WAY_BACK,
        Cause.NOT_LISTED,
        Cause.CHANGED_SINCE,
        Cause.RELINKED_SINCE,
        Cause.UNLINKED_SINCE,
        Cause.OTHER_PUBLIC_CHANNEL_SINCE,
    }
)
"""Causes of skipped rows whose target may not be as it was before the job. Only an undo has them."""

SENTENCES: Final[Mapping[Cause, str]] = {
    Cause.MISSING_VALUE: "no {} in this row",
    Cause.ONLY_EXPORTED: "this is an export of devices, and no {} is given for this row",
    Cause.CONFLICTING_VALUE: "{} {!r} differs from {!r}, which is given for all rows",
    Cause.MALFORMED_APP_ID: "app_id {!r} is not an app id such as com.example.app",
    Cause.MALFORMED_ORG_ID: "org_id {!r} is not an organization id (a UUID)",
    Cause.INVISIBLE_CHARACTER: "{} contains the invisible character {}",
    Cause.QUOTATION_MARK: "{} begins or ends with a quotation mark: {}",
    Cause.REPEATED_HEADER: "this is a header, not a row",
    Cause.VALUE_TOO_LONG: "{} is longer than {} characters",
    Cause.LINE_TOO_LONG: "longer than 64 KiB",
    Cause.NOT_UTF8: "not UTF-8",
    Cause.NUL_BYTE: "contains a NUL byte",
    Cause.NOT_JSON: "not JSON: {}",
    Cause.WRONG_TYPE: "{} is {}, not {}",
    Cause.NOT_CSV: "not CSV: {}",
    Cause.CELL_COUNT: "{} cells, but the header has {} columns",
    Cause.UNCLOSED_QUOTE: "a quoted field that begins here is not closed",
    Cause.MISPLACED_QUOTE: "text follows the closing quote of a field",
    Cause.UNPAIRED_QUOTE: "unpaired quotation mark",
    Cause.UNKNOWN_CUSTOM_ID: "no listed device of {} has this custom_id",
    Cause.AMBIGUOUS_CUSTOM_ID: "several devices of {} have this custom_id",
    Cause.CONTRADICTION: "contradicts another row for the same {}",
    Cause.PROTECTED: "{} of {} is protected by {}",
    Cause.NO_ACCESS: "no access to {}, or it does not exist ({})",
    Cause.NO_CHANNEL: "{} has no channel {!r} (its channels: {})",
    Cause.NO_BUNDLE: "{} has no bundle {!r}",
    Cause.LINK_TO_PUBLIC_CHANNEL: "{!r} of {} is public, and devices cannot be linked to a public channel",
    Cause.DELETION_OF_PUBLIC_CHANNEL: "{!r} of {} is public; make another channel public first",
    Cause.BUNDLE_IN_USE: "channel {} of {} uses {}; give it another bundle first",
    Cause.INVITED_WITHOUT_ACCOUNT: (
        "{} is invited to {} but has no account, and this API cannot remove such an invitation; "
        "cancel it in the console, or wait until it expires after 7 days"
    ),
    Cause.ENDS_ROLLOUT: "channel {} of {} has a rollout of {}, which this would end",
    Cause.UNKNOWN_SETTING: "this server does not know the setting {}",
    Cause.LAST_SUPER_ADMIN: "{} is the last super admin of {}; removing them would delete the organization",
    Cause.MAYBE_LAST_SUPER_ADMIN: "{} may be the last super admin of {}; removing them would delete the organization",
    Cause.DUPLICATE: "identical to an earlier row",
    Cause.ALREADY_LINKED: "already linked to {}",
    Cause.ALREADY_UNLINKED: "already without a link",
    Cause.ALREADY_SET: "already has these values",
    Cause.ALREADY_ON_BUNDLE: "already on {}",
    Cause.ALREADY_GONE: "there is no such {}",
    Cause.NOT_A_MEMBER: "not a member of {}",
    Cause.UNKNOWN_DEVICE: "unknown to the server",
    Cause.NO_LINK_TO_RENEW: "the server shows no link to renew",
    Cause.LINKS_ARE_KEPT: "needs no renewal: by the options of the plan, this server keeps links",
    Cause.NOT_LISTED: "not shown by the server now, so nothing shows whether somebody changed it since the job ran",
    Cause.CHANGED_SINCE: "changed since the job ran: now {}",
    Cause.RELINKED_SINCE: "changed since the job ran: now linked to {}",
    Cause.UNLINKED_SINCE: "changed since the job ran: now without a link",
    Cause.OTHER_PUBLIC_CHANNEL_SINCE: "changed since the job ran: another channel is public now",
    **{cause: f"cannot be undone: {why}" for cause, why in NO_WAY_BACK.items()},
}
PLACES: Final[Mapping[Cause, str]] = {
    Cause.NOT_UTF8: " (byte 0x{} at line {}, column {})",
    Cause.NUL_BYTE: " (at line {}, column {})",
    Cause.NOT_JSON: " (at column {})",
    Cause.MISPLACED_QUOTE: " (on line {})",
    Cause.UNPAIRED_QUOTE: " (after the broken quoted field on line {})",
    Cause.UNKNOWN_CUSTOM_ID: " ({!r})",
    Cause.AMBIGUOUS_CUSTOM_ID: " ({!r}: {} devices, {})",
    Cause.CONTRADICTION: " (lines {} and {})",
    Cause.DUPLICATE: " (line {})",
}
"""Additions to the sentence about one row, beyond what all rows with this cause and details share."""


class Reason(msgspec.Struct, frozen=True):
    """A cause and the values for its sentence. `str()` returns the sentence.

    Rows with the same `cause` and `details` form a group. `places` belong to one row only, such as the line that it duplicates.
    """

    cause: Cause
    details: tuple[str | int, ...] = ()
    places: tuple[str | int, ...] = ()

    def __str__(self) -> str:
        return SENTENCES[self.cause].format(*self.details) + self.place

    @property
    def place(self) -> str:
        """Return the addition to the sentence that belongs to one row only, if there is one."""
        return PLACES[self.cause].format(*self.places) if self.places else ""

    @property
    def of_all(self) -> "Reason":
        """Return the reason without `places`."""
        return Reason(self.cause, self.details)
