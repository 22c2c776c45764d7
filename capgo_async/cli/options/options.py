"""Options that several commands have.

Past 300 lines because groups of options build on one another, and each option is a few lines with its help.
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
from ...client import CapgoClient
from ...errors import ConfigurationError
from ...http.dialect import Dialect
from ...key_ring import KeyRing
from ...limits.known import Latencies
from ..output.speech import Speech
from .group import Group
from .moments import read_duration
from .profiles import Profile, path_of_profiles, read_profile, read_protected
from .remembering import Remembering, hearing, memory

AppId = Annotated[str, Argument(metavar="APP", help="The app, such as com.example.app.", show_default=False)]
DeviceId = Annotated[str, Argument(metavar="ID", help="The device.", show_default=False)]
OrgId = Annotated[str, Argument(metavar="ORG", help="The organization's id.", show_default=False)]
Yes = Annotated[bool, Option("--yes", "-y", help="Do it without a question.")]
OldServers = Annotated[
    bool, Option("--old-servers", help="Also on servers before 12.198, where the bundle is sent along with settings.")
]
Headroom = Annotated[
    str | None,
    Option(
        "--headroom",
        metavar="SHARE",
        help="Leave so much of the limits of keys and apps to others, such as 20%.",
        show_default=False,
    ),
]
JobFile = Annotated[Path, Argument(metavar="FILE", help="The job file.", show_default=False)]


_TIMEOUT: Final = 30.0
_RETRIES: Final = 4


def read_headroom(text: str | None) -> float:
    """Return the share that `--headroom` leaves to others; raises `ConfigurationError`."""
    try:
        return 0.0 if text is None else float(read_share(text))
    except ValueError as error:
        message = f"--headroom: {error}"
        raise ConfigurationError(message) from None


class AuthHeader(enum.StrEnum):
    """Which header carries the key."""

    AUTHORIZATION = "authorization"
    CAPGKEY = "capgkey"


class Output(Group, frozen=True, kw_only=True):
    """How the command speaks."""

    json: Annotated[bool, Option("--json", help="JSON on stdout: one document, or a line for each item of a listing.")] = False
    quiet: Annotated[bool, Option("--quiet", "-q", help="No notes and no progress on stderr.")] = False
    debug: Annotated[bool, Option("--debug", envvar="CAPGO_DEBUG", help="The traceback of an unexpected error.")] = False

    def speech(self) -> Speech:
        """Return what speaks in this way."""
        return Speech(json=self.json, quiet=self.quiet)


class Connection(Output, frozen=True, kw_only=True):
    """Which server, which key and how fast: an option goes before the profile, and that before the environment."""

    api_key: Annotated[
        str | None,
        Option(
            "--api-key",
            metavar="KEY",
            help="The API key; better in the environment (CAPGO_API_KEY), where others do not see it.",
            show_default=False,
        ),
    ] = None
    base_url: Annotated[
        str | None,
        Option(
            "--base-url",
            metavar="URL",
            help="The server (CAPGO_BASE_URL); the vendor's cloud unless given.",
            show_default=False,
        ),
    ] = None
    profile: Annotated[
        str | None, Option("--profile", envvar="CAPGO_PROFILE", metavar="NAME", help="Server and keys from the profiles.")
    ] = None
    rate: Annotated[
        str | None,
        Option("--rate", metavar="RATE", help="auto|standard|enterprise|server|off|N/min|N/s; auto unless given."),
    ] = None
    headroom: Headroom = None
    concurrency: Annotated[
        int | None, Option("--concurrency", metavar="N", help="Requests in flight at most; 16 unless given.")
    ] = None
    timeout: Annotated[float, Option("--timeout", metavar="SECONDS", help="What one attempt may take.")] = _TIMEOUT
    retries: Annotated[int, Option("--retries", metavar="N", help="Further attempts of a call that failed for a while.")] = (
        _RETRIES
    )
    auth_header: Annotated[
        AuthHeader | None, Option("--auth-header", help="The header with the key; authorization unless given.")
    ] = None
    dialect: Annotated[Dialect | None, Option("--dialect", help="The server's generation; learned unless given.")] = None
    allow_plain_http: Annotated[
        bool,
        Option("--allow-plain-http", help="Send the key unencrypted beyond this machine."),
    ] = False

    def __repr__(self) -> str:
        return f"Connection(base_url={self.base_url!r}, profile={self.profile!r})"

    def speech(self) -> Speech:
        """Return what speaks in this way, and never says a key."""
        secrets = [self.api_key or "", os.environ.get("CAPGO_API_KEY", "")]
        # A profile that cannot be read is told of by the command.
        with contextlib.suppress(ConfigurationError):
            secrets += self._profile().secrets()
        return Speech(json=self.json, quiet=self.quiet, secrets=secrets)

    def client(self) -> Remembering[CapgoClient]:
        """Return what opens a client of these options; raises `ConfigurationError`."""
        latencies = Latencies()
        return Remembering(self._client(latencies), memory(), latencies)

    def ring(self) -> Remembering[KeyRing]:
        """Return what opens such a client as a ring with the profile's keys of organizations and apps, if it has any."""
        latencies = Latencies()
        return Remembering(KeyRing(self._client(latencies), self._profile().keys()), memory(), latencies)

    def _client(self, latencies: Latencies) -> CapgoClient:
        profile = self._profile()
        return CapgoClient(
            api_key=self._key(profile),
            base_url=self.base_url or profile.base_url,
            rate=self.rate or profile.rate or "auto",
            headroom=read_headroom(self.headroom or profile.headroom),
            concurrency=self.concurrency if self.concurrency is not None else profile.concurrency or 16,
            timeout=self.timeout,
            retries=self.retries,
            auth_header=self.auth_header or profile.auth_header or "authorization",
            dialect=self.dialect or profile.dialect or "auto",
            allow_plain_http=self.allow_plain_http,
            trust_env=True,
            on_attempt=hearing(latencies),
        )

    def server(self) -> list[str]:
        """Return the options that lead to the same server again, in the same way; the key is not among them."""
        given = {
            "--base-url": self.base_url or (None if self.profile else os.environ.get("CAPGO_BASE_URL") or None),
            "--profile": self.profile,
            "--rate": self.rate,
            "--headroom": self.headroom,
            "--concurrency": self.concurrency,
            "--timeout": None if self.timeout == _TIMEOUT else f"{self.timeout:g}",
            "--retries": None if self.retries == _RETRIES else self.retries,
            "--auth-header": self.auth_header,
            "--dialect": self.dialect,
        }
        words = [str(word) for name, value in given.items() if value is not None for word in (name, value)]
        return [*words, "--allow-plain-http"] if self.allow_plain_http else words

    def thresholds(self) -> Thresholds:
        """Return up to what a plan needs no more than a yes."""
        return self._profile().thresholds()

    def protected(self) -> tuple[str, ...]:
        """Return the channels that no plan may change; raises `ConfigurationError`."""
        return *read_protected(), *self._profile().protected_channels

    def refuse_protected(self, app_id: str, channel: str) -> None:
        """Raise `ConfigurationError` for a change of a channel that the configuration protects."""
        if {channel, f"{app_id}/{channel}"} & set(self.protected()):
            message = f"{channel} of {app_id} is protected by {path_of_profiles()}"
            raise ConfigurationError(message)

    def _profile(self) -> Profile:
        return Profile() if self.profile is None else read_profile(self.profile)

    def _key(self, profile: Profile) -> str | None:
        return self.api_key or (profile.api_key.secret() if profile.api_key else None)


