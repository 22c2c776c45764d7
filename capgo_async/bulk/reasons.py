"""Why a line of JSON is no row, in words: msgspec speaks of types and paths."""

import re
from collections.abc import Mapping
from typing import Final

import msgspec

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
    "object keys must be strings": "a name without double quotation marks",
    "trailing comma in object": "a comma behind the last value",
    "trailing comma in array": "a comma behind the last value",
    "invalid character": "a character that cannot be there",
    "trailing characters": "more after its end",
}


def in_words(error: msgspec.DecodeError, line: bytes) -> str:
    """Return what is wrong with a line of JSON, for whoever mends it; in msgspec's words where it says something new."""
    text = str(error)
    if not isinstance(error, msgspec.ValidationError):
        if found := _MALFORMED.fullmatch(text):
            column = len(line[: int(found["place"])].decode("utf-8", "replace")) + 1
            return f"not JSON: {_CLEARER.get(found['what'], found['what'])}, at column {column}"
        return "not JSON: it ends too early" if "truncated" in text else f"not JSON: {text}"
    if found := _MISSING.fullmatch(text):
        return f"there is no {found['column']}"
    if found := _WRONG_TYPE.fullmatch(text):
        got, wanted = _WORDS.get(found["got"], found["got"]), _WORDS.get(found["wanted"], found["wanted"])
        return f"{found['column'] or 'the line'} is {got}, not {wanted}"
    what, _, where = text.partition(" - at `$")
    return f"{where.strip('.`') or 'the line'}: {what[0].lower()}{what[1:]}"
