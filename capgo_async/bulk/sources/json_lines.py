"""Parses JSON Lines."""

import operator
from collections.abc import Iterator

import msgspec

from ..operations.forms import decoder_of
from ..operations.operations import Row
from ..operations.reasons import Cause, Reason
from .blocks import Block
from .json_faults import fault_of
from .lines import LONGEST_LINE, Lines, line_fault
from .rows import Asked


def json_rows(lines: Lines, asked: Asked, block: bytes, number: int) -> Iterator[Block]:
    """Yield the rows of a JSON Lines file; `block` is its first, starting with line `number`."""
    form = asked.form
    decode = decoder_of(form.columns).decode
    texts_of = operator.attrgetter(*form.columns)
    while block:
        clean = len(block) <= LONGEST_LINE and not line_fault(block, number)
        texts = block.splitlines(keepends=True)
        good: list[tuple[int, str, str, str]] = []
        bad: list[Row] = []
        for line, text in enumerate(texts, number):
            if text.isspace():
                continue
            if not clean and (fault := line_fault(text, line)):
                bad.append(Row(line, None, fault))
                continue
            try:
                name, app_id, *argument = texts_of(decode(text))
            except msgspec.DecodeError as error:
                bad.append(Row(line, None, fault_of(error, text)))
            except RecursionError:
                bad.append(Row(line, None, Reason(Cause.NOT_JSON, ("nested too deeply",))))
            else:
                good.append((line, name, app_id or "", (argument and argument[0]) or ""))
        if good:
            found, *columns = map(list, zip(*good, strict=True))
            in_row = len(good) == len(texts)
            rows = asked.block(range(number, number + len(texts)) if in_row else found, *columns)
            yield Block(rows.columns, [*rows.rows, *bad])
        else:
            yield Block(rows=bad)
        number += len(texts)
        block = lines.block()
