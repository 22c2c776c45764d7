"""Lists as people have them: other headers or none, exports, joined files, characters that nobody sees."""

import io
import unicodedata
from collections.abc import Mapping
from typing import Any, Literal

import pytest
from bulk.test_sources import APP, link, read, rows_of, seen

from capgo_async.bulk import Cause, LinkDevice, UnlinkDevice, read_operations
from capgo_async.bulk.operations.forms import DELETING_CHANNELS
from capgo_async.bulk.sources.layout import Layout
from capgo_async.bulk.sources.source import blocks_of, read_rows
from capgo_async.errors import ConfigurationError, InputError, Problem

ID = "0a1b2c3d-0000-4000-8000-00000000000"
EXPORT = "app_id,device_id,custom_id,platform,plugin_version,version_name,channel,updated_at"
EXPORTED = f"com.example.app,{ID}1,,ios,7,1.0,gamma,2026-11-01T00:00:00Z\ncom.example.app,{ID}2,u,ios,7,1.0,,\n"


async def read_laid_out(data: bytes, channel: str | None = "beta", **layout: Any) -> list[tuple[int, str]]:
    return seen(await rows_of(read_operations(io.BytesIO(data), app_id=APP, channel=channel, **layout)))


@pytest.mark.parametrize(
    ("data", "layout"),
    [
        pytest.param(b"Device ID;x\nd1;1\nd2;2\n", {"columns": {"device_id": "Device ID"}}, id="another header"),
        pytest.param(b"x, DEVICE id \n1,d1\n2,d2\n", {"columns": {"device_id": "Device ID"}}, id="in any case, padded"),
        pytest.param(b"device_id,id\nwrong,d1\nwrong,d2\n", {"columns": {"device_id": "id"}}, id="a column that is not meant"),
        pytest.param(
            "Gerät,App\nd1,com.example.app\nd2,com.example.app\n".encode(),
            {"columns": {"device_id": "GERÄT", "app_id": "App"}},
            id="two columns, not ASCII",
        ),
        pytest.param(b'{"Device ID":"d1"}\n{"Device ID":"d2","x":0}\n', {"columns": {"device_id": "Device ID"}}, id="JSON"),
        pytest.param(b"device_id,channel\nd1,gamma\nd2,\n", {"ignored": ["channel"]}, id="an ignored column"),
        pytest.param(
            b'{"device_id":"d1","channel":7}\n{"device_id":"d2","channel":"x"}', {"ignored": {"channel"}}, id="ignored, JSON"
        ),
        pytest.param(b"d1\nd2\n", {"header": ["device_id"]}, id="no header"),
        pytest.param(b"x;d1\ny;d2", {"header": ["note", "Device_ID"]}, id="no header, two columns"),
        pytest.param(b"sep=;\ndevice_id;note\nd1;a,b\nd2;c,d\n", {}, id="Excel"),
        pytest.param(b'\xef\xbb\xbf"SEP=|"\r\nnote|device_id\r\na,b|d1\r\nc;d|d2', {}, id="Excel, BOM, CR LF, quoted"),
        pytest.param(b"sep=\t\ndevice_id\tnote,x\nd1\t1\nd2\t2\n", {}, id="Excel, tab"),
        pytest.param(b"sep=,\nd1,x\nd2,y\n", {"header": ["device_id", "note"]}, id="Excel, no header"),
    ],
)
async def test_a_list_is_read_as_it_is_laid_out(data: bytes, layout: Mapping[str, Any]) -> None:
    assert [name for _, name in await read_laid_out(data, **layout)] == ["d1", "d2"]


async def test_lines_are_counted_with_the_separator_and_without_a_header() -> None:
    assert await read_laid_out(b"sep=;\ndevice_id;x\nd1;y\n") == [(3, "d1")]
    assert await read_laid_out(b"\n\nd1\n\nd2\n", header=["device_id"]) == [(3, "d1"), (5, "d2")]


