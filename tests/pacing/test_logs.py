"""What the loggers of the package say: each event once, at its level, without keys, and nothing that costs while it is off."""

import json
import logging
import re
from collections.abc import Callable
from typing import Any, Final, get_args
from urllib.parse import quote

import anyio
import msgspec
import pytest
from hypothesis import given, settings, strategies as st
from scripted import ScriptedTransport, answer, refusal
from virtual_time import in_virtual_time

from capgo_async import CapgoClient, errors, events
from capgo_async.key_ring import pacer_of
from capgo_async.masking import Masks
from capgo_async.sandbox.virtual_time import run_in_virtual_time

APP: Final = "com.example.app"
KEY: Final = "9f86d081-884c-4d65-9a2f-eaa0c55ad015"


def client_of(*script: Any, **options: Any) -> CapgoClient:
    return CapgoClient(
        **{
            "api_key": KEY,
            "base_url": "http://127.0.0.1:1",
            "rate": "off",
            "transport": ScriptedTransport(*script, latency=0.1),
            **options,
        }
    )


def attempt(**fields: Any) -> events.AttemptEnded:
    given = {"operation": "list apps", "method": "GET", "path": "/app", "request_id": "r-1", "number": 1, "seconds": 0.25}
    return events.AttemptEnded(**{**given, "status": 200, "error": None, **fields})


D, I, W = "DEBUG", "INFO", "WARNING"  # noqa: E741 - as short as the table
SAID: Final[tuple[tuple[Any, str, str, str], ...]] = (
    (
        events.AttemptBegan(operation="list apps", method="GET", path="/app", request_id="r-1", number=2),
        "http",
        D,
        "list apps: GET /app, attempt 2, request r-1",
    ),
    (attempt(), "http", D, "list apps: HTTP 200 after 0.250 s, request r-1"),
    (attempt(status=503, error="ServerError"), "http", D, "list apps: HTTP 503 (ServerError) after 0.250 s, request r-1"),
    (attempt(status=None, error="TimedOut"), "http", D, "list apps: no response (TimedOut) after 0.250 s, request r-1"),
    (attempt(status=None), "http", D, "list apps: cancelled after 0.250 s, request r-1"),
    (
        attempt(status=None, error="NotConnected", sent=False),
        "http",
        D,
        "list apps: not sent (NotConnected) after 0.250 s, request r-1",
    ),
    (
        events.RetryPlanned(operation="list apps", request_id="r-1", number=1, seconds=2.0),
        "http",
        I,
        "list apps: attempt 1 failed, retry in 2.0 s, request r-1",
    ),
    (
        events.ConcurrencyChanged(before=15, allowed=7, most=15),
        "http",
        I,
        "at most 7 of 15 requests in flight: the server fails",
    ),
    (
        events.ConcurrencyChanged(before=7, allowed=8, most=15),
        "http",
        I,
        "at most 8 of 15 requests in flight: the server has recovered",
    ),
    (events.ServerVersionChanged(before="", version="capgo-12.1.0"), "http", I, "server version capgo-12.1.0"),
    (events.ServerVersionChanged(before="a-1.0.0", version="a-2.0.0"), "http", I, "server version a-2.0.0, before a-1.0.0"),
    (events.WaitBegan(limit="key", seconds=61.0), "limits", I, "waiting about 61.0 s: key's limit"),
    (
        events.WaitBegan(limit="app_address", app=APP, seconds=5.0, asked=900.0),
        "limits",
        I,
        "waiting about 5.0 s: app's limit (com.example.app); the server asks for 900.0 s, longer than any known limit",
    ),
    (events.WaitEnded(limit="key", seconds=60.5), "limits", D, "waited 60.5 s: key's limit"),
    (
        events.LimitMet(limit="key", seconds=61.0),
        "limits",
        I,
        "refused: key's limit; nothing that it counts leaves for 61.0 s",
    ),
    (
        events.LimitLearned(limit="key", requests=1500),
        "limits",
        W,
        "key's limit: refusals show that it allows 1,500 requests",
    ),
    (
        events.LimitLearned(limit="key", requests=None),
        "limits",
        W,
        "key's limit: what was learned of it is too small, and forgotten",
    ),
    (events.OtherUsersNoticed(key="k"), "limits", W, "the API key is also used elsewhere, or the server loses counts"),
    (
        events.KeyRefused(key="k", code="invalid_apikey", seconds=10.0),
        "limits",
        W,
        "the server refused the API key (invalid_apikey); it is tried again in 10.0 s",
    ),
    (
        events.KeyRefused(key="k", code="invalid_apikey", seconds=None),
        "limits",
        W,
        "the server refused the API key (invalid_apikey); it is not used again",
    ),
    (events.RunBegan(run=2, operations=4000, program="1"), "bulk", I, "run 2 begins, operations left: 4,000"),
    (events.RunEnded(run=2, how="finished"), "bulk", I, "run 2 ended: finished"),
    (events.RunEnded(run=2, how="stopped", reason="too many"), "bulk", I, "run 2 ended: stopped: too many"),
    (events.LimitInForce(limit="key", requests=2000, seconds=60.0), "bulk", D, "key's limit: 2,000 requests in 60 s"),
    (events.OperationsSettled(app=APP, done=66, failed=1), "bulk", D, "com.example.app: 66 done, 1 failed"),
    (
        events.ForecastMade(operations=4000, seconds=100.0, more=3.0),
        "bulk",
        D,
        "forecast for 4,000 operations: 100 s, at most 3 s more",
    ),
    (events.RestBegan(limit="key", seconds=61.0), "bulk", I, "the run rests for about 61.0 s: key's limit"),
    (events.RestEnded(limit="key", seconds=61.0), "bulk", I, "the run rested for 61.0 s: key's limit"),
    (events.WaveBegan(wave=1, share="1%", operations=40), "bulk", I, "wave 1 (1%) begins, operations: 40"),
    (
        events.WaveEnded(wave=1, state="verified", done=40, failed=0, contradicted=0),
        "bulk",
        I,
        "wave 1 is over: verified, 40 done, 0 failed, 0 contradicted so far",
    ),
    (events.BakeBegan(wave=1, seconds=600.0), "bulk", I, "pause of 600 s after wave 1"),
    (events.BakeEnded(wave=1), "bulk", I, "the pause after wave 1 is over"),
    (events.BakeEnded(wave=1, left=60.0), "bulk", I, "the pause after wave 1 is over, 60 s early"),
    (events.ApprovalAsked(wave=1), "bulk", I, "asking for approval after wave 1"),
    (
        events.ApprovalAnswered(wave=1, answer="declined", reason="crashes"),
        "bulk",
        I,
        "approval after wave 1: declined: crashes",
    ),
    (
        events.ServerAway(seconds=5.0, so_far=0.0),
        "bulk",
        I,
        "the server cannot be reached; it is tried again in 5.0 s",
    ),
    (events.ServerBack(seconds=15.0), "bulk", I, "the server can be reached again, after 15.0 s"),
)
UNSAID: Final = {events.CallBegan, events.CallEnded, events.LimitsInUse, events.Progress}
"""Calls are told by their attempts. The use of limits is a measurement, and progress is shown elsewhere."""


