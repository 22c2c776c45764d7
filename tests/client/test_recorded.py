"""Every exchange recorded from a real server decodes to a model or becomes its exception."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from capgo_async import errors
from capgo_async.models import App, Bundle, Channel, Device
from capgo_async.resources.devices import read_device, read_page
from capgo_async.wire import Response, acknowledge, error_of, reads_many, reads_one, server_version

RECORDED = Path(__file__).parent.parent / "recorded"
LINES = [
    json.loads(line)
    for name in ("devices-apps-channels-bundles.jsonl", "channel-writes-and-404s.jsonl")
    for line in (RECORDED / name).read_text().splitlines()
]
SUCCESSES = [line for line in LINES if line["response"]["status"] == 200 and line["response"]["body"] != ""]
FAILURES = [line for line in LINES if line["response"]["status"] >= 400]

MODELS: dict[str, type[msgspec.Struct]] = {"/app": App, "/bundle": Bundle, "/channel": Channel, "/device": Device}

NO_ACCESS = {
    "cannot_access_app",
    "cannot_access_channel",
    "cannot_access_organization",
    "user_does_not_have_access_to_this_organization",
}
CLASSES: dict[int, type[errors.ApiError]] = {
    400: errors.InvalidRequest,
    401: errors.AuthenticationError,
    403: errors.PermissionDenied,
    404: errors.NotFound,
    409: errors.Conflict,
    429: errors.RateLimited,
    500: errors.ServerError,
}


def name_of(line: dict[str, Any]) -> str:
    return str(line["name"])


def response_of(line: dict[str, Any]) -> Response:
    recorded = line["response"]
    body = recorded["body"]
    raw = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    return Response(status=recorded["status"], headers=recorded["headers"], body=raw)


def class_of(status: int, code: str, reason: str | None) -> type[errors.ApiError]:
    if reason == "too_many_failed_auth_attempts":
        return errors.AuthenticationError
    if status == 401 and code.startswith("cannot_"):
        return errors.PermissionDenied
    if code in NO_ACCESS:
        return errors.PermissionDenied
    named: dict[str, type[errors.ApiError]] = {
        "channel_not_found": errors.ChannelNotFound,
        "device_not_found": errors.DeviceNotFound,
        "public_channel_override": errors.PublicChannelOverride,
    }
    return named.get(code, CLASSES[status])


def root_of(path: str) -> str:
    return "/" + path.split("/")[1]


def assert_same(model: msgspec.Struct, row: dict[str, Any]) -> None:
    """What the body has and the model knows is equal; what the body lacks is the default."""
    for field in msgspec.structs.fields(model):
        value = getattr(model, field.name)
        if field.encode_name not in row:
            assert value == field.default, field.name
            continue
        expected = row[field.encode_name]
        if isinstance(value, msgspec.Struct):
            value = msgspec.to_builtins(value)
        if isinstance(expected, str) and isinstance(value, int):
            expected = int(expected)
        assert value == expected, field.name


def test_both_files_together_hold_every_line_of_these_routes() -> None:
    assert len(LINES) == 322
    assert len(SUCCESSES) + len(FAILURES) + 3 == len(LINES)


@pytest.mark.parametrize("line", FAILURES, ids=name_of)
def test_error(line: dict[str, Any]) -> None:
    response = response_of(line)
    body = line["response"]["body"]
    headers = line["response"]["headers"]

    error = error_of(response, "the call")

    assert (error.status, error.code, error.message) == (response.status, body["error"], body["message"])
    assert error.details == body.get("moreInfo", error.details)
    assert error.request_id == headers["x-request-id"]
    assert server_version(error.server_version) == (12, 201, 7)
    assert type(error) is class_of(response.status, error.code, error.reason)
    assert error.retry_after == (float(headers["retry-after"]) if "retry-after" in headers else None)
    assert error.body == response.body
    assert str(error).startswith(f"the call: {error.message} (HTTP {error.status}, {error.code}, request {error.request_id}).")


def single(path: str, body: dict[str, Any]) -> Callable[[Response, str], msgspec.Struct] | None:
    if path.startswith("/device"):
        return read_device if "device_id" in body else None
    if path.startswith("/channel"):
        return reads_one(Channel) if "name" in body else None
    return reads_one(App) if path.startswith("/app") and "app_id" in body else None


@pytest.mark.parametrize("line", SUCCESSES, ids=name_of)
def test_success(line: dict[str, Any]) -> None:
    path, body, response = line["request"]["path"], line["response"]["body"], response_of(line)
    if isinstance(body, list):
        found = reads_many(MODELS[path])(response, "the call")
        assert len(found) == len(body)
        for model, row in zip(found, body, strict=True):
            assert_same(model, row)
    elif "hasMore" in body:
        page = read_page(response, "the call")
        assert (page.has_more, page.next_cursor) == (body["hasMore"], body.get("nextCursor"))
        assert len(page.rows) == len(body["data"])
        for device, row in zip(page.rows, body["data"], strict=True):
            assert_same(device, row)
    elif decode := single(path, body):
        assert_same(decode(response, "the call"), body)
    else:
        assert body["status"] in {"ok", "success"}
        acknowledge(response, "the call")


@pytest.mark.parametrize("line", [line for line in LINES if line["response"]["body"] == ""], ids=name_of)
def test_an_answer_without_a_body_is_none_of_ours(line: dict[str, Any]) -> None:
    with pytest.raises(errors.CapgoError):
        acknowledge(response_of(line), "the call")


@pytest.mark.parametrize("line", [line for line in LINES if line["request"]["path"] in MODELS], ids=name_of)
def test_any_answer_in_the_place_of_any_other_is_read_or_named(line: dict[str, Any]) -> None:
    response = response_of(line)
    for decode in (read_page, read_device, acknowledge, reads_many(App), reads_one(Channel), reads_many(Bundle)):
        try:
            decode(response, "the call")
        except errors.CapgoError as error:
            assert str(error).startswith("the call: ")  # noqa: PT017 - a model is as good
