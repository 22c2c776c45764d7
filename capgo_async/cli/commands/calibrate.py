"""The command `capgo-async calibrate`."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Final

import msgspec
import typer
from typer import Argument, Option

from ...bulk.report import counted
from ...bulk.running.bounds import budgeted
from ...calibration import WINDOW, Findings, Refused, calibrate
from ...key_ring import pacer_of
from ...limits.known import Known, Latency
from ...limits.models import DEFAULT_SILENCE, ScopeKind
from ...limits.names import NAMES
from ..framework import Invocation, command
from ..options.options import Connection
from ..output.exit_codes import ExitCode
from ..output.speech import Speech
from .limits import in_words

commands = typer.Typer()

_READS: Final = 150
_MOST_READS: Final = 1000
"""As many as the server allows an app and address in a minute; a larger budget would only wait."""

App = Annotated[str | None, Argument(metavar="APP", help="An app with many devices.  [default: search for one]")]
Reads = Annotated[int, Option("--budget", min=1, max=_MOST_READS, metavar="N", help="Maximum number of requests.")]


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured of a server and a key, in `requests` requests.

    `page` is the page size that shows devices with their channels. `refused` is the rate limit that ended the
    measurement, after `tried` requests.
    """

    base_url: str
    server_version: str | None
    latency: Latency | None
    app_id: str | None
    page: int | None
    page_remark: str
    refused: Refused | None
    tried: int
    requests: int
    remarks: tuple[str, ...]


@command(commands, "calibrate", Calibration)
async def run_calibration(connection: Connection, invocation: Invocation, app_id: App = None, reads: Reads = _READS) -> int:
    """Measure latency, page size and rate limits of a server and key, with reads only.

    Stops when a rate limit refuses a request. Later commands use the results; `capgo-async limits` shows them.
    """
    opened = connection.client()
    async with opened as client:
        pacer = pacer_of(client)
        with budgeted(pacer, reads):
            found = await calibrate(client, app_id)
        now, known = datetime.now(UTC), opened.known()
        if found.page is not None and tells_more(found, known):
            known = msgspec.structs.replace(known, page=found.page, page_loses=found.page_loses, page_found_at=now)
        client.recall(known)
        requests = client.counters.requests
    kept_to = known.limits if pacer.gates.adaptive else ()
    certain = [f"{limit.requests:,} for the {NAMES.get(limit.scope, limit.scope)}" for limit in kept_to if limit.certain]
    _print(
        Calibration(
            base_url=client.base_url,
            server_version=known.server_version,
            latency=known.latency,
            app_id=found.app_id,
            page=found.page,
            page_remark=found.page_remark,
            refused=found.refused,
            tried=found.tried,
            requests=requests,
            remarks=_remarks(found, certain),
        ),
        certain,
        invocation.speech,
    )
    return ExitCode.OK


def tells_more(found: Findings, known: Known) -> bool:
    """Return whether the page size found replaces the known one.

    A small app proves nothing about larger pages.
    """
    return found.page_loses is not None or known.page_loses is None or (found.page or 0) >= known.page_loses


def _print(told: Calibration, certain: Sequence[str], speech: Speech) -> None:
    if speech.json:
        speech.emit(told)
        return
    page = "unknown" if told.page is None else f"{told.page} devices with their channels"
    limit = f"none up to {_within(told.tried)}"
    if certain:
        limit = f"already known: {', '.join(certain)}"
    if told.refused is not None:
        limit = f"refused after {counted(told.refused.passed, 'request')} by the limit of the {NAMES[told.refused.scope]}"
    lines = {
        "server": f"{told.base_url}, version {told.server_version or 'unknown'}",
        "latency": in_words(told.latency),
        "page": f"{page} ({told.page_remark})",
        "limits": limit,
        "requests": f"{told.requests:,}, all reads",
    }
    for name, value in lines.items():
        speech.show(f"{name:<8}  {value}")
    for remark in told.remarks:
        speech.show(f"note: {remark}")


def _within(requests: int) -> str:
    return f"{counted(requests, 'request')} within {WINDOW:.0f} s"


def _remarks(found: Findings, certain: Sequence[str]) -> tuple[str, ...]:
    refused = found.refused
    if refused is None and certain:
        return ("no request exceeded the known limits; to measure them again, run `capgo-async limits --forget` first",)
    if refused is None:
        return (f"limits above {_within(found.tried)} can be learned only while a job runs",)
    again = "not certain yet: requests of others may have counted, too; calibrate again to confirm it"
    remarks = [] if certain else [again]
    if not refused.passed:
        remarks = ["the limit was already used up by requests in the minute before; try again when nobody else uses it"]
    if refused.scope is ScopeKind.KEY:
        remarks.append(f"send nothing with this key for {DEFAULT_SILENCE:.0f} s: every request restarts the wait")
    if not refused.named:
        remarks.append("the server did not name the limit; runs that meet such a limit go on with 100 requests a minute")
    return tuple(remarks)
