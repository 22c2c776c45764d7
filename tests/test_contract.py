"""Every reference to the contract leads to a section that exists."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CONTRACT = ROOT / "capgo_async" / "api" / "contract.md"
READ = (
    "capgo_async/**/*.py",
    "tests/**/*.py",
    "benchmarks/**/*.py",
    "examples/**/*.py",
    "capgo_async/**/*.md",
    "*.md",
    ".github/*.md",
)

SECTION = r"(?:[A-Z]\d*(?:\.\d+)?|0\.\d)\b"
# A reference may be wrapped, also inside a comment: "(contract C6,\n    # C7)".
REFERENCE = re.compile(rf"\b[Cc]ontract\s+(?:#\s*)?({SECTION}(?:(?:,|,? and|,? or| to|-)\s*(?:#\s*)?{SECTION})*)")

# "contract B2, fact 1" is another way to write "contract B2.1".
ITEM = re.compile(rf"\b[Cc]ontract\s+({SECTION}),\s+(?:fact|steps?) (\d+)")


def sections(text: str) -> list[str]:
    """Return the sections that a reference can name: headings, numbered table rows and numbered items."""
    found, current = [], ""
    for line in text.splitlines():
        if heading := re.match(r"#+ ([A-K]\d*|0(?:\.\d)?)\.? ", line):
            current = heading[1]
            found.append(current)
        elif row := re.match(r"\| ([A-K]\d+'?) \|", line):
            found.append(row[1])
        elif item := re.match(r" *(\d+)\. ", line):
            found.append(f"{current}.{item[1]}")
    return found


def references(text: str) -> Iterator[str]:
    for reference in REFERENCE.finditer(text):
        yield from re.findall(SECTION, reference[1])
    for section, item in ITEM.findall(text):
        yield f"{section}.{item}"


TEXT = CONTRACT.read_text(encoding="utf-8")
SECTIONS = sections(TEXT)
FILES = sorted({path for pattern in READ for path in ROOT.glob(pattern)})


def leading_nowhere(text: str) -> set[str]:
    return set(references(text)) - set(SECTIONS)


def test_every_reference_leads_to_a_section() -> None:
    texts = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in FILES}
    assert sum(len(list(references(text))) for text in texts.values()) > 300, "the references are still recognised"
    assert {name: nowhere for name, text in texts.items() if (nowhere := leading_nowhere(text))} == {}


def test_a_reference_to_an_invented_item_is_noticed() -> None:
    fact = "(contract B2, fact"
    assert leading_nowhere(f"{fact} 7)") == set()
    assert leading_nowhere(f"{fact} 8)") == {"B2.8"}


@pytest.mark.parametrize("invented", ["C99", "D61", "B2.8", "L", "0.4", "A1, C99", "C1 to C99", "A2,\n    # C99"])
def test_a_reference_to_an_invented_section_is_noticed(invented: str) -> None:
    assert leading_nowhere(f"Why it is so (contract {invented}).") == {re.split(r"[\s#]", invented)[-1]}


def test_the_contract_refers_to_itself_correctly() -> None:
    prose = re.sub(r"```.*?```|`[^`]*`", "", TEXT, flags=re.DOTALL)
    named = set(re.findall(r"(?<![\w.-])[A-K]\d+(?:\.\d+)?(?![\w'])", prose))
    assert len(named) > 50
    assert named - set(SECTIONS) == set()


def test_no_section_of_the_contract_exists_twice() -> None:
    assert len(SECTIONS) == len(set(SECTIONS))


def test_the_files_that_the_contract_names_exist() -> None:
    named = re.findall(r"`((?:tests|capgo_async)/[\w/.]+)`", TEXT)
    assert len(named) >= 4
    assert [name for name in named if not (ROOT / name).exists()] == []
