"""Chooses devices of an inventory, by an SQL clause and by a reproducible sample."""

import hashlib
import math
import re
import sqlite3
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from contextlib import aclosing, asynccontextmanager, closing
from fractions import Fraction
from pathlib import Path
from typing import Final

import msgspec

from ...client import CapgoClient
from ...errors import ConfigurationError, EmptyListing, InputError
from ...key_ring import KeyRing
from ..operations.operations import LinkDevice, Operation, Row, UnlinkDevice
from ..report import counted
from ..sources.blocks import BATCH
from ..sources.source import from_operations
from ..storage.database import Database, Mode
from ..storage.exported import Exported
from .columns import TABLES, InventoryKind
from .exporting import Summary, devices_at_hand
from .shelf import BATCH as READ
from .taking import Tally

_TABLE: Final = TABLES[InventoryKind.DEVICES]
_COLUMNS: Final = f"The columns are {', '.join(_TABLE.names)}."
_TEXTS: Final = re.compile(r"'(?:[^']|'')*'")
_NAMES: Final = re.compile(r'"((?:[^"]|"")*)"')
_ALLOWED: Final = frozenset({sqlite3.SQLITE_SELECT, sqlite3.SQLITE_TRANSACTION})
_FORBIDDEN: Final = frozenset({"load_extension", "random", "randomblob"})
"""`random` and `randomblob` would choose other devices each time."""
_HASHES: Final = 1 << 256
_NEVER_LISTED: Final = frozenset({"country_code", "install_source"})
"""Columns that lists of devices never fill (contract C7)."""


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """Which devices to choose.

    These are the devices of `apps` that match `where`, reduced to a share of `sample`. An empty `apps` means all apps that the
    keys can see.
    """

    apps: tuple[str, ...] = ()
    where: str | None = None
    sample: Fraction | None = None

    def __str__(self) -> str:
        words = ["the devices of", ", ".join(self.apps) or "all apps"]
        if self.where is not None:
            words += ["where", self.where]
        if self.sample is not None:
            words.append(f"(a sample of {float(100 * self.sample):.6g}%)")
        return " ".join(words)


def is_in_sample(device_id: str, share: Fraction) -> bool:
    """Return whether a device belongs to a sample.

    The result is always the same, and a larger sample contains every smaller one.
    """
    return int.from_bytes(hashlib.sha256(device_id.encode()).digest()) < math.ceil(share * _HASHES)


def check_clause(clause: str) -> tuple[str, ...]:
    """Return the columns that the clause reads, without the ids.

    Raises `ConfigurationError` if SQLite rejects the clause, or if it reads more than the devices.
    """
    for name in _NAMES.findall(_TEXTS.sub("", clause)):
        if name.lower() not in _TABLE.names:
            # SQLite would take it for text, which is never what was meant.
            message = (
                f'invalid where clause: no column is named "{name}". Text needs single quotes, not double quotes. {_COLUMNS}'
            )
            raise ConfigurationError(message)
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute(f"CREATE TABLE {_TABLE.name} ({', '.join(_TABLE.names)}, PRIMARY KEY ({', '.join(_TABLE.key)}))")
        columns: set[str | None] = set()

        def only_devices_noted(action: int, *rest: str | None) -> int:
            if action == sqlite3.SQLITE_READ:
                columns.add(rest[1])
            return only_devices(action, *rest)

        connection.set_authorizer(only_devices_noted)
        chosen_rows(connection, clause, ("", ""), 0)
    return tuple(name for name in _TABLE.names if name in columns and name not in _TABLE.key)


def only_devices(action: int, first: str | None, second: str | None, _database: str | None, _trigger: str | None) -> int:
    """Allow SQLite to read the devices table and to call functions, and deny everything else."""
    if action in _ALLOWED or (action == sqlite3.SQLITE_READ and first == _TABLE.name):
        return sqlite3.SQLITE_OK
    if action == sqlite3.SQLITE_FUNCTION and second not in _FORBIDDEN:
        return sqlite3.SQLITE_OK
    return sqlite3.SQLITE_DENY


def chosen_rows(connection: sqlite3.Connection, clause: str, last: Sequence[str], size: int) -> list[tuple[str, str]]:
    """Return up to `size` devices after `last` that match `clause`, in the order of their ids.

    Raises `ConfigurationError` for an invalid clause.
    """
    # CASE keeps a parenthesis in the clause from closing ours. A line of its own keeps a comment in it from hiding ours.
    statement = f"""
        SELECT app_id, device_id FROM {_TABLE.name}
        WHERE (app_id, device_id) > (:app_id, :device_id) AND (CASE WHEN
            {clause}
        THEN 1 END) ORDER BY app_id, device_id LIMIT :size
    """
    try:
        return connection.execute(statement, {"app_id": last[0], "device_id": last[1], "size": size}).fetchall()
    except (sqlite3.Error, sqlite3.Warning, UnicodeEncodeError, ValueError) as error:
        message = f"invalid where clause {clause!r}: {error}. {_COLUMNS} Text needs single quotes."
        raise ConfigurationError(message) from error


