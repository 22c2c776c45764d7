"""The lock of a job: one process at a time, and who only asks refuses nobody."""

import os
import threading
import time
from pathlib import Path

import pytest

from capgo_async.bulk.storage.lock import LOCK, is_locked, locked
from capgo_async.errors import JobError, Problem


@pytest.fixture
def job(tmp_path: Path) -> Path:
    path = tmp_path / "a.capgo-job"
    path.touch()
    return path


def test_whoever_asks_is_told_and_takes_nothing(job: Path) -> None:
    assert not is_locked(job), "without a lock file"
    with locked(job):
        assert is_locked(job)
        with pytest.raises(JobError, match="another process is running") as refused, locked(job):
            pass
        assert refused.value.problem is Problem.RUNNING_ELSEWHERE
        assert is_locked(job)
    assert not is_locked(job)
    with locked(job):
        pass


def test_a_run_waits_for_those_who_only_ask(job: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fcntl = pytest.importorskip("fcntl")
    with locked(job):
        pass
    asking = os.open(job.with_name(job.name + LOCK), os.O_RDONLY)
    fcntl.flock(asking, fcntl.LOCK_SH)
    monkeypatch.setattr(time, "sleep", lambda _: os.close(asking))
    with locked(job):
        assert is_locked(job)


def test_many_who_ask_refuse_no_run(job: Path) -> None:
    ended = threading.Event()

    def ask() -> None:
        while not ended.is_set():
            is_locked(job)

    askers = [threading.Thread(target=ask) for _ in range(3)]
    for asker in askers:
        asker.start()
    try:
        for _ in range(100):
            with locked(job):
                assert is_locked(job)
    finally:
        ended.set()
        for asker in askers:
            asker.join()
