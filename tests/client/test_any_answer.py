"""Whatever a server answers ends in a model or an error of ours; what later servers add does no harm."""

import json
from collections.abc import Iterator, Sequence
from operator import attrgetter
from typing import Any

import pytest
from client.test_recorded import SUCCESSES, assert_same, name_of, reader_of, told
from conformance.exchanges import Generation, Row
from conformance.rows import ROWS
from hypothesis import HealthCheck, given, settings, strategies as st
from scripted import Answer, ScriptedTransport, answer, refusal
from tables import on_each

from capgo_async import CapgoClient, errors, raw_responses
from capgo_async.http.wire import Response
from capgo_async.sandbox.virtual_time import run_in_virtual_time

KEY = "9f86d081-884c-4d65-9a2f-eaa0c55ad015"
BY_CALL = {f"{row.method} · {row.http}": row for row in ROWS}
CALLS = {name: row for name, row in BY_CALL.items() if "?" not in row.http or row.method == "channels.get"}
"""Rows that read their answers in a way of their own."""

END = answer(400, {"error": "the_end", "message": "The end", "moreInfo": {}})


def call(row: Row, answers: Sequence[Answer], **options: Any) -> Any:
    async def main() -> Any:
        transport = ScriptedTransport(*answers, last=END)
        every: dict[str, Any] = {"api_key": KEY, "base_url": "https://capgo.test", "rate": "off", "transport": transport}
        async with CapgoClient(**every, **options) as capgo:
            with raw_responses() as captured:
                return await row.call(capgo), captured

    return run_in_virtual_time(main())


def paths_of(value: object, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    children: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, child in children:
        yield from paths_of(child, (*path, step))


def with_replaced(value: Any, path: tuple[Any, ...], new: object) -> Any:
    if not path:
        return new
    copy = value.copy()
    copy[path[0]] = with_replaced(value[path[0]], path[1:], new)
    return copy


NAMES = [
    *("app_id", "apikey", "bundle", "byApp", "data", "datasets", "date", "device_id", "email", "error", "global", "hasMore"),
    *("id", "labels", "message", "moreInfo", "name", "nextCursor", "owner_org", "reason", "retryAfterSeconds", "role"),
    *("rollout_version", "statistics", "status", "success", "supabaseError", "total", "version"),
]
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=8,
)
statuses = st.sampled_from([200, 200, 200, 200, 200, 204, 301, 400, 400, 401, 403, 404, 409, 422, 429, 500, 503])
texts = st.sampled_from([b"", b"null", b"\xff\xfe", b'{"id":', b"[" * 5000, b'"\\ud800"', b"<html>", b'{"id": 1e999}', b"NaN"])


def raw(value: object) -> bytes:
    return json.dumps(value).encode()


def answers_like(row: Row) -> st.SearchStrategy[list[Answer]]:
    """Return the answers of one of the row's generations, some of them spoilt."""

    def spoilt(response: Response) -> st.SearchStrategy[Answer]:
        anything = st.builds(
            lambda status, body: Response(status=status, headers=response.headers, body=body),
            statuses,
            values.map(raw) | st.binary(max_size=40) | texts,
        )
        try:
            body = json.loads(response.body)
        except ValueError:
            return anything
        nearly = st.builds(
            lambda status, path, new: Response(
                status=status, headers=response.headers, body=raw(with_replaced(body, path, new))
            ),
            st.just(response.status) | statuses,
            st.sampled_from(list(paths_of(body))),
            values,
        )
        return st.just(response) | nearly | nearly | anything | st.just(refusal("api_key_rate_limit_exceeded", retry_after=1))

    def of(generation: Generation) -> st.SearchStrategy[list[Answer]]:
        return st.tuples(*(spoilt(exchange.answer) for exchange in generation.exchanges)).map(list)

    return st.sampled_from(list(row.generations)).flatmap(of)


