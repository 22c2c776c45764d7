"""An SQLite file with a thread of its own."""

import asyncio
import enum
import functools
import os
import sqlite3
import warnings
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Concatenate, Final, ParamSpec, Protocol, TypeVar

import anyio
import msgspec

from ...errors import DiskFull, JobError, SafetyStop
from .lock import give_name
from .places import new, regular, remove

P = ParamSpec("P")
T = TypeVar("T")
S = TypeVar("S", bound="_OfDatabase")

_NO_ROOM: Final = frozenset(
    {
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR_WRITE,
        sqlite3.SQLITE_IOERR_FSYNC,
        sqlite3.SQLITE_IOERR_TRUNCATE,
        sqlite3.SQLITE_IOERR_SHMOPEN,
        sqlite3.SQLITE_IOERR_SHMSIZE,
        sqlite3.SQLITE_IOERR_SHMMAP,
    }
)
"""Error codes of a full disk, for the file, its write-ahead log, and the memory that processes share."""

_NO_SHARED_MEMORY: Final = frozenset(
    {
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_IOERR_SHMOPEN,
        sqlite3.SQLITE_IOERR_SHMSIZE,
        sqlite3.SQLITE_IOERR_SHMLOCK,
        sqlite3.SQLITE_IOERR_SHMMAP,
    }
)
"""Error codes of a write-ahead log on a file system where processes cannot share memory."""

_SAVING: Final = ".saving"
_RESCUED: Final = ".rescued"


class Mode(enum.StrEnum):
    """How a file is opened. Only `CREATE` creates it."""

    READ_ONLY = "ro"
    READ_WRITE = "rw"
    CREATE = "rwc"


