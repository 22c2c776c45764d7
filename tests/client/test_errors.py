"""Error bodies of every generation become one tree of exceptions that say what, where, why and what next."""

import json
import time
from typing import Any

import pytest
from hypothesis import given, strategies as st
from scripted import answer

from capgo_async import errors
from capgo_async.http.retry_after import retry_after
from capgo_async.http.wire import Response, error_of, server_version

WAIT_15_MINUTES = "This address is locked out because keys were refused. Wait 15 minutes, then use a valid key."
CHECK_THE_KEY = "Check the API key. The request is not repeated: the server locks out addresses that keep sending refused keys."
CHECK_THE_ID = "Check the spelling of the id, and that the key has access."
NAME = "The name of a bundle is its version, exactly as it was uploaded."
CASE = "Channel names are case-sensitive. Check also that the key has access to the app."
UNLINK = "To put a device on the public channel, remove its link."
SLOWLY = "Send more slowly, or later."
LATER = "Try again later. If this was a write, check first whether it took effect."
SIGN_IN = (
    "If it is a session token, it is invalid or has expired: sign in again for a new one. "
    "If it is an API key, it is no UUID, and must be sent in the header capgkey."
)
NO_ACCOUNT = (
    "Nobody has an account with this address. An open invitation of somebody without an account cannot be removed "
    "through this API: cancel it in the console, or wait until it expires, 7 days after it was sent."
)
ROUTE = "The server has no such route. It may be too old for it, or the base URL is wrong."
UPDATER = "The server knows a device once its app has asked for updates. It can be linked before."
PLAN = "Check the organization's subscription and plan."

TOO_MANY = "Too many requests"
ZOD = '[\n  {\n    "code": "invalid_type",\n    "path": [\n      "name"\n    ],\n    "message": "Required"\n  }\n]'


def e1(code: str, message: str, **more: object) -> dict[str, object]:
    return {"error": code, "message": message, "moreInfo": more}


