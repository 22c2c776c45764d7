"""`--all`, `--where` and `--sample`: the devices of an inventory in place of a list."""

from pathlib import Path
from typing import Annotated, NamedTuple

from typer import Option

from ...bulk.inventory.choosing import Choice, ChosenDevices, check_clause
from ...bulk.inventory.taking import Tally
from ...bulk.running.stopping import read_share
from ...errors import ConfigurationError
from ...key_ring import KeyRing
from .group import Group
from .options import InventoryPlanning


class Choosing(Group, frozen=True, kw_only=True):
    """Which devices of an inventory are meant, where no SOURCE lists them."""

    every: Annotated[
        bool, Option("--all", help="All devices of each --app, or of every app of the key, in place of a SOURCE.")
    ] = False
    where: Annotated[
        str | None,
        Option("--where", metavar="CLAUSE", help="Of --all those for which this holds, in SQLite's words: platform = 'ios'."),
    ] = None
    sample: Annotated[str | None, Option("--sample", metavar="P%", help="Of these a share, always the same devices: 1%.")] = (
        None
    )

    def choice(self, source: str | None, planning: InventoryPlanning) -> Choice | None:
        """Return what is chosen, `None` where there is a SOURCE; raises `ConfigurationError`."""
        if not self.every:
            if self.where is not None or self.sample is not None:
                message = "--where and --sample choose among all devices of an inventory: add --all, and leave SOURCE out"
                raise ConfigurationError(message)
            if source is None:
                message = "nothing says which devices: name a SOURCE, or give --all for those of an inventory"
                raise ConfigurationError(message)
            return None
        if source is not None:
            message = f"--all takes the devices from an inventory: leave {source} out; apps are named with --app"
            raise ConfigurationError(message)
        if planning.inventory is not None:
            message = f"--all takes an inventory of its own: leave --inventory {planning.inventory} out, or name a SOURCE"
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
    """A choice that becomes a source once there is a client."""

    choice: Choice
    channel: str | None
    tally: Tally

    def source(self, client: KeyRing, job: Path | None) -> ChosenDevices:
        """Return the source; of a job that is there already no inventory is taken again."""
        there = job is not None and job.exists()
        return ChosenDevices(self.choice, self.channel, None if there else client, self.tally)
