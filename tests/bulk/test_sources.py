"""The rules of reading, one table each; what holds for any file, as properties."""

import asyncio
import csv
import hashlib
import io
import os
import re
import sys
import threading
import unicodedata
from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given, settings, strategies as st

from capgo_async.bulk.operations.operations import LinkDevice, Operation, Row, UnlinkDevice
from capgo_async.bulk.sources.source import DeviceChange, Source, blocks_of, from_operations, read_operations
from capgo_async.errors import ConfigurationError, InputError, JobError

APP = "com.example.app"
KIB_64 = 65_536
MALFORMED = "app_id {!r} is not an app id such as com.example.app"
NO_APP = "no app_id in this row"
NO_CHANNEL = "no channel in this row"
NEVER_CLOSED = "a quoted field that begins here is not closed"
NO_PAIR = "unpaired quotation mark (after the broken quoted field on line {})"
NO_HEADER = "the first line must be a CSV header with a column device_id or custom_id, or a JSON object; it is"
DELIMITERS = "Columns are separated by commas, semicolons or tabs."
TOO_LONG = "longer than 64 KiB"


class Dribble(io.BytesIO):
    """Return at most `step` bytes a read, as a pipe may."""

    def __init__(self, data: bytes, step: int) -> None:
        super().__init__(data)
        self.step = step
        self.longest = 0

    def read(self, size: int | None = -1, /) -> bytes:
        assert size is not None
        assert size > 0
        self.longest = max(self.longest, size)
        return super().read(min(size, self.step))


async def rows_of(source: Source, size: int = 1000) -> list[Row]:
    rows: list[Row] = []
    async for batch in source.batches(size):
        assert 0 < len(batch) <= size
        rows += batch
    return rows


async def read(
    data: bytes, *, app_id: str | None = APP, channel: str | None = "beta", kind: DeviceChange = LinkDevice
) -> list[Row]:
    return await rows_of(read_operations(io.BytesIO(data), app_id=app_id, channel=channel, kind=kind))


def seen(rows: Iterable[Row]) -> list[tuple[int, str]]:
    """Show each row as its line and the device, or the reason why there is none."""
    return [(row.line, row.operation.target.name if row.operation else str(row.reason)) for row in rows]


def link(device_id: str, channel: str = "beta", app_id: str = APP) -> LinkDevice:
    return LinkDevice(app_id=app_id, device_id=device_id, channel=channel)


@pytest.mark.parametrize(
    ("data", "operations"),
    [
        pytest.param(b"device_id\nd1\nd2\n", [link("d1"), link("d2")], id="one column"),
        pytest.param(b"device_id\nd1\nd2", [link("d1"), link("d2")], id="last line without an end"),
        pytest.param(b"device_id\r\nd1\r\nd2\r\n", [link("d1"), link("d2")], id="CR LF"),
        pytest.param(b"device_id\rd1\rd2\r", [link("d1"), link("d2")], id="CR"),
        pytest.param(b"\xef\xbb\xbfdevice_id\nd1\n", [link("d1")], id="byte order mark"),
        pytest.param(b'\xef\xbb\xbf{"device_id":"d1"}\n', [link("d1")], id="byte order mark, JSON"),
        pytest.param(b" Device_ID , CHANNEL,App_Id\nd1\n", [link("d1")], id="header in any case, padded"),
        pytest.param(b"name,device_id,os\nAnn,d1,ios\n", [link("d1")], id="other columns"),
        pytest.param(b"device_id;channel\nd1;beta\n", [link("d1")], id="semicolons"),
        pytest.param(b"device_id\tchannel\nd1\tbeta\n", [link("d1")], id="tabs"),
        pytest.param(b"channel\tdevice_id\n\td1\n", [link("d1")], id="tabs, empty first cell"),
        pytest.param(b'"device_id";"a,b"\nd1;x\n', [link("d1")], id="semicolons, a quoted comma"),
        pytest.param(b"device_id\n  AbC-1\t\n", [link("abc-1")], id="ids are stripped and lower-cased"),
        pytest.param("device_id\nÄé\n".encode(), [link("äé")], id="UTF-8"),
        pytest.param(b"device_id,channel\nd1,\nd2\nd3, \n", [link("d1"), link("d2"), link("d3")], id="empty cells"),
        pytest.param(b'device_id,channel\n"d,1","beta"\n', [link("d,1")], id="quoted comma"),
        pytest.param(b'device_id,channel\n"d""1", "beta"\n', [link('d"1')], id="quoted mark, space before a quote"),
        pytest.param(b'device_id\nd"5\n', [link('d"5')], id="a mark inside a plain cell"),
        pytest.param(b'note,device_id\n"a\nb\r\nc",d1\nx,d2\n', [link("d1"), link("d2")], id="quoted line ends"),
        pytest.param(b'"no\nte",device_id\nx,d1\n', [link("d1")], id="quoted line end in the header"),
        pytest.param(b"G\xe4,device_id\nx,d1\n", [link("d1")], id="Latin-1 in the name of another column"),
        pytest.param(b'{"device_id":"D1","app_id":null,"channel":"","x":[1]}', [link("d1")], id="JSON"),
        pytest.param(b'\n \r\n {"device_id":"d1"}\r\n\n{"device_id":"d2"}', [link("d1"), link("d2")], id="JSON, blanks"),
        pytest.param(b'{"device_id":"\\ud83d\\ude00"}', [link("\U0001f600")], id="JSON escapes"),
    ],
)
async def test_what_is_read(data: bytes, operations: list[Operation]) -> None:
    assert [row.operation for row in await read(data)] == operations


