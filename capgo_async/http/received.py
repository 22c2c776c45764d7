"""What calls receive, for those who want to see it as it came."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from .wire import Response


class RawResponse(Response, frozen=True, kw_only=True, gc=False):
    """A response with the call that received it.

    `operation` names the call, and `request_id` is the id that was sent with the request. `attempts` is how many attempts the
    call has made until then, with this one and without those that a limit refused. `waited` is for how many seconds the call
    has waited until then for limits and before retries. `seconds` is how long this attempt took.
    """

    operation: str
    request_id: str
    attempts: int
    waited: float
    seconds: float

    def __repr__(self) -> str:
        """Leave out the body, which may contain a new key."""
        return f"RawResponse({self.operation}: status={self.status}, {len(self.body)} bytes, request_id={self.request_id!r})"


CAPTURED: ContextVar[list[RawResponse] | None] = ContextVar("captured", default=None)
"""The list of the innermost block of `raw_responses`."""


@contextmanager
def raw_responses() -> Iterator[list[RawResponse]]:
    """Collect every response in this block, including data for which the models have no field.

    Responses to tasks that the block starts are collected, too, and so are those of refused and retried attempts, in the order
    in which they arrive. A response that several blocks enclose goes to the innermost one.

        with raw_responses() as responses:
            app = await capgo.apps.get("com.example.app")
        responses[-1].json(), responses[-1].headers["date"], responses[-1].attempts
    """
    captured: list[RawResponse] = []
    token = CAPTURED.set(captured)
    try:
        yield captured
    finally:
        CAPTURED.reset(token)
