"""What stands in front of the server, or breaks behind it, and answers in its place (contract A8, A9)."""

from collections.abc import Mapping

from .exchange import Dialect, Dropped, Refusal, Reply, error_reply, json_reply, unknown_error
from .faults import Outcome

_HTML = b"<html>\n<head><title>502 Bad Gateway</title></head>\n<body><h1>502 Bad Gateway</h1></body>\n</html>\n"

IN_FRONT: frozenset[str | None] = frozenset({"drop-before", "502", "429-edge", "429-unknown", "429-permanent"})
"""The outcomes of which the server itself never learns."""


def spoilt(
    outcome: Outcome | None, dialect: Dialect, headers: Mapping[str, str], dated: Mapping[str, str]
) -> Reply | Dropped | None:
    """Build what arrives instead of the server's answer; `None` when that answer stands.

    `headers` are those of the server, `dated` those of an edge that never asked it.
    """
    match outcome:
        case "drop-before" | "drop-after":
            return Dropped(processed=outcome == "drop-after")
        case "502" | "502-after":
            return Reply(status=502, headers={"content-type": "text/html", **dated}, body=_HTML)
        case "500-after":
            return error_reply(unknown_error(), dialect, headers)
        case "429-edge":
            return Reply(status=429, headers={"content-type": "text/plain", **dated}, body=b"error code: 1015")
        case "429-unknown" | "429-permanent":
            return _too_many(outcome, headers)
        case _:
            return None


def _too_many(outcome: Outcome, headers: Mapping[str, str]) -> Reply:
    if outcome == "429-permanent":
        return json_reply(429, {"error": "on_premise_app", "message": "On-premise app detected"}, headers)
    more = {"reason": "some_new_limit_exceeded"}
    return error_reply(Refusal(429, "too_many_requests", "Too many requests", more), "modern", headers)
