"""What a sandbox tells a test about itself, in memory or at `/_sandbox/…`.

These paths need no key and count against no limit.
"""

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING

import msgspec

from .exchange import Incoming
from .parameters import query_only

if TYPE_CHECKING:
    from .state.world import World


class AccessLine(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the access log.

    `time` is the arrival, `answered` the end. `key` is the number of the key, never the secret. `status` is 0 if the connection
    was dropped. `target` is `app`, `app/device` or `app/channel` as sent.
    """

    time: float
    answered: float
    key: int | None
    method: str
    path: str
    target: str
    status: int
    fault: str | None
    request_id: str


def shown_path(path: str) -> str:
    """Return a path without secrets: in the seed era, the path of a key contained the key itself."""
    before, route, key = path.partition("/apikey/")
    return path if not route or key.rstrip("/").isdecimal() else f"{before}{route}[API key]"


def inspect(request: Incoming, world: "World", log: Sequence[AccessLine], written: int) -> object | None:
    """Answer `GET /_sandbox/log?from=N` and `GET /_sandbox/state?app_id=…`; `None` for any other path.

    The log has the form `{"lines", "next"}`, where `next` is the `from` of the next call. The state maps the devices of each
    app to their overrides.
    """
    query = query_only(request)
    if request.path == "/_sandbox/log":
        asked = query.get("from", "0")
        forgotten = written - len(log)
        start = max(0, (int(asked) if asked.isdecimal() else 0) - forgotten)
        return {"lines": list(islice(log, start, None)), "next": written}
    if request.path == "/_sandbox/state":
        return {"requests": written, "overrides": _overrides(world, query.get("app_id"))}
    return None


def _overrides(world: "World", app_id: str | None) -> Mapping[str, Mapping[str, str]]:
    return {
        app.app_id: {device_id: override.channel.name for device_id, override in app.overrides.items()}
        for app in world.apps.values()
        if app_id in {None, app.app_id}
    }
