"""The envelopes that some generations put around a list (contract D4)."""

from typing import Generic, TypeVar

import msgspec

T = TypeVar("T")


class Envelope(msgspec.Struct, Generic[T], frozen=True):
    """A value inside `{"data": ...}`."""

    data: T
