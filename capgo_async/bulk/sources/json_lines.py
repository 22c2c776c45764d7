"""Parses JSON Lines."""

import operator
import re
from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from ..operations.forms import decoder_of
from ..operations.operations import Row
from ..operations.reasons import Cause, Reason
from .blocks import Block
from .lines import LONGEST_LINE, Lines, line_fault
from .rows import Asked

_WORDS: Final[Mapping[str, str]] = {
    "int": "a number",
    "float": "a number",
    "bool": "true or false",
    "null": "null",
    "array": "a list",
    "object": "an object",
    "str": "text",
}
_WRONG_TYPE: Final = re.compile(r"Expected `(?P<wanted>\w+)[^`]*`, got `(?P<got>\w+)`(?: - at `\$\.(?P<column>.+)`)?")
_MISSING: Final = re.compile(r"Object missing required field `(?P<column>.+)`")
_MALFORMED: Final = re.compile(r"JSON is malformed: (?P<what>.*) \(byte (?P<place>\d+)\)")
_CLEARER: Final[Mapping[str, str]] = {
    "object keys must be strings": "a key without double quotes",
    "trailing comma in object": "a comma after the last value",
    "trailing comma in array": "a comma after the last value",
    "invalid character": "unexpected character",
    "trailing characters": "text after the object",
}


def json_rows(lines: Lines, asked: Asked, block: bytes, number: int) -> Iterator[Block]:
    """Yield the rows of a JSON Lines file; `block` is its first, starting with line `number`."""
    asked, remark = _as_found(asked, next(filter(bytes.strip, block.splitlines()), b""))
    if remark is not None:
        yield Block(remarks=(f"{lines.name}: {remark}",))
    form = asked.form
    decode = decoder_of(form.columns, asked.layout.names(form)).decode
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
                bad.append(Row(line, None, _fault_of(error, text)))
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


def _as_found(asked: Asked, first: bytes) -> tuple[Asked, str | None]:
    """Return what is asked of a file with this first line, and a remark on it."""
    try:
        keys = frozenset(msgspec.json.decode(first, type=dict[str, msgspec.Raw]))
    except (msgspec.DecodeError, RecursionError):
        return asked, None
    forms = asked.layout.forms(asked.form)
    form = next((form for form in forms if asked.layout.names(form)[0] in keys), forms[0])
    return asked._replace(form=form).of_file(keys)


def _fault_of(error: msgspec.DecodeError, line: bytes) -> Reason:
    """Return what is wrong with a line of JSON, in msgspec's words if they are clear."""
    text = str(error)  # msgspec's errors differ only in their text
    if found := _MISSING.fullmatch(text):
        return Reason(Cause.MISSING_VALUE, (found["column"],))
    if found := _WRONG_TYPE.fullmatch(text):
        got, wanted = _WORDS.get(found["got"], found["got"]), _WORDS.get(found["wanted"], found["wanted"])
        return Reason(Cause.WRONG_TYPE, (found["column"] or "the line", got, wanted))
    if found := _MALFORMED.fullmatch(text):
        column = len(line[: int(found["place"])].decode("utf-8", "replace")) + 1
        return Reason(Cause.NOT_JSON, (_CLEARER.get(found["what"], found["what"]),), (column,))
    return Reason(Cause.NOT_JSON, ("the line is cut off" if "truncated" in text else text,))