def listening(caplog: pytest.LogCaptureFixture, level: int = logging.DEBUG) -> Callable[[Any], None]:
    """Return what hands an event to a client's listeners."""
    caplog.set_level(level, "capgo_async")
    listeners = pacer_of(client_of()).listeners

    def tell(event: Any) -> None:
        heard = listeners.began if isinstance(event, events.AttemptBegan) else listeners.tell
        heard = listeners.ended if isinstance(event, events.AttemptEnded) else heard
        if heard is not None:
            heard(event)

    return tell


def said(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str, str]]:
    return [(record.name, record.levelname, record.getMessage()) for record in caplog.records]


@in_virtual_time
async def _tell(told: Callable[[Any], None], *happened: Any) -> None:
    for event in happened:
        told(event)


@pytest.mark.parametrize(("event", "logger", "level", "text"), SAID, ids=[text for *_, text in SAID])
def test_an_event_is_logged_once_at_its_level(
    event: Any, logger: str, level: str, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    _tell(listening(caplog), event)
    (record,) = caplog.records
    assert (record.name, record.levelname, record.getMessage()) == (f"capgo_async.{logger}", level, text)
    assert getattr(record, "capgo_event", None) == event


def test_every_kind_of_event_is_in_the_table_or_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    assert {type(event) for event, *_ in SAID} | UNSAID == set(get_args(events.Event))
    assert not {type(event) for event, *_ in SAID} & UNSAID
    progress = events.Progress(done=1, failed=0, pending=0, in_flight=0, rate=1.0, seconds_left=None, more=None)
    _tell(listening(caplog), progress, events.LimitsInUse(limits=()))
    assert not caplog.records


def test_a_level_above_says_nothing_of_those_below(caplog: pytest.LogCaptureFixture) -> None:
    for level, levels in ((logging.INFO, {"INFO", "WARNING"}), (logging.WARNING, {"WARNING"}), (logging.CRITICAL, set())):
        caplog.clear()
        for event, *_ in SAID:
            _tell(listening(caplog, level), event)
        assert {record.levelname for record in caplog.records} == levels


# Nothing twice


@in_virtual_time
async def test_a_refusal_and_the_waits_for_it_are_one_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "capgo_async")
    capgo = client_of(answer(), refusal("channel_self_rate_limited", retry_after=60))
    await capgo.devices.unlink(APP, "a")
    async with anyio.create_task_group() as group:
        for device in "bcdef":
            group.start_soon(capgo.devices.unlink, APP, device)
    lines = [(name, level) for name, level, _ in said(caplog)]
    assert lines.count(("capgo_async.limits", "INFO")) == 1
    assert {name for name, _ in lines} <= {"capgo_async.limits"}


