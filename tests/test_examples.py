"""The examples, each run as a program of its own against a sandbox."""

import asyncio
import json
import os
import stat
import sys
from pathlib import Path

import aiohttp
import pytest
from fleet import APP, ids_of, links_of, sandbox_of, write_csv

from capgo_async.sandbox import Binding, Sandbox
from capgo_async.sandbox.seeding import ORG_ID, SUPER_ADMIN_KEY, USER_ID
from capgo_async.sandbox.server import serve

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).parent.parent / "examples"


async def start(directory: Path, base_url: str, name: str, *arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        str(EXAMPLES / name),
        *arguments,
        cwd=directory,
        env={**os.environ, "CAPGO_API_KEY": SUPER_ADMIN_KEY, "CAPGO_BASE_URL": base_url, "PYTHONPATH": str(EXAMPLES.parent)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def run(directory: Path, sandbox: Sandbox, name: str, *arguments: str) -> str:
    async with serve(sandbox) as address:
        process = await start(directory, address.base_url, name, *arguments)
        out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    assert SUPER_ADMIN_KEY not in out.decode() + err.decode()
    return out.decode()


async def test_relink_from_csv(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=60)
    source = write_csv(tmp_path / "devices.csv", [(device,) for device in ids_of(sandbox)])
    out = await run(tmp_path, sandbox, "relink_from_csv.py", str(source), APP, "beta")
    assert set(links_of(sandbox).values()) == {"beta"}
    assert "0 failed" in out


async def test_inventory_has_every_device_of_every_app(tmp_path: Path) -> None:
    sandbox = sandbox_of(apps=3, devices=700)
    out = await run(tmp_path, sandbox, "inventory.py", "inventory.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "inventory.jsonl").read_text().splitlines()]
    expected = {(app_id, device) for app_id in sandbox.world.apps for device in ids_of(sandbox, app_id)}
    assert {(row["app_id"], row["device_id"]) for row in rows} == expected
    assert len(rows) == 700
    assert "700 devices" in out
    assert not (tmp_path / "inventory.jsonl.part").exists()


async def test_prune_bundles_keeps_the_newest_and_the_used(tmp_path: Path) -> None:
    sandbox = sandbox_of(apps=2)
    for app in sandbox.world.apps.values():
        used = next(iter(app.bundles.values()))
        app.channels["alpha"].version = used.id
        for minor in range(3, 70):
            sandbox.world.add_bundle(app, f"1.{minor}.0", now=1_784_538_000.0 + minor)
    out = await run(tmp_path, sandbox, "prune_bundles.py", "5")
    for app in sandbox.world.apps.values():
        left = {bundle.name for bundle in app.bundles.values() if not bundle.deleted}
        linked = {app.bundles[channel.version].name for channel in app.channels.values() if channel.version}
        assert left == linked | {f"1.{minor}.0" for minor in range(65, 70)}
    assert out.count("bundles deleted") == 2


async def test_promote_everywhere_promotes_in_50_apps(tmp_path: Path) -> None:
    sandbox = sandbox_of(apps=50, devices=50)
    out = await run(tmp_path, sandbox, "promote_everywhere.py", "1.0.0", "alpha")
    for app in sandbox.world.apps.values():
        version = app.channels["alpha"].version
        assert version is not None
        assert app.bundles[version].name == "1.0.0"
    assert out.count(": promoted") == 50


async def test_rotate_key_stores_the_new_secret_and_the_old_one_is_dead(tmp_path: Path) -> None:
    sandbox = sandbox_of()
    old = "5ec2e7aa-dead-4bee-8bad-c0ffee5ec2e7"
    key = sandbox.world.add_key(old, Binding(role="org_super_admin", org_id=ORG_ID), user_id=USER_ID, name="ci")
    out = await run(tmp_path, sandbox, "rotate_key.py", str(key.key_id), "new-key.txt")
    stored = tmp_path / "new-key.txt"
    secret = stored.read_text().strip()
    assert sandbox.world.keys.of(old) is None
    found = sandbox.world.keys.of(secret)
    assert found is not None
    assert found.key_id == key.key_id
    assert stat.S_IMODE(stored.stat().st_mode) == 0o600
    assert secret not in out


async def test_the_service_runs_as_a_program(tmp_path: Path, unused_tcp_port: int) -> None:
    sandbox = sandbox_of(devices=10)
    async with serve(sandbox) as address:
        process = await start(tmp_path, address.base_url, "service/service.py", str(unused_tcp_port))
        try:
            assert process.stdout is not None
            assert b"Running on" in await process.stdout.readline()
            async with aiohttp.ClientSession(f"http://127.0.0.1:{unused_tcp_port}") as session:
                async with session.get(f"/devices/{APP}/{ids_of(sandbox)[0]}") as response:
                    assert response.status == 200
        finally:
            process.terminate()
            await process.wait()


def test_every_example_has_a_test_and_is_short() -> None:
    here = Path(__file__).read_text()
    names = sorted(path.name for path in EXAMPLES.glob("*.py"))
    assert len(names) >= 5
    for name in names:
        assert f'"{name}"' in here
        assert len((EXAMPLES / name).read_text().splitlines()) < 50
