from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cli.served import KEY, Served, served
from typer.testing import CliRunner, Result

from capgo_async.cli.program import program

Command = Callable[..., Result]


@pytest.fixture
def server() -> Iterator[Served]:
    with served() as found:
        yield found


@pytest.fixture(autouse=True)
def here(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty directory, with nothing of Capgo in the environment."""
    monkeypatch.chdir(tmp_path)
    for name in ("CAPGO_API_KEY", "CAPGO_BASE_URL", "CAPGO_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CAPGO_CACHE", str(tmp_path_factory.mktemp("cache") / "capgo-async" / "known.json"))
    return tmp_path


@pytest.fixture
def unaimed() -> Command:
    """Run the command in this process, without a server."""
    return _checked


@pytest.fixture
def capgo(server: Served) -> Command:
    """Run the command in this process, against the sandbox."""

    def run(*arguments: object, **more: Any) -> Result:
        return _checked(*arguments, env=server.environment, **more)

    return run


def _checked(*arguments: object, **more: Any) -> Result:
    result = CliRunner().invoke(program, [str(argument) for argument in arguments], **more)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    assert KEY not in result.stdout + result.stderr
    return result
