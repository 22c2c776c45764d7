"""The real face on a real socket."""

import asyncio
import json
from pathlib import Path

import aiohttp
import pytest
from sandbox.talking import APP

from capgo_async.sandbox import Sandbox, Settings, fleet, parse_faults, server, thresholds
from capgo_async.sandbox.seeding import SUPER_ADMIN_KEY
from capgo_async.sandbox.server import Keeping, Serving, serve

HEADERS = {"authorization": SUPER_ADMIN_KEY}


async def raw(serving: Serving, *requests: str) -> list[bytes]:
    """Send requests one after another over one connection; an answer is empty when the connection ended instead."""
    reader, writer = await asyncio.open_connection(serving.host, serving.port)
    answers: list[bytes] = []
    try:
        for request in requests:
            writer.write(f"{request} HTTP/1.1\r\nHost: x\r\nauthorization: {SUPER_ADMIN_KEY}\r\n\r\n".encode())
            answers.append(await one_answer(reader))
    except ConnectionError:
        answers.append(b"")
    finally:
        writer.close()
    return answers


async def one_answer(reader: asyncio.StreamReader) -> bytes:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        return error.partial
    length = next((int(line[15:]) for line in head.lower().splitlines() if line.startswith(b"content-length:")), 0)
    return head + await reader.readexactly(length)


async def test_it_speaks_http_on_loopback() -> None:
    sandbox = Sandbox(fleet(2, 20))
    async with serve(sandbox) as serving, aiohttp.ClientSession(str(serving), headers=HEADERS) as session:
        assert serving.base_url == f"http://127.0.0.1:{serving.port}"
        async with session.get("/device", params={"app_id": APP, "limit": "2", "order": "asc"}) as answer:
            page = await answer.json()
            assert (answer.status, len(page["data"]), page["hasMore"]) == (200, 2, True)
            assert answer.headers["X-Worker-Source"] == "capgo_api-sandbox-12.201.7"
            assert len(answer.headers.getall("Date")) == 1
        async with session.get("/device", params={"app_id": APP, "cursor": page["nextCursor"], "order": "asc"}) as answer:
            assert (await answer.json())["data"]  # the `+` of the cursor arrived
        async with session.post("/device", json={"app_id": APP, "device_id": "D", "channel": "beta"}) as answer:
            assert await answer.json() == {"status": "ok"}
        async with session.get("/_sandbox/state", params={"app_id": "com.example.app01"}) as answer:
            assert (await answer.json())["overrides"][APP]["d"] == "beta"
        async with session.delete("/device", params={"app_id": APP, "device_id": "d"}) as answer:
            assert answer.status == 200
        async with session.head("/device", params={"app_id": APP}) as answer:
            assert (answer.status, await answer.read()) == (200, b"")
        async with session.options("/nope") as answer:
            assert answer.status == 204
        async with session.get("/_sandbox/log") as answer:
            log = await answer.json()
            assert [line["target"] for line in log["lines"][2:4]] == [f"{APP}/D", f"{APP}/d"]
        assert serving.connections == 2, "aiohttp gives a connection up after a HEAD without Content-Length"
    assert sandbox.world.apps[APP].overrides.get("d") is None


async def test_paths_and_queries_are_taken_as_sent() -> None:
    async with serve(Sandbox(fleet(1, 5))) as serving:
        target = f"/device?app_id={APP}&order=asc&cursor=2026-07-20T08:00:00.000000+00:00%7Cb"
        answers = await raw(
            serving,
            "GET //device",
            f"GET {target}",
            f"GET /app/{APP.replace('.', '%2E')}",
            "GET /device/?",
            f"GET /device?app_id={APP}&limit=",
        )
        assert answers[0].startswith(b"HTTP/1.1 404")
        assert answers[1].endswith(b'{"data":[],"hasMore":false}')
        assert answers[2].startswith(b"HTTP/1.1 200")
        assert b"missing_app_id" in answers[3]
        assert b"invalid_limit" in answers[4]  # an empty value is a value


@pytest.mark.parametrize(("fault", "written"), [("drop-before", False), ("drop-after", True)])
async def test_a_dropped_connection_ends_without_an_answer(fault: str, *, written: bool) -> None:
    sandbox = Sandbox(fleet(1, 0), Settings(faults=parse_faults(f"POST /device:{fault}=#1")))
    async with serve(sandbox) as serving, aiohttp.ClientSession(str(serving), headers=HEADERS) as session:
        body = {"app_id": APP, "device_id": "d", "channel": "beta"}
        with pytest.raises(aiohttp.ClientConnectionError):
            await session.post("/device", json=body)
        assert ("d" in sandbox.world.apps[APP].overrides) is written
        async with session.post("/device", json=body) as answer:
            assert answer.status == 200


