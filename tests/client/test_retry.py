"""What each error means for the call that met it: every row of contract A8, A9 and G1."""

import pytest
from hypothesis import given, strategies as st

from capgo_async import errors
from capgo_async.http.retry import TABLE, Disposition, Repeat, backoff, is_ambiguous, judge, may_repeat
from capgo_async.http.wire import Response, encode, error_of
from capgo_async.limits.models import ScopeKind

RETRY, CLOSE, STOP, FAIL = Disposition.RETRY, Disposition.CLOSE_SCOPE, Disposition.STOP_KEY, Disposition.FAIL


def api(status: int, body: object, **headers: str) -> errors.ApiError:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return error_of(Response(status=status, headers=named, body=body if isinstance(body, bytes) else encode(body)), "op")


def limit(code: str = "too_many_requests", retry_after: str = "", **more: object) -> errors.ApiError:
    headers = {"retry_after": retry_after} if retry_after else {}
    return api(429, {"error": code, "message": "Too many requests", "moreInfo": more}, **headers)


KEY, APP, DEVICE = ScopeKind.KEY, ScopeKind.APP_ADDRESS, ScopeKind.DEVICE_CHANNEL

VARIANTS_OF_429 = [
    (limit(reason="api_key_rate_limit_exceeded", apikey_id=1, retry_after="60"), CLOSE, KEY, 60.0, True),
    (limit(reason="api_key_upload_rate_limit_exceeded", retry_after="60"), CLOSE, KEY, 60.0, True),
    (limit(reason="ip_rate_limit_exceeded", app_id="a.b", retry_after="7"), CLOSE, APP, 7.0, True),
    (limit(app_id="a.b", device_id="d", retry_after="1"), CLOSE, DEVICE, 1.0, True),
    (limit(app_id="a.b", device_id="d", retry_after="0"), CLOSE, DEVICE, 0.25, True),
    (limit(app_id="a.b", device_id="d"), CLOSE, DEVICE, 60.0, True),
    (limit("on_premise_app", retry_after="60"), FAIL, None, 60.0, True),
    (limit("provider_infrastructure_request_blocked"), FAIL, None, 60.0, True),
    (limit("need_plan_upgrade"), FAIL, None, 60.0, True),
    (limit("native_build_concurrency_limit_exceeded", retry_after="5"), FAIL, None, 5.0, True),
    (limit("rate_limited"), CLOSE, KEY, 60.0, False),
    (api(429, {"error": "you are beeing rate limited"}), CLOSE, KEY, 60.0, False),
    (api(429, b"error code: 1015"), CLOSE, KEY, 60.0, False),
    (api(429, b"<html>"), CLOSE, KEY, 60.0, False),
    (api(429, b"<html>", retry_after="30"), CLOSE, KEY, 30.0, False),
    (limit("a_new_word", retry_after="9"), CLOSE, KEY, 9.0, False),
    (limit("a_new_word", retryAfterSeconds=9), CLOSE, KEY, 9.0, False),
    (limit("a_new_word"), FAIL, None, 60.0, True),
    (limit(reason="a_new_reason"), FAIL, None, 60.0, True),
    (limit(reason="a_new_reason", retry_after="4"), CLOSE, KEY, 4.0, False),
    (limit(reason="a_new_reason", retry_after="0.5"), CLOSE, KEY, 0.5, False),
    (limit(reason="a_new_reason", retry_after="-20"), CLOSE, KEY, 0.25, False),
    (limit(app_id="a.b", device_id="d", retry_after="86400"), CLOSE, DEVICE, 900.0, True),
]


def test_a_rest_that_is_longer_than_any_limit_is_not_believed() -> None:
    assert judge(limit(reason="ip_rate_limit_exceeded", retry_after="900")).asked is None
    decision = judge(limit(reason="ip_rate_limit_exceeded", retry_after="901"))
    assert (decision.seconds, decision.asked) == (900.0, 901.0)


@pytest.mark.parametrize(("error", "disposition", "scope", "seconds", "known"), VARIANTS_OF_429, ids=lambda v: str(v)[:60])
def test_every_variant_of_429(
    error: errors.ApiError,
    disposition: Disposition,
    scope: ScopeKind | None,
    seconds: float,
    known: bool,  # noqa: FBT001 - by name
) -> None:
    assert isinstance(error, errors.RateLimited)
    assert judge(error)[:4] == (disposition, scope, seconds, known)
    assert not may_repeat(error, Repeat.HARMLESS)
    assert not is_ambiguous(error)


OTHERS: list[tuple[errors.CapgoError, Disposition, bool]] = [
    (api(429, {"error": "too_many_requests", "moreInfo": {"reason": "too_many_failed_auth_attempts"}}), STOP, False),
    (api(401, {"error": "invalid_apikey", "message": "Invalid apikey"}), STOP, False),
    (api(500, {"status": "Internal Server Error", "error": "{}", "message": "Invalid apikey"}), STOP, False),
    (api(401, {"error": "cannot_access_app"}), FAIL, False),
    (api(400, {"error": "missing_app_id"}), FAIL, False),
    (api(402, {"error": "subscription_required"}), FAIL, False),
    (api(404, {"error": "channel_not_found"}), FAIL, False),
    (api(409, {"error": "app_id_already_exists"}), FAIL, False),
    (api(301, b""), FAIL, False),
    (api(200, {"status": "KO", "error": "no"}), FAIL, False),
    (api(408, b""), RETRY, False),
    (api(500, {"error": "unknown_error"}), RETRY, True),
    (api(502, b"<html>"), RETRY, True),
    (api(503, b""), RETRY, True),
    (api(504, b""), RETRY, True),
    (api(522, b"<html>"), RETRY, True),
    (errors.NotConnected("no"), RETRY, False),
    (errors.ConnectionLost("lost"), RETRY, True),
    (errors.TimedOut("late"), RETRY, True),
    (errors.UnreadableAnswer("what"), RETRY, True),
    (errors.ConfigurationError("wrong"), FAIL, False),
    (errors.ListingError("no"), FAIL, False),
    (errors.CapgoError("no"), FAIL, False),
]


@pytest.mark.parametrize(("error", "disposition", "ambiguous"), OTHERS, ids=lambda v: str(v)[:60])
def test_every_other_error(error: errors.CapgoError, disposition: Disposition, ambiguous: bool) -> None:  # noqa: FBT001 - by name
    assert judge(error).disposition is disposition
    assert is_ambiguous(error) is ambiguous
    assert may_repeat(error, Repeat.HARMLESS) is (disposition is RETRY)
    assert may_repeat(error, Repeat.NEVER) is (disposition is RETRY and not ambiguous)


def test_each_rule_of_the_table_decides_something() -> None:
    met = [*(row[0] for row in VARIANTS_OF_429), *(row[0] for row in OTHERS)]
    deciding = {next((rule.meaning for rule in TABLE if rule.fits(error)), None) for error in met}

    assert deciding == {*(rule.meaning for rule in TABLE), None}


@given(attempts=st.integers(0, 1000), chance=st.floats(0, 1))
def test_the_wait_grows_to_30_seconds_and_chance_takes_up_to_half(attempts: int, chance: float) -> None:
    longest = backoff(attempts, 0.0)

    assert longest / 2 <= backoff(attempts, chance) <= longest <= 30.0
    assert backoff(attempts + 1, 0.0) == min(30.0, longest * (2 if attempts else 1))


def test_the_first_wait() -> None:
    assert [backoff(attempts, 0.0) for attempts in range(1, 9)] == [0.5, 1, 2, 4, 8, 16, 30, 30]
