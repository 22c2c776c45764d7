"""Every exchange recorded from a real server decodes to a model or becomes its exception."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tables import on_each

from capgo_async import errors
from capgo_async.api.models import ApiKey, App, Bundle, Channel, Member, Organization
from capgo_async.api.resources import api_keys, bundles, organizations, statistics
from capgo_async.api.resources.devices import read_device, read_page
from capgo_async.http.wire import Response, acknowledge, error_of, reads_many, reads_one, server_version

RECORDED = Path(__file__).parent.parent / "recorded"
FILES = {
    "channel-writes-and-404s.jsonl": 24,
    "devices-apps-channels-bundles.jsonl": 298,
    "organizations-members-keys.jsonl": 80,
    "statistics.jsonl": 36,
}
LINES = [json.loads(line) for name in FILES for line in (RECORDED / name).read_text().splitlines()]
SUCCESSES = [line for line in LINES if line["response"]["status"] == 200 and line["response"]["body"] != ""]
FAILURES = [line for line in LINES if line["response"]["status"] >= 400]

# What contract A2, A7, A8 and C say of each code, whatever its status; those without a row are wrong arguments.
CLASSES: dict[type[errors.ApiError], str] = {
    errors.AuthenticationError: "invalid_apikey no_key_provided no_jwt_apikey_or_subkey invalid_jwt invalid_subkey",
    errors.PermissionDenied: """
        cannot_access_app cannot_access_organization cannot_delete_apikey cannot_delete_app cannot_delete_bundle
        cannot_list_apikeys invalid_org_id no_access_to_app no_access_to_organization permission_denied
        user_does_not_have_access_to_this_organization
    """,
    errors.NeedsUserSession: "cannot_create_apikey",
    errors.NotFound: """
        api_key_not_found api_key_not_found_or_access_denied binding_failed failed_to_get_apikey not_found
        user_not_found
    """,
    errors.BundleNotFound: "cannot_find_version",
    errors.ChannelNotFound: "cannot_find_channel channel_not_found",
    errors.DeviceNotFound: "device_not_found",
    errors.MemberNotFound: "organization_member_not_found",
    errors.Conflict: "app_id_already_exists version_already_exists",
    errors.BundleLinked: "cannot_delete_linked_version",
    errors.PublicChannelOverride: "public_channel_override",
    errors.RateLimited: "too_many_requests",
    errors.ServerError: "unknown_error",
    errors.InvalidRequest: """
        bindings_required cannot_find_channels cannot_get_apps cannot_update_app invalid_app_id invalid_body
        invalid_expiration_date invalid_id_format invalid_json_parse_body invalid_limit invalid_order invalid_protocol
        invalid_rollout_percentage invalid_updated_at invalid_version_format invalid_version_id missing_app_id
        missing_channel_name missing_checksum missing_device_id missing_device_id_or_app_id missing_external_url
        missing_name missing_org_id missing_owner_org missing_required_fields missing_version name_is_required
        no_fields_to_update no_valid_fields_provided_for_update retention_to_big retention_to_small
    """,
}
CLASS_OF = {code: kind for kind, codes in CLASSES.items() for code in codes.split()}


def database_code(details: dict[str, Any]) -> str | None:
    return (details.get("supabaseError") or {}).get("code")


# One code, several meanings (contract B2, C2, C8): the body tells which.
AMBIGUOUS: dict[str, Callable[[dict[str, Any]], type[errors.ApiError]]] = {
    "too_many_requests": lambda more: (
        errors.AuthenticationError if more.get("reason") == "too_many_failed_auth_attempts" else errors.RateLimited
    ),
    "cannot_get_bundle": lambda more: errors.PermissionDenied if "app_id" in more else errors.InvalidRequest,
    "cannot_create_bundle": lambda more: errors.Conflict if database_code(more) == "23505" else errors.PermissionDenied,
    "cannot_delete_version": lambda more: errors.BundleNotFound if database_code(more) == "PGRST116" else errors.InvalidRequest,
    "error_inviting_user_to_organization": lambda more: {
        "ALREADY_INVITED": errors.Conflict,
        "NO_EMAIL": errors.NotFound,
    }[more["data"]],
}


def name_of(line: dict[str, Any]) -> str:
    return str(line["name"])


def response_of(line: dict[str, Any]) -> Response:
    recorded = line["response"]
    body = recorded["body"]
    raw = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    return Response(status=recorded["status"], headers=recorded["headers"], body=raw)


def assert_same(found: object, row: Any, where: str = "") -> None:
    """What the body has and the model knows is equal; what the body lacks is the default."""
    if isinstance(found, msgspec.Struct):
        for field in msgspec.structs.fields(found):
            value = getattr(found, field.name)
            if field.encode_name in row:
                assert_same(value, row[field.encode_name], f"{where}.{field.name}")
            else:
                assert value == field.default, field.name
    elif isinstance(found, list | tuple):
        assert len(found) == len(row), where
        for one, its_row in zip(found, row, strict=True):
            assert_same(one, its_row, where)
    elif isinstance(row, str) and isinstance(found, int):
        assert found == int(row), where
    else:
        assert found == row, where


def test_the_files_together_hold_every_line_of_the_recording() -> None:
    assert {path.name for path in RECORDED.glob("*.jsonl")} == set(FILES)
    assert [len((RECORDED / name).read_text().splitlines()) for name in FILES] == list(FILES.values())
    assert len(LINES) == 438
    assert len(SUCCESSES) + len(FAILURES) + 3 == len(LINES)


def test_every_code_of_the_recording_has_one_class() -> None:
    recorded = {line["response"]["body"]["error"] for line in FAILURES}
    assert recorded == CLASS_OF.keys() | AMBIGUOUS.keys()
    assert sum(len(codes.split()) for codes in CLASSES.values()) == len(CLASS_OF)


@on_each(FAILURES, name=name_of)
def test_error(line: dict[str, Any]) -> None:
    response = response_of(line)
    body = line["response"]["body"]
    headers = line["response"]["headers"]

    error = error_of(response, "the call")

    assert (error.status, error.code, error.message) == (response.status, body["error"], body["message"])
    assert error.details == body.get("moreInfo", error.details)
    assert error.request_id == headers["x-request-id"]
    assert server_version(error.server_version) == (12, 201, 7)
    meaning = AMBIGUOUS.get(error.code)
    assert type(error) is (meaning(body["moreInfo"]) if meaning else CLASS_OF[error.code])
    assert error.retry_after == (float(headers["retry-after"]) if "retry-after" in headers else None)
    assert error.body == response.body
    assert str(error).startswith(f"the call: {error.message}")
    assert f"{error.finding} (HTTP {error.status}, {error.code}, request {error.request_id})." in str(error)


Reader = Callable[[Response, str], object]
MANY: dict[str, Reader] = {
    "/app": reads_many(App),
    "/apikey": reads_many(ApiKey),
    "/bundle": reads_many(Bundle),
    "/channel": reads_many(Channel),
    "/organization": reads_many(Organization),
    "/organization/members": reads_many(Member),
}


def read_devices(response: Response, operation: str) -> dict[str, object]:
    page = read_page(response, operation)
    rest = {} if page.next_cursor is None else {"nextCursor": page.next_cursor}
    return {"data": page.rows, "hasMore": page.has_more, **rest}


# Method and route, a key of the body that tells two answers apart, and what the client reads it with.
ONE: list[tuple[str, str, Reader]] = [
    ("GET /device", "device_id", read_device),
    ("GET /device", "data", read_devices),
    ("GET /channel", "name", reads_one(Channel)),
    ("(GET|POST|PUT) /app.*", "app_id", reads_one(App)),
    ("POST /bundle", "bundle", bundles.read_created),
    ("POST /apikey", "key", api_keys.read_created),
    ("(GET|PUT) /apikey.*", "id", api_keys.read_key),
    ("POST /organization", "id", organizations.read_created),
    ("PUT /organization", "data", organizations.read_updated),
    ("GET /organization", "name", organizations.read_organization),
    ("GET /organization/audit", "total", organizations.read_audit),
    ("GET /statistics/org/.*", "global", statistics.read_breakdown),
    ("GET /statistics/app/.*_usage", "labels", statistics.read_usage),
    (".*", "status", acknowledge),
]


def reader_of(line: dict[str, Any]) -> Reader:
    """Return what the client reads this answer with."""
    path, body = line["request"]["path"].rstrip("/"), line["response"]["body"]
    if isinstance(body, list):
        return statistics.read_points if path.startswith("/statistics") else MANY[path]
    call = f"{line['request']['method']} {path}"
    return next(reader for route, key, reader in ONE if re.fullmatch(route, call) and key in body)


def told(line: dict[str, Any]) -> Any:
    """Return what the client keeps of an answer: envelopes away, acknowledgements nothing."""
    body, reader = line["response"]["body"], reader_of(line)
    if reader is acknowledge:
        return None
    if reader is bundles.read_created:
        return body["bundle"]
    if reader is organizations.read_created:
        return body["id"]
    return [body["data"]] if reader is organizations.read_updated else body


@on_each(SUCCESSES, name=name_of)
def test_success(line: dict[str, Any]) -> None:
    found = reader_of(line)(response_of(line), "the call")
    expected = told(line)

    if isinstance(found, dict):
        assert found.keys() == expected.keys()
        for name, value in found.items():
            assert_same(value, expected[name])
    else:
        assert_same(found, expected)
    if expected is None:
        assert line["response"]["body"]["status"] in {"ok", "success"}


def test_the_readers_that_the_recording_meets() -> None:
    met = [reader_of(line) for line in SUCCESSES]
    assert met.count(acknowledge) == 29
    assert {*MANY.values(), *(reader for _, _, reader in ONE), statistics.read_points} == set(met)
    assert sum(1 for line in SUCCESSES if told(line)) > 100


@on_each([line for line in LINES if line["response"]["body"] == ""], name=name_of)
def test_an_answer_without_a_body_is_none_of_ours(line: dict[str, Any]) -> None:
    with pytest.raises(errors.CapgoError):
        read_page(response_of(line), "the call")


ANY_READER: list[Reader] = [
    *MANY.values(),
    acknowledge,
    read_page,
    read_device,
    api_keys.read_created,
    bundles.read_created,
    organizations.read_audit,
    organizations.read_created,
    organizations.read_updated,
    statistics.read_breakdown,
    statistics.read_points,
    statistics.read_usage,
    reads_one(App),
    reads_one(Channel),
]


@on_each(LINES, name=name_of)
def test_any_answer_in_the_place_of_any_other_is_read_or_named(line: dict[str, Any]) -> None:
    response = response_of(line)
    for decode in ANY_READER:
        try:
            decode(response, "the call")
        except errors.CapgoError as error:
            assert str(error).startswith("the call: ")  # noqa: PT017 - a model is as good
