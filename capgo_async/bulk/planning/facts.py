"""What a job file says of the job itself, as JSON by name."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from ...errors import JobError
from ...limits import ScopeKind
from ...ring import Caller
from ..clock import wall_clock
from ..report import counted
from .drafting import Draft, Options
from .sources import Source

_FACTS: Final = frozenset(
    {
        "source",
        "source_digest",
        "asked",
        "options",
        "base_url",
        "key_salt",
        "key_fingerprint",
        "created_at",
        "remarks",
        "unknown",
    }
)
"""What every job says of itself."""


def check(path: Path, facts: dict[str, Any]) -> None:
    """Raise `JobError` where something is missing."""
    if missing := _FACTS - facts.keys():
        message = f"{path} is damaged: it does not say its {', '.join(sorted(missing))}"
        raise JobError(message)


def facts_of(source: Source, client: Caller, options: Options, salt: bytes) -> dict[str, Any]:
    """Return what a new job says of itself; what planning finds out comes to it."""
    facts: dict[str, Any] = {
        "source": source.name,
        "source_digest": source.digest,
        "asked": source.asked,
        "options": {
            "reject_bad_rows": options.reject_bad_rows,
            "unknown": str(options.unknown),
            "old_servers": options.old_servers,
            "waves": [str(share) for share in options.waves],
            "bake_seconds": options.bake_seconds,
        },
        "thresholds": options.thresholds.facts(),
        "base_url": client.base_url,
        "key_salt": salt.hex(),
        "key_fingerprint": client.fingerprint(salt),
        "keys": count_keys(client, salt),
        "created_at": wall_clock().isoformat(timespec="seconds"),
    }
    if options.inventory is not None:
        # A file name may hold bytes that are no text.
        facts["options"]["inventory"] = options.inventory.encode("utf-8", "replace").decode()
    return facts


def count_keys(client: Caller, salt: bytes) -> int:
    """Return how many different keys a client has."""
    return len({each.fingerprint(salt) for each in client.clients})


def keys_in(facts: Mapping[str, Any]) -> int:
    """Return with how many keys a job is bound to run: files of earlier versions tell only of those whose use still counts."""
    used = facts["usage"]["usage"]
    return int(facts.get("keys") or sum(each["scope"][0] == ScopeKind.KEY for each in used))


def facts_of_draft(draft: Draft, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return what drawing up the plan found out, with how old an inventory was that it rests on."""
    if draft.observed_at is None:
        return {"remarks": draft.remarks}
    age = datetime.fromisoformat(facts["created_at"]) - datetime.fromisoformat(draft.observed_at)
    inventory = facts["options"]["inventory"]
    told = f"compared with the inventory {inventory}, begun {draft.observed_at}: {_in_words(age)} before this plan"
    return {"remarks": (told, *draft.remarks), "observed_at": draft.observed_at}


def observed_at(facts: Mapping[str, Any]) -> datetime:
    """Return when the oldest look was taken that the plan rests on."""
    return datetime.fromisoformat(facts.get("observed_at", facts["created_at"]))


def _in_words(age: timedelta) -> str:
    for unit, length in _UNITS:
        if age >= 2 * length:
            return counted(age // length, unit)
    return counted(max(0, age // timedelta(minutes=1)), "minute")


_UNITS: Final = (("day", timedelta(days=1)), ("hour", timedelta(hours=1)))


def elsewhere_than(facts: Mapping[str, Any], client: Caller) -> dict[str, str]:
    """Return the client's server and keys where a job with these facts is bound to others."""
    bound = {"base_url": client.base_url, "key_fingerprint": client.fingerprint(bytes.fromhex(facts["key_salt"]))}
    return {name: value for name, value in bound.items() if facts[name] != value}


def of_another(path: Path, elsewhere: Iterable[str]) -> JobError:
    """Say that a job is bound to another server or key."""
    what = " and ".join("base URL" if name == "base_url" else "API key" for name in elsewhere)
    return JobError(f"{path} was made with another {what}: use the same, or --rebind to go on with this one")