class Confirming(Group, frozen=True, kw_only=True):
    """What is asked before a job is run."""

    confirm: Annotated[
        int | None,
        Option(
            "--confirm",
            metavar="N",
            help="Send without a question, if the plan has exactly N operations; one that reaches far needs it.",
            show_default=False,
        ),
    ] = None
    no_drift: Annotated[
        bool, Option("--no-drift", help="Do not look at what changed since a plan of more than ten minutes ago.")
    ] = False


class Running(Confirming, frozen=True, kw_only=True):
    """How a job is run."""

    yes: Annotated[bool, Option("--yes", "-y", help="Send without a question.")] = False
    rebind: Annotated[bool, Option("--rebind", help="Go on with another key or server than the job was made with.")] = False


class Undertaking(Running, frozen=True, kw_only=True):
    """How a job is made and run."""

    job: Annotated[
        Path | None,
        Option(
            "--job",
            metavar="FILE",
            help="The job file; one of the same source and options is resumed. Named after the time unless given.",
        ),
    ] = None
    plan_only: Annotated[bool, Option("--plan-only", help="Stop after the plan and keep it.")] = False


class InWaves(Undertaking, frozen=True, kw_only=True):
    """In which waves changes are sent."""

    waves: Annotated[
        str | None,
        Option(
            "--waves",
            metavar="SHARES",
            help="Rising shares of each app, such as 1%,10%,100%: each is verified before the next begins.",
            show_default=False,
        ),
    ] = None
    bake: Annotated[
        str | None,
        Option("--bake", metavar="TIME", help="Rest between waves, such as 30s, 10m or 2h.", show_default=False),
    ] = None

    def shares(self) -> tuple[Fraction, ...]:
        """Return the shares of the waves; raises `ConfigurationError`."""
        try:
            return tuple(read_share(share) for share in self.waves.split(",")) if self.waves is not None else ()
        except ValueError as error:
            message = f"--waves: {error}"
            raise ConfigurationError(message) from None

    def bake_seconds(self) -> float:
        """Return the rest between waves; raises `ConfigurationError`."""
        return read_duration(self.bake, "--bake") if self.bake is not None else 0.0