Row = tuple[str, int, object, type[errors.ApiError], str, str, str]
TABLE: list[Row] = [
    # E1, the modern form
    (
        "key",
        401,
        e1("invalid_apikey", "Invalid apikey"),
        errors.AuthenticationError,
        "invalid_apikey",
        "Invalid apikey",
        CHECK_THE_KEY,
    ),
    ("no key", 401, e1("no_key_provided", "No key"), errors.AuthenticationError, "no_key_provided", "No key", CHECK_THE_KEY),
    ("jwt", 401, e1("invalid_jwt", "Invalid JWT"), errors.AuthenticationError, "invalid_jwt", "Invalid JWT", SIGN_IN),
    ("subkey", 401, e1("invalid_subkey", "Bad"), errors.AuthenticationError, "invalid_subkey", "Bad", CHECK_THE_KEY),
    (
        "neither",
        401,
        e1("no_jwt_apikey_or_subkey", "No"),
        errors.AuthenticationError,
        "no_jwt_apikey_or_subkey",
        "No",
        CHECK_THE_KEY,
    ),
    (
        "locked out",
        429,
        e1("too_many_requests", TOO_MANY, reason="too_many_failed_auth_attempts"),
        errors.AuthenticationError,
        "too_many_requests",
        TOO_MANY,
        WAIT_15_MINUTES,
    ),
    (
        "401 without access",
        401,
        e1("cannot_access_app", "No"),
        errors.PermissionDenied,
        "cannot_access_app",
        "No",
        CHECK_THE_ID,
    ),
    (
        "400 without access",
        400,
        e1("cannot_access_app", "No"),
        errors.PermissionDenied,
        "cannot_access_app",
        "No",
        CHECK_THE_ID,
    ),
    (
        "channel without access",
        400,
        e1("cannot_access_channel", "No"),
        errors.PermissionDenied,
        "cannot_access_channel",
        "No",
        CHECK_THE_ID,
    ),
    ("org", 400, e1("invalid_org_id", "No"), errors.PermissionDenied, "invalid_org_id", "No", CHECK_THE_ID),
    ("403", 403, e1("permission_denied", "No"), errors.PermissionDenied, "permission_denied", "No", CHECK_THE_ID),
    ("unpaid", 402, e1("subscription_required", "Pay"), errors.SubscriptionRequired, "subscription_required", "Pay", PLAN),
    ("channel", 404, e1("channel_not_found", "No"), errors.ChannelNotFound, "channel_not_found", "No", CASE),
    ("device", 404, e1("device_not_found", "No"), errors.DeviceNotFound, "device_not_found", "No", UPDATER),
    ("app", 404, e1("cannot_find_app", "No"), errors.NotFound, "cannot_find_app", "No", ""),
    ("conflict", 409, e1("app_id_already_exists", "Taken"), errors.Conflict, "app_id_already_exists", "Taken", ""),
    ("public", 400, e1("public_channel_override", "No"), errors.PublicChannelOverride, "public_channel_override", "No", UNLINK),
    ("arguments", 400, e1("missing_app_id", "Missing"), errors.InvalidRequest, "missing_app_id", "Missing", ""),
    ("limit", 429, e1("too_many_requests", TOO_MANY), errors.RateLimited, "too_many_requests", TOO_MANY, SLOWLY),
    ("server", 500, e1("unknown_error", "Unknown error"), errors.ServerError, "unknown_error", "Unknown error", LATER),
    (
        "upper case",
        400,
        e1("CANNOT_REMOVE_LAST_SUPER_ADMIN", "No"),
        errors.Conflict,
        "CANNOT_REMOVE_LAST_SUPER_ADMIN",
        "No",
        "",
    ),
    # E1' without moreInfo
    ("route", 404, {"error": "not_found", "message": "Not found"}, errors.NotFound, "not_found", "Not found", ROUTE),
    ("code alone", 400, {"error": "missing_app_id"}, errors.InvalidRequest, "missing_app_id", "missing_app_id", ""),
    # E2
    (
        "seed sentence",
        400,
        {"status": "Cannot get bundle", "error": None},
        errors.InvalidRequest,
        "cannot_get_bundle",
        "Cannot get bundle",
        "",
    ),
    (
        "seed sentence alone",
        400,
        {"status": "Cannot find version"},
        errors.BundleNotFound,
        "cannot_find_version",
        "Cannot find version",
        NAME,
    ),
    ("seed zod", 400, {"status": "Invalid body", "error": ZOD}, errors.InvalidRequest, "invalid_body", "Invalid body", ""),
    (
        "seed database word",
        400,
        {"status": "Cannot get apps", "error": "42501"},
        errors.InvalidRequest,
        "cannot_get_apps",
        "Cannot get apps",
        "",
    ),
    (
        "seed access",
        400,
        {"status": "You can't access this app", "app_id": "a.b"},
        errors.InvalidRequest,
        "you_can_t_access_this_app",
        "You can't access this app",
        "",
    ),
    # E3
    (
        "seed KO",
        400,
        {"error": "User not found", "status": "KO"},
        errors.NotFound,
        "user_not_found",
        "User not found",
        NO_ACCOUNT,
    ),
    (
        "seed KO with an object",
        400,
        {"error": {"code": "1"}, "status": "KO"},
        errors.InvalidRequest,
        "http_400",
        "HTTP 400",
        "",
    ),
    (
        "seed status is a code",
        400,
        {"error": {"code": "1"}, "status": "NO_EMAIL"},
        errors.NotFound,
        "NO_EMAIL",
        "NO_EMAIL",
        "Nobody has an account with this address. People must sign up before they can be invited.",
    ),
    # E4
    (
        "seed key route",
        400,
        {"error": "Cannot delete it", "supabaseError": {"code": "1"}},
        errors.InvalidRequest,
        "cannot_delete_it",
        "Cannot delete it",
        "",
    ),
    # E5, D38: a refused key in a 500
    (
        "seed refused key",
        500,
        {"status": "Internal Server Error", "response": {}, "error": "{}", "message": "Invalid apikey"},
        errors.AuthenticationError,
        "invalid_apikey",
        "Invalid apikey",
        CHECK_THE_KEY,
    ),
    (
        "a refused key under another code",
        500,
        e1("internal_error", "Error: Invalid apikey"),
        errors.AuthenticationError,
        "internal_error",
        "Error: Invalid apikey",
        CHECK_THE_KEY,
    ),
    (
        "seed failure",
        500,
        {"status": "Internal Server Error", "response": {}, "error": "{}", "message": "Oh no"},
        errors.ServerError,
        "oh_no",
        "Oh no",
        LATER,
    ),
    # E6
    (
        "seed limit",
        429,
        {"error": "you are beeing rate limited"},
        errors.RateLimited,
        "you_are_beeing_rate_limited",
        "you are beeing rate limited",
        SLOWLY,
    ),
    # E7
    ("text", 404, b"404 Not Found", errors.NotFound, "not_json", "404 Not Found", ROUTE),
    ("edge", 429, b"error code: 1015", errors.RateLimited, "not_json", "error code: 1015", SLOWLY),
    (
        "html",
        502,
        b"<html>\r\n<head><title>502 Bad Gateway</title></head>",
        errors.ServerError,
        "not_json",
        "<html>",
        LATER,
    ),
    ("nothing", 503, b"", errors.ServerError, "not_json", "the response has no body", LATER),
    ("Latin-1", 520, b"\xe9\xe8", errors.ServerError, "not_json", "��", LATER),
    ("a list", 400, [], errors.InvalidRequest, "not_json", "[]", ""),
    (
        "redirect",
        301,
        b"",
        errors.InvalidRequest,
        "redirected",
        "the server redirects this request, and redirects are not followed: check the base URL",
        "",
    ),
    ("only marks", 400, {"status": "!!!"}, errors.InvalidRequest, "unknown", "!!!", ""),
]


