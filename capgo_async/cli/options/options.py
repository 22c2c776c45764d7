"""Options shared by several commands.

Past 300 lines because groups of options build on one another, and each option takes a few lines with its help.
"""

import contextlib
import enum
import os
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Final

import msgspec
from typer import Argument, Option

from ...bulk import Options, Thresholds, Unknown
from ...bulk.running.stopping import read_share
from ...bulk.sources.layout import Layout
from ...client import DEFAULT_BASE_URL, CapgoClient
from ...errors import ConfigurationError
from ...http.dialect import Dialect
from ...key_ring import KeyRing, pacer_of
from ...limits.known import Latencies
from ...limits.lockout import MOST_IN_FLIGHT
from ..output.speech import Speech
from ..output.waiting import Waits
from .group import Group
from .moments import read_duration
from .profiles import Profile, path_of_profiles, read_profile, read_protected
from .remembering import Remembering, hearing, memory

_PROFILE_VARIABLE: Final = "CAPGO_PROFILE"

AppId = Annotated[str, Argument(metavar="APP", help="The app id, such as com.example.app.", show_default=False)]
DeviceId = Annotated[str, Argument(metavar="ID", help="The device id.", show_default=False)]
OrgId = Annotated[str, Argument(metavar="ORG", help="The organization id.", show_default=False)]
Yes = Annotated[bool, Option("--yes", "-y", help="Do not ask for confirmation.")]
OldServers = Annotated[
    bool,
    Option(
        "--old-servers", help="Also change settings on servers before 12.198, where this can undo a simultaneous promotion."
    ),
]
Headroom = Annotated[
    str | None,
    Option(
        "--headroom",
        metavar="SHARE",
        help="Share of the rate limits to leave to other users of the key, such as 20%.",
        show_default=False,
    ),
]
EndRollouts = Annotated[
    bool,
    Option(
        "--end-rollouts",
        help="Also change channels whose rollout this ends. Another bundle ends it, and so does rollout_enabled=false.",
    ),
]
Approve = Annotated[
    str | None,
    Option(
        "--approve",
        metavar="CMD",
        help="Ask this command before each wave but the first. It reads the wave before as JSON on stdin; exit code 0 goes on,"
        " 75 is asked again a minute later, anything else stops the run.",
        show_default=False,
    ),
]
JobFile = Annotated[Path, Argument(metavar="FILE", help="The job file.", show_default=False)]


_TIMEOUT: Final = 30.0
_RETRIES: Final = 4


def read_headroom(text: str | None) -> float:
    """Return the share of the limits that `--headroom` leaves to others; raises `ConfigurationError`."""
    try:
        return 0.0 if text is None else float(read_share(text))
    except ValueError as error:
        message = f"--headroom: {error}"
        raise ConfigurationError(message) from None


class AuthHeader(enum.StrEnum):
    """The header that carries the key."""

    AUTHORIZATION = "authorization"
    CAPGKEY = "capgkey"


class Named(enum.StrEnum):
    """The column that names the devices of a list."""

    DEVICE_ID = "device_id"
    CUSTOM_ID = "custom_id"


class Output(Group, frozen=True, kw_only=True):
    """The form of the output."""

    json: Annotated[bool, Option("--json", help="Print JSON: one document, or one line per item of a listing.")] = False
    quiet: Annotated[bool, Option("--quiet", "-q", help="Print no notes and no progress.")] = False
    verbose: Annotated[
        int,
        Option(
            "--verbose",
            "-v",
            count=True,
            help="Print what happens: retries, waits, limits. With -vv, print each request, too.",
            show_default=False,
        ),
    ] = 0
    log_file: Annotated[
        Path | None,
        Option(
            "--log-file",
            metavar="FILE",
            help="Append everything that -vv prints to this file, as JSON Lines with request ids.",
            show_default=False,
        ),
    ] = None
    debug: Annotated[bool, Option("--debug", envvar="CAPGO_DEBUG", help="Print the traceback of an error.")] = False

    def speech(self) -> Speech:
        """Return the output in this form."""
        return Speech(json=self.json, quiet=self.quiet)