@pytest.mark.parametrize(
    ("data", "in_columns"),
    [
        pytest.param(b"device_id\nD1\n d2 \n", 2, id="one column"),
        pytest.param(b"device_id,app_id,channel\nd1,com.example.app,beta\nd2,,\n", 2, id="three columns"),
        pytest.param(b'{"device_id":"d1"}\n\n{"device_id":"d2","channel":"beta"}\n', 2, id="JSON"),
        pytest.param(b"device_id\nd1\n\nd2\n", 0, id="a blank line"),
        pytest.param(b"device_id\nd1\nd\x012\n", 0, id="a bad row"),
        pytest.param(b"device_id,channel\nd1,beta\nd2,gamma\n", 0, id="another channel"),
        pytest.param(b"device_id,note\nd1,x\nd2\n", 0, id="a short row"),
    ],
)
async def test_good_rows_come_as_columns_and_those_beside_a_bad_one_singly(data: bytes, in_columns: int) -> None:
    source = read_operations(io.BytesIO(data), app_id=APP, channel="beta")
    (block,) = [block async for block in blocks_of(source)]
    assert sum(len(columns.names) for columns in block.columns) == in_columns
    assert len(block.rows) == 2 - in_columns
    assert block.in_order() == await read(data)


cells = st.one_of(
    st.sampled_from(["", " ", "d1", " D2 ", "beta", "com.example.app", "a\u2028b", "a\x0bb", "x\x1cy", "ä", "gamma"]),
    st.text(st.characters(codec="utf-8", exclude_characters='\0",\r\n'), max_size=6),
)


@pytest.mark.slow
@pytest.mark.parametrize("columns", ["device_id", "device_id,app_id", "channel,device_id,note"])
@given(data=st.data())
def test_a_table_without_quotes_reads_as_with_them(columns: str, data: st.DataObject) -> None:
    width = columns.count(",") + 1
    table = [["d0"] * width, *data.draw(st.lists(st.lists(cells, min_size=width, max_size=width), max_size=8))]
    plain = "\n".join([columns, *(",".join(row) for row in table)]).encode()
    quoted = "\n".join([columns, *(",".join(f'"{cell}"' for cell in row) for row in table)]).encode()

    assert asyncio.run(read(plain)) == asyncio.run(read(quoted))


async def test_cells_name_app_and_channel_as_they_are_spelt() -> None:
    data = b"device_id,app_id,channel\nD1, COM.Example.App , Beta 2 \n"
    rows = await read(data, app_id=None, channel=None)
    assert rows == [Row(2, link("d1", "Beta 2", "COM.Example.App"))]
    data = b'{"device_id":"D1","app_id":" COM.Example.App","channel":"Beta 2"}'
    assert await read(data, app_id=None, channel=None) == [Row(1, link("d1", "Beta 2", "COM.Example.App"))]


