"""The command `capgo-async limits`."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Final

import msgspec
import typer
from typer import Option

from ...bulk.report import counted
from ...limits.known import Known, KnownLimit, Latency, lasting
from ...limits.names import NAMES
from ..framework import Invocation, command
from ..options.options import Output
from ..options.remembering import KnownServer, memory
from ..output.exit_codes import ExitCode
from ..output.listing import print_items

commands = typer.Typer()

_SHORT: Final = 8
"""Characters of a key's digest that are shown."""
_MANY_HOURS: Final = timedelta(hours=48)
_COLUMNS: Final = ("server", "key", "version", "latency", "page", "limits", "age")

Forget = Annotated[bool, Option("--forget", help="Delete everything that was learned.")]


class LimitsForgotten(msgspec.Struct, frozen=True):
    """What was learned is deleted: the number of records."""

    forgotten: int


class _Line(msgspec.Struct, frozen=True, kw_only=True):
    server: str
    key: str
    version: str | None
    latency: str
    page: int | None
    limits: str
    age: str


@command(commands, "limits", KnownServer, LimitsForgotten)
async def show_limits(output: Output, invocation: Invocation, *, forget: Forget = False) -> int:
    """Show what earlier commands learned about servers and their limits.

    It is stored on this machine, without the keys.
    """
    del output
    speech = invocation.speech
    if forget:
        forgotten = memory().forget()
        speech.done(f"deleted {counted(forgotten, 'record')}", LimitsForgotten(forgotten))
        return ExitCode.OK
    now = datetime.now(UTC)
    records = [msgspec.structs.replace(record, known=lasting(record.known, now)) for record in memory().records()]
    if not records:
        speech.note("nothing learned yet; `capgo-async calibrate APP` measures what a server allows")
    if speech.json:
        return await print_items([msgspec.structs.replace(record, key=record.key[:_SHORT]) for record in records], (), speech)
    return await print_items([_line(record, now) for record in records], _COLUMNS, speech)


def in_words(latency: Latency | None) -> str:
    """Return a latency for people."""
    if latency is None:
        return "unknown"
    return f"{latency.median * 1000:,.0f} ms, 95 % of responses within {latency.high * 1000:,.0f} ms"


def _line(record: KnownServer, now: datetime) -> _Line:
    known = record.known
    return _Line(
        server=record.base_url,
        key=record.key[:_SHORT],
        version=known.server_version,
        latency=in_words(known.latency),
        page=known.page,
        limits=_limits(known),
        age=_age(known, now),
    )


def _limits(known: Known) -> str:
    limits = [_limit(limit) for limit in known.limits] or ["none"]
    return ", ".join([*limits, "key also used by others"] if known.others_noticed_at else limits)


def _limit(limit: KnownLimit) -> str:
    return f"{NAMES.get(limit.scope, limit.scope)} {limit.requests:,}{'' if limit.certain else '?'}"


def _age(known: Known, now: datetime) -> str:
    if known.updated_at is None:
        return "unknown"
    age = now - known.updated_at
    hours = age / timedelta(hours=1)
    return f"{age.days} days" if age > _MANY_HOURS else f"{hours:.0f} h" if hours >= 1 else f"{hours * 60:.0f} min"