@pytest.mark.slow
@pytest.mark.parametrize("name", CALLS)
@settings(max_examples=10, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_answer_ends_in_a_model_or_an_error_of_ours(name: str, data: st.DataObject) -> None:
    row = CALLS[name]
    answers = data.draw(answers_like(row))
    expected = type(row.found)
    try:
        found, _ = call(row, answers, retries=0)
    except errors.CapgoError as error:
        assert KEY not in repr(error) + str(error)  # noqa: PT017 - a model is as good
    else:
        assert isinstance(found, expected | None if name.startswith("bundles.find") else expected)


@on_each(CALLS, ["KO", "ko"], name="{}, {}".format)
def test_a_200_that_says_ko_is_an_error_whatever_else_it_says(name: str, word: str) -> None:
    row = CALLS[name]
    first = row.generations[0]
    at = row.refused % len(first.exchanges)
    answers = [exchange.answer for exchange in first.exchanges]
    body = json.loads(answers[at].body) if answers[at].body.startswith(b"{") else {}
    says_no = {**body, "status": word, "error": "Not today", "message": None}
    answers[at] = Response(status=200, headers=answers[at].headers, body=raw(says_no))

    with pytest.raises(errors.InvalidRequest, match="Not today"):
        call(row, answers, retries=0, **first.options)


# What later servers add

NEW_FIELD = "x_hologram"
ENUMERATIONS = {
    *("actor_type", "autoPauseAction", "disableAutoUpdate", "intent", "label", "mode", "operation", "platform", "role"),
    *("storage_provider", "table_name", "updatePackage"),
}
FREE = {"manifest", "native_packages", "new_record", "old_record", "transfer_history"}
"""Fields that hold whatever the server likes, and are handed on as they are."""


def grown(value: Any, new: object, word: str | None = None) -> Any:
    """Return a body with a field that nobody knows in every object, and `word` in every enumeration."""
    if isinstance(value, list):
        return [grown(one, new, word) for one in value]
    if not isinstance(value, dict):
        return value
    fields = {
        name: word
        if word is not None and name in ENUMERATIONS and isinstance(one, str)
        else one
        if name in FREE
        else grown(one, new, word)
        for name, one in value.items()
    }
    return {**fields, NEW_FIELD: new}


def grown_line(line: dict[str, Any], new: object, word: str) -> dict[str, Any]:
    return {**line, "response": {**line["response"], "body": grown(line["response"]["body"], new, word)}}


def assert_read(line: dict[str, Any], other: dict[str, Any]) -> None:
    response = Response(status=200, headers=other["response"]["headers"], body=raw(other["response"]["body"]))
    found, expected = reader_of(line)(response, "the call"), told_like(line, other)
    if isinstance(found, dict):
        assert_same([found[name] for name in found], [expected[name] for name in found])
    else:
        assert_same(found, expected)


def told_like(line: dict[str, Any], other: dict[str, Any]) -> Any:
    # An acknowledgement has one key and is told by that: by the line as it was recorded.
    return None if told(line) is None else told(other)


@on_each(SUCCESSES, name=name_of)
def test_unknown_fields_and_words_do_no_harm_to_any_recorded_answer(line: dict[str, Any]) -> None:
    assert_read(line, grown_line(line, {"deep": [1, {}, None]}, "a word of next year"))


@pytest.mark.slow
@settings(max_examples=100, suppress_health_check=list(HealthCheck))
@given(line=st.sampled_from(SUCCESSES), new=values, word=st.text(min_size=1, max_size=12))
def test_whatever_they_are(line: dict[str, Any], new: object, word: str) -> None:
    assert_read(line, grown_line(line, new, word))


def knows(value: Any) -> bool:
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return (isinstance(value, dict) and NEW_FIELD in value) or any(knows(child) for child in children)


@on_each(BY_CALL)
def test_a_field_that_no_model_knows_is_in_the_raw_response(name: str) -> None:
    row = BY_CALL[name]
    for generation in row.generations:
        answers = [exchange.answer for exchange in generation.exchanges]
        if any(response.body[:1] not in (b"{", b"[") for response in answers):
            continue
        more = [
            Response(status=one.status, headers=one.headers, body=raw(grown(json.loads(one.body), {"new": True})))
            for one in answers
        ]
        expected = row.found if generation.found is ... else generation.found

        found, captured = call(row, more, retries=0, **generation.options)

        assert found == expected
        parts = attrgetter("status", "headers", "body")
        assert [*map(parts, captured)] == [*map(parts, more)]
        assert all(knows(one.json()) for one in captured if one.body != b"[]")
