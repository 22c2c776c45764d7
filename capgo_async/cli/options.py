"""Options that several commands have, as groups: a parameter of such a type stands for all of its fields."""

from pathlib import Path
from typing import Annotated

import msgspec
from typer import Argument, Option

from ..client import CapgoClient
from .speech import Speech

AppId = Annotated[str, Argument(metavar="APP", help="The app, such as com.example.app.", show_default=False)]
DeviceId = Annotated[str, Argument(metavar="ID", help="The device.", show_default=False)]
JobFile = Annotated[Path, Argument(metavar="FILE", help="The job file.", show_default=False)]


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """Options that belong together."""


class Output(Group, frozen=True, kw_only=True):
    """How the command speaks."""

    json: Annotated[bool, Option("--json", help="JSON on stdout: one document, or a line for each item of a listing.")] = False
    quiet: Annotated[bool, Option("--quiet", "-q", help="No notes and no progress on stderr.")] = False
    debug: Annotated[bool, Option("--debug", envvar="CAPGO_DEBUG", help="The traceback of an unexpected error.")] = False

    def speech(self) -> Speech:
        """Return what speaks in this way."""
        return Speech(json=self.json, quiet=self.quiet)


class Connection(Output, frozen=True, kw_only=True):
    """Which server to speak to, with which key, and how fast."""

    api_key: Annotated[
        str | None,
        Option(
            "--api-key",
            envvar="CAPGO_API_KEY",
            help="The API key; better in the environment, where others do not see it.",
            show_default=False,
        ),
    ] = None
    base_url: Annotated[
        str | None,
        Option("--base-url", envvar="CAPGO_BASE_URL", help="The server; the vendor's cloud unless given.", show_default=False),
    ] = None
    rate: Annotated[str, Option("--rate", help="auto|standard|enterprise|server|off|N/min|N/s")] = "auto"
    concurrency: Annotated[int, Option("--concurrency", help="Requests in flight at most.")] = 16
    timeout: Annotated[float, Option("--timeout", help="Seconds that one attempt may take.")] = 30.0
    retries: Annotated[int, Option("--retries", help="Further attempts of a call that failed for a while.")] = 4
    auth_header: Annotated[str, Option("--auth-header", help="authorization|capgkey: the header with the key.")] = (
        "authorization"
    )
    allow_plain_http: Annotated[
        bool,
        Option("--allow-plain-http", help="Send the key unencrypted beyond this machine."),
    ] = False

    def __repr__(self) -> str:
        return f"Connection(base_url={self.base_url!r})"

    def speech(self) -> Speech:
        """Return what speaks in this way, and never says the key."""
        return Speech(json=self.json, quiet=self.quiet, secret=self.api_key)

    def client(self) -> CapgoClient:
        """Return a client of these options; raises `ConfigurationError`."""
        return CapgoClient(
            api_key=self.api_key,
            base_url=self.base_url,
            rate=self.rate,
            concurrency=self.concurrency,
            timeout=self.timeout,
            retries=self.retries,
            auth_header=self.auth_header,
            allow_plain_http=self.allow_plain_http,
            trust_env=True,
        )


class Running(Group, frozen=True, kw_only=True):
    """How a job is run."""

    yes: Annotated[bool, Option("--yes", "-y", help="Send without a question.")] = False
    rebind: Annotated[bool, Option("--rebind", help="Go on with another key or server than the job was made with.")] = False


class Planning(Running, frozen=True, kw_only=True):
    """How many changes are planned."""

    app: Annotated[str | None, Option("--app", metavar="APP", help="The app, where rows name none.")] = None
    job: Annotated[
        Path | None,
        Option(
            "--job",
            metavar="FILE",
            help="The job file; one of the same source and options is resumed. Named after the time unless given.",
        ),
    ] = None
    plan_only: Annotated[bool, Option("--plan-only", help="Stop after the plan and keep it.")] = False
    reject_bad_rows: Annotated[bool, Option("--reject-bad-rows", help="Leave bad rows out instead of refusing all.")] = False
    unknown: Annotated[str, Option("--unknown", help="send|skip|refuse: devices that no inventory shows.")] = "send"
