"""Shapes that no recording has: older servers, the published documents, and what a server may add."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given, strategies as st

from capgo_async.api.models import App, Bundle, BundleReference, Channel, Device, SeedDevice, parse_timestamp
from capgo_async.api.resources.devices import read_device, read_page
from capgo_async.errors import ApiError, BundleNotFound, InvalidRequest, UnreadableAnswer
from capgo_async.http.wire import Response, acknowledge, reads_many, reads_one


def answer(body: object, status: int = 200) -> Response:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Response(status=status, headers={}, body=raw)


DEVICE = {"device_id": "0a1b", "app_id": "com.example.app", "platform": "ios", "plugin_version": "6.7.1"}


@pytest.mark.parametrize("wrap", [lambda rows: rows, lambda rows: {"data": rows}], ids=["bare", "in an envelope"])
def test_lists_come_bare_or_in_an_envelope(wrap: object) -> None:
    assert callable(wrap)
    rows = reads_many(Channel)(answer(wrap([{"id": 1, "name": "beta"}])), "list")

    assert rows == (Channel(id=1, name="beta"),)


@pytest.mark.parametrize("body", [{"app_id": "a.b"}, {"data": {"app_id": "a.b"}}, {"status": "ok", "data": {"app_id": "a.b"}}])
def test_objects_come_bare_or_in_an_envelope(body: object) -> None:
    assert reads_one(App)(answer(body), "get") == App(app_id="a.b")


def test_64_bit_columns_may_be_strings() -> None:
    body = {
        "app_id": "a.b",
        "retention": "2592000",
        "build_timeout_seconds": "900",
        "channel_device_count": "0",
        "manifest_bundle_count": "9007199254740993",
        "rollout_channel_count": "0",
    }

    app = reads_one(App)(answer(body), "get")

    assert (app.retention_seconds, app.build_timeout_seconds, app.channel_device_count) == (2592000, 900, 0)
    assert app.manifest_bundle_count == 9007199254740993


@pytest.mark.parametrize("value", ["major", "none", "metadata", "a word of next year", "true", "null", True, False, None])
def test_disable_auto_update_stays_what_the_server_sent(value: object) -> None:
    channel = reads_one(Channel)(answer({"id": 1, "name": "beta", "disableAutoUpdate": value}), "get")

    assert channel.disable_auto_update is value or channel.disable_auto_update == value
    assert type(channel.disable_auto_update) is type(value)


@pytest.mark.parametrize(
    ("version", "name"),
    [
        ({"id": 3, "name": "1.2.0"}, "1.2.0"),
        ({"id": 1, "name": "unknown"}, None),
        ({"id": 2, "name": "builtin"}, None),
        (None, None),
    ],
)
def test_a_channel_without_a_bundle_has_no_bundle_name(version: object, name: str | None) -> None:
    assert reads_one(Channel)(answer({"id": 1, "name": "beta", "version": version}), "get").bundle_name == name


@pytest.mark.parametrize(
    ("row", "version_id", "version_name"),
    [
        ({"version": 41, "version_name": "1.2.0"}, 41, "1.2.0"),
        ({"version": "41", "version_name": "1.2.0"}, 41, "1.2.0"),
        ({"version": None, "version_name": "builtin"}, None, "builtin"),
        ({"version_name": None}, None, None),
        ({"version": {"id": 41, "name": "1.2.0"}}, 41, "1.2.0"),
        ({}, None, None),
    ],
)
def test_a_device_tells_its_version_in_three_ways(
    row: dict[str, object], version_id: int | None, version_name: str | None
) -> None:
    body = {**DEVICE, **row}

    for device in (read_device(answer(body), "get"), read_page(answer([body]), "list").rows[0]):
        assert (device.version_id, device.version_name, device.platform) == (version_id, version_name, "ios")
    assert read_device(answer({"data": body}), "get").version_id == version_id


def test_a_seed_page_may_hold_a_device_without_a_version() -> None:
    page = read_page(answer([{**DEVICE, "version": {"id": 1, "name": "1.0.0"}}, {**DEVICE, "version": None}, DEVICE]), "list")

    assert [device.version_id for device in page.rows] == [1, None, None]
    assert page.has_more is None


def test_a_seed_device_keeps_all_that_it_says() -> None:
    said = SeedDevice(
        device_id="a",
        version=BundleReference(1, "1.0.0"),
        app_id="a.b",
        custom_id="qa",
        platform="android",
        plugin_version="6",
        os_version="14",
        version_build="1",
        is_prod=True,
        is_emulator=False,
        channel="beta",
        updated_at="2025-01-20T09:15:30+00:00",
    )

    assert said.normalised() == Device(
        device_id="a",
        version_id=1,
        version_name="1.0.0",
        app_id="a.b",
        custom_id="qa",
        platform="android",
        plugin_version="6",
        os_version="14",
        version_build="1",
        is_prod=True,
        is_emulator=False,
        channel="beta",
        updated_at="2025-01-20T09:15:30+00:00",
    )


@pytest.mark.parametrize(
    ("rest", "has_more", "cursor"),
    [
        ({"hasMore": True, "nextCursor": "x|y"}, True, "x|y"),
        ({"hasMore": False}, False, None),
        ({"hasMore": None, "nextCursor": None}, False, None),
        ({"nextCursor": "x|y"}, True, "x|y"),
        ({}, False, None),
    ],
)
def test_an_object_with_data_is_a_page_with_a_cursor(rest: dict[str, object], has_more: object, cursor: str | None) -> None:
    page = read_page(answer({"data": [{**DEVICE, "version": 3}], **rest}), "list")

    assert (page.has_more, page.next_cursor, len(page.rows)) == (has_more, cursor, 1)


def test_a_page_with_a_cursor_and_old_devices_is_not_taken_for_a_whole_list() -> None:
    body = {"data": [{**DEVICE, "version": {"id": 1, "name": "1"}}], "hasMore": True, "nextCursor": "x|y"}

    with pytest.raises(UnreadableAnswer):
        read_page(answer(body), "list")


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"min_update_version": "1.0.0"}, "1.0.0"),
        ({"minUpdateVersion": "2.0.0", "bucket_id": "b"}, "2.0.0"),
        ({"min_update_version": None}, None),
        ({}, None),
    ],
)
def test_a_bundle_has_two_spellings_of_its_lowest_version(row: dict[str, object], expected: str | None) -> None:
    bundle = reads_many(Bundle)(answer([{"id": 1, "name": "1.0.0", **row}]), "list")[0]

    assert bundle.min_update_version == expected
    assert bundle.bucket_id == row.get("bucket_id")


@pytest.mark.parametrize(
    "body",
    [
        {"status": "ok"},
        {"status": "OK"},
        {"status": "success", "bundle": {"id": 1}},
        {"success": True},
        {"status": "ok", "id": 8, "public": False},
        {"status": "ok", "data": [1]},
        b'{"status":"ok"}',
    ],
)
def test_a_write_is_acknowledged_in_many_words(body: object) -> None:
    acknowledge(answer(body), "write")


@pytest.mark.parametrize(
    ("body", "kind", "code"),
    [
        ({"status": "KO", "error": "Cannot do that"}, InvalidRequest, "cannot_do_that"),
        ({"status": "ko", "error": "cannot_do_that"}, InvalidRequest, "cannot_do_that"),
        ({"success": False}, InvalidRequest, "http_200"),
        ({}, InvalidRequest, "not_json"),
        ({"status": "Cannot find version"}, BundleNotFound, "cannot_find_version"),
    ],
)
def test_a_200_that_does_not_say_ok_is_an_error(body: object, kind: type[ApiError], code: str) -> None:
    with pytest.raises(kind) as caught:
        acknowledge(answer(body), "write")

    assert type(caught.value) is kind
    assert (caught.value.status, caught.value.code) == (200, code)


@pytest.mark.parametrize("body", [b'{"status":"ok"}', b'{"status": "ok"}'])
def test_no_word_makes_an_error_an_acknowledgement(body: bytes) -> None:
    with pytest.raises(ApiError):
        acknowledge(answer(body, 503), "write")


@pytest.mark.parametrize("body", [b"<html>ok</html>", b"", b"[]", b'"ok"', b'{"status": 5}', b"{", b"\xff", b'{"x":' * 99999])
def test_a_200_that_is_something_else_is_unreadable(body: bytes) -> None:
    for decode in (acknowledge, read_device, read_page, reads_one(App)):
        if body == b"[]" and decode is read_page:
            continue
        with pytest.raises(UnreadableAnswer, match=r"^write: "):
            decode(answer(body), "write")


@pytest.mark.parametrize("decode", [read_device, read_page, reads_one(App), reads_many(Channel)])
def test_a_200_with_status_ko_is_an_error_for_reads_too(decode: object) -> None:
    assert callable(decode)
    with pytest.raises(ApiError, match="Not today"):
        decode(answer({"status": "KO", "error": "Not today"}), "read")


def test_what_a_server_adds_does_no_harm() -> None:
    body = {**DEVICE, "version": 3, "platform": "watch", "colour": {"deep": [1, {}]}, "hologram": None}

    assert read_device(answer(body), "get").platform == "watch"


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-07-01T10:20:30+00:00", datetime(2026, 7, 1, 10, 20, 30, tzinfo=UTC)),
        ("2026-07-01T10:20:30.1+00:00", datetime(2026, 7, 1, 10, 20, 30, 100000, tzinfo=UTC)),
        ("2026-07-01T10:20:30.12345+00:00", datetime(2026, 7, 1, 10, 20, 30, 123450, tzinfo=UTC)),
        ("2026-07-01T10:20:30.123Z", datetime(2026, 7, 1, 10, 20, 30, 123000, tzinfo=UTC)),
        ("2026-07-01 10:20:30.123456+00", datetime(2026, 7, 1, 10, 20, 30, 123456, tzinfo=UTC)),
        ("2026-07-01 12:20:30+02", datetime(2026, 7, 1, 10, 20, 30, tzinfo=UTC)),
        ("2026-07-01 10:20:30", datetime(2026, 7, 1, 10, 20, 30, tzinfo=UTC)),
        ("2026-07-01", datetime(2026, 7, 1, tzinfo=UTC)),
        ("yesterday", None),
        ("0001-01-01T00:00:00+23:59", None),
        ("", None),
        (None, None),
    ],
)
def test_timestamps_of_all_formats(text: str | None, moment: datetime | None) -> None:
    assert parse_timestamp(text) == moment


@given(st.text() | st.datetimes(timezones=st.timezones()).map(datetime.isoformat))
def test_any_text_is_a_time_or_none(text: str) -> None:
    found = parse_timestamp(text)

    assert found is None or found.tzinfo is UTC
