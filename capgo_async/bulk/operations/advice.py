"""Advice on failed operations, by cause."""

import enum
from collections.abc import Mapping
from typing import Final, NamedTuple

from ...http.error_codes import NO_ACCESS
from .results import AMBIGUOUS, CHANGED_SINCE, HALF_DONE, RIGHT_LOST


class Remedy(enum.StrEnum):
    """What can be done about failed operations."""

    RETRY = "retry"
    """Remove the cause, then run the failed operations again."""
    RETRY_SLOWER = "retry_slower"
    RETRY_OR_UNDO = "retry_or_undo"
    NEW_JOB = "new_job"
    """Running them again does not help."""


class Advice(NamedTuple):
    remedy: Remedy
    text: str


_NO_ACCESS: Final = Advice(
    Remedy.RETRY, "Check that the app and the key still exist and that the key may change the app, then send these again."
)
_SPELLING: Final = Advice(Remedy.NEW_JOB, "Correct the rows of these operations, then run them as a new job.")
_PACKAGE: Final = Advice(
    Remedy.NEW_JOB, "These bundles cannot serve the update_package of the channel. Change one of the two in a new job."
)
_AS_THE_MESSAGE_SAYS: Final = Advice(Remedy.RETRY, "Fix the problem that the message names, then send these again.")

ADVICE: Final[Mapping[str, Advice]] = {
    AMBIGUOUS: Advice(
        Remedy.RETRY,
        "They may have taken effect. Send them again: those that are not safe to repeat are checked first.",
    ),
    "channel_not_found": Advice(Remedy.RETRY, "Create the channel or restore its former name, then send these again."),
    **dict.fromkeys(NO_ACCESS, _NO_ACCESS),
    RIGHT_LOST: Advice(
        Remedy.RETRY,
        "Check the rights of the key, then send these again. The app and the channel are there: do not create them.",
    ),
    HALF_DONE: Advice(
        Remedy.RETRY_OR_UNDO,
        "Their links were removed and not set again. Send these again, or undo the job to restore the links.",
    ),
    CHANGED_SINCE: Advice(
        Remedy.NEW_JOB,
        "Somebody else changed these after the plan was made, so nothing was sent. Make a new job of what is still wanted.",
    ),
    "device_not_found": Advice(
        Remedy.RETRY, "The server may be unable to read its data, so nothing was sent. Wait a while, then send these again."
    ),
    "public_channel_override": Advice(
        Remedy.NEW_JOB, "The channel has become public, and devices cannot be linked to a public channel. Unlink them instead."
    ),
    "invalid_app_id": _SPELLING,
    "missing_app_id": _SPELLING,
    "missing_device_id": _SPELLING,
    "missing_device_id_or_app_id": _SPELLING,
    "invalid_version_id": _SPELLING,
    **dict.fromkeys(("channel_zip_required", "channel_delta_required"), _PACKAGE),
    "need_plan_upgrade": Advice(Remedy.RETRY, "Check the organization's subscription and plan, then send these again."),
    "on_premise_app": Advice(
        Remedy.NEW_JOB, "The app is on another server. Run these rows as a new job with the base URL of that server."
    ),
    "provider_infrastructure_request_blocked": Advice(
        Remedy.RETRY, "The server blocks requests from this network address. Send these again from another one."
    ),
    "user_not_found": Advice(
        Remedy.NEW_JOB,
        "Nobody has an account with these addresses, and this API cannot remove such invitations. Cancel them in the console, "
        "or wait until they expire.",
    ),
    "unknown_error": Advice(Remedy.RETRY, "Check whether they took effect, then send these again."),
}
"""Advice for known causes (contract A8, C7). Other causes get advice by HTTP status."""

_BY_STATUS: Final = (
    (500, Advice(Remedy.RETRY, "The server failed. Wait a while, then send these again.")),
    (429, Advice(Remedy.RETRY_SLOWER, "The server asked for fewer requests. Send these again at a lower rate.")),
)


def advice_on(cause: str, status: int | None) -> Advice:
    by_status = (advice for least, advice in _BY_STATUS if status is not None and status >= least)
    return ADVICE.get(cause) or next(by_status, _AS_THE_MESSAGE_SAYS)
