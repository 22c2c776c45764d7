"""The options that stop a run by themselves: stop rules and bounds."""

from datetime import UTC, datetime
from fractions import Fraction
from typing import Annotated, Final, NamedTuple

import msgspec
from typer import Option

from ...bulk import Bounds, StopRules
from ...bulk.clock import local_time
from ...bulk.running.stopping import read_share
from ...errors import ConfigurationError
from ..output.speech import Speech
from .group import Group
from .moments import read_duration, read_moment

_OFF: Final = "off"
_RULES: Final = StopRules()


class Limits(NamedTuple):
    """What stops a run by itself."""

    rules: StopRules = _RULES
    bounds: Bounds = Bounds()


class Stopping(Group, frozen=True, kw_only=True):
    """What stops a run by itself. A stopped job can be resumed."""

    stop_failures: Annotated[
        str, Option("--stop-failures", metavar="SHARE|off", help="Stop if more than this share of the operations failed.")
    ] = "10%"
    stop_minimum: Annotated[
        int, Option("--stop-minimum", metavar="N", help="Apply --stop-failures only after N operations.")
    ] = _RULES.minimum
    stop_consecutive: Annotated[
        str, Option("--stop-consecutive", metavar="N|off", help="Stop if N operations in a row failed.")
    ] = "50"
    stop_no_access: Annotated[
        str,
        Option("--stop-no-access", metavar="N|off", help="Stop if N operations in a row lost access to an app or its channel."),
    ] = "3"
    stop_server_errors: Annotated[
        str,
        Option(
            "--stop-server-errors",
            metavar="SHARE|off",
            help="Stop if more than this share of the last 50 operations met a server error.",
        ),
    ] = "20%"
    no_stop: Annotated[bool, Option("--no-stop", help="Turn off all --stop rules.")] = False
    max_requests: Annotated[
        int | None, Option("--max-requests", metavar="N", help="Stop after N requests, including reads and retries.")
    ] = None
    max_duration: Annotated[
        str | None, Option("--max-duration", metavar="TIME", help="Stop after this time, such as 90s, 30m or 1h30m.")
    ] = None
    until: Annotated[
        str | None,
        Option("--until", metavar="WHEN", help="Stop at this time: HH:MM (local time), or a date such as 2026-11-26T05:00Z."),
    ] = None

    def again(self) -> list[str]:
        """Return the given stop rules, which a further run needs, too. Bounds are those of one run."""
        given = {
            f"--{field.name.replace('_', '-')}": getattr(self, field.name)
            for field in msgspec.structs.fields(type(self))
            if field.name.startswith("stop_") and getattr(self, field.name) != field.default
        }
        words = [str(word) for option in given.items() for word in option]
        return [*words, "--no-stop"] if self.no_stop else words

    def limits(self, speech: Speech) -> Limits:
        """Return the rules and bounds, and print the time of `--until`; raises `ConfigurationError`."""
        bounds = Bounds(
            max_requests=self.max_requests,
            max_seconds=None if self.max_duration is None else read_duration(self.max_duration),
            until=None if self.until is None else read_moment(self.until, datetime.now(UTC)),
        )
        limits = Limits(self._rules(), bounds)
        if bounds.until is not None:
            speech.note(f"the run ends at {local_time(bounds.until)} at the latest")
        return limits

    def _rules(self) -> StopRules:
        rules = StopRules(
            failures=_share("--stop-failures", self.stop_failures),
            minimum=self.stop_minimum,
            consecutive=_count("--stop-consecutive", self.stop_consecutive),
            no_access=_count("--stop-no-access", self.stop_no_access),
            server_errors=_share("--stop-server-errors", self.stop_server_errors),
        )
        if self.stop_minimum < 1:
            message = f"invalid --stop-minimum {self.stop_minimum}: use a number of at least 1"
            raise ConfigurationError(message)
        if not self.no_stop:
            return rules
        if rules != _RULES:
            message = "--no-stop turns off all rules: leave the other --stop options out"
            raise ConfigurationError(message)
        return StopRules(failures=None, consecutive=None, no_access=None, server_errors=None)


def _share(option: str, text: str) -> Fraction | None:
    try:
        return None if text == _OFF else read_share(text)
    except ValueError:
        message = f"invalid {option} {text}: use a share such as 10%, or {_OFF}"
        raise ConfigurationError(message) from None


def _count(option: str, text: str) -> int | None:
    if text == _OFF:
        return None
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        message = f"invalid {option} {text}: use a number of at least 1, or {_OFF}"
        raise ConfigurationError(message)
    return int(text)
