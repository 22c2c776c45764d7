"""Run `capgo-async export devices` once in this process; started by `export`."""

import argparse
import json
import os
from collections.abc import Sequence

from benchmarks.measuring import peak_bytes, spent
from capgo_async.cli.program import program
from capgo_async.sandbox.seeding import SUPER_ADMIN_KEY


def main(arguments: Sequence[str] | None = None) -> None:
    """Export, and print the peak memory and the seconds as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base-url", required=True)
    parser.add_argument("--output", required=True)
    options = parser.parse_args(arguments)
    os.environ.update(CAPGO_API_KEY=SUPER_ADMIN_KEY, CAPGO_BASE_URL=options.base_url)
    began = spent()
    code = program(["export", "devices", "--output", options.output], standalone_mode=False)
    took = spent().since(began)
    print(json.dumps({"code": code, "peak_bytes": peak_bytes(), "seconds": round(took.wall, 2), "cpu": round(took.cpu, 2)}))


if __name__ == "__main__":
    main()