@pytest.mark.parametrize("row", TABLE, ids=[row[0] for row in TABLE])
def test_bodies_of_every_generation(row: Row) -> None:
    _, status, body, kind, code, message, advice = row
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"x-request-id": "run-1", "x-worker-source": "capgo_api-prod-12.201.7"}

    error = error_of(Response(status=status, headers=headers, body=raw), "link device d of a.b")

    assert type(error) is kind
    assert (error.status, error.code, error.message, error.advice) == (status, code, message, advice)
    assert (error.request_id, error.server_version, error.body) == ("run-1", "capgo_api-prod-12.201.7", raw)
    told = f"link device d of a.b: {message} (HTTP {status}, {code}, request run-1)."
    assert str(error) == (f"{told} {advice}" if advice else told)


def test_the_tree_is_as_drawn() -> None:
    drawn: dict[str, list[str]] = {}
    for line in (errors.__doc__ or "").splitlines():
        if "──" in line:
            depth, name = line.index("──") // 4, line.split("──")[1].split()[0]
            drawn.setdefault(str(depth), []).append(name)
    names = {name for level in drawn.values() for name in level} | {"CapgoError"}
    made = {name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, errors.CapgoError)}
    assert names == made
    assert all(getattr(errors, name).__mro__.index(errors.CapgoError) == int(depth) for depth in drawn for name in drawn[depth])


def test_what_an_error_says_without_operation_and_request() -> None:
    assert str(errors.ApiError("No", status=400, code="no")) == "No (HTTP 400, no)."


def test_details_are_more_info_or_what_else_the_body_has() -> None:
    def details_of(body: object) -> object:
        return error_of(Response(status=400, headers={}, body=json.dumps(body).encode()), "").details

    assert details_of(e1("a_b", "c", reason="r", app_id="a")) == {"reason": "r", "app_id": "a"}
    assert details_of({"status": "S", "error": None, "app_id": "a"}) == {"error": None, "app_id": "a"}
    assert details_of({"error": "a_b", "moreInfo": "text"}) == {"error": "a_b", "moreInfo": "text"}
    assert details_of([]) == {}


def test_the_reason_is_a_word_or_none() -> None:
    assert errors.ApiError("", status=429, code="", details={"reason": "ip"}).reason == "ip"
    assert errors.ApiError("", status=429, code="", details={"reason": 5}).reason is None
    assert errors.ApiError("", status=429, code="").reason is None


def test_the_same_answer_as_another_kind() -> None:
    error = error_of(Response(status=429, headers={"retry-after": "3", "x-request-id": "r"}, body=b'{"error":"a_b"}'), "op")

    other = error.as_kind(errors.ChannelNotFound)

    assert type(other) is errors.ChannelNotFound
    assert vars(other) == vars(error)
    assert other is not error