class Connection(Output, frozen=True, kw_only=True):
    """The server, the key and the rate.

    Options take precedence over the profile, and the profile over the environment.
    """

    api_key: Annotated[
        str | None,
        Option(
            "--api-key",
            metavar="KEY",
            help="The API key. Prefer the environment variable CAPGO_API_KEY: other users can see arguments.",
            show_default=False,
        ),
    ] = None
    base_url: Annotated[
        str | None,
        Option(
            "--base-url",
            metavar="URL",
            help="The server (or CAPGO_BASE_URL).  [default: Capgo's cloud]",
            show_default=False,
        ),
    ] = None
    profile: Annotated[
        str | None,
        Option("--profile", envvar=_PROFILE_VARIABLE, metavar="NAME", help="Take server and keys from this profile."),
    ] = None
    rate: Annotated[
        str | None,
        Option(
            "--rate",
            metavar="RATE",
            help="auto (learns the limits), server (its usual ones), standard (100/min),"
            " enterprise (1000/min), off, N/min or N/s.  [default: auto]",
        ),
    ] = None
    headroom: Headroom = None
    concurrency: Annotated[
        int | None,
        Option("--concurrency", metavar="N", help="Maximum number of requests in flight, at most 15.  [default: 15]"),
    ] = None
    timeout: Annotated[float, Option("--timeout", metavar="SECONDS", help="Timeout of one attempt.")] = _TIMEOUT
    retries: Annotated[int, Option("--retries", metavar="N", help="Retries after a temporary failure.")] = _RETRIES
    wait_for_server: Annotated[
        str | None,
        Option(
            "--wait-for-server",
            metavar="TIME",
            help="Wait this long, such as 30m, each time that the server cannot be reached.  [default: end after the retries]",
            show_default=False,
        ),
    ] = None
    auth_header: Annotated[
        AuthHeader | None, Option("--auth-header", help="The header that carries the key.  [default: authorization]")
    ] = None
    dialect: Annotated[
        Dialect | None,
        Option("--dialect", help="The server's generation: modern, or seed for the API until March 2025.  [default: auto]"),
    ] = None
    allow_plain_http: Annotated[
        bool,
        Option("--allow-plain-http", help="Allow http:// to other machines, which sends the key unencrypted."),
    ] = False

    def __repr__(self) -> str:
        return f"Connection(base_url={self.base_url!r}, profile={self.profile!r})"

    def speech(self) -> Speech:
        """Return the output in this form, which masks every key."""
        secrets = [self.api_key or "", os.environ.get("CAPGO_API_KEY", "")]
        # The command itself reports a profile that cannot be read.
        with contextlib.suppress(ConfigurationError):
            secrets += self._profile().secrets()
        return Speech(json=self.json, quiet=self.quiet, secrets=secrets)

    def client(self) -> Remembering[CapgoClient]:
        """Return what opens a client of these options; raises `ConfigurationError`."""
        latencies = Latencies()
        return Remembering(self._client(latencies), memory(), latencies)

    def ring(self) -> Remembering[KeyRing]:
        """Return what opens a key ring: the client, with the profile's keys of organizations and apps."""
        latencies = Latencies()
        return Remembering(KeyRing(self._client(latencies), self._profile().keys()), memory(), latencies)

    def _client(self, latencies: Latencies) -> CapgoClient:
        profile, waits = self._profile(), self.wait_for_server
        client = CapgoClient(
            api_key=self._key(profile),
            base_url=profile.base_url if self.base_url is None else self.base_url,
            rate=self.rate or profile.rate or "auto",
            headroom=read_headroom(self.headroom or profile.headroom),
            concurrency=self.concurrency if self.concurrency is not None else profile.concurrency or MOST_IN_FLIGHT,
            timeout=self.timeout,
            retries=self.retries,
            wait_for_server=0.0 if waits is None else read_duration(waits, "--wait-for-server"),
            auth_header=self.auth_header or profile.auth_header or "authorization",  # type: ignore[arg-type]  # checked there
            dialect=self.dialect or profile.dialect or "auto",  # type: ignore[arg-type]  # checked there
            allow_plain_http=self.allow_plain_http,
            trust_env=True,
        )
        pacer_of(client).listeners.add(hearing(latencies), "ended")
        if not self.verbose:
            pacer_of(client).listeners.add(Waits(self.speech()), "other")
        return client

    def server(self) -> list[str]:
        """Return the given options that reach the same server in the same way, without the key."""
        given = {
            "--base-url": self.base_url,
            "--profile": None if self.profile == os.environ.get(_PROFILE_VARIABLE) else self.profile,
            "--rate": self.rate,
            "--headroom": self.headroom,
            "--concurrency": self.concurrency,
            "--timeout": None if self.timeout == _TIMEOUT else f"{self.timeout:g}",
            "--retries": None if self.retries == _RETRIES else self.retries,
            "--auth-header": self.auth_header,
            "--dialect": self.dialect,
            "--wait-for-server": self.wait_for_server,
        }
        words = [str(word) for name, value in given.items() if value is not None for word in (name, value)]
        return [*words, "--allow-plain-http"] if self.allow_plain_http else words

    def thresholds(self) -> Thresholds:
        """Return the sizes up to which a plan needs no more than a yes."""
        return self._profile().thresholds()

    def keeps_links(self) -> bool:
        """Return whether the profile says that the server keeps links for good."""
        return self._profile().keeps_links

    def protected(self) -> tuple[str, ...]:
        """Return the channels that must not be changed; raises `ConfigurationError`."""
        return *read_protected(), *self._profile().protected_channels

    def refuse_protected(self, app_id: str, channel: str) -> None:
        """Raise `ConfigurationError` if the configuration protects a channel."""
        if {channel, f"{app_id}/{channel}"} & set(self.protected()):
            message = f"channel {channel} of {app_id} is protected by {path_of_profiles()}"
            raise ConfigurationError(message)

    def _profile(self) -> Profile:
        return Profile() if self.profile is None else read_profile(self.profile)

    def _key(self, profile: Profile) -> str | None:
        if self.api_key is None and profile.api_key is not None:
            return profile.api_key.secret()
        return self.api_key