async def test_arguments_fill_what_is_empty_and_agree_with_what_is_there() -> None:
    data = b"device_id,app_id,channel\nd1,,\nd2, com.example.app,beta \nd3,com.other,beta\nd4,,Beta\n"
    rows = await read(data, channel=" beta ")
    assert rows[:2] == [Row(2, link("d1")), Row(3, link("d2"))]
    assert seen(rows[2:]) == [
        (4, "app_id 'com.other' differs from 'com.example.app', which is given for all rows"),
        (5, "channel 'Beta' differs from 'beta', which is given for all rows"),
    ]


async def test_unlinking_ignores_channels() -> None:
    unlink = [Row(2, UnlinkDevice(app_id=APP, device_id="d1"))]
    assert await read(b"device_id,channel\nd1,a\x01b\n", channel=None, kind=UnlinkDevice) == unlink
    data = b'\n{"device_id":"d1","channel":7}'
    assert await read(data, channel=None, kind=UnlinkDevice) == unlink


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        pytest.param(b",com.example.app,beta", "no device_id in this row", id="no id"),
        pytest.param(b" ,com.example.app,beta", "no device_id in this row", id="blank id"),
        pytest.param(b'"d\n1",com.example.app,beta', "device_id contains the invisible character U+000A", id="line end"),
        pytest.param(b"d\x7f,com.example.app,beta", "device_id contains the invisible character U+007F", id="delete"),
        pytest.param(b"d" * 256 + b",com.example.app,beta", "device_id is longer than 255 characters", id="long id"),
        pytest.param(b"d1,,beta", NO_APP, id="no app"),
        pytest.param(b"d1,example,beta", MALFORMED.format("example"), id="app of one label"),
        pytest.param(b"d1,com.exa mple,beta", MALFORMED.format("com.exa mple"), id="app with a space"),
        pytest.param(b"d1,a\x02b,beta", "app_id contains the invisible character U+0002", id="control character in app"),
        pytest.param(b"d1,com.example.app,", NO_CHANNEL, id="no channel"),
        pytest.param(b"d1,com.example.app", NO_CHANNEL, id="no channel, no cell"),
        pytest.param(b"d1", NO_APP, id="no app, no cell"),
        pytest.param(b"d1,com.example.app,a\tb", "channel contains the invisible character U+0009", id="tab in channel"),
        pytest.param(b"d1,com.example.app," + b"c" * 256, "channel is longer than 255 characters", id="channel too long"),
        pytest.param(b"d1,com.example.app,beta,", "4 cells, but the header has 3 columns", id="more cells"),
        pytest.param(
            "d\u2028\u00a01,,beta".encode(),
            "device_id contains the invisible character U+2028 (line separator)",
            id="not a line end",
        ),
        pytest.param(b"caf\xe9,com.example.app,beta", "not UTF-8 (byte 0xE9 at line 3, column 4)", id="Latin-1"),
        pytest.param(
            b"d1,com.example.app,\xc3\xa9\xe9", "not UTF-8 (byte 0xE9 at line 3, column 21)", id="column in characters"
        ),
        pytest.param(b"d1,com.example.app,\x00", "contains a NUL byte (at line 3, column 20)", id="NUL"),
        pytest.param(b'"d1,com.example.app,b\xe9\n"x', "not UTF-8 (byte 0xE9 at line 3, column 22)", id="Latin-1, misquoted"),
        pytest.param(b'd1,com.example.app,"x\n\xe9"', "not UTF-8 (byte 0xE9 at line 4, column 1)", id="second line"),
        pytest.param(b'"d1" x,com.example.app,beta', "not CSV: ',' expected after '\"'", id="after the closing mark"),
    ],
)
async def test_bad_cells_spoil_their_row_only(cells: bytes, reason: str) -> None:
    data = b"device_id,app_id,channel\nd0,com.example.app,beta\n" + cells + b"\nd9,com.example.app,beta\n"
    rows = await read(data, app_id=None, channel=None)
    assert rows[0] == Row(2, link("d0"))
    assert (rows[1].line, rows[1].operation, str(rows[1].reason)) == (3, None, reason)
    assert rows[-1] == Row(data.count(b"\n"), link("d9"))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"[1]", "the line is a list, not an object"),
        (b"7", "the line is a number, not an object"),
        (b"{}", "no device_id in this row"),
        (b'{"device_id":7}', "device_id is a number, not text"),
        (b'{"device_id":null}', "device_id is null, not text"),
        (b'{"device_id":"d1","channel":7}', "channel is a number, not text"),
        (b'{"device_id":"d1","channel":["beta"]}', "channel is a list, not text"),
        (b'{"device_id":true}', "device_id is true or false, not text"),
        (b"{'device_id':1}", "not JSON: a key without double quotes (at column 2)"),
        (b'{"device_id":"d1",}', "not JSON: a comma after the last value (at column 19)"),
        (b'{"device_id":"\xc3\xa9\xc3\xa9" "x"}', "not JSON: expected ',' or '}' (at column 19)"),
        (b'{"device_id":"d1"', "not JSON: the line is cut off"),
        (b'{"device_id":"d1"} x', "not JSON: text after the object (at column 21)"),
        (b"device_id", "not JSON: unexpected character (at column 1)"),
        (b'{"x":' + b"[" * 30_000, "not JSON: nested too deeply"),
        (b'{"device_id":"caf\xe9"}', "not UTF-8 (byte 0xE9 at line 2, column 18)"),
        (b'{"device_id":"d1","x":"\xe9"}', "not UTF-8 (byte 0xE9 at line 2, column 24)"),
        (b'{"device_id":"d\x001"}', "contains a NUL byte (at line 2, column 16)"),
        (b'{"device_id":"d\\u00001"}', "device_id contains the invisible character U+0000"),
        (b'{"device_id":" "}', "no device_id in this row"),
        (
            b'{"device_id":"d1","app_id":"x"}',
            "app_id 'x' differs from 'com.example.app', which is given for all rows",
        ),
        (b'{"device_id":"d1","x":"' + b"x" * KIB_64 + b'"}', TOO_LONG),
    ],
)
async def test_bad_json_lines_spoil_their_row_only(text: bytes, reason: str) -> None:
    rows = await read(b'{"device_id":"d0"}\n' + text + b'\r\n{"device_id":"d9"}')
    assert seen(rows) == [(1, "d0"), (2, reason), (3, "d9")]


