"""The plugin in projects of users, each in a folder and a process of its own, with all warnings as errors."""

import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()

pytestmark = pytest.mark.slow

NOTHING_HEAVY = """
    import sys

    def test_the_plugin_alone_loads_next_to_nothing():
        ours = {name for name in sys.modules if name.partition(".")[0] == "capgo_async"}
        assert ours == {f"capgo_async{rest}" for rest in ("", ".errors", ".version", ".testing", ".testing.plugin")}
        assert not {"aiohttp", "msgspec", "tenacity"} & set(sys.modules)
"""

WITH_PYTEST_ASYNCIO = """
    import asyncio
    import pytest
    import pytest_asyncio

    APP = "com.example.app01"
    pytestmark = pytest.mark.capgo(limits="server")

    async def link_twice(capgo):  # the second one waits a minute
        for _ in range(2):
            await capgo.devices.link(APP, "d1", channel="beta")

    @pytest_asyncio.fixture
    async def linked(capgo):
        await link_twice(capgo)
        yield "d1"
        await link_twice(capgo)

    @pytest.mark.asyncio
    async def test_a_fixture_waits_in_virtual_time_also_if_it_does_not_ask_for_it(linked, capgo_clock, capgo_sandbox):
        assert 60 <= capgo_clock.now < 63
        assert capgo_sandbox.links()[linked] == "beta"

    @pytest.mark.asyncio(loop_scope="module")
    class TestOneLoop:
        async def test_starts_in_real_time(self, capgo):
            TestOneLoop.before = asyncio.get_running_loop().time()
            await capgo.devices.link(APP, "d1", channel="beta")

        async def test_is_virtual_for_one_test(self, capgo, capgo_clock):
            await link_twice(capgo)
            assert capgo_clock.now >= 60

        async def test_goes_on(self, capgo):
            assert asyncio.get_running_loop().time() >= TestOneLoop.before + 60
            await asyncio.sleep(0.001)

    def test_without_a_plugin_for_loops(capgo, capgo_clock):
        asyncio.run(link_twice(capgo))
        assert capgo_clock.now >= 60
"""

WITH_ANYIO = """
    import pytest

    APP = "com.example.app01"
    pytestmark = [pytest.mark.anyio, pytest.mark.capgo(limits="server")]

    @pytest.fixture(params=["asyncio", ("asyncio", {"use_uvloop": True})])
    def anyio_backend(request):
        return request.param

    @pytest.fixture
    async def linked(capgo, anyio_backend):
        if anyio_backend == "asyncio":
            for _ in range(2):
                await capgo.devices.link(APP, "d1", channel="beta")

    async def test_waits_for_nothing_real(linked, capgo, capgo_clock, anyio_backend):
        if anyio_backend == "asyncio":
            assert 60 <= capgo_clock.now < 63
        else:
            with pytest.raises(RuntimeError, match="runs on uvloop.Loop"):
                await capgo.apps.list().all()

    async def test_in_real_time_any_loop_will_do(capgo, capgo_server):
        assert len(await capgo.apps.list().all()) == 1
        async with capgo_server.client() as other:
            assert len(await other.apps.list().all()) == 1
"""

MISTAKES = """
    import pytest

    @pytest.mark.capgo(limit="server")
    def test_misspelt(capgo_sandbox): ...

    @pytest.mark.capgo("server")
    def test_without_a_name(capgo_sandbox): ...

    @pytest.mark.capgo(faults="POST /device:5O3=#1")
    def test_no_such_fault(capgo_sandbox): ...

    def test_real_and_virtual(capgo_server, capgo_clock): ...
"""


def run(folder: Path, mode: str, files: dict[str, str]) -> str:
    """Run the tests of a project and return what pytest says."""
    (folder / "pytest.ini").write_text(
        f"[pytest]\nasyncio_mode = {mode}\nasyncio_default_fixture_loop_scope = function\n"
        "addopts = --strict-markers -p capgo_async.testing.plugin -p no:cacheprovider\n"
        "filterwarnings =\n    error\n    "
        r"ignore:Binding \d+ \(.\?\d+.\) is a named parameter:DeprecationWarning"  # of early releases of Python 3.12
    )
    for name, text in files.items():
        (folder / name).write_text(textwrap.dedent(text))
    done = subprocess.run([sys.executable, "-m", "pytest"], cwd=folder, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def test_strict_mode_and_the_plugin_of_anyio(tmp_path: Path) -> None:
    files = {
        "test_1_import.py": NOTHING_HEAVY,
        "test_2_asyncio.py": WITH_PYTEST_ASYNCIO,
        "test_3_anyio.py": WITH_ANYIO,
        "test_4_mistakes.py": MISTAKES,
    }
    said = run(tmp_path, "strict", files)
    assert "10 passed, 4 errors" in said, said
    for told in (
        "Unexpected keyword argument 'limit'",
        "takes its arguments by name, not ('server',)",
        "unknown fault '5O3'",
        "leave out its clock (capgo_clock), or use its client without sockets (capgo)",
    ):
        assert told in said


def test_auto_mode_and_the_tests_that_the_readme_shows(tmp_path: Path) -> None:
    shown = re.findall(r"```python (test_\w+\.py)\n(.*?)```", README, re.DOTALL)
    assert len(shown) == 2
    said = run(tmp_path, "auto", dict(shown))
    assert "2 passed" in said, said