def reaching(base_url: str) -> list[str]:
    """Return the options that reach a job's server: none if the environment leads there."""
    named = os.environ.get("CAPGO_BASE_URL", DEFAULT_BASE_URL)
    if profile := os.environ.get(_PROFILE_VARIABLE):
        with contextlib.suppress(ConfigurationError):
            named = read_profile(profile).base_url or named
    return [] if named.rstrip("/") == base_url else ["--base-url", base_url, *_allowing(base_url)]


def _allowing(base_url: str) -> list[str]:
    if base_url.startswith("https:"):
        return []
    from ...http.transport import checked_base_url  # noqa: PLC0415 - looking at a job does not import aiohttp

    try:
        checked_base_url(base_url)
    except ConfigurationError:
        return ["--allow-plain-http"]
    return []


class Confirming(Group, frozen=True, kw_only=True):
    """What has to be confirmed before a job runs."""

    confirm: Annotated[
        int | None,
        Option(
            "--confirm",
            metavar="N",
            help="Do not ask if the plan has exactly N operations. Very large plans and many deletions need this"
            " instead of --yes.",
            show_default=False,
        ),
    ] = None
    no_drift: Annotated[
        bool, Option("--no-drift", help="Do not check an older plan for changes on the server since it was made.")
    ] = False


class Running(Confirming, frozen=True, kw_only=True):
    """How a job runs."""

    yes: Yes = False
    rebind: Annotated[bool, Option("--rebind", help="Allow another key or server than the job was made with.")] = False
    events: Annotated[
        str | None,
        Option(
            "--events",
            metavar="FILE",
            help="Append what happens to this file while the job runs, as JSON Lines (- for stdout; the report then goes to"
            " stderr).",
            show_default=False,
        ),
    ] = None

    def asks(self) -> str | None:
        """Return the command that approves waves, if there is one; raises `ConfigurationError`."""
        return None


class Undertaking(Running, frozen=True, kw_only=True):
    """How a job is made and how it runs."""

    job: Annotated[
        Path | None,
        Option(
            "--job",
            metavar="FILE",
            help="The job file. A job of the same source and options is resumed.  [default: a name with the time]",
        ),
    ] = None
    plan_only: Annotated[bool, Option("--plan-only", help="Write the job file and stop; send no changes.")] = False


class InWaves(Undertaking, frozen=True, kw_only=True):
    """The waves in which changes are sent."""

    waves: Annotated[
        str | None,
        Option(
            "--waves",
            metavar="SHARES",
            help="Send in waves, such as 1%,10%,100% of each app; each is verified before the next starts."
            " Fixed when the job is made.",
            show_default=False,
        ),
    ] = None
    bake: Annotated[
        str | None,
        Option(
            "--bake", metavar="TIME", help="Pause between waves, such as 30s, 10m or 2h; needs --waves.", show_default=False
        ),
    ] = None
    approve: Approve = None

    def asks(self) -> str | None:
        """Return the command that approves waves, if there is one; raises `ConfigurationError`."""
        if self.approve is not None and self.waves is None:
            message = "--approve needs --waves"
            raise ConfigurationError(message)
        return self.approve

    def shares(self) -> tuple[Fraction, ...]:
        """Return the share of each wave; raises `ConfigurationError`."""
        try:
            return tuple(read_share(share) for share in self.waves.split(",")) if self.waves is not None else ()
        except ValueError as error:
            message = f"--waves: {error}"
            raise ConfigurationError(message) from None

    def bake_seconds(self) -> float:
        """Return the pause between waves; raises `ConfigurationError`."""
        if self.bake is not None and self.waves is None:
            message = "--bake needs --waves"
            raise ConfigurationError(message)
        return read_duration(self.bake, "--bake") if self.bake is not None else 0.0


