"""What the README and the examples say is run as it stands there."""

import asyncio
import os
import re
import shlex
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
import typer
from fleet import APP, ids_of, links_of, sandbox_of, write_csv
from typer.core import TyperGroup

from capgo_async.cli.output.exit_codes import ExitCode
from capgo_async.cli.program import program
from capgo_async.sandbox.seeding import SUPER_ADMIN_KEY
from capgo_async.sandbox.server import serve

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PROGRAMS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


async def run(directory: Path, base_url: str, *arguments: str) -> str:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *arguments,
        cwd=directory,
        env={**os.environ, "CAPGO_API_KEY": SUPER_ADMIN_KEY, "CAPGO_BASE_URL": base_url, "PYTHONPATH": str(ROOT)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return out.decode()


@pytest.mark.slow
@pytest.mark.parametrize("program", PROGRAMS, ids=range(len(PROGRAMS)))
async def test_the_programs_in_the_readme_run(tmp_path: Path, program: str) -> None:
    sandbox = sandbox_of(devices=60)
    write_csv(tmp_path / "devices.csv", [(device,) for device in ids_of(sandbox)])
    given = f"device_id = 'd1'\nother_key = third_key = {SUPER_ADMIN_KEY!r}"
    script = f"import asyncio\n{given}\nasync def main():\n{textwrap.indent(program, '    ')}\nasyncio.run(main())\n"
    (tmp_path / "program.py").write_text(script.replace('api_key="..."', "").replace("com.example.app", APP))
    async with serve(sandbox) as address:
        out = await run(tmp_path, address.base_url, "program.py")
    assert out
    assert "beta" in links_of(sandbox).values()


def test_the_readme_lists_the_exit_codes() -> None:
    listed = {int(code) for code in re.findall(r"^\| (\d+) \|", README, re.MULTILINE)}
    codes = {value for name, value in vars(ExitCode).items() if name.isupper()}
    assert listed == codes


def test_the_commands_in_the_readme_have_the_options_that_it_names() -> None:
    blocks = "".join(re.findall(r"```sh\n(.*?)```", README, re.DOTALL)).replace("\\\n", " ")
    inline = "\n".join(re.findall(r"`(capgo-async [^`]*)`", README.replace("\n", " ")))
    lines = re.findall(r"^(?:\S*/)?capgo-async (.+)$", f"{blocks}\n{inline}", re.MULTILINE)
    assert len(lines) > 10
    for line in lines:
        command: Any = typer.main.get_command(program)
        words = shlex.split(line, comments=True)
        while words and isinstance(command, TyperGroup) and words[0] in command.list_commands(typer.Context(command)):
            command = command.get_command(typer.Context(command), words.pop(0))
        known = {name for parameter in command.params for name in (*parameter.opts, "--help")}
        assert {word for word in words if word.startswith("-") and word != "-"} <= known, line
