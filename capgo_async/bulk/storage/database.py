"""An SQLite file with a thread of its own."""

import asyncio
import enum
import functools
import sqlite3
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Concatenate, Final, ParamSpec, Protocol, TypeVar

import anyio
import msgspec

from ...errors import DiskFull, JobError

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


class Mode(enum.StrEnum):
    """How a file is opened. Only `CREATE` creates it."""

    READ_ONLY = "ro"
    READ_WRITE = "rw"
    CREATE = "rwc"


class Database:
    """Runs functions of a connection in a thread of its own, each in a transaction.

    Raises `DiskFull` and `JobError` instead of SQLite's errors. Their messages call the file `called`.
    """

    def __init__(self, path: Path, mode: Mode = Mode.READ_WRITE, *, called: str = "job file") -> None:
        self.path = path
        self._called = called
        self._mode = mode
        self._uri = _uri_of(path, mode)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="capgo-job")
        self._connection: sqlite3.Connection | None = None
        self._closed = False

    async def run(self, function: Callable[Concatenate[sqlite3.Connection, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `function(connection, ...)` in the thread, in a transaction. Cancelling waits for its end."""
        return await self._in_thread(lambda: self._transact(lambda c: function(c, *args, **kwargs)))

    async def configure(self, *statements: str) -> None:
        """Execute statements outside a transaction, such as pragmas."""
        await self._in_thread(lambda: self._execute(statements))

    async def attach(self, path: Path, name: str) -> None:
        """Attach another file under `name`, read-only."""
        await self.configure(f"ATTACH '{_uri_of(path, Mode.READ_ONLY)}' AS {name}")

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
            self._connection = self._connect(self._uri)
        return self._connection

    def _connect(self, uri: str) -> sqlite3.Connection:
        connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=30.0)
        if self._mode is not Mode.READ_ONLY:
            return connection
        try:
            connection.execute("SELECT 1 FROM sqlite_schema").fetchone()
        except sqlite3.OperationalError:
            connection.close()
            if self.path.with_name(f"{self.path.name}-wal").exists() or not self.path.is_file():
                raise
            # In a read-only directory SQLite cannot create the shared memory of the log. There is no log, and none can be
            # added.
            connection = sqlite3.connect(f"{uri}&immutable=1", uri=True, isolation_level=None)
        return connection

    def _execute(self, statements: tuple[str, ...]) -> None:
        try:
            for statement in statements:
                self._connected().execute(statement)
        except sqlite3.Error as error:
            raise self._explain(error) from error

    def _transact(self, function: Callable[[sqlite3.Connection], T]) -> T:
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
            raise self._explain(error) from error
        except (UnicodeDecodeError, msgspec.DecodeError) as error:
            message = f"{self.path} is damaged: {error}"
            raise JobError(message) from error
        return result

    def _explain(self, error: sqlite3.Error) -> JobError:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
        if code in _NO_ROOM:
            return DiskFull(f"no space left for {self.path}: free some disk space, then go on")
        if self.path.is_dir():
            return JobError(f"{self.path} is a directory, not a {self._called}")
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


def _uri_of(path: Path, mode: Mode) -> str:
    """Return the URI by which SQLite opens `path`. It contains no quotation mark."""
    return f"{path.absolute().as_uri()}?mode={mode}"
