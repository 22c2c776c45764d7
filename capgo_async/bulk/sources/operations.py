"""A source of operations from memory."""

import hashlib
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable, Iterator
from contextlib import aclosing

import msgspec
from anyio import lowlevel

from ...http.wire import plain
from ..operations.forms import form_of
from ..operations.operations import Operation, Row
from .blocks import BATCH, check_size, known_digest, read_once
from .rows import Asked


class Operations:
    """Operations from the caller. The iterable runs in the caller's thread."""

    def __init__(self, operations: Iterable[Operation] | AsyncIterable[Operation], name: str) -> None:
        self.name = name
        self.asked: dict[str, str | None] = {}
        self._operations = operations
        self._spent = False
        self._digest: str | None = None

    @property
    def digest(self) -> str:
        return known_digest(self.name, self._digest)

    async def batches(self, size: int = BATCH) -> AsyncIterator[list[Row]]:
        check_size(size)
        if self._spent:
            raise read_once(self.name)
        self._spent = isinstance(self._operations, Iterator | AsyncIterator)
        self._digest = None
        sha256 = hashlib.sha256()
        encode = msgspec.json.Encoder(enc_hook=plain).encode
        line = 0
        batch: list[Row] = []
        async with aclosing(_each(self._operations)) as operations:
            async for operation in operations:
                line += 1
                (form, argument), target = form_of(operation), operation.target
                row = Asked(form).row(line, target.name, target.app_id, argument)
                sha256.update(encode(row))
                batch.append(row)
                if len(batch) == size:
                    await lowlevel.checkpoint()
                    yield batch
                    batch = []
        if batch:
            yield batch
        self._digest = sha256.hexdigest()


async def _each(operations: Iterable[Operation] | AsyncIterable[Operation]) -> AsyncGenerator[Operation, None]:
    if isinstance(operations, AsyncIterable):
        async for operation in operations:
            yield operation
    else:
        for operation in operations:
            yield operation
