"""Exceptions survive pickle, copy and a process pool with all that they say."""

import copy
import inspect
import multiprocessing
import pickle
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import pytest
from tables import on_each

from capgo_async import errors

SAMPLES: dict[str, Any] = {
    "message": "what happened",
    "danger": "All would be deleted.",
    "confirm": "com.example.app",
    "problem": errors.Problem.NO_HEADER,
    "status": 429,
    "code": "too_many_requests",
    "details": {"reason": "limit", "more": [1, {"a": None}]},
    "request_id": "request-1",
    "server_version": "v12",
    "retry_after": 2.5,
    "operation": "list devices",
    "body": b'{"error": "x"}',
    "row": 3,
    "field": "device_id",
    "rejected": ((2, "no_app", "no app_id"), (9, "blank", "blank")),
    "count": 2,
    "good": 7,
    "until": 1234.5,
    "written": True,
    "limit": "key",
    "app": "com.example.app",
    "seconds": 61.5,
}
"""A value of each parameter that exceptions take."""


def kinds(base: type[errors.CapgoError] = errors.CapgoError) -> Iterator[type[errors.CapgoError]]:
    yield base
    for kind in base.__subclasses__():
        if kind.__module__ == errors.__name__:
            yield from kinds(kind)


def made(kind: type[errors.CapgoError]) -> errors.CapgoError:
    """Return an exception with a value in every parameter, and in the fields that are set later."""
    parameters = inspect.signature(kind).parameters.values()
    given = {each.name: SAMPLES[each.name] for each in parameters if each.kind is not inspect.Parameter.VAR_POSITIONAL}
    takes_any = any(each.kind is inspect.Parameter.VAR_POSITIONAL for each in parameters)
    positional = ["what happened"] if takes_any else []
    error = kind(*positional, **given)
    if hasattr(error, "hint"):
        error.hint = "The channel was created."
    if isinstance(error, errors.UnreadableAnswer):
        error.name = "device_id d2"
    error.add_note("seen by a test")
    return error


EXCEPTIONS = [made(kind) for kind in dict.fromkeys(kinds())]


def told(error: BaseException) -> tuple[object, ...]:
    return type(error), str(error), error.args, vars(error)


def pickled(error: errors.CapgoError) -> errors.CapgoError:
    again: errors.CapgoError = pickle.loads(pickle.dumps(error))
    return again


@on_each(
    EXCEPTIONS, [pickled, copy.copy, copy.deepcopy], name=lambda error, travel: f"{type(error).__name__}, {travel.__name__}"
)
def test_an_exception_keeps_all_its_fields(
    error: errors.CapgoError, travel: Callable[[errors.CapgoError], errors.CapgoError]
) -> None:
    assert told(travel(error)) == told(error)


@pytest.mark.slow
def test_a_process_pool_raises_them_as_they_were() -> None:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        for error in EXCEPTIONS:
            raised = pool.submit(exec, "raise error", {"error": error}).exception()

            assert raised is not None
            assert told(raised)[:2] == told(error)[:2]
            assert vars(error).items() <= vars(raised).items()
