"""In mid-run something else responds in place of the API: the run ends soon, says so, and goes on later."""

import random
from collections.abc import Mapping
from pathlib import Path

import pytest
from fleet import APP, ids_of, links_of, sandbox_of, write_csv
from virtual_time import in_virtual_time

from capgo_async import CapgoClient, errors
from capgo_async.bulk import Job, StopRules, read_operations
from capgo_async.errors import Problem
from capgo_async.http.wire import Request, Response
from capgo_async.sandbox import Sandbox
from capgo_async.sandbox.inprocess import InProcessTransport
from capgo_async.sandbox.seeding import SUPER_ADMIN_KEY

pytestmark = pytest.mark.slow

BODIES = {
    "a portal": b"<html><title>Guest Wi-Fi</title>Sign in</html>",
    "nothing": b"",
    "another API": b'["pong"]',
}


class Between(InProcessTransport):
    """Responds in place of the sandbox while `body` is set."""

    body: bytes | None = None
    answered = 0

    async def send(self, request: Request, headers: Mapping[str, str], *, fresh: bool = False) -> Response:
        response = await super().send(request, headers, fresh=fresh)
        if self.body is None:
            return response
        self.answered += 1
        return Response(status=200, headers={}, body=self.body)


@pytest.mark.parametrize("rules", [StopRules(), StopRules(failures=None, consecutive=None, server_errors=None)])
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
@in_virtual_time
async def test_a_run_ends_within_a_hundred_requests(tmp_path: Path, body: bytes, rules: StopRules) -> None:
    sandbox: Sandbox = sandbox_of(devices=600)
    ids = ids_of(sandbox)
    rows = write_csv(tmp_path / "rows.csv", [(device,) for device in ids])
    transport = Between(sandbox, request_delay=0.02, reply_delay=0.02, chance=random.Random(1))
    async with CapgoClient(api_key=SUPER_ADMIN_KEY, transport=transport, rate="off") as capgo:
        source = read_operations(rows, app_id=APP, channel="beta")
        async with await Job.create(tmp_path / "job.capgo-job", source, client=capgo) as job:
            settled = 0

            def progress(_: object) -> None:
                nonlocal settled
                settled += 1
                if settled == 200:
                    transport.body = body

            with pytest.raises(errors.SafetyStop, match="responses did not come from the API") as ended:
                await job.run(capgo, on_progress=progress, stop_rules=rules)
            assert ended.value.problem is Problem.OTHER_SERVER
            assert transport.answered <= 60
            transport.body = None
            report = await job.run(capgo, stop_rules=rules)
    assert (report.planned, report.done, report.pending) == (399, 399, 0)
    assert set(links_of(sandbox).values()) == {"beta"}