def test_waits_for_the_same_limit_are_said_once_and_short_ones_never(caplog: pytest.LogCaptureFixture) -> None:
    waits = [events.WaitBegan(limit="app_address", app=app, seconds=60.0) for app in ("a.a", "b.b", "a.a", "a.a")]
    _tell(listening(caplog), *waits, events.WaitBegan(limit="key", seconds=0.9), events.LimitMet(limit="key", seconds=0.5))
    assert [text for *_, text in said(caplog)] == [f"waiting about 60.0 s: app's limit ({app})" for app in ("a.a", "b.b")]


# What costs nothing, and breaks nothing


def test_without_configuration_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    package = logging.getLogger("capgo_async")
    assert any(isinstance(handler, logging.NullHandler) for handler in package.handlers)
    package.propagate = False
    try:
        run_in_virtual_time(pacing_of(client_of(answer(401, {"error": "invalid_apikey", "message": "Invalid apikey"}))))
    finally:
        package.propagate = True
    assert capfd.readouterr() == ("", "")


async def pacing_of(capgo: CapgoClient) -> None:
    with pytest.raises(errors.AuthenticationError):
        await capgo.apps.get(APP)


@in_virtual_time
async def test_a_filter_that_raises_breaks_no_call() -> None:
    def broken(record: logging.LogRecord) -> bool:
        raise RuntimeError(record)

    logger = logging.getLogger("capgo_async.http")
    logger.addFilter(broken)
    logger.setLevel(logging.DEBUG)
    try:
        await client_of().apps.list().all()
    except errors.UnreadableAnswer:
        pass  # the scripted response is no list of apps
    finally:
        logger.removeFilter(broken)
        logger.setLevel(logging.NOTSET)


def test_text_of_servers_cannot_control_a_terminal_or_forge_a_line(caplog: pytest.LogCaptureFixture) -> None:
    _tell(listening(caplog), events.ServerVersionChanged(before="", version="capgo-1.0.0\x1b[2J\x9b31m"))
    (line,) = [text for *_, text in said(caplog)]
    assert line.isprintable()


# No key, whatever happens to it


def forms_of(key: str) -> set[str]:
    """Return the forms in which a key could be read back."""
    in_a_code = re.sub(r"[^a-z0-9]+", "_", key.lower()).strip("_")
    return {key, key.lower(), key.upper(), quote(key, safe=""), json.dumps(key)[1:-1], in_a_code}


KEYS: Final = st.one_of(
    st.uuids().map(str),
    st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.~!$&'()*+,;=:@\"\\<>", min_size=8, max_size=60),
).filter(lambda key: len(set(key)) > 4 and sum(map(str.isalnum, key)) >= 8)


@settings(deadline=None, max_examples=25)
@given(key=KEYS, other=KEYS, place=st.integers(0, 9))
def test_no_key_is_logged_or_told_wherever_it_gets(key: str, other: str, place: int) -> None:
    """A key as a device, a channel, an address, and in all that a server says."""
    told: list[events.Event] = []
    records: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = records.append  # type: ignore[assignment, method-assign]  # to keep them
    package = logging.getLogger("capgo_async")
    package.addHandler(handler)
    package.setLevel(logging.DEBUG)
    echo = {"error": f"no {key}" if place % 2 else key, "message": f"Invalid apikey {key}", "moreInfo": {"key": key}}
    script = [answer(500, echo, x_worker_source=f"{key}-1.2.3"), answer(400, echo), answer(429, echo), answer(401, echo)]
    capgo = client_of(*script[place % 4 :], api_key=key, retries=1, on_event=told.append)
    sibling = capgo.with_key(other)

    async def call() -> None:
        for client in (sibling, capgo):
            for target in (key, other, key.upper()):
                for made in (
                    lambda client=client, target=target: client.devices.link(APP, target, channel=key),
                    lambda client=client, target=target: client.members.invite("org", f"{target}@example.com", "org_member"),
                    lambda client=client, target=target: client.apps.get(target),
                ):
                    try:
                        with anyio.move_on_after(200.0):
                            await made()  # type: ignore[no-untyped-call]  # bound above
                    except errors.CapgoError:
                        pass

    try:
        run_in_virtual_time(call())
    finally:
        package.removeHandler(handler)
        package.setLevel(logging.NOTSET)
    shown = "\n".join([record.getMessage() + repr(getattr(record, "capgo_event", "")) for record in records])
    shown += repr(told) + msgspec.json.encode(told).decode()
    assert told
    assert records
    for secret in (key, other):
        for form in forms_of(secret):
            assert form not in shown


@settings(max_examples=40)
@given(key=KEYS, before=st.text(max_size=20), after=st.text(max_size=20))
def test_a_masked_text_holds_no_form_of_the_key(key: str, before: str, after: str) -> None:
    masks = Masks([key])
    for form in forms_of(key):
        shown = masks(f"{before}{form}{after}")
        assert form not in shown
        assert "[API key]" in shown


@given(text=st.text(), key=st.text(max_size=7))
def test_a_text_without_a_key_stays_as_it_is(text: str, key: str) -> None:
    assert Masks([])(text) == text
    assert Masks([key])(text) == text