@pytest.mark.parametrize(
    ("data", "layout", "said", "problem"),
    [
        (
            f"{ID}1\n{ID}2\n".encode(),
            {},
            f"line 1: this looks like a list without a header; its first line is '{ID}1'.",
            "no_header",
        ),
        (b"\nuser-7\nuser-8\n", {}, "line 2: this looks like a list without a header", "no_header"),
        (f"beta,{ID}1\n".encode(), {}, "looks like a list without a header", "no_header"),
        (b"id,note\nd1,x\n", {}, "with a column device_id or custom_id", "no_such_column"),
        (b"id,note\nd1,x\n", {"columns": {"device_id": "Device ID"}}, "with a column Device ID, or", "no_such_column"),
        (b"id,note\nd1,x\n", {"by": "custom_id"}, "with a column custom_id, or", "no_such_column"),
        (b"device_id\nd1\n", {"columns": {"channel": "Kanal"}}, "no column is named 'Kanal'; the columns are device_id.", None),
        (b"a,a\nd1,x\n", {"columns": {"device_id": "a"}}, "2 columns are named a. Keep one.", None),
        (b"d1,x\n", {"header": ["device_id"]}, "this line has 2 cells, but the given header names 1 column.", None),
        (b"d1;x,y\n", {"header": ["note", "id", "x"]}, "this line has 2 cells, but the given header names 3 columns.", None),
        (b"d1,x\n", {"header": ["id", "note"]}, "the given header has no column device_id or custom_id.", None),
        (b'{"device_id":"d1"}', {"header": ["device_id"]}, "this is JSON, whose lines name their columns themselves", None),
        (b"sep=;\n", {}, "must be a CSV header", "no_such_column"),
    ],
)
async def test_a_file_that_is_laid_out_otherwise_is_refused(
    data: bytes, layout: Mapping[str, Any], said: str, problem: str | None
) -> None:
    with pytest.raises(InputError) as refused:
        await read_laid_out(data, **layout)
    assert said in str(refused.value)
    assert refused.value.problem == (problem and Problem(problem))