async def test_lines_are_counted_as_an_editor_does() -> None:
    data = b'\n \r\nnote,device_id\r\n\r\na,d1\n\r"x\r\n\ny",d2\r   \nb,d3\n""\nc,d4'
    assert seen(await read(data)) == [(5, "d1"), (7, "d2"), (11, "d3"), (13, "d4")]
    data = b'\n\r\n{"device_id":"d1"}\n\n\r{"device_id":"d2"}\r\r\n{"device_id":"d3"}'
    assert seen(await read(data)) == [(3, "d1"), (6, "d2"), (8, "d3")]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(b'"d1,x\nd2,x\nd3,x\n', [(2, NEVER_CLOSED), (3, "d2"), (4, "d3")], id="never closed, at the end"),
        pytest.param(b'd1,x\n"d2', [(2, "d1"), (3, NEVER_CLOSED)], id="on the last line"),
        pytest.param(
            b'"d1,x\nd2,x\n"d3",x\n"d4",x\n',
            [
                (2, "text follows the closing quote of a field (on line 4)"),
                (3, "d2"),
                (4, "d3"),
                (5, "d4"),
            ],
            id="closed by the mark that opens another",
        ),
        pytest.param(
            b'"d1,x\n' + b"d2,xxxxxx\n" * 7000 + b'd3,"x\nx"\n',
            [(2, NEVER_CLOSED), *[(3 + n, "d2") for n in range(7000)], (7003, "d3")],
            id="not closed within the limit",
        ),
        pytest.param(
            b'd1,"x\n' * 3 + b'd2","\n' * 20_000,
            [
                (2, "text follows the closing quote of a field (on line 3)"),
                (3, "text follows the closing quote of a field (on line 4)"),
                (4, NEVER_CLOSED),
                *[(5 + n, NO_PAIR.format(4)) for n in range(1000)],
            ],
            id="marks everywhere",
        ),
        pytest.param(
            b'"d1,x\na","\nd2,x\n',
            [(2, NEVER_CLOSED), (3, NO_PAIR.format(2)), (4, "d2")],
            id="another that opens below",
        ),
    ],
)
async def test_a_quoted_field_that_goes_wrong(data: bytes, expected: list[tuple[int, str]]) -> None:
    rows = seen(await read(b"device_id,note\n" + data))
    assert rows[: len(expected)] == expected