class Planning(InWaves, frozen=True, kw_only=True):
    """How many changes are planned."""

    app: Annotated[list[str] | None, Option("--app", metavar="APP", help="The app, where rows name none.")] = None
    reject_bad_rows: Annotated[bool, Option("--reject-bad-rows", help="Leave bad rows out instead of refusing all.")] = False

    def one_app(self) -> str | None:
        """Return the app, `None` where none is named; raises `ConfigurationError` for several, of which no row is."""
        if self.app and len(self.app) > 1:
            message = f"{len(self.app)} times --app: rows that name no app need one"
            raise ConfigurationError(message)
        return self.app[0] if self.app else None

    def options(self, connection: Connection) -> Options:
        """Return how the plan is made; raises `ConfigurationError`."""
        return Options(
            reject_bad_rows=self.reject_bad_rows,
            waves=self.shares(),
            bake_seconds=self.bake_seconds(),
            thresholds=connection.thresholds(),
            protected=connection.protected(),
            protected_by=str(path_of_profiles()),
        )


class InventoryPlanning(Planning, frozen=True, kw_only=True):
    """How many changes are planned that an inventory of devices on disk can be compared with."""

    inventory: Annotated[
        Path | None,
        Option(
            "--inventory",
            metavar="FILE",
            help="Compare with this database, which export devices wrote, instead of listing its apps again.",
            show_default=False,
        ),
    ] = None

    def options(self, connection: Connection) -> Options:
        """Return how the plan is made; raises `ConfigurationError`."""
        inventory = None if self.inventory is None else str(self.inventory)
        return msgspec.structs.replace(super().options(connection), inventory=inventory)


class DevicePlanning(InventoryPlanning, frozen=True, kw_only=True):
    """How many changes of devices are planned."""

    unknown: Annotated[Unknown, Option("--unknown", help="What to do with devices that no inventory shows.")] = Unknown.SEND

    def options(self, connection: Connection) -> Options:
        """Return how the plan is made; raises `ConfigurationError`."""
        return msgspec.structs.replace(super().options(connection), unknown=self.unknown)


class SettingsPlanning(Planning, frozen=True, kw_only=True):
    """How many changes of settings are planned."""

    old_servers: OldServers = False

    def options(self, connection: Connection) -> Options:
        """Return how the plan is made; raises `ConfigurationError`."""
        return msgspec.structs.replace(super().options(connection), old_servers=self.old_servers)