@pytest.mark.parametrize(
    ("layout", "said"),
    [
        (
            {"columns": {"chanel": "Kanal"}},
            "'chanel' is none of the columns that are read: device_id, custom_id, app_id, channel",
        ),
        ({"ignored": ["note"]}, "'note' is none of the columns that are read"),
        ({"ignored": ["device_id"]}, "the column device_id cannot be ignored: it names the targets"),
        ({"ignored": ["channel"], "columns": {"channel": "Kanal"}}, "cannot be ignored: it is given another name"),
        ({"columns": {"device_id": "id", "app_id": "id"}}, "one column of the file cannot be read as two columns"),
        ({"columns": {"device_id": " "}}, "the column for device_id has an empty name"),
        ({"by": "email"}, "'email' names no target: use device_id or custom_id"),
    ],
)
def test_a_layout_that_cannot_be_is_refused_before_reading(layout: Mapping[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        read_operations("devices.csv", channel="beta", **layout)


async def test_lists_of_other_targets_have_layouts_too() -> None:
    layout = Layout(columns={"channel": "Kanal"}, ignored=frozenset({"app_id"}))
    source = read_rows(io.BytesIO(b"app_id,Kanal\nnonsense,beta\n"), DELETING_CHANNELS, app_id=APP, layout=layout)
    assert seen(await rows_of(source)) == [(2, "beta")]
    with pytest.raises(ConfigurationError, match="'custom_id' names no target: use channel"):
        read_rows("x.csv", DELETING_CHANNELS, layout=Layout(by="custom_id"))


async def test_a_layout_distinguishes_sources_of_the_same_bytes() -> None:
    one = read_operations("x.csv", channel="beta")
    other = read_operations("x.csv", channel="beta", ignored=["channel"])
    assert one.asked != other.asked
    assert one.asked == read_operations("x.csv", channel="beta").asked


@pytest.mark.parametrize(
    "data",
    [
        f"{EXPORT}\n{EXPORTED}".encode(),
        (
            f'{{"app_id":"com.example.app","device_id":"{ID}1","platform":"ios","version_name":"1","channel":"gamma",'
            f'"updated_at":"x"}}\n{{"app_id":"com.example.app","device_id":"{ID}2","channel":null}}\n'
        ).encode(),
    ],
)
async def test_the_channel_of_an_export_is_what_is_and_not_what_is_wanted(data: bytes) -> None:
    source = read_operations(io.BytesIO(data), channel="beta")
    blocks = [block async for block in blocks_of(source)]
    rows = [row for block in blocks for row in block.in_order()]
    assert [row.operation for row in rows] == [link(f"{ID}1"), link(f"{ID}2")]
    assert [remark for block in blocks for remark in block.remarks] == [
        "stream: this is an export of devices. Its column channel says where they are now, so it was not read"
    ]
    # Without a channel for all rows, the column may have been edited.
    assert seen(await read(data, app_id=None, channel=None)) == [
        (rows[0].line, f"{ID}1"), (rows[1].line, "this is an export of devices, and no channel is given for this row")
    ]  # fmt: skip
    # Nothing is left out that was not to be read anyway.
    unlinking = read_operations(io.BytesIO(data), kind=UnlinkDevice)
    assert not [remark async for block in blocks_of(unlinking) for remark in block.remarks]


async def test_a_list_with_a_channel_is_no_export() -> None:
    data = b"app_id,device_id,platform,channel\ncom.example.app,d1,ios,gamma\n"
    assert seen(await read(data)) == [(2, "channel 'gamma' differs from 'beta', which is given for all rows")]


HEADER = "this is a header, not a row"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(b"device_id\nd1\ndevice_id\nd2\n", [(2, "d1"), (3, HEADER), (4, "d2")], id="joined"),
        pytest.param(
            b"\xef\xbb\xbfdevice_id,note\nd1,x\n\xef\xbb\xbfDevice_ID,Note\nd2,y\n",
            [(2, "d1"), (3, HEADER), (4, "d2")],
            id="with BOMs",
        ),
        pytest.param(b'device_id,note\nd1,"x"\n"device_id","note"\n', [(2, "d1"), (3, HEADER)], id="quoted"),
        pytest.param(b"device_id,note\nd1,x\ndevice_id\nd2,y\n", [(2, "d1"), (3, HEADER), (4, "d2")], id="of one column"),
        pytest.param(b"device_id,note\nd1,device_id\nmy-device_id,x\n", [(2, "d1"), (3, "my-device_id")], id="not a header"),
        pytest.param(
            b"device_id\r" + b"d1\r" * 30_000 + b"device_id\r",
            [*[(n + 2, "d1") for n in range(30_000)], (30_002, HEADER)],
            id="far below",
        ),
    ],
)
async def test_a_repeated_header_is_no_row(data: bytes, expected: list[tuple[int, str]]) -> None:
    assert seen(await read(data)) == expected


async def test_a_header_that_is_given_is_no_row() -> None:
    assert await read_laid_out(b"device_id\nd1\n", header=["device_id"]) == [(1, HEADER), (2, "d1")]
    assert await read_laid_out("GERÄT\nd1\nGERÄT\n".encode(), columns={"device_id": "Gerät"}) == [(2, "d1"), (3, HEADER)]


async def test_files_with_columns_in_another_order_are_not_one_list() -> None:
    data = b"device_id,note,channel\nd1,x,beta\nnote,device_id,channel\ny,d2,beta\n"
    with pytest.raises(InputError, match="line 3: a header begins here whose columns have another order"):
        await read(data)