async def test_a_long_line_is_one_bad_row_and_little_memory() -> None:
    stream = Dribble(b"device_id,note\r\nd1,x\r\n" + b"x" * 10_000_000 + b"\r\nd2,x\r\n", 40_000)
    source = read_operations(stream, app_id=APP, channel="beta")
    assert seen(await rows_of(source)) == [(2, "d1"), (3, TOO_LONG), (4, "d2")]
    assert stream.longest <= KIB_64
    last = b"device_id\nd1\n" + b'"' + b"x" * 300_000
    assert seen(await read(last)) == [(2, "d1"), (3, TOO_LONG)]
    # The read ends between CR and LF of the line that was cut short.
    cut = b'{"device_id":"d1"}\n' + b"x" * (3 * KIB_64)
    source = read_operations(Dribble(cut + b'\r\n{"device_id":"d2"}', len(cut) + 1), app_id=APP, channel="beta")
    assert seen(await rows_of(source)) == [(1, "d1"), (2, TOO_LONG), (3, "d2")]


async def test_a_row_of_exactly_64_kib_is_read() -> None:
    note = b"x" * (KIB_64 - len(b"d1,\n"))
    assert seen(await read(b"device_id,note\nd1," + note + b"\n")) == [(2, "d1")]
    assert seen(await read(b"device_id,note\nd1,x" + note + b"\n")) == [(2, TOO_LONG)]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "stream: it is empty, so nothing would change."),
        (b"\xef\xbb\xbf\n \n", "stream: it is empty, so nothing would change."),
        (b" " * 200_000 + b"\n" * 200_000, "stream: it is empty, so nothing would change."),
        (b"device_id\n\n", "stream: there is a header but no rows, so nothing would change."),
        (b"device_id", "stream: there is a header but no rows, so nothing would change."),
        (
            b"\nid,channel\nd1,beta\n",
            f"stream, line 2: {NO_HEADER} 'id,channel'. {DELIMITERS}",
        ),
        (
            b"[" * 100,
            f"stream, line 1: {NO_HEADER} '{'[' * 80}'.... {DELIMITERS}",
        ),
        (
            b'"device_id',
            f"stream, line 1: {NO_HEADER} '\"device_id'. {DELIMITERS}",
        ),
        (b"device_id,Device_ID\nd1,d2\n", "stream, line 1: 2 columns are named device_id. Keep one."),
        (b"device_id;channel;channel\n", "stream, line 1: 2 columns are named channel. Keep one."),
        (
            b"PK\x03\x04\x00\x00",
            "stream, line 1: contains a NUL byte, so this is not a table. Save it as CSV in UTF-8.",
        ),
        (
            b"device_id," + b"x" * KIB_64,
            "stream, line 1: longer than 64 KiB, so this is not a table. Save it as CSV in UTF-8.",
        ),
        (
            "device_id\nd1\n".encode("utf-16"),
            "stream: this is UTF-16 text. Save it as UTF-8 (in a spreadsheet: CSV UTF-8).",
        ),
        (
            b"\xfe\xff" + "device_id\n".encode("utf-16-be"),
            "stream: this is UTF-16 text. Save it as UTF-8 (in a spreadsheet: CSV UTF-8).",
        ),
    ],
)
async def test_files_that_are_refused(data: bytes, message: str) -> None:
    with pytest.raises(InputError) as caught:
        await read(data)
    assert str(caught.value).startswith(message)


async def test_a_file_by_its_path_is_opened_late_and_can_be_read_again(tmp_path: Path) -> None:
    path = tmp_path / "devices.csv"
    source = read_operations(path, app_id=APP, channel="beta")
    assert source.name == str(path)
    with pytest.raises(JobError, match="digest is known only once the last batch was read"):
        source.digest  # noqa: B018 - reading the property is the test
    data = b"device_id\nd1\nd2\nd3\n"
    path.write_bytes(data)
    assert [len(batch) async for batch in source.batches(2)] == [2, 1]
    assert source.digest == hashlib.sha256(data).hexdigest()
    assert seen(await rows_of(read_operations(str(path), app_id=APP, channel="beta"))) == seen(await rows_of(source))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none.csv", "there is no such file; check the path."),
        ("", "this is a directory; name a file."),
        ("a\0b", "embedded null byte."),
        ("n" * 5000, "File name too long."),
    ],
)
async def test_files_that_cannot_be_opened(tmp_path: Path, name: str, message: str) -> None:
    path = f"{tmp_path}/{name}"
    with pytest.raises(InputError) as caught:
        await rows_of(read_operations(path, app_id=APP, channel="beta"))
    assert str(caught.value) == f"{path}: {message}"


