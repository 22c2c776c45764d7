"""Relink the devices of a CSV file to a channel, verify it, and print the result.

    CAPGO_API_KEY=... python examples/relink_from_csv.py devices.csv com.example.app beta

After an interruption, run it again: it resumes where it stopped.
"""

import asyncio
import sys

from capgo_async import CapgoClient
from capgo_async.bulk import Job, read_operations


async def main(source: str, app_id: str, channel: str) -> int:
    """Relink, verify, and return 0 if all is as intended."""
    operations = read_operations(source, app_id=app_id, channel=channel)
    async with CapgoClient() as capgo, await Job.create(f"{source}.capgo-job", operations, client=capgo) as job:
        print(job.plan)
        await job.run(capgo)
        report = await job.verify(capgo)
    print(f"{report.done} done, {report.failed} failed, {report.verified} verified, {report.cannot_tell} cannot tell")
    return 0 if report.done == report.planned and report.consistent else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main(*sys.argv[1:4])))
