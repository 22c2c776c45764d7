"""Why a line of JSON is not a row. msgspec's errors differ only in their text, so this reads it."""

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from ..operations.reasons import Cause, Reason

_WORDS: Final[Mapping[str, str]] = {
    "int": "a number",
    "float": "a number",
    "bool": "true or false",
    "null": "null",
    "array": "a list",
    "object": "an object",
    "str": "text",
}
_WRONG_TYPE: Final = re.compile(r"Expected `(?P<wanted>\w+)[^`]*`, got `(?P<got>\w+)`(?: - at `\$\.(?P<column>\w+)`)?")
_MISSING: Final = re.compile(r"Object missing required field `(?P<column>\w+)`")
_MALFORMED: Final = re.compile(r"JSON is malformed: (?P<what>.*) \(byte (?P<place>\d+)\)")
_CLEARER: Final[Mapping[str, str]] = {
    "object keys must be strings": "a key without double quotes",
    "trailing comma in object": "a comma after the last value",
    "trailing comma in array": "a comma after the last value",
    "invalid character": "unexpected character",
    "trailing characters": "text after the object",
}


def fault_of(error: msgspec.DecodeError, line: bytes) -> Reason:
    """Return what is wrong with a line of JSON, in msgspec's words if they are clear."""
    text = str(error)
    if found := _MISSING.fullmatch(text):
        return Reason(Cause.MISSING_VALUE, (found["column"],))
    if found := _WRONG_TYPE.fullmatch(text):
        got, wanted = _WORDS.get(found["got"], found["got"]), _WORDS.get(found["wanted"], found["wanted"])
        return Reason(Cause.WRONG_TYPE, (found["column"] or "the line", got, wanted))
    if found := _MALFORMED.fullmatch(text):
        column = len(line[: int(found["place"])].decode("utf-8", "replace")) + 1
        return Reason(Cause.NOT_JSON, (_CLEARER.get(found["what"], found["what"]),), (column,))
    return Reason(Cause.NOT_JSON, ("the line is cut off" if "truncated" in text else text,))