async def test_no_permission(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(InputError, match=r"^x\.csv: no permission to read it; check its owner and mode\.$"):
        await rows_of(read_operations("x.csv", app_id=APP, channel="beta"))


async def test_a_stream_that_fails() -> None:
    class Failing(io.BytesIO):
        name = "pipe"

        def read(self, _size: int | None = -1, /) -> bytes:
            raise OSError(5, "Input/output error")

    with pytest.raises(InputError, match=r"^pipe: Input/output error\.$"):
        await rows_of(read_operations(Failing(), app_id=APP, channel="beta"))
    text = io.StringIO("device_id\nd1\n")
    with pytest.raises(
        InputError, match=r"^stream: its read\(\) returned str, not bytes\. Open it in binary mode, and blocking\.$"
    ):
        await rows_of(read_operations(text, app_id=APP, channel="beta"))  # type: ignore[arg-type]  # the mistake itself


async def test_a_stream_is_read_once_and_left_open() -> None:
    stream = io.BytesIO(b"device_id\nd1\n")
    source = read_operations(stream, app_id=APP, channel="beta")
    assert len(await rows_of(source)) == 1
    assert not stream.closed
    with pytest.raises(InputError, match="was read already and cannot be read again"):
        await rows_of(source)


async def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    source = read_operations("-", app_id=APP, channel="beta")
    assert source.name == "stdin"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"device_id\nd1\n")))
    assert seen(await rows_of(source)) == [(2, "d1")]
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(InputError, match=r"^stdin: this process has no binary standard input\. Name a file\.$"):
        await rows_of(read_operations("-", app_id=APP, channel="beta"))


def test_a_name_is_text_that_can_be_stored() -> None:
    assert read_operations(os.fsdecode(b"caf\xe9.csv")).name == "caf?.csv"


@pytest.mark.parametrize(
    ("app_id", "channel", "kind", "message"),
    [
        ("example", None, LinkDevice, MALFORMED.format("example")),
        (" com.example.app", None, LinkDevice, MALFORMED.format(" com.example.app")),
        (None, " ", LinkDevice, "channel is blank: pass a name, or leave it out if every row has its own."),
        (None, "a\nb", LinkDevice, "channel contains the invisible character U+000A"),
        (None, "beta", UnlinkDevice, "'beta' cannot be used: UnlinkDevice takes nothing but its target."),
    ],
)
def test_arguments_that_are_refused(app_id: str | None, channel: str | None, kind: DeviceChange, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read_operations("devices.csv", app_id=app_id, channel=channel, kind=kind)
    assert str(caught.value) == message


@pytest.mark.parametrize("source", [read_operations("devices.csv"), from_operations([])])
async def test_a_batch_has_a_size(source: Source) -> None:
    with pytest.raises(ConfigurationError, match=r"^size is 0: a batch must have at least 1 row\.$"):
        await rows_of(source, 0)


async def test_an_abandoned_reading_closes_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "devices.csv"
    path.write_bytes(b"device_id\n" + b"d1\n" * 10)
    opened = []
    original = Path.open

    def note(self: Path, mode: str) -> object:
        opened.append(original(self, mode))
        return opened[0]

    monkeypatch.setattr(Path, "open", note)
    batches = read_operations(path, app_id=APP, channel="beta").batches(1)
    async with aclosing(batches) as each:  # type: ignore[type-var]  # a generator, as far as this test knows
        async for _ in each:
            break
    assert [file.closed for file in opened] == [True]


async def test_a_cancelled_reading_ends_while_its_thread_waits() -> None:
    waits, go_on = threading.Event(), threading.Event()

    class Pipe(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            waits.set()
            go_on.wait()
            return super().read(size)

    reading = asyncio.create_task(rows_of(read_operations(Pipe(b"device_id\nd1\n"), app_id=APP, channel="beta")))
    await asyncio.to_thread(waits.wait)
    reading.cancel()
    try:
        with pytest.raises(asyncio.CancelledError):
            await reading
    finally:
        go_on.set()


@pytest.mark.parametrize("of", ["stdin", "a pipe", "a pipe that nobody writes"])
def test_a_thread_that_waits_for_rows_ends_with_the_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, of: str) -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as stdin, os.fdopen(writing, "wb", buffering=0) as pipe:
        pipe.write(b"device_id\nd1\n")
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(stdin))
        fifo = tmp_path / "fifo"
        os.mkfifo(fifo)
        source: str | Path = {"stdin": "-", "a pipe": f"/dev/fd/{reading}"}.get(of, fifo)

        async def read() -> None:
            with anyio.move_on_after(0.1):
                await rows_of(read_operations(source, app_id=APP, channel="beta"))

        anyio.run(read)
        # An interpreter waits for these threads before it ends.
        waiting = [thread for thread in threading.enumerate() if thread.name.startswith("AnyIO worker")]
        for thread in waiting:
            thread.join(30)
        assert not any(thread.is_alive() for thread in waiting)


