"""Plan a relink from a CSV file with an inventory on disk, and compare with an sqlite3 import.

In the inventory, six devices in ten are linked elsewhere, three have no link, and one is already as wanted. The file has them
in no order. Each contender is a process, measured from start to end, in turns. Figures are medians.
"""

import argparse
import asyncio
import json
import random
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final

from benchmarks.loopback import CHANNEL, serving
from benchmarks.measuring import LONGEST_RUN, ROOT, Benchmark, Spent, environment, exit_code, spent, table, verdict
from capgo_async.api.models import Device
from capgo_async.bulk.inventory.columns import InventoryKind
from capgo_async.bulk.inventory.shelf import AppChecks, InventoryBinding, InventoryFile

_CHANNELS: Final = ("stable",) * 6 + (None,) * 3 + (CHANNEL,)
_CHUNK: Final = 10_000
_AIM: Final = 10.0
_STAND_IN: Final = """
import csv, sqlite3, sys
with open(sys.argv[2], newline="") as file:
    rows = csv.reader(file)
    columns = next(rows)
    connection = sqlite3.connect(sys.argv[1])
    connection.execute(f"CREATE TABLE rows ({', '.join(columns)})")
    connection.executemany(f"INSERT INTO rows VALUES ({', '.join('?' * len(columns))})", rows)
    connection.commit()
"""


def apps_of(count: int) -> list[str]:
    """Return the ids of the apps."""
    return [f"com.example.app{number:02d}" for number in range(1, count + 1)]


def devices_of(app: int, apps: int, devices: int) -> Iterator[tuple[str, str | None]]:
    """Yield the devices of an app, and the channel of each."""
    for place, number in enumerate(range(app, devices, apps)):
        yield f"{number:08x}-0000-4000-8000-{number:012x}", _CHANNELS[place % len(_CHANNELS)]


async def write_inventory(path: Path, base_url: str, apps: int, devices: int) -> None:
    """Write an inventory as an export of the fleet would."""
    file = await InventoryFile.open(path.with_name("taking"), InventoryBinding(base_url=base_url, kind=InventoryKind.DEVICES))
    try:
        for index, app_id in enumerate(apps_of(apps)):
            await file.begin(app_id)
            found = [_device(app_id, *device) for device in devices_of(index, apps, devices)]
            for at in range(0, len(found), _CHUNK):
                await file.add(app_id, found[at : at + _CHUNK])
            await file.settle(AppChecks(app_id=app_id, changes_passed=True, end_checked=True, passes=2))
        await file.copy_to(path)
    finally:
        await file.database.aclose()


def _device(app_id: str, device_id: str, channel: str | None) -> Device:
    return Device(
        device_id=device_id,
        app_id=app_id,
        platform="ios",
        plugin_version="7.0.0",
        os_version="18.1",
        version_name="1.0.0",
        channel=channel,
        updated_at="2026-07-01T00:00:00.000Z",
    )


def write_source(path: Path, apps: int, devices: int) -> None:
    """Write a row for each device, with its app if there are several."""
    rows = [
        device_id if apps == 1 else f"{device_id},{app_id}"
        for index, app_id in enumerate(apps_of(apps))
        for device_id, _ in devices_of(index, apps, devices)
    ]
    random.Random(1).shuffle(rows)
    path.write_text("\n".join(["device_id" if apps == 1 else "device_id,app_id", *rows, ""]))


def run(command: Sequence[str]) -> tuple[Spent, str]:
    """Run a process and return what it spent and printed."""
    began, before = spent().wall, resource.getrusage(resource.RUSAGE_CHILDREN)
    ended = subprocess.run(
        command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=LONGEST_RUN, check=False
    )
    if ended.returncode:
        message = f"{' '.join(command)} ended with exit code {ended.returncode}:\n{ended.stderr}"
        raise RuntimeError(message)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Spent(spent().wall - began, cpu), ended.stdout


