"""What to do about failed operations: one sentence for each cause."""

from collections.abc import Mapping
from typing import Final

from ..codes import NO_ACCESS
from .runner import AMBIGUOUS, CHANGED_SINCE, HALF_DONE

_AGAIN: Final = "job run FILE --failed sends these again"
_NO_ACCESS: Final = f"Check that the key may change the app, and that both still exist; then {_AGAIN}."
_SPELLING: Final = "Correct the rows that these come from, and run them as a job of their own."

ADVICE: Final[Mapping[str, str]] = {
    AMBIGUOUS: f"They may have happened all the same: {_AGAIN}; what could do harm twice is looked at first.",
    "channel_not_found": f"Make the channel, or give it its old name; then {_AGAIN}.",
    **dict.fromkeys(NO_ACCESS, _NO_ACCESS),
    HALF_DONE: f"Their links are away: {_AGAIN}, or job undo FILE gives the links back.",
    CHANGED_SINCE: "Others have changed these since the plan, and nothing was sent: plan anew what is still wanted.",
    "public_channel_override": "The channel became public, and devices cannot be linked to it: unlink them instead.",
    "invalid_app_id": _SPELLING,
    "missing_app_id": _SPELLING,
    "missing_device_id": _SPELLING,
    "missing_device_id_or_app_id": _SPELLING,
    "invalid_version_id": _SPELLING,
    "need_plan_upgrade": f"Check the organization's subscription and plan; then {_AGAIN}.",
    "on_premise_app": "The app is served by another server than this one: run them there (--base-url).",
    "provider_infrastructure_request_blocked": f"The server takes none from this address: from another one {_AGAIN}.",
    "unknown_error": f"Look whether they happened; then {_AGAIN}.",
}
"""Of the causes that are known (contract A8, C7); others are told by their status."""

_BY_STATUS: Final = (
    (500, f"The server failed: wait, and {_AGAIN}."),
    (429, f"The server wanted fewer requests: with a lower --rate {_AGAIN}."),
    (400, f"Mend what the message names; then {_AGAIN}."),
)


def what_to_do(cause: str, status: int | None) -> str:
    """Return one sentence on what to do about operations that failed with `cause`."""
    by_status = (sentence for least, sentence in _BY_STATUS if status is not None and status >= least)
    return ADVICE.get(cause) or next(by_status, f"Mend what the message names; then {_AGAIN}.")