class Database:
    """Runs functions of a connection in a thread of its own, each in a transaction.

    Raises `DiskFull` and `JobError` instead of SQLite's errors. Their messages call the file `called`. If the file is no longer
    under its name after a write, `SafetyStop` is raised, and what it holds is saved under that name.
    """

    def __init__(self, path: Path, mode: Mode = Mode.READ_WRITE, *, called: str = "job file") -> None:
        self.path = path
        self._called = called
        self._mode = mode
        self._identity: tuple[int, int] | None = None
        self._lost = ""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="capgo-job")
        self._connection: sqlite3.Connection | None = None
        self._closed = False

    async def run(self, function: Callable[Concatenate[sqlite3.Connection, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `function(connection, ...)` in the thread, in a transaction. Cancelling waits for its end."""
        return await self._in_thread(lambda: self._transact(lambda c: function(c, *args, **kwargs)))

    async def configure(self, *statements: str) -> None:
        """Execute statements outside a transaction, such as pragmas."""
        await self._in_thread(lambda: self._execute(statements))

    async def log_ahead(self) -> None:
        """Use a write-ahead log, so that others can read during a write.

        Where processes cannot share memory, as on some network drives, the journal of SQLite is used, which is slower.
        """
        await self._in_thread(self._log_ahead)

    async def attach(self, path: Path, name: str) -> None:
        """Attach another file under `name`, read-only."""
        await self.configure(f"ATTACH '{_uri_of(regular(path), Mode.READ_ONLY)}' AS {name}")

    async def aclose(self) -> None:
        """Close the connection and end the thread. A second call does nothing."""
        if self._closed:
            return
        self._closed = True
        await self._in_thread(self._close)
        self._thread.shutdown(wait=False)

    async def _in_thread(self, function: Callable[[], T]) -> T:
        future = asyncio.get_running_loop().run_in_executor(self._thread, function)
        with anyio.CancelScope(shield=True):
            await asyncio.wait((future,))
        return future.result()

    def _connected(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = self._connect(regular(self.path, self._called))
        return self._connection

    def _connect(self, place: Path) -> sqlite3.Connection:
        uri = _uri_of(place, self._mode)
        connection = _open(uri)
        try:
            _try_out(connection, self._mode)
        except sqlite3.OperationalError as error:
            connection.close()
            if not place.is_file():
                raise
            if self._mode is not Mode.READ_ONLY:
                return self._without_shared_memory(uri, error)
            if place.with_name(f"{place.name}-wal").exists():
                raise
            # In a read-only directory SQLite cannot create the shared memory of the log. There is no log, and none can be
            # added.
            connection = _open(f"{uri}&immutable=1")
        return connection

    def _log_ahead(self) -> None:
        try:
            connection = self._connected()
            try:
                (mode,) = connection.execute("PRAGMA main.journal_mode = WAL").fetchone()
                _try_out(connection, self._mode)
            except sqlite3.OperationalError as error:
                self._close()
                self._connection = self._without_shared_memory(_uri_of(regular(self.path), self._mode), error)
            else:
                if mode != "wal":
                    connection.execute("PRAGMA main.journal_mode = DELETE")
                    self._tell_slower()
        except sqlite3.Error as error:
            raise self._explain(error) from error

    def _without_shared_memory(self, uri: str, error: sqlite3.OperationalError) -> sqlite3.Connection:
        """Connect without the shared memory of a write-ahead log; raises `error` if that was not the reason."""
        if error.sqlite_errorcode not in _NO_SHARED_MEMORY and error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_READONLY:
            raise error
        connection = _open(uri)
        try:
            # A connection that never shares the log needs no shared memory. It can then change to a journal, which all can use.
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            connection.execute("PRAGMA main.journal_mode = DELETE")
            connection.execute("PRAGMA locking_mode = NORMAL")
            connection.execute("SELECT 1 FROM sqlite_schema").fetchone()
        except sqlite3.Error:
            connection.close()
            raise error from None
        self._tell_slower()
        return connection

    def _tell_slower(self) -> None:
        message = f"processes cannot share the write-ahead log of {self.path} here, so a slower journal is used"
        warnings.warn(message, stacklevel=2)

    def _execute(self, statements: tuple[str, ...]) -> None:
        try:
            for statement in statements:
                self._connected().execute(statement)
        except sqlite3.Error as error:
            raise self._explain(error) from error

    def _transact(self, function: Callable[[sqlite3.Connection], T]) -> T:
        if self._lost:
            raise SafetyStop(self._lost)
        try:
            connection = self._connected()
            connection.execute("BEGIN")
            try:
                result = function(connection)
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            if self._identity is not None:
                self._check_name()
            raise self._explain(error) from error
        except (UnicodeDecodeError, msgspec.DecodeError) as error:
            message = f"{self.path} is damaged: {error}"
            raise JobError(message) from error
        if self._mode is not Mode.READ_ONLY:
            self._check_name()
        return result

    def _check_name(self) -> None:
        """Raise `SafetyStop` if the file was moved, replaced or removed. What it holds is saved first."""
        found = _identity_of(self.path)
        self._identity = self._identity or found
        if found is not None and found == self._identity:
            return
        self._lost = f"{self.path} was moved, replaced or removed while it was in use"
        try:
            self._lost += f"; what it held was saved as {self._rescue()}"
        except (OSError, sqlite3.Error, JobError) as error:
            self._lost += f", and what it held could not be saved: {error}"
        raise SafetyStop(self._lost)

    def _rescue(self) -> Path:
        """Save what the file holds under its name, or under a name like it if that is taken."""
        target = new(self.path if _identity_of(self.path) is None else Path(f"{self.path}{_RESCUED}"), self._called)
        saving = target.with_name(target.name + _SAVING)
        remove(saving)
        connection = self._connected()
        connection.execute("VACUUM INTO ?", (os.fspath(saving),))
        # SQLite writes the log of a moved file back only when told to.
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._close()
        give_name(saving, target)
        return target

    def _explain(self, error: sqlite3.Error) -> JobError:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
        if code in _NO_ROOM:
            return DiskFull(f"no space left for {self.path}: free some disk space, then go on")
        if code & 0xFF == sqlite3.SQLITE_READONLY:
            return JobError(f"cannot write {self.path}: no permission, or the file system is read-only")
        if code & 0xFF == sqlite3.SQLITE_CANTOPEN:
            missing = self._mode is not Mode.CREATE and not self.path.exists()
            return JobError(f"{self.path}: no such {self._called}" if missing else f"{self.path} cannot be opened: {error}")
        if code in {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT}:
            return JobError(f"{self.path} is not a {self._called}, or it is damaged: {error}")
        return JobError(f"{self.path}: {error}")

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class _OfDatabase(Protocol):
    database: Database


def transaction(
    method: Callable[Concatenate[S, sqlite3.Connection, P], T],
) -> Callable[Concatenate[S, P], Coroutine[Any, Any, T]]:
    """Make a method that takes a connection async: it runs in a transaction of the object's `database`."""

    @functools.wraps(method)
    async def run(owner: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await owner.database.run(lambda connection: method(owner, connection, *args, **kwargs))

    return run


def _open(uri: str) -> sqlite3.Connection:
    return sqlite3.connect(uri, uri=True, isolation_level=None, timeout=30.0)


def _try_out(connection: sqlite3.Connection, mode: Mode) -> None:
    """Read, and lock the write-ahead log if there is one, which fails where its memory cannot be shared."""
    connection.execute("SELECT 1 FROM sqlite_schema").fetchone()
    if mode is not Mode.READ_ONLY and connection.execute("PRAGMA main.journal_mode").fetchone() == ("wal",):
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")


def _uri_of(place: Path, mode: Mode) -> str:
    """Return the URI by which SQLite opens the file at `place`. It contains no quotation mark."""
    return f"{place.as_uri()}?mode={mode}"


def _identity_of(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