def empty_columns(connection: sqlite3.Connection, names: Sequence[str]) -> list[str]:
    """Return which of these columns have no value for any device."""
    filled = "SELECT EXISTS (SELECT 1 FROM {} WHERE {} <> '')"
    return [name for name in names if not connection.execute(filled.format(_TABLE.name, name)).fetchone()[0]]


class ChosenDevices:
    """A `Source` of rows for the devices of a `Choice`, taken from a new inventory or from one on disk.

    The devices are linked to `channel`, or unlinked if it is `None`. Without a `client`, no inventory is taken, and the source
    only serves to recognize the job that was made from it. `summary` describes the inventory once it has been taken, and
    `remarks` tell which columns of the clause it leaves empty. `exported` is the path of an inventory on disk, which an export
    of devices wrote; nothing is taken then.
    """

    def __init__(
        self,
        choice: Choice,
        channel: str | None,
        client: CapgoClient | KeyRing | None,
        tally: Tally | None = None,
        *,
        exported: str | None = None,
    ) -> None:
        self._columns = () if choice.where is None else check_clause(choice.where)
        self.name = str(choice)
        self.summary: Summary | None = None
        self.remarks: tuple[str, ...] = ()
        self._choice = choice
        self._channel = channel
        self._client = client
        self._tally = tally
        self._exported = exported

    @property
    def digest(self) -> str:
        """Return a digest of the choice. The inventory itself differs each time."""
        return hashlib.sha256(msgspec.json.encode(self.asked)).hexdigest()

    @property
    def asked(self) -> dict[str, str | None]:
        """Return the choice as it is stored in the job."""
        sample = self._choice.sample
        return {
            "kind": (UnlinkDevice if self._channel is None else LinkDevice).__name__,
            "apps": " ".join(sorted(set(self._choice.apps))) or None,
            "where": self._choice.where,
            "sample": None if sample is None else str(sample),
            "channel": self._channel,
        }

    async def batches(self, size: int = BATCH) -> AsyncIterator[list[Row]]:
        """Yield rows for the chosen devices.

        Raises `InputError` if there are none, or if an app is missing, and `EmptyListing` if it cannot be told which devices an
        app has.
        """
        if self._client is None:
            return
        chosen = False
        async with self._inventory(self._client) as (path, devices), aclosing(self._operations(path, devices)) as operations:
            async for rows in from_operations(operations).batches(size):
                chosen = True
                yield rows
        if not chosen:
            message = f"{self.name}: none of {counted(devices, 'device')} match. Nothing would change."
            raise InputError(" ".join((message, *self.remarks)))

    @asynccontextmanager
    async def _inventory(self, client: CapgoClient | KeyRing) -> AsyncIterator[tuple[Path, int]]:
        """Provide the database of the inventory, and the number of its devices."""
        exported = None if self._exported is None else Path(self._exported)
        async with devices_at_hand(client, self._choice.apps, exported, self._tally) as (path, checks, self.summary):
            _refuse_hidden(checks)
            yield path, sum(check.rows for check in checks)

    async def _operations(self, path: Path, devices: int) -> AsyncGenerator[Operation, None]:
        apps = frozenset(self._choice.apps)
        database = Database(path, Mode.READ_ONLY)
        try:
            await database.run(lambda connection: connection.set_authorizer(only_devices))
            empty = await database.run(empty_columns, self._columns if devices else ())
            self.remarks = tuple(
                f"{name} is empty for all devices{': lists of devices never show it' if name in _NEVER_LISTED else ''}."
                for name in empty
            )
            last = ("", "")
            while rows := await database.run(chosen_rows, self._choice.where or "TRUE", last, READ):
                last = rows[-1]
                for app_id, device_id in rows:
                    if apps and app_id not in apps:
                        continue
                    if self._choice.sample is None or is_in_sample(device_id, self._choice.sample):
                        yield self._operation(app_id, device_id)
        finally:
            await database.aclose()

    def _operation(self, app_id: str, device_id: str) -> Operation:
        if self._channel is None:
            return UnlinkDevice(app_id=app_id, device_id=device_id)
        return LinkDevice(app_id=app_id, device_id=device_id, channel=self._channel)


def _refuse_hidden(checks: Iterable[Exported]) -> None:
    """Raise `EmptyListing` if a list is empty although something contradicts that."""
    told = "; ".join(f"{check.app_id}: {', '.join(check.caveats)}" for check in checks if check.contradicted)
    if told:
        message = f"cannot tell which devices to choose. {told}"
        raise EmptyListing(message)