async def test_a_pipe_is_read_to_its_end_however_its_bytes_arrive(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)

    def write() -> None:
        with fifo.open("wb", buffering=0) as pipe:
            for byte in b"device_id\nd1\nd2\n":
                pipe.write(bytes([byte]))

    writer = threading.Thread(target=write)
    writer.start()
    found = await rows_of(read_operations(fifo, app_id=APP, channel="beta"))
    writer.join()
    assert [row.operation.device_id for row in found] == ["d1", "d2"]  # type: ignore[union-attr]  # all rows are good


async def each_of(operations: Iterable[Operation]) -> AsyncIterator[Operation]:
    for operation in operations:
        yield operation


async def test_operations_from_memory_a_generator_and_an_asynchronous_one() -> None:
    operations: list[Operation] = [link("D1"), UnlinkDevice(app_id=APP, device_id="d2"), link("d3")]
    rows = [Row(1, link("d1")), Row(2, UnlinkDevice(app_id=APP, device_id="d2")), Row(3, link("d3"))]
    kept = from_operations(operations)
    assert kept.name == "operations"
    with pytest.raises(JobError):
        kept.digest  # noqa: B018 - reading the property is the test
    assert [batch async for batch in kept.batches(2)] == [rows[:2], rows[2:]]
    assert await rows_of(kept, 3) == rows
    for once in (from_operations(iter(operations)), from_operations(each_of(operations))):
        assert await rows_of(once) == rows
        assert once.digest == kept.digest
        with pytest.raises(InputError, match="was read already"):
            await rows_of(once)
    fewer = from_operations(operations[:2])
    await rows_of(fewer)
    assert fewer.digest != kept.digest
    assert await rows_of(from_operations([])) == []


async def test_operations_are_checked_as_rows_are() -> None:
    bad = [link(""), link("d1", channel=" "), link("d1", app_id="x"), link("\ud800")]
    source = from_operations(bad)
    assert seen(await rows_of(source)) == [
        (1, "no device_id in this row"),
        (2, NO_CHANNEL),
        (3, MALFORMED.format("x")),
        (4, "device_id contains the invisible character U+D800"),
    ]
    assert len(source.digest) == 64


# Properties

UNTIMED = settings(deadline=None)  # a loaded machine is no fault of the code
VISIBLE = st.characters(
    categories=["L", "N", "P", "Sm", "Sc"], include_characters=" ", exclude_characters="\u115f\u1160\u3164\uffa0"
)
NAMES = st.text(VISIBLE, min_size=1, max_size=40).filter(
    lambda name: (
        bool(name.strip())
        and len(name.lower()) <= 255
        and not {unicodedata.category(end)[0] for end in (name.strip()[0], name.strip()[-1])} & {"P", "S"}
    )
)
NOTES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
CUTS = st.integers(min_value=1, max_value=50)


