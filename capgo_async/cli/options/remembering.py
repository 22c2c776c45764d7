"""What commands have learned about servers and keys, in the user's cache directory.

The file contains a salted digest of each key, and no key. If it cannot be read or written, commands only note it, because
everything in it can be learned again.
"""

import contextlib
import os
import secrets
import tempfile
import warnings
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Generic, TypeVar

import msgspec
import platformdirs

from ...bulk.storage.places import real, regular, remove
from ...client import CapgoClient, requester_of
from ...errors import ConfigurationError, JobError
from ...events import AttemptEnded
from ...key_ring import KeyRing, ring_of
from ...limits.known import Known, Latencies, with_latency, with_newer
from .profiles import of_user

C = TypeVar("C", bound=CapgoClient | KeyRing)

FILE_VARIABLE: Final = "CAPGO_CACHE"
"""Environment variable with the path of the file; if it is empty, nothing is kept."""
_FORMAT: Final = 1
_MOST: Final = 100
"""Records that are kept; the least recently used ones are dropped."""
_GOOD: Final = 200


class KnownServer(msgspec.Struct, frozen=True, kw_only=True):
    """What is known about one server and one key; `key` is a digest."""

    base_url: str
    key: str
    known: Known


class _File(msgspec.Struct, frozen=True, kw_only=True):
    format: int
    salt: str
    records: tuple[KnownServer, ...] = ()


class Memory:
    """The file in which commands keep what they have learned."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def records(self) -> Sequence[KnownServer]:
        """Return all records, the most recently used first."""
        file = self._read()
        return () if file is None else file.records

    def recall(self, client: CapgoClient) -> None:
        """Let `client` start with what is known about its server and key."""
        file = self._read()
        if file is None or not file.records:
            return
        key = _digest(client, file.salt)
        known = (record.known for record in file.records if (record.base_url, record.key) == (client.base_url, key))
        client.recall(next(known, Known()))

    def keep(self, client: CapgoClient, known: Known) -> None:
        """Keep what is known about the server and key of `client`, merged with what others kept since."""
        file = self._read()
        if file is None or self._path is None:
            return
        whose = client.base_url, _digest(client, file.salt)
        former = next((record.known for record in file.records if (record.base_url, record.key) == whose), Known())
        record = KnownServer(base_url=whose[0], key=whose[1], known=with_newer(known, former))
        records = (record, *(other for other in file.records if (other.base_url, other.key) != whose))[:_MOST]
        try:
            _write(real(self._path), msgspec.json.encode(msgspec.structs.replace(file, records=records)))
        except OSError as error:
            _note(f"what was learned about the server was not saved: cannot write {self._path}: {error.strerror}")

    def forget(self) -> int:
        """Remove the file and return the number of its records; raises `ConfigurationError`."""
        with warnings.catch_warnings(action="ignore"):
            records = len(self.records())
        try:
            if self._path is not None:
                remove(real(self._path))
        except JobError as error:
            raise ConfigurationError(str(error)) from error
        return records

    def _read(self) -> _File | None:
        """Return the content of the file, empty if there is no file, or `None` if it cannot be used."""
        if self._path is None:
            return None
        try:
            # A pipe would be waited for.
            file = msgspec.json.decode(regular(self._path, "file of this program").read_bytes(), type=_File)
        except FileNotFoundError:
            return _File(format=_FORMAT, salt=secrets.token_hex(16))
        except OSError as error:
            _note(f"cannot read {self._path}, in which commands keep what they learn about servers: {error.strerror}")
            return None
        except JobError as error:
            _note(f"what is learned about servers is not kept: {error}")
            return None
        except (msgspec.DecodeError, UnicodeDecodeError):
            file = None
        if file is None or file.format != _FORMAT or not _is_salt(file.salt):
            _note(f"{self._path} was not written by this version of the program and is ignored; `limits --forget` removes it")
            return None
        return file


class Remembering(Generic[C]):
    """Opens a client or a key ring with what earlier commands have learned, and keeps what it learns.

    Nothing is kept if the server sent no successful response. `latencies` holds the response times.
    """

    def __init__(self, opened: C, memory: Memory, latencies: Latencies) -> None:
        self._opened = opened
        self._clients = ring_of(opened).clients
        self._memory = memory
        self._latencies = latencies

    async def __aenter__(self) -> C:
        for client in self._clients:
            self._memory.recall(client)
        return self._opened

    async def __aexit__(self, *_exception: object) -> None:
        try:
            await self._clients[0].aclose()
        finally:
            if self._latencies.estimate() is not None:
                # The first client comes last, because the file begins with the latest record.
                for client in reversed(self._clients):
                    if client.counters.answers or client is self._clients[0]:
                        self._memory.keep(client, self._known(client))

    def known(self) -> Known:
        """Return what is known about the server and the first key, including response times."""
        return self._known(self._clients[0])

    def _known(self, client: CapgoClient) -> Known:
        return with_latency(client.known(), self._latencies.estimate(), datetime.now(UTC))


def memory() -> Memory:
    """Return the memory of this user."""
    named = os.environ.get(FILE_VARIABLE)
    if named is not None:
        return Memory(Path(named) if named else None)
    directory = of_user(platformdirs.user_cache_path)
    return Memory(None if directory is None else directory / "known.json")


def hearing(latencies: Latencies) -> Callable[[AttemptEnded], None]:
    """Return a listener that notes the response times of successful requests.

    Refusals are faster, and failures slower.
    """

    def hear(attempt: AttemptEnded) -> None:
        if attempt.status == _GOOD:
            latencies.note(attempt.seconds)

    return hear


def _digest(client: CapgoClient, salt: str) -> str:
    return requester_of(client).identity.fingerprint(bytes.fromhex(salt))[:32]


def _is_salt(text: str) -> bool:
    with contextlib.suppress(ValueError):
        return len(bytes.fromhex(text)) > 0
    return False


def _write(path: Path, content: bytes) -> None:
    """Replace the file at `path`, which is no link, atomically; only this user may read it."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    building, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(building, "wb") as file:
            file.write(content)
        Path(name).replace(path)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise


def _note(message: str) -> None:
    warnings.warn(message, stacklevel=3)
