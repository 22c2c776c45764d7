"""The names of a job's files, and the lock that lets only one process use a job."""

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import filelock

from ...errors import JobError, Problem
from .places import make_durable, real, refused, regular, remove

LOCK: Final = ".lock"
"""Suffix of a job's lock file. The file outlives the run, and reserves the job's name."""
_PATIENCE: Final = 5.0
"""Seconds to wait for those who ask whether the lock is free: they share it for an instant."""
_PAUSE: Final = 0.01
_LOGS: Final = ("-wal", "-shm", "-journal")


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of the job at `path`.

    Raises `JobError` if another process holds it, or if the lock file cannot be created.
    """
    # A symbolic link to a job is the same job, so both must use the same lock file.
    path = real(path)
    if not path.parent.is_dir():
        message = f"cannot write {path}: there is no directory {path.parent}"
        raise JobError(message)
    lock = filelock.FileLock(regular(path.with_name(path.name + LOCK), "lock file"))
    try:
        _acquire(lock)
    except filelock.Timeout:
        message = f"another process is running {path}"
        raise JobError(message, problem=Problem.RUNNING_ELSEWHERE) from None
    except OSError as error:
        message = f"cannot create the lock file of {path}: {error.strerror}"
        raise JobError(message) from error
    except NotImplementedError as error:
        message = f"cannot lock {path}: its file system has no locks, so use another one"
        raise JobError(message) from error
    try:
        yield
    finally:
        if not path.exists():
            # No job was made, so no lock file is left behind.
            Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


def is_locked(path: Path) -> bool:
    """Return whether a process holds the lock of the job at `path`.

    Asking refuses no run. Returns false if the lock file cannot be opened.
    """
    return _is_held(real(path).with_name(real(path).name + LOCK))


def _acquire(lock: filelock.BaseFileLock) -> None:
    """Acquire `lock`, and wait for those who only ask whether it is free.

    Raises `filelock.Timeout` if a process holds it.
    """
    patience = time.monotonic() + _PATIENCE
    while True:
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            if _is_held(Path(lock.lock_file)) or time.monotonic() >= patience:
                raise
            time.sleep(_PAUSE)
        else:
            return


def _is_held(file: Path) -> bool:
    """Return whether a process holds the lock `file`.

    It is shared for an instant, which works unless a process holds it. Any number of processes can ask at the same time.
    """
    import fcntl  # noqa: PLC0415 - the other half of this package can be imported where no such module is

    if not file.is_file():
        return False
    try:
        descriptor = os.open(file, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return False


def give_name(building: Path, path: Path) -> None:
    """Durably rename a finished file to `path`, in the same directory. Only a regular file is replaced.

    Logs of an earlier database of that name are deleted first, because SQLite would replay them onto the new one.
    """
    regular(path)
    for suffix in _LOGS:
        remove(path.with_name(path.name + suffix))
    try:
        building.replace(path)
        make_durable(path.parent)
    except OSError as error:
        raise refused(path, error) from error