@pytest.mark.parametrize("column", ["device_id", "app_id", "channel"])
@pytest.mark.parametrize(
    "hidden",
    ["\u200b", "\u200d", "\ufeff", "\u00ad", "\u202e", "\u2066", "\u00a0", "\u2009", "\u3000", "\u2028", "\u2029", "\x85",
     "\ue000", "\U000e0041", "\u0378", "\ufdd0", "\u034f", "\u115f", "\u3164", "\uffa0", "\u2800", "\ufe0f",
     "\U000e0101", "\u180b"],
)  # fmt: skip
async def test_a_character_that_nobody_sees_spoils_its_row(column: str, hidden: str) -> None:
    rows = {"device_id": "d1", "app_id": "com.example.app", "channel": "beta"}
    rows[column] = rows[column][:1] + hidden + rows[column][1:]
    text = ",".join(rows) + "\n" + ",".join(rows.values()) + "\nd2,com.example.app,beta\n"
    bad, good = await read(text.encode(), app_id=None, channel=None)
    assert bad.reason is not None
    assert bad.reason.cause is Cause.INVISIBLE_CHARACTER
    name = unicodedata.name(hidden, "").lower()
    assert str(bad.reason) == f"{column} contains the invisible character U+{ord(hidden):04X}" + (f" ({name})" if name else "")
    assert good.operation == LinkDevice(app_id=APP, device_id="d2", channel="beta")


@pytest.mark.parametrize(
    ("device_id", "mark"),
    [
        ("'d1'", "'"),
        ("d1'", "'"),
        ("`d1", "`"),
        ("\u201cd1", "\u201c"),
        ("d1\u2019", "\u2019"),
        ("d1\u300d", "\u300d"),
        ("'", "'"),
    ],
)
async def test_an_id_with_a_quotation_mark_at_an_end_spoils_its_row(device_id: str, mark: str) -> None:
    bad, good = await read(f"device_id\n{device_id}\nd'2\n".encode())
    name = unicodedata.name(mark).lower()
    assert str(bad.reason) == f"device_id begins or ends with a quotation mark: U+{ord(mark):04X} ({name})"
    assert good.operation == link("d'2")


@pytest.mark.parametrize("channel", ["❤️ beta", "👩‍🚀", "Größe 漢字 ñ", "beta_2 (new)", "e\u0301"])
async def test_characters_that_are_seen_are_kept(channel: str) -> None:
    rows = await read(f"device_id,channel\nd1,{channel}\n".encode(), channel=None)
    assert [row.operation for row in rows] == [link("d1", channel)]


@pytest.mark.parametrize(
    ("data", "by", "named"),
    [
        (b"custom_id\n User-1 \n", None, "User-1"),
        (b"custom_id,device_id\nUser-1,d1\n", "custom_id", "User-1"),
        (b'{"custom_id":"User-1"}', None, "User-1"),
        (b'{"custom_id":"User-1","device_id":"d1"}', "custom_id", "User-1"),
        (b"custom_id,device_id\nUser-1,d1\n", None, None),
        (b'{"custom_id":"User-1","device_id":"d1"}', None, None),
        (b"custom_id,device_id\nUser-1,d1\n", "device_id", None),
    ],
)
async def test_a_custom_id_names_the_device_if_nothing_else_does_or_it_is_asked_for(
    data: bytes, by: Literal["device_id", "custom_id"] | None, named: str | None
) -> None:
    source = read_operations(io.BytesIO(data), app_id=APP, channel="beta", by=by)
    (row,) = await rows_of(source)
    assert row.custom_id == named
    assert row.operation == link("" if named else "d1")


async def test_custom_ids_are_checked_as_the_server_does() -> None:
    data = b"custom_id\n" + b"x" * 36 + b"\n" + b"x" * 37 + b"\n \n\x07\n"
    rows = await rows_of(read_operations(io.BytesIO(data), app_id=APP, channel="beta"))
    assert [row.custom_id for row in rows] == ["x" * 36, None, None]
    assert [str(row.reason) for row in rows[1:]] == [
        "custom_id is longer than 36 characters",
        "custom_id contains the invisible character U+0007",
    ]
