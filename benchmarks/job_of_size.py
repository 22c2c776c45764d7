"""Plan and run a job of a given size in this process, without sockets; started by `memory`."""

import argparse
import asyncio
import json
import tempfile
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from benchmarks.measuring import choose_generation, peak_bytes, spent
from capgo_async import CapgoClient
from capgo_async.bulk import Job, read_operations
from capgo_async.http.wire import Request, Response

APP_ID: Final = "com.example.app"

_VERSIONS: Final = {"2026-07": "12.201.7", "2026-11": "12.262.1"}
_CHANNEL: Final = '{"id":7,"name":"beta","app_id":"com.example.app","public":false,"version":{"id":3,"name":"1.0.0"}'
_MORE: Final = {"2026-07": "}", "2026-11": ',"updatePackage":"all","ios":true,"android":true}'}


class AtOnce:
    """A transport that responds at once.

    It returns the channel and an inventory of all devices, and accepts every link.
    """

    def __init__(self, devices: int, generation: str = "2026-07") -> None:
        self._devices = devices
        self._headers = {"content-type": "application/json", "x-worker-source": f"capgo_api-local-{_VERSIONS[generation]}"}
        self._channel = f"{_CHANNEL}{_MORE[generation]}".encode()

    async def send(self, request: Request, headers: Mapping[str, str], *, fresh: bool = False) -> Response:
        """Respond after one turn of the event loop."""
        del headers, fresh
        await asyncio.sleep(0)
        if request.method == "POST":
            return Response(status=200, headers=self._headers, body=b'{"status":"ok"}')
        if request.path == "/channel":
            body = self._channel
        elif request.path == "/device":
            body = self._page(dict(request.query))
        else:
            body = f'{{"app_id":"{APP_ID}","channel_device_count":{self._devices}}}'.encode()
        return Response(status=200, headers=self._headers, body=body)

    async def aclose(self) -> None:
        """Do nothing: there is nothing to close."""

    def _page(self, query: Mapping[str, str]) -> bytes:
        after = query.get("cursor", "").rpartition("|")[2]
        begins = bisect_right(range(self._devices), after, key=device_id)
        ends = min(begins + int(query["limit"]), self._devices)
        rows = ",".join(
            f'{{"device_id":"{device_id(number)}","app_id":"{APP_ID}","version":3,"platform":"ios","channel":"stable"}}'
            for number in range(begins, ends)
        )
        more = f',"hasMore":true,"nextCursor":"any|{device_id(ends - 1)}"' if ends < self._devices else ',"hasMore":false'
        return f'{{"data":[{rows}]{more}}}'.encode()


def device_id(number: int) -> str:
    """Return the id of a device by its number."""
    return f"00000000-0000-4000-8000-{number:012x}"


def write_source(path: Path, operations: int) -> None:
    """Write a CSV file with a row for each operation."""
    with path.open("w", encoding="utf-8") as file:
        file.write("device_id,app_id,channel\n")
        file.writelines(f"{device_id(number)},{APP_ID},beta\n" for number in range(operations))


async def plan_and_run(directory: Path, operations: int, generation: str) -> dict[str, float]:
    """Create a job from a CSV file and run it. Return the peak memory and the seconds of each step."""
    source = directory / "devices.csv"
    write_source(source, operations)
    transport = AtOnce(operations, generation)
    async with CapgoClient(api_key="00000000-0000-4000-8000-00000000aaaa", rate="off", transport=transport) as client:
        began = spent()
        async with await Job.create(directory / "relink.capgo-job", read_operations(source), client=client) as job:
            planned, planning = peak_bytes(), spent().since(began)
            report = await job.run(client)
            run, all_of_it = peak_bytes(), spent().since(began)
    if report.done != operations:
        message = f"only {report.done} of {operations} operations are done"
        raise RuntimeError(message)
    return {
        "peak_after_plan_bytes": planned,
        "peak_bytes": run,
        "plan_seconds": round(planning.wall, 2),
        "run_seconds": round(all_of_it.wall - planning.wall, 2),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Plan and run once, and print the measurements as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--operations", type=int, required=True)
    choose_generation(parser)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="relink-") as directory:
        print(json.dumps(asyncio.run(plan_and_run(Path(directory), options.operations, options.generation))))


if __name__ == "__main__":
    main()