def compare(directory: Path, *, apps: int, rows: int, rounds: int) -> dict[str, Any]:
    """Run both contenders in turns on one fleet, and return the medians and their ratio."""
    source, inventory = directory / "devices.csv", directory / "devices.sqlite"
    importing, planning = directory / "import.db", directory / "job.capgo-job"
    write_source(source, apps, rows)
    taken: dict[str, list[Spent]] = {"plan": [], "import": []}
    told: dict[str, int] = {}
    with serving() as base_url:
        asyncio.run(write_inventory(inventory, base_url, apps, rows))
        plan = [sys.executable, "-m", "benchmarks.planning_once", f"--base-url={base_url}", f"--channel={CHANNEL}"]
        plan += [f"--source={source}", f"--inventory={inventory}", f"--job={planning}"]
        plan += [f"--app={apps_of(1)[0]}"] if apps == 1 else []
        for _ in range(rounds):
            for path in directory.glob("job.capgo-job*"):
                path.unlink()
            importing.unlink(missing_ok=True)
            took, printed = run(plan)
            taken["plan"].append(took)
            told = json.loads(printed)
            taken["import"].append(run(_import(source, importing))[0])
    medians = {
        name: {
            "seconds": round(median(one.wall for one in all_of), 3),
            "cpu_seconds": round(median(one.cpu for one in all_of), 3),
        }
        for name, all_of in taken.items()
    }
    ratio = {name: round(medians["plan"][name] / medians["import"][name], 2) for name in ("seconds", "cpu_seconds")}
    return {"apps": apps, **told, "taken": medians, "ratio": ratio, "held": ratio["seconds"] <= _AIM}


def _import(source: Path, database: Path) -> list[str]:
    if (sqlite3 := shutil.which("sqlite3")) is not None:
        return [sqlite3, str(database), ".mode csv", f".import {source} rows"]
    return [sys.executable, "-c", _STAND_IN, str(database), str(source)]


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Return the comparison for each number of apps."""
    contender = "the sqlite3 command" if shutil.which("sqlite3") else "Python's sqlite3 (no sqlite3 command is installed)"
    runs = []
    for apps in options.apps or (1, 12):
        with tempfile.TemporaryDirectory(prefix="planning-") as directory:
            runs.append(compare(Path(directory), apps=apps, rows=options.rows, rounds=options.rounds))
    return {
        "benchmark": "planning",
        "rows": options.rows,
        "rounds": options.rounds,
        "aim": _AIM,
        "contender": contender,
        "runs": runs,
        "met": all(each["held"] for each in runs),
    }


def show(found: dict[str, Any]) -> str:
    """Return the results as a table."""
    rows = [
        (
            f"{each['apps']}",
            f"{each['planned']:,}",
            f"{each['taken']['plan']['seconds']:.2f}",
            f"{each['taken']['import']['seconds']:.2f}",
            f"{each['ratio']['seconds']:.1f}",
            f"{each['ratio']['cpu_seconds']:.1f}",
            f"{each['peak_bytes'] / 1e6:,.1f}",
        )
        for each in found["runs"]
    ]
    heads = ("apps", "planned", "plan, s", "import, s", "ratio", "CPU ratio", "peak of planning, MB")
    begun = f"{found['rows']:,} rows against an inventory of as many; imported by {found['contender']}; medians of"
    aim = f"at most {_AIM:g} times as long as the import"
    return f"{begun} {found['rounds']} rounds\n{table(heads, rows)}\n{verdict(aim, met=found['met'])}"


def arguments() -> argparse.ArgumentParser:
    """Return the options of this benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.planning", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows, and devices in the inventory (default: 1,000,000)")
    parser.add_argument("--apps", type=int, action="append", help="apps of the fleet (repeatable; default: 1 and 12)")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each contender (default: %(default)s)")
    return parser


BENCHMARK: Final = Benchmark(arguments, measure, show, full=("rows",))

if __name__ == "__main__":
    sys.exit(exit_code(BENCHMARK.run()))