@pytest.mark.slow
@UNTIMED
@given(
    records=st.lists(st.tuples(NAMES, NAMES, NOTES), min_size=1),
    layout=st.fixed_dictionaries(
        {
            "delimiter": st.sampled_from(",;\t"),
            "lineterminator": st.sampled_from(["\n", "\r\n", "\r"]),
            "quoting": st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL, csv.QUOTE_NONNUMERIC]),
        }
    ),
    mark=st.sampled_from([b"", b"\xef\xbb\xbf"]),
    step=CUTS,
)
async def test_whatever_csv_writes_is_read_back(
    records: list[tuple[str, str, str]], layout: dict[str, Any], mark: bytes, step: int
) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, **layout)
    writer.writerow(["device_id", "channel", "note"])
    expected = []
    for device_id, channel, note in records:
        line = len(text.getvalue().encode().splitlines()) + 1
        expected.append(Row(line, link(device_id.strip().lower(), channel.strip())))
        # Until Python 3.13 a plain cell keeps a CR or LF that is not part of the line end, which nobody can read back.
        minimal = layout["quoting"] == csv.QUOTE_MINIMAL
        writer.writerow([device_id, channel, re.sub(r"[\r\n]", layout["lineterminator"], note) if minimal else note])
    data = mark + text.getvalue().encode()
    source = read_operations(Dribble(data, step), app_id=APP)
    assert await rows_of(source) == expected
    assert source.digest == hashlib.sha256(data).hexdigest()


PIECES = st.sampled_from(
    [b'"', b'""', b",", b";", b"\n", b"\r", b"\r\n", b"\0", b"\xe9", b"\xef\xbb\xbf", b"d1", b"beta", b" ", b'a","\n']
)
BYTES = st.one_of(st.binary(max_size=200), st.lists(PIECES, max_size=60).map(b"".join))
STARTS = st.sampled_from([b"", b"device_id\n", b"device_id;channel\r\n", b'{"device_id":"d1"}\n', b"\xff\xfe"])


@pytest.mark.slow
@UNTIMED
@given(start=STARTS, body=BYTES, step=CUTS)
async def test_any_bytes_are_rows_or_refused_however_they_arrive(start: bytes, body: bytes, step: int) -> None:
    outcomes: list[list[Row] | str] = []
    for stream in (io.BytesIO(start + body), Dribble(start + body, step)):
        try:
            rows = await rows_of(read_operations(stream, app_id=APP, channel="beta"))
        except InputError as error:
            outcomes.append(str(error))
        else:
            lines = [row.line for row in rows]
            assert lines == sorted(set(lines))
            assert all((row.operation is None) == (row.reason is not None) for row in rows)
            outcomes.append(rows)
    assert outcomes[0] == outcomes[1]


@pytest.mark.slow
@UNTIMED
@given(body=BYTES, back=st.integers(min_value=0, max_value=200), start=st.sampled_from([b"", b"device_id;channel\r\n"]))
async def test_rows_do_not_depend_on_where_a_read_ends(body: bytes, back: int, start: bytes) -> None:
    """Put a read's end at any place of `body`, and compare with `body` read at once."""
    first = b"d0" if start else b'{"device_id":"d0"}'
    count, width = 100, 1300
    lines = [first.ljust(width)] * (count - 1)
    lines.append(first.ljust(4 * 32_768 - back - len(start) - (count - 1) * (width + 1) - 1))
    rows = await read(start + b"\n".join(lines) + b"\n" + body)
    at_once = await read(start + first + b"\n" + body)
    moved = [(row.line - count + 1, row.operation, reworded(str(row.reason), 1 - count)) for row in rows[count - 1 :]]
    assert moved == [(row.line, row.operation, str(row.reason)) for row in at_once]


def reworded(reason: str, by: int) -> str:
    """Move the line numbers that a reason names."""
    return re.sub(r"(?<=line )\d+", lambda found: str(int(found[0]) + by), reason)


@pytest.mark.slow
@UNTIMED
@given(parts=st.lists(PIECES, min_size=1, max_size=20), shift=st.integers(min_value=1, max_value=40_000))
async def test_long_rows_do_not_depend_on_where_a_read_ends(parts: list[bytes], shift: int) -> None:
    body = b"".join(part * 900 for part in parts) + b"\nd1,beta\n" * 500
    rows = await read(b"device_id,channel\n" + body)
    assert rows == await read(b"device_id,channel" + b" " * shift + b"\n" + body)
