"""The options `--all`, `--where` and `--sample`: devices of an inventory instead of a list."""

from pathlib import Path
from typing import Annotated, NamedTuple

from typer import Option

from ...bulk.inventory.choosing import Choice, ChosenDevices, check_clause
from ...bulk.inventory.taking import Tally
from ...bulk.running.stopping import read_share
from ...bulk.sources.layout import Layout
from ...bulk.storage.places import real
from ...errors import ConfigurationError
from ...key_ring import KeyRing
from .group import Group
from .options import InventoryPlanning


class Choosing(Group, frozen=True, kw_only=True):
    """The devices of an inventory that are chosen, if no SOURCE lists them."""

    every: Annotated[
        bool,
        Option(
            "--all",
            help="Instead of SOURCE, take all devices of each --app, or of every app, from --inventory or listed now.",
        ),
    ] = False
    where: Annotated[
        str | None,
        Option("--where", metavar="CLAUSE", help="With --all: only devices that match this SQL, such as \"platform = 'ios'\"."),
    ] = None
    sample: Annotated[
        str | None, Option("--sample", metavar="P%", help="With --all: only this share of them, always the same devices.")
    ] = None

    def choice(self, source: str | None, planning: InventoryPlanning) -> Choice | None:
        """Return the choice, or `None` if there is a SOURCE; raises `ConfigurationError`."""
        if not self.every:
            if self.where is not None or self.sample is not None:
                message = "--where and --sample need --all instead of a SOURCE"
                raise ConfigurationError(message)
            if source is None:
                message = "pass a SOURCE that lists the devices, or --all"
                raise ConfigurationError(message)
            return None
        if source is not None:
            message = f"--all takes no SOURCE: leave {source} out (to name an app, use --app)"
            raise ConfigurationError(message)
        if planning.layout() != Layout():
            message = "--all takes no SOURCE, so there are no columns: leave --by, --column, --ignore-column and --header out"
            raise ConfigurationError(message)
        if self.where is not None:
            check_clause(self.where)
        try:
            sample = None if self.sample is None else read_share(self.sample)
        except ValueError as error:
            message = f"--sample {error}"
            raise ConfigurationError(message) from None
        return Choice(apps=tuple(planning.app or ()), where=self.where, sample=sample)


class Drawing(NamedTuple):
    """A choice of devices that becomes a source once there is a client."""

    choice: Choice
    channel: str | None
    tally: Tally
    inventory: Path | None = None

    def source(self, client: KeyRing, job: Path | None) -> ChosenDevices:
        """Return the source. If the job already exists, no inventory is taken again."""
        there = job is not None and real(job).exists()
        exported = None if self.inventory is None else str(self.inventory)
        return ChosenDevices(self.choice, self.channel, None if there else client, self.tally, exported=exported)
