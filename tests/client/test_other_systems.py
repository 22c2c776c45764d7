"""Client and sandbox can be imported on Windows, as far as that can be shown elsewhere."""

import subprocess
import sys

import pytest

POSIX_ONLY = (
    "crypt",
    "curses",
    "fcntl",
    "grp",
    "posix",
    "pty",
    "pwd",
    "readline",
    "resource",
    "syslog",
    "termios",
    "tty",
    "uvloop",
)
"""Modules that Windows does not have."""
NAMES = ("fork", "geteuid", "getuid", "killpg", "mkfifo", "statvfs", "sysconf", "uname")
"""Names of `os` that Windows does not have."""

PROGRAM = f"""
import asyncio, os, signal, sys, tempfile

for name in {POSIX_ONLY!r}:
    if name != "posix":
        sys.modules[name] = None
for name in {NAMES!r}:
    if hasattr(os, name):
        delattr(os, name)
for name in ("SIGHUP", "SIGUSR1", "SIGALRM"):
    delattr(signal, name)

from capgo_async import *
from capgo_async.bulk import *
from capgo_async.sandbox import Sandbox, Settings, fleet
from capgo_async.sandbox.inprocess import InProcessTransport
from capgo_async.sandbox.seeding import SUPER_ADMIN_KEY
from capgo_async.sandbox.server import serve

async def main():
    sandbox = Sandbox(fleet(apps=1, devices=3), Settings())
    async with CapgoClient(api_key=SUPER_ADMIN_KEY, transport=InProcessTransport(sandbox)) as capgo:
        print(await capgo.devices.list("com.example.app01").count())
    async with serve(sandbox) as address:
        async with CapgoClient(api_key=SUPER_ADMIN_KEY, base_url=address.base_url) as capgo:
            print(await capgo.devices.list("com.example.app01").count())

asyncio.run(main())
"""


@pytest.mark.slow
def test_nothing_posix_is_needed_to_import_and_use_client_and_sandbox() -> None:
    # The package of locks looks for the module of Windows only there.
    quiet = ("-W", "ignore:only soft file lock:UserWarning")
    done = subprocess.run([sys.executable, *quiet, "-c", PROGRAM], check=False, capture_output=True, text=True)

    assert (done.stdout.split(), done.stderr) == (["3", "3"], "")
