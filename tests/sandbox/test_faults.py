"""The fault grammar, and what each fault does to a request and to the world."""

import random

import pytest
from sandbox.talking import APP, Answer, Talk

from capgo_async.sandbox import Dropped, Settings, fleet, parse_faults, thresholds
from capgo_async.sandbox.faults import OUTCOMES, Fault, Faults, Latency


def hit(spec: str, calls: list[tuple[str, str]], chance: random.Random | None = None) -> list[Fault]:
    faults = Faults(parse_faults(spec))
    return [faults.decide(method, path, chance) for method, path in calls]


def test_the_grammar_as_documented() -> None:
    device, everything = parse_faults("POST /device:drop-after=1%,502=0.5%;*:latency=20ms..80ms")
    assert (device.method, device.path) == ("POST", "/device")
    assert [(name, amount.share) for name, amount in device.outcomes] == [("drop-after", 0.01), ("502", 0.005)]
    assert (everything.method, everything.path, everything.outcomes) == (None, None, ())
    assert everything.latency == Latency(shortest=0.02, longest=0.08)
    slow, shaped = parse_faults(" /app/:app_id : latency=1.5s@#2+#3 ; GET  /app/:app_id:500=#1 ")
    assert slow.path == shaped.path == "/app/:app_id"
    assert slow.latency is not None
    assert slow.latency.amount.calls == {2, 3}
    (lasting,) = parse_faults("*:502=#3..,500=#1")
    assert not lasting.gambles()
    assert [fault.outcome for fault in hit("*:502=#3..,500=#1", [("GET", "/ok")] * 5)] == ["500", None, "502", "502", "502"]
    assert parse_faults("") == ()
    assert all(len(parse_faults(f"*:{outcome}=1%")) == 1 for outcome in OUTCOMES)


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ("POST /device", "expected ROUTE:FAULT"),
        ("POST device:500=1%", "expected ROUTE:FAULT"),
        ("FETCH /device:500=1%", "expected ROUTE:FAULT"),
        ("*:explode=1%", "unknown fault 'explode'"),
        ("*:500", "fault 500=: expected a share"),
        ("*:500=101%", "expected a share from 0% to 100%"),
        ("*:500=#0", "call numbers such as #3"),
        ("*:500=0.5", "expected a share"),
        ("*:500=60%,502=60%", "add up to more than 100%"),
        ("*:latency=20", "expected a time such as 20ms"),
        ("*:latency=80ms..20ms", "the end of the range is below its start"),
        ("*:latency=80ms@often", "fault latency=often"),
    ],
)
def test_what_cannot_be_read_is_named(spec: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        parse_faults(spec)


def test_numbered_calls_are_hit_exactly_and_counted_by_rule() -> None:
    calls = [("POST", "/device"), ("GET", "/device")] * 3
    got = hit("POST /device:drop-after=#2;/device:502=#6", calls)
    assert [fault.outcome for fault in got] == [None, None, "drop-after", None, None, "502"]


def test_shares_come_out_right_and_repeat_with_the_same_seed() -> None:
    calls = [("POST", "/device")] * 10_000
    got = hit("POST /device:drop-after=10%;*:500=20%", calls, random.Random(1))
    share = {name: sum(fault.outcome == name for fault in got) / 10_000 for name in ("drop-after", "500", None)}
    assert share["drop-after"] == pytest.approx(0.1, abs=0.01)
    assert share["500"] == pytest.approx(0.2, abs=0.01)
    assert got == hit("POST /device:drop-after=10%;*:500=20%", calls, random.Random(1))
    assert [fault.outcome for fault in hit("*:502=100%", calls[:3], random.Random(1))] == ["502"] * 3


def test_latency_is_fixed_or_within_its_range_and_the_first_rule_counts() -> None:
    fixed = hit("GET /ok:latency=50ms;*:latency=1s", [("GET", "/ok"), ("GET", "/app")])
    assert [fault.latency for fault in fixed] == [0.05, 1.0]
    ranged = hit("*:latency=20ms..80ms", [("GET", "/ok")] * 100, random.Random(1))
    assert all(0.02 <= fault.latency <= 0.08 for fault in ranged)
    assert len({fault.latency for fault in ranged}) > 50
    assert [fault.latency for fault in hit("*:latency=1s@#2", [("GET", "/ok")] * 3)] == [0, 1, 0]
    some = hit("*:latency=1s@50%", [("GET", "/ok")] * 100, random.Random(1))
    assert 30 < sum(fault.latency for fault in some) < 70


@pytest.mark.parametrize("spec", ["*:500=1%", "*:latency=1ms..2ms", "*:latency=1s@10%"])
def test_chance_must_be_handed_in_when_it_is_needed(spec: str) -> None:
    assert parse_faults(spec)[0].gambles()
    with pytest.raises(ValueError, match=r"pass a random\.Random"):
        hit(spec, [("GET", "/ok")])


def test_exact_faults_need_no_chance() -> None:
    assert not any(rule.gambles() for rule in parse_faults("*:500=#1,latency=1s;/ok:latency=1s@#2"))


def link(spec: str) -> tuple[Talk, Answer | Dropped]:
    talk = Talk(fleet(1, 0), Settings(faults=parse_faults(spec), limits=thresholds("server")))
    body = {"app_id": APP, "device_id": "d", "channel": "beta"}
    return talk, talk.hear(talk.incoming("POST", "/device", json_body=body))


@pytest.mark.parametrize(
    ("outcome", "status", "text", "written", "counted"),
    [
        ("drop-before", 0, "", False, False),
        ("drop-after", 0, "", True, True),
        ("500", 500, '"unknown_error"', False, True),
        ("500-after", 500, '"unknown_error"', True, True),
        ("502", 502, "<title>502 Bad Gateway</title>", False, False),
        ("502-after", 502, "<title>502 Bad Gateway</title>", True, True),
        ("429-edge", 429, "error code: 1015", False, False),
        ("429-unknown", 429, '"some_new_limit_exceeded"', False, False),
        ("429-permanent", 429, '"on_premise_app"', False, False),
        ("masked", 200, '"ok"', True, True),
    ],
)
def test_what_a_fault_answers_writes_and_counts(outcome: str, status: int, text: str, *, written: bool, counted: bool) -> None:
    talk, heard = link(f"POST /device:{outcome}=#1")
    if isinstance(heard, Dropped):
        assert status == 0
        assert heard.processed is written
    else:
        assert heard.status == status
        assert text in heard.body.decode()
        assert "retry-after" not in heard.headers
        assert heard.headers["date"]
    assert ("d" in talk.sandbox.world.apps[APP].overrides) is written
    assert talk.sandbox.log[-1].status == status
    assert talk.sandbox.log[-1].fault == outcome
    assert (len(talk.sandbox.limiters) > 0) is counted
    assert talk.link("d").status == (429 if counted else 200)


def test_the_edge_knows_nothing_of_the_server() -> None:
    _, heard = link("*:502=#1")
    assert isinstance(heard, Answer)
    assert heard.headers["content-type"] == "text/html"
    assert "x-worker-source" not in heard.headers


def test_masked_failures_look_like_an_empty_store() -> None:
    talk = Talk(fleet(1, 5), Settings(faults=parse_faults("GET /device:masked=#1+#2+#3")))
    known = next(iter(talk.sandbox.world.apps[APP].devices))
    assert talk.get("/device", app_id=APP).json == {"data": [], "hasMore": False}
    assert talk.get("/device", app_id=APP, order="asc").json == {"data": [], "hasMore": False}
    assert talk.get("/device", app_id=APP, device_id=known).code == "device_not_found"
    assert len(talk.get("/device", app_id=APP).json["data"]) == 5
    talk.sandbox.world.device_store_readable = False
    assert talk.get("/device", app_id=APP).json == {"data": [], "hasMore": False}


def test_a_look_up_of_links_that_fails_hides_them_all() -> None:
    talk = Talk(fleet(1, 30))
    linked = next(iter(talk.sandbox.world.apps[APP].overrides))
    assert talk.get("/device", app_id=APP, device_id=linked).json["channel"]
    talk.sandbox.world.links_readable = False
    assert "channel" not in talk.get("/device", app_id=APP, device_id=linked).json
    rows = talk.get("/device", app_id=APP).json["data"]
    assert len(rows) == 30
    assert not any("channel" in row for row in rows)


def test_a_fault_is_by_route_also_for_paths_with_an_id() -> None:
    talk = Talk(settings=Settings(faults=parse_faults("GET /app/:app_id:500=#1")))
    assert talk.get("/app").status == 200
    assert talk.get(f"/app/{APP}").status == 500
    assert talk.get(f"/app/{APP}").status == 200