class Gate:
    """Stands for the sleep of a latency fault: holds requests back until the test lets them go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, expected: int) -> None:
        self.waits: list[float] = []
        self.expected = expected
        self.all_here = asyncio.Event()
        self.open = asyncio.Event()
        monkeypatch.setattr(server, "sleep", self.wait)

    async def wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        if len(self.waits) == self.expected:
            self.all_here.set()
        await self.open.wait()


async def test_a_request_under_way_takes_effect_although_its_client_left(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(monkeypatch, 1)
    sandbox = Sandbox(fleet(1, 0), Settings(faults=parse_faults("*:latency=50ms")))
    body = json.dumps({"app_id": APP, "device_id": "d", "channel": "beta"})
    async with serve(sandbox) as serving:
        _, writer = await asyncio.open_connection(serving.host, serving.port)
        head = f"POST /device HTTP/1.1\r\nHost: x\r\ncapgkey: {SUPER_ADMIN_KEY}\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write((head + body).encode())
        await gate.all_here.wait()
        assert gate.waits == [0.05]
        assert not sandbox.world.apps[APP].overrides
        writer.close()
        await writer.wait_closed()
        gate.open.set()
    assert "d" in sandbox.world.apps[APP].overrides


async def test_requests_that_arrive_together_pass_the_device_limiters_together(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(monkeypatch, 8)
    faults = parse_faults("POST /device:latency=50ms")
    sandbox = Sandbox(fleet(1, 0), Settings(faults=faults, limits=thresholds("server")))
    async with serve(sandbox) as serving, aiohttp.ClientSession(str(serving), headers=HEADERS) as session:

        async def link() -> int:
            async with session.post("/device", json={"app_id": APP, "device_id": "d", "channel": "beta"}) as answer:
                return answer.status

        under_way = [asyncio.create_task(link()) for _ in range(8)]
        await gate.all_here.wait()
        gate.open.set()
        assert [await task for task in under_way] == [200] * 8
        assert await link() == 429


async def test_a_kept_connection_can_end_announced() -> None:
    async with serve(Sandbox(fleet(1, 0)), keeping=Keeping(answers=2)) as serving:
        first, second, third = await raw(serving, "GET /ok", "GET /ok", "GET /ok")
        assert b"connection: close" not in first.lower()
        assert b"connection: close" in second.lower()
        assert third == b""
        assert serving.connections == 1


async def test_a_kept_connection_can_end_behind_the_clients_back() -> None:
    async with serve(Sandbox(fleet(1, 0)), keeping=Keeping(answers=1, announced=False)) as serving:
        first, second = await raw(serving, "GET /ok", "GET /ok")
        assert first.startswith(b"HTTP/1.1 200")
        assert first.endswith(b'{"status":"ok"}')
        assert b"connection: close" not in first.lower()
        assert second == b""
        await raw(serving, "GET /ok")
        assert serving.connections == 2


async def test_the_log_goes_to_a_file_line_by_line(tmp_path: Path) -> None:
    log = tmp_path / "access.jsonl"
    log.write_text('{"kept": true}\n', encoding="utf-8")
    sandbox = Sandbox(fleet(1, 0), Settings(log_size=1))
    async with serve(sandbox, log_file=log) as serving, aiohttp.ClientSession(str(serving), headers=HEADERS) as session:
        for path in ("/ok", "/app", "/_sandbox/log", "/nope"):
            async with session.get(path):
                pass
        lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    assert lines[0] == {"kept": True}
    assert [line["path"] for line in lines[1:]] == ["/ok", "/app", "/nope"]
    assert SUPER_ADMIN_KEY not in log.read_text(encoding="utf-8")


async def test_the_peer_address_is_what_limits_look_at() -> None:
    sandbox = Sandbox(fleet(1, 0), Settings(limits=thresholds("server", {"RATE_LIMIT_FAILED_AUTH": 1})))
    async with serve(sandbox) as serving, aiohttp.ClientSession(str(serving)) as session:
        async with session.get("/app", headers={"capgkey": "wrong"}) as answer:
            assert answer.status == 401
        async with session.get("/app", headers={"capgkey": SUPER_ADMIN_KEY, "x-forwarded-for": "9.9.9.9"}) as answer:
            assert answer.status == 429
            assert answer.headers["Retry-After"] == "900"


async def test_faults_by_chance_repeat_with_their_seed() -> None:
    async def statuses(seed: int) -> list[int]:
        sandbox = Sandbox(fleet(1, 0), Settings(faults=parse_faults("GET /ok:502=50%")))
        async with serve(sandbox, seed=seed) as serving:
            answers = await raw(serving, *["GET /ok"] * 20)
        return [int(answer[9:12]) for answer in answers]

    first = await statuses(1)
    assert set(first) == {200, 502}
    assert first == await statuses(1)
    assert first != await statuses(2)


def test_a_base_url_of_an_ipv6_address_has_brackets() -> None:
    assert Serving("::1", 8080).base_url == "http://[::1]:8080"