def test_a_refused_source_says_which_rows() -> None:
    error = errors.InputError("bad", rejected=[(2, "missing_value", "no id")], count=7)

    assert (str(error), error.rejected, error.count) == ("bad", ((2, "missing_value", "no id"),), 7)


DATE = "Fri, 24 Jul 2026 10:00:00 GMT"
EPOCH = 1784887200


@pytest.mark.parametrize(
    ("headers", "details", "seconds"),
    [
        ({"retry-after": "57"}, {"retryAfterSeconds": 3}, 57.0),
        ({"retry-after": "0"}, {"retryAfterSeconds": 3}, 0.0),
        ({"retry-after": "Fri, 24 Jul 2026 10:00:07 GMT", "date": DATE}, {"retryAfterSeconds": 3}, 7.0),
        ({"retry-after": "Fri, 24 Jul 2026 10:00:07 -0000", "date": DATE}, {}, 7.0),
        ({"retry-after": "Fri, 24 Jul 2026 09:00:00 GMT", "date": DATE}, {}, 0.0),
        ({"retry-after": "Fri, 24 Jul 2026 10:00:07 GMT"}, {"retryAfterSeconds": 3}, 3.0),
        ({"retry-after": "Fri, 24 Jul 2026 10:00:07 GMT"}, {}, None),
        ({"retry-after": "soon", "date": DATE}, {"retryAfterSeconds": 3}, 3.0),
        ({"retry-after": "-1"}, {}, 0.0),
        ({"retry-after": " +2.75 "}, {}, 2.75),
        ({"retry-after": ".5"}, {}, 0.5),
        ({"retry-after": "1e3"}, {}, None),
        ({"retry-after": "nan"}, {}, None),
        ({"retry-after": "inf"}, {}, None),
        ({"retry-after": "1_000"}, {}, None),
        ({"retry-after": "60000"}, {}, 60000.0),
        ({"retry-after": "60000"}, {"retryAfterSeconds": 60}, 60.0),
        ({"retry-after": str(EPOCH + 30), "date": DATE}, {}, 30.0),
        ({"retry-after": str((EPOCH + 30) * 1000 + 250), "date": DATE}, {}, 30.25),
        ({"retry-after": str(EPOCH + 30)}, {}, None),
        ({"retry-after": str(EPOCH - 30), "date": DATE}, {}, 0.0),
        ({"retry-after": "2026-07-24T10:00:07Z", "date": DATE}, {}, 7.0),
        ({"retry-after": "2026-07-24T12:00:07+02:00", "date": DATE}, {}, 7.0),
        ({"retry-after": "Friday, 24-Jul-26 10:00:07 GMT", "date": DATE}, {}, 7.0),
        ({"retry-after": "Fri, 24 Jul 99999999 10:00:00 GMT", "date": DATE}, {}, 1e12),
        ({"retry-after": "Fri, 24 Jul 99999999 10:00:00 GMT", "date": DATE}, {"retryAfterSeconds": 3}, 3.0),
        ({"x-ratelimit-reset": "41", "date": DATE}, {}, 41.0),
        ({"retry-after": "9" * 400}, {"retryAfterSeconds": 3}, 3.0),
        ({}, {"retryAfterSeconds": 3}, 3.0),
        ({}, {"retryAfterSeconds": 0.5}, 0.5),
        ({}, {"retryAfterSeconds": "8"}, 8.0),
        ({}, {"retryAfterSeconds": True}, None),
        ({}, {"retryAfterSeconds": -1}, 0.0),
        ({}, {"retryAfterSeconds": 10**400}, None),
        ({"x-ratelimit-reset": str(EPOCH + 9), "date": DATE}, {}, 9.0),
        ({"x-ratelimit-reset": str(EPOCH + 9), "date": DATE}, {"rateLimitResetAt": 1}, 9.0),
        ({"x-ratelimit-reset": str(EPOCH + 9)}, {}, None),
        ({"x-ratelimit-reset": str(EPOCH - 9), "date": DATE}, {}, 0.0),
        ({"date": DATE}, {"rateLimitResetAt": EPOCH * 1000 + 2500}, 2.5),
        ({"date": DATE}, {"rateLimitResetAt": 10**400}, 1e12),
        ({"date": DATE}, {"rateLimitResetAt": "soon"}, None),
        ({}, {"rateLimitResetAt": EPOCH * 1000 + 2500}, None),
        ({"date": "yesterday", "x-ratelimit-reset": str(EPOCH)}, {}, None),
        ({"date": "Fri, 24 Jul 99999999 10:00:00 GMT", "x-ratelimit-reset": str(EPOCH)}, {}, None),
        ({}, {}, None),
    ],
)
def test_waits_never_ask_this_machine_for_the_time(
    headers: dict[str, str], details: dict[str, object], seconds: float | None
) -> None:
    assert retry_after(headers, details) == seconds


