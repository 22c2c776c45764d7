"""The validator of the organization routes, and the messages of its two generations (contract A6, H3)."""

import re
from collections.abc import Callable, Iterable, Mapping
from html import unescape
from typing import Final

import msgspec
from msgspec import UNSET

from .exchange import Refusal

Issue = dict[str, object]
Rule = Callable[[object], Issue | None]

# Part of the response, so it keeps the server's spelling; the expression below does the matching.
_PATTERN: Final = r"/^(?:[A-Za-z0-9_'+\-]+\.)*[A-Za-z0-9_'+\-]*[A-Za-z0-9_+-]@(?:[A-Za-z0-9][A-Za-z0-9\-]*\.)+[A-Za-z]{2,}$/"
_EMAIL: Final = re.compile(
    r"(?:[A-Za-z0-9_'+\-]+\.)*[A-Za-z0-9_'+\-]*[A-Za-z0-9_+-]@(?:[A-Za-z0-9][A-Za-z0-9\-]*\.)+[A-Za-z]{2,}"
)
_TAG: Final = re.compile(r"<[^>]*>")


def validate(parameters: object, shape: Mapping[str, Rule]) -> dict[str, object]:
    """Check parameters against a shape and return the known ones; all complaints go into one refusal."""
    if not isinstance(parameters, dict):
        raise invalid_body({"issues": [_wrong_type("object", parameters) | {"path": []}], "name": "SchemaError"})
    issues: list[Issue] = []
    for name, rule in shape.items():
        issue = rule(parameters.get(name, UNSET))
        if issue is not None:
            message = issue.pop("message")
            issues.append({**issue, "path": [name], "message": message})
    if issues:
        raise invalid_body({"issues": issues, "name": "SchemaError"})
    return {name: parameters[name] for name in shape if name in parameters}


def invalid_body(error: object) -> Refusal:
    return Refusal(400, "invalid_body", "Invalid body", {"error": error})


def optional(rule: Rule) -> Rule:
    """Allow a parameter to be absent."""
    return lambda value: None if value is UNSET else rule(value)


def nullable(rule: Rule) -> Rule:
    """Allow a parameter to be absent or null."""
    return lambda value: None if value is UNSET or value is None else rule(value)


def text(*, shortest: int = 0) -> Rule:
    def rule(value: object) -> Issue | None:
        if not isinstance(value, str):
            return _wrong_type("string", value)
        if len(value) >= shortest:
            return None
        sentence = f"Too small: expected string to have >={shortest} characters"
        return {"origin": "string", "code": "too_small", "minimum": shortest, "inclusive": True, "message": sentence}

    return rule


def email(value: object) -> Issue | None:
    if not isinstance(value, str):
        return _wrong_type("string", value)
    if _EMAIL.fullmatch(value):
        return None
    form = {"origin": "string", "code": "invalid_format", "format": "email", "pattern": _PATTERN}
    return {**form, "message": "Invalid email address"}


def flag(value: object) -> Issue | None:
    return None if isinstance(value, bool) else _wrong_type("boolean", value)


def number(value: object) -> Issue | None:
    return None if isinstance(value, int | float) and not isinstance(value, bool) else _wrong_type("number", value)


def whole(*, least: int | None = None, most: int | None = None) -> Rule:
    def rule(value: object) -> Issue | None:
        issue = number(value)
        if issue is not None:
            return issue
        if not isinstance(value, int):
            return {"expected": "int", "format": "safeint", "code": "invalid_type", "message": "Invalid input: expected int"}
        if least is not None and value < least:
            limits: Issue = {"origin": "number", "code": "too_small", "minimum": least, "inclusive": True}
            return {**limits, "message": f"Too small: expected number to be >={least}"}
        if most is not None and value > most:
            limits = {"origin": "number", "code": "too_big", "maximum": most, "inclusive": True}
            return {**limits, "message": f"Too big: expected number to be <={most}"}
        return None

    return rule


def number_or_digits(value: object) -> Issue | None:
    """Require a number, or a string of digits as queries carry it."""
    if isinstance(value, str) and value.isascii() and value.isdecimal():
        return None
    return number(value)


def one_of(words: Iterable[str]) -> Rule:
    known = list(words)

    def rule(value: object) -> Issue | None:
        if isinstance(value, str) and value in known:
            return None
        listed = "|".join(f'"{word}"' for word in known)
        return {"code": "invalid_value", "values": known, "message": f"Invalid option: expected one of {listed}"}

    return rule


def record(shape: Mapping[str, Rule]) -> Rule:
    """Require an object of a shape; only the first of its complaints is reported."""

    def rule(value: object) -> Issue | None:
        if not isinstance(value, dict):
            return _wrong_type("object", value)
        return next((issue for name, inner in shape.items() if (issue := inner(value.get(name, UNSET)))), None)

    return rule


def without_tags(value: str) -> str:
    """Strip HTML and surrounding space from a name."""
    return _TAG.sub("", unescape(value)).strip()


def seed_complaint(refusal: Refusal) -> str:
    """Return a refusal's complaints in the wording of the seed era's validator."""
    error = refusal.more["error"]
    issues = error["issues"] if isinstance(error, dict) else []
    told = [_seed_issue(issue) for issue in issues]
    return msgspec.json.format(msgspec.json.encode(told), indent=2).decode()


def _seed_issue(issue: Issue) -> Issue:
    if issue["code"] == "invalid_format":
        return {"validation": "email", "code": "invalid_string", "message": "Invalid email", "path": issue["path"]}
    if issue["code"] != "invalid_type":
        return issue
    expected, received = issue["expected"], str(issue["message"]).split()[-1]
    sentence = "Required" if received == "undefined" else f"Expected {expected}, received {received}"
    return {
        "code": "invalid_type",
        "expected": expected,
        "received": received,
        "path": issue["path"],
        "message": sentence,
    }


def _wrong_type(expected: str, value: object) -> Issue:
    names = {bool: "boolean", str: "string", int: "number", float: "number", list: "array", dict: "object"}
    received = "undefined" if value is UNSET else "null" if value is None else names[type(value)]
    sentence = f"Invalid input: expected {expected}, received {received}"
    return {"expected": expected, "code": "invalid_type", "message": sentence}
