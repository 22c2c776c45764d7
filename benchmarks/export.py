"""Check that an export of a changing fleet has every device, and measure its memory.

The sandbox runs in its own process, with the server's limits. With each listing, devices check in, appear at both ends and are
relinked. The output files are read back with common tools for their formats.
"""

import argparse
import contextlib
import json
import sqlite3
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from benchmarks.living import living
from benchmarks.measuring import Benchmark, child, choose_generation, exit_code, table, verdict

_FORMATS: Final = ("jsonl", "csv", "sqlite", "parquet")


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Export once in each format, each time from a new sandbox."""
    runs = []
    with tempfile.TemporaryDirectory(prefix="export-") as directory:
        for chosen in options.format or _FORMATS:
            with living(options.apps, options.devices, options.generation) as sandbox:
                before = sandbox.ids(Path(directory, "ids"))
                output = Path(directory, f"devices.{chosen}")
                took = child("benchmarks.export_once", base_url=sandbox.base_url, output=output)
                after = sandbox.ids(Path(directory, "ids"))
            found = set(_read(output))
            told = {"appeared": len(after - before), "missing": len(after - found), "equal": found == after}
            runs.append({"format": chosen, "devices": len(found), "bytes": output.stat().st_size, **told, **took})
    met = all(run["code"] == 0 and run["equal"] for run in runs)
    return {"benchmark": "export", "generation": options.generation, "apps": options.apps, "runs": runs, "met": met}


def _read(path: Path) -> Iterable[str]:
    if path.suffix == ".sqlite":
        with contextlib.closing(sqlite3.connect(path)) as connection:
            return [f"{app} {device}" for app, device in connection.execute("SELECT app_id, device_id FROM devices")]
    if path.suffix == ".parquet":
        from pyarrow import parquet  # noqa: PLC0415 - an extra

        rows = parquet.read_table(path, columns=["app_id", "device_id"]).to_pylist()
        return [f"{row['app_id']} {row['device_id']}" for row in rows]
    with path.open(encoding="utf-8") as file:
        if path.suffix == ".csv":
            return [" ".join(line.split(",", 2)[:2]) for line in file][1:]
        return [f"{row['app_id']} {row['device_id']}" for row in map(json.loads, file)]


def show(found: dict[str, Any]) -> str:
    """Return the results as a table."""
    rows = [
        (
            run["format"],
            f"{run['devices']:,}",
            f"{run['appeared']:,}",
            f"{run['missing']:,}",
            "yes" if run["equal"] else "no",
            f"{run['peak_bytes'] / 1e6:,.1f}",
            f"{run['bytes'] / 1e6:,.1f}",
            f"{run['seconds']:,.1f}",
        )
        for run in found["runs"]
    ]
    heads = ("format", "devices", "appeared during it", "missing", "same as the sandbox", "peak, MB", "file, MB", "s")
    aim = "exactly the devices of the sandbox"
    return f"{found['apps']} apps\n{table(heads, rows)}\n{verdict(aim, met=found['met'])}"


def arguments() -> argparse.ArgumentParser:
    """Return the options of this benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.export", description=__doc__)
    parser.add_argument("--apps", type=int, default=40)
    parser.add_argument("--devices", type=int, default=200_000, help="devices, spread evenly over the apps (default: 200,000)")
    choose_generation(parser)
    parser.add_argument("--format", choices=_FORMATS, action="append", help="only this format (repeatable)")
    return parser


BENCHMARK: Final = Benchmark(arguments, measure, show)

if __name__ == "__main__":
    sys.exit(exit_code(BENCHMARK.run()))