def test_a_date_without_a_zone_is_not_in_the_zone_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    headers = {"date": DATE, "retry-after": "Fri, 24 Jul 2026 10:00:07 -0000"}
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        assert retry_after(headers, {}) == 7.0
    finally:
        monkeypatch.undo()
        time.tzset()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.slow
@given(
    status=st.integers(300, 599),
    body=json_values.map(lambda value: json.dumps(value).encode())
    | st.binary(max_size=200)
    | st.fixed_dictionaries(
        {},
        optional=dict.fromkeys(("error", "status", "message", "moreInfo", "reason", "retryAfterSeconds"), json_values),
    ).map(lambda value: json.dumps(value).encode()),
    headers=st.dictionaries(
        st.sampled_from(["retry-after", "date", "x-ratelimit-reset", "x-worker-source"]), st.text(max_size=40)
    ),
)
def test_any_answer_makes_an_error_that_can_be_told(status: int, body: bytes, headers: dict[str, str]) -> None:
    error = error_of(Response(status=status, headers=headers, body=body), "op")

    assert str(error).startswith("op: ")
    assert error.code
    assert error.retry_after is None or 0 <= error.retry_after <= 1e12
    server_version(error.server_version)


@pytest.mark.parametrize(
    ("source", "version"),
    [
        ("capgo_api-prod-12.201.7", (12, 201, 7)),
        ("a-b-c-1.2.3", (1, 2, 3)),
        ("12.201.7", None),
        ("capgo_api-prod-12.201", None),
        ("capgo_api-prod-12.201.7-beta", None),
        (f"a-{'9' * 5000}.1.1", None),
        ("", None),
        (None, None),
    ],
)
def test_the_version_in_the_worker_source(source: str | None, version: tuple[int, int, int] | None) -> None:
    assert server_version(source) == version


@pytest.mark.parametrize(
    ("code", "more", "finding"),
    [
        ("error_inviting_user_to_organization", {"data": "NO_RIGHTS"}, "NO_RIGHTS"),
        ("invalid_body", {"error": "sanitized_name_empty"}, "sanitized_name_empty"),
        (
            "invalid_body",
            {"error": {"issues": [{"path": ["orgId"], "message": "Required"}, {"message": "x"}]}},
            "orgId: Required",
        ),
        ("invalid_body", {"error": {"issues": [{"path": [], "message": "Required"}]}}, "Required"),
        *(("invalid_body", {"error": {"issues": odd}}, "") for odd in ([], None, "x", [None], [{"message": 1}])),
        ("invalid_body", {"error": "a sentence that may hold anything"}, ""),
        ("invalid_body", {"error": "invalid_body", "data": ["x"]}, ""),
        ("invalid_body", {}, ""),
    ],
)
def test_an_error_tells_what_the_details_add(code: str, more: dict[str, Any], finding: str) -> None:
    error = error_of(answer(400, {"error": code, "message": "Refused", "moreInfo": more}), "the call")
    assert error.finding == finding
    assert str(error).startswith(f"the call: Refused{': ' if finding else ''}{finding} (HTTP 400")


@pytest.mark.parametrize(
    ("word", "advice"), [("ALREADY_INVITED", "does not change the role"), ("NO_EMAIL", "must sign up before")]
)
@pytest.mark.parametrize("generation", ["modern", "seed"])
def test_a_refused_invitation_says_what_to_do(word: str, advice: str, generation: str) -> None:
    body = {"error": "error_inviting_user_to_organization", "message": "Error", "moreInfo": {"data": word}}
    told = str(error_of(answer(400, body if generation == "modern" else {"status": "KO", "error": word}), "invite"))
    assert word in told
    assert advice in told