class Planning(InWaves, frozen=True, kw_only=True):
    """How a bulk change is planned."""

    app: Annotated[
        list[str] | None,
        Option(
            "--app",
            metavar="APP",
            help="The app of all rows; a row with another one is a bad row. With --all or --everywhere, can be repeated.",
        ),
    ] = None
    reject_bad_rows: Annotated[bool, Option("--reject-bad-rows", help="Leave bad rows out instead of refusing the input.")] = (
        False
    )
    column: Annotated[
        list[str] | None,
        Option("--column", metavar="NAME=HEADER", help="Read NAME from the column with this header; repeatable."),
    ] = None
    ignore_column: Annotated[
        list[str] | None,
        Option(
            "--ignore-column", metavar="NAME", help="Do not read this column, such as the channel of an export; repeatable."
        ),
    ] = None
    header: Annotated[
        str | None,
        Option(
            "--header",
            metavar="NAMES",
            help="The columns of a table without a header line, such as device_id or device_id,channel.",
            show_default=False,
        ),
    ] = None

    def layout(self) -> Layout:
        """Return where the list has its columns; raises `ConfigurationError`."""
        columns: dict[str, str] = {}
        for text in self.column or ():
            name, equals, column = text.partition("=")
            if not equals or name in columns:
                message = f"--column {text}: write NAME=HEADER, once for each NAME, such as device_id='Device ID'"
                raise ConfigurationError(message)
            columns[name] = column
        header = tuple(name.strip() for name in self.header.split(",")) if self.header else ()
        return Layout(columns=columns, ignored=frozenset(self.ignore_column or ()), header=header)

    def one_app(self) -> str | None:
        """Return the app of rows without one, or `None`; raises `ConfigurationError` for several."""
        if self.app and len(self.app) > 1:
            message = "--app is given more than once: rows without an app_id can belong to one app only"
            raise ConfigurationError(message)
        return self.app[0] if self.app else None

    def options(self, connection: Connection) -> Options:
        """Return the options of the plan; raises `ConfigurationError`."""
        return Options(
            reject_bad_rows=self.reject_bad_rows,
            waves=self.shares(),
            bake_seconds=self.bake_seconds(),
            thresholds=connection.thresholds(),
            protected=connection.protected(),
            protected_by=str(path_of_profiles()),
        )


class InventoryPlanning(Planning, frozen=True, kw_only=True):
    """How a bulk change is planned that can use an exported inventory of devices."""

    by: Annotated[
        Named | None,
        Option(
            "--by",
            help="The column that names the devices. Each custom_id must belong to one device."
            "  [default: device_id, or custom_id if there is no other]",
            show_default=False,
        ),
    ] = None
    keeps_links: Annotated[
        bool,
        Option("--keeps-links", help="The server never deletes links: renew none, and say nothing about expiry."),
    ] = False
    inventory: Annotated[
        Path | None,
        Option(
            "--inventory",
            metavar="FILE",
            help="Compare with this database, written by `export devices`, instead of listing devices again."
            " --all takes the devices from it.",
            show_default=False,
        ),
    ] = None

    def layout(self) -> Layout:
        """Return where the list has its columns; raises `ConfigurationError`."""
        return msgspec.structs.replace(super().layout(), by=self.by)

    def options(self, connection: Connection) -> Options:
        """Return the options of the plan; raises `ConfigurationError`."""
        inventory = None if self.inventory is None else str(self.inventory)
        kept = self.keeps_links or connection.keeps_links()
        return msgspec.structs.replace(super().options(connection), inventory=inventory, links_are_kept=kept)


class DevicePlanning(InventoryPlanning, frozen=True, kw_only=True):
    """How a bulk change of devices is planned."""

    unknown: Annotated[
        Unknown | None,
        Option(
            "--unknown",
            help="What to do with devices that the server does not list."
            "  [default: send, but refuse if the list is empty and the server counts links]",
            show_default=False,
        ),
    ] = None

    def options(self, connection: Connection) -> Options:
        """Return the options of the plan; raises `ConfigurationError`."""
        return msgspec.structs.replace(super().options(connection), unknown=self.unknown)


class ReleasePlanning(Planning, frozen=True, kw_only=True):
    """How a bulk change is planned that may end rollouts."""

    end_rollouts: EndRollouts = False

    def options(self, connection: Connection) -> Options:
        """Return the options of the plan; raises `ConfigurationError`."""
        return msgspec.structs.replace(super().options(connection), end_rollouts=self.end_rollouts)


class SettingsPlanning(ReleasePlanning, frozen=True, kw_only=True):
    """How a bulk change of channel settings is planned."""

    old_servers: OldServers = False

    def options(self, connection: Connection) -> Options:
        """Return the options of the plan; raises `ConfigurationError`."""
        return msgspec.structs.replace(super().options(connection), old_servers=self.old_servers)
