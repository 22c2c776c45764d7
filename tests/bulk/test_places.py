"""Files that are not plain files: what may be used, replaced and removed, and what is said about the rest."""

import os
import socket
import sqlite3
import sys
import tempfile
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from capgo_async.bulk.storage.database import Database, Mode
from capgo_async.bulk.storage.lock import give_name, locked
from capgo_async.bulk.storage.places import for_temporary_files, is_stream, make_durable, new, real, regular, remove
from capgo_async.errors import DiskFull, JobError

_AHEAD = 2
"""What the header of an SQLite file with a write-ahead log says at byte 18."""


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """Make a directory with one file of each kind."""
    place = tmp_path / "odd"
    place.mkdir()
    (place / "file").write_bytes(b"kept")
    (place / "directory").mkdir()
    os.mkfifo(place / "pipe")
    (place / "link").symlink_to("file")
    (place / "new link").symlink_to("directory/new")
    (place / "circle").symlink_to("circle")
    (place / "to a device").symlink_to(os.devnull)
    bound = socket.socket(socket.AF_UNIX)
    former = Path.cwd()
    os.chdir(place)  # the path of a socket must be short
    bound.bind("socket")
    os.chdir(former)
    bound.close()
    return place


@pytest.mark.parametrize(
    ("name", "meant"),
    [("file", "file"), ("link", "file"), ("new link", "directory/new"), ("directory/../file", "file"), ("x", "x")],
)
def test_links_are_followed(odd: Path, name: str, meant: str) -> None:
    assert real(odd / name) == regular(odd / name) == new(odd / name, "job file") == odd / meant


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("directory", "is a directory, not a job file"),
        ("pipe", "is a pipe, not a job file"),
        ("socket", "is a socket, not a job file"),
        ("to a device", "is a device, not a job file"),
        ("circle", "is a link that leads nowhere, not a job file"),
        ("file/x", "cannot use .*: Not a directory"),
        ("circle/x", "cannot use .*: Too many levels of symbolic links"),
        ("x" * 300, "cannot use .*: File name too long"),
        ("\0", "cannot use .*: .*null"),
    ],
)
def test_what_is_no_file_is_named(odd: Path, name: str, said: str) -> None:
    before = sorted(odd.iterdir())
    for use in (regular, new):
        with pytest.raises(JobError, match=said):
            use(odd / name, "job file")
    assert sorted(odd.iterdir()) == before


def test_a_new_file_has_a_directory_and_room_for_the_files_beside_it(odd: Path) -> None:
    with pytest.raises(JobError, match=r"there is no directory .*missing"):
        new(odd / "missing" / "x", "job file")
    with pytest.raises(JobError, match="its name is too long; at most 238 bytes"):
        new(odd / ("ü" * 119 + "x"), "job file")
    longest = new(odd / ("ü" * 119), "job file")
    longest.with_name(f"{longest.name}.building-journal").touch()


def test_a_directory_that_was_deleted_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    for use in (real, regular):
        with pytest.raises(JobError, match=r"cannot use m\.capgo-job: the current directory was deleted"):
            use(Path("m.capgo-job"))
    with pytest.raises(JobError, match="was deleted"), locked(Path("m.capgo-job")):
        pass
    assert real(tmp_path / "m") == tmp_path / "m"


def test_streams_are_told_from_files(odd: Path) -> None:
    streams = {path.name for path in odd.iterdir() if is_stream(path)}
    assert streams == {"pipe", "socket", "to a device"}
    assert not is_stream(odd / "missing")
    if sys.platform == "linux":
        with (odd / "file").open("a") as file:
            assert is_stream(Path(f"/dev/fd/{file.fileno()}")), "to replace it would empty a file that is appended to"


def test_no_place_for_temporary_files_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> str:
        raise FileNotFoundError(2, "No usable temporary directory found")

    assert for_temporary_files() == tempfile.gettempdir()
    monkeypatch.setattr(tempfile, "gettempdir", none)
    with pytest.raises(JobError, match="set TMPDIR to one that can be written"):
        for_temporary_files()


@pytest.mark.parametrize("name", ["directory", "pipe", "socket", "link", "circle", "to a device"])
def test_nothing_but_a_file_is_removed_or_replaced(odd: Path, name: str) -> None:
    built = odd / "built"
    built.write_bytes(b"built")
    before = sorted(odd.iterdir())
    with pytest.raises(JobError, match="and not a file of this program"):
        remove(odd / name)
    with pytest.raises(JobError):
        give_name(built, odd / name if name != "link" else odd / "directory")
    (odd / "file-wal").symlink_to("file")
    with pytest.raises(JobError, match=r"file-wal is a link"):
        give_name(built, odd / "file")
    (odd / "file-wal").unlink()
    (odd / "x.lock").symlink_to("pipe")
    with pytest.raises(JobError, match="not a lock file"), locked(odd / "x"):
        pass
    (odd / "x.lock").unlink()
    assert sorted(odd.iterdir()) == before
    assert (odd / "file").read_bytes() == b"kept"


def test_what_a_file_system_cannot_do_is_told_apart(odd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(code: int) -> None:
        def fsync(_descriptor: int) -> None:
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr(os, "fsync", fsync)

    fails(22)
    make_durable(odd)
    fails(5)
    (odd / "built").write_bytes(b"built")
    with pytest.raises(JobError, match=r"cannot write .*file: Input/output error"):
        give_name(odd / "built", odd / "file")
    fails(28)
    (odd / "built").write_bytes(b"built")
    with pytest.raises(DiskFull):
        give_name(odd / "built", odd / "file")


@pytest.mark.parametrize(
    "code", [sqlite3.SQLITE_IOERR_SHMMAP, sqlite3.SQLITE_IOERR_SHMOPEN, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY]
)
async def test_where_a_log_cannot_be_shared_a_journal_takes_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    class Unshared(sqlite3.Connection):
        def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
            self.exclusive = getattr(self, "exclusive", False) or sql == "PRAGMA locking_mode = EXCLUSIVE"
            if sql == "BEGIN IMMEDIATE" and not self.exclusive:
                error = sqlite3.OperationalError("disk I/O error")
                error.sqlite_errorcode = code
                raise error
            return super().execute(sql, parameters)

    path = tmp_path / "m.capgo-job"
    async with aclosing(Database(path, Mode.CREATE)) as made:
        await made.log_ahead()
        await made.run(lambda connection: connection.execute("CREATE TABLE rows AS SELECT 1 AS row"))
    assert path.read_bytes()[18] == _AHEAD
    monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, factory=Unshared))
    async with aclosing(Database(path)) as database:
        with pytest.warns(UserWarning, match=r"processes cannot share the write-ahead log of .*m\.capgo-job here"):
            await database.run(lambda connection: connection.execute("INSERT INTO rows VALUES (2)"))
    assert path.read_bytes()[18] != _AHEAD
    async with aclosing(Database(path)) as database:
        assert await database.run(lambda connection: connection.execute("SELECT * FROM rows").fetchall()) == [(1,), (2,)]


async def test_other_faults_of_a_disk_are_no_reason_for_another_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(sqlite3.Connection):
        def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
            if sql.startswith("SELECT"):
                error = sqlite3.OperationalError("disk I/O error")
                error.sqlite_errorcode = sqlite3.SQLITE_IOERR_READ
                raise error
            return super().execute(sql, parameters)

    path = tmp_path / "m.capgo-job"
    path.touch()
    monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, factory=Broken))
    async with aclosing(Database(path)) as database:
        with pytest.raises(JobError, match=r"m\.capgo-job: disk I/O error"):
            await database.run(lambda connection: connection.execute("SELECT 1"))
