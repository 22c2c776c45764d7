"""Choosing by query: which devices a clause means, what it may not do, and samples that stay the same."""

import sqlite3
import tempfile
from contextlib import closing
from fractions import Fraction
from pathlib import Path
from uuid import UUID

import pytest
from fleet import APP, OTHER, client_of, ids_of, links_of, sandbox_of
from hypothesis import given, strategies as st
from virtual_time import in_virtual_time

from capgo_async.bulk import InventoryKind, Job, Options, UnlinkDevice, export
from capgo_async.bulk.inventory.choosing import Choice, ChosenDevices, check_clause, chosen_rows, is_in_sample, only_devices
from capgo_async.errors import ConfigurationError, InputError, JobError
from capgo_async.sandbox import Sandbox

pytestmark = pytest.mark.slow


async def chosen(sandbox: Sandbox, choice: Choice, channel: str | None = "beta") -> set[tuple[str, str]]:
    async with client_of(sandbox) as capgo:
        source = ChosenDevices(choice, channel, capgo)
        return {
            (row.operation.app_id, row.operation.target.name)
            async for rows in source.batches(100)
            for row in rows
            if row.operation is not None
        }


@pytest.mark.parametrize(
    ("clause", "means"),
    [
        ("platform = 'ios'", lambda traits: traits.platform == "ios"),
        ("platform = 'ios' AND version_name LIKE '1.2.%'", lambda t: t.platform == "ios" and t.version_name.startswith("1.2.")),
        ("is_prod AND NOT is_emulator -- of the shop", lambda traits: traits.is_prod and not traits.is_emulator),
        ("\"plugin_version\" IN ('7.5.0', '\"7.5\"')", lambda traits: traits.plugin_version == "7.5.0"),
        ("platform = 'ios' OR platform = 'electron'", lambda traits: traits.platform in {"ios", "electron"}),
        ("version_id = (SELECT max(version_id) FROM devices AS d WHERE d.app_id = devices.app_id)", lambda t: t.version == 5),
        (None, lambda _traits: True),
    ],
)
def test_a_clause_means_what_sqlite_says(clause: str | None, means: object) -> None:
    @in_virtual_time
    async def run() -> None:
        sandbox = sandbox_of(devices=2500)
        devices = sandbox.world.apps[APP].devices
        assert callable(means)
        expected = {(APP, device_id) for device_id, device in devices.items() if means(device.traits)}
        assert await chosen(sandbox, Choice(apps=(APP,), where=clause)) == expected
        assert expected

    run()


@in_virtual_time
async def test_devices_come_from_the_named_apps_or_from_all() -> None:
    sandbox = sandbox_of(devices=900, apps=3)
    found = await chosen(sandbox, Choice(apps=(APP, OTHER)))
    assert found == {(app_id, device) for app_id in (APP, OTHER) for device in ids_of(sandbox, app_id)}
    assert len(await chosen(sandbox, Choice())) == 900


@pytest.mark.parametrize(
    ("clause", "said"),
    [
        ("platform =", "syntax error"),
        ("plattform = 'ios'", "no such column: plattform"),
        ('platform = "ios"', "Text needs single quotes"),
        ("platform = 'ios'; DROP TABLE devices", "syntax error"),
        ("1) OR (1", "syntax error"),
        ("TRUE /*", "incomplete input"),
        ("EXISTS (SELECT * FROM sqlite_schema)", "prohibited"),
        ("EXISTS (SELECT * FROM pragma_database_list)", "not authorized|prohibited|no such table"),
        (
            "EXISTS (WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT * FROM n)",
            "not authorized|prohibited",
        ),
        ("load_extension('x.so')", "not authorized"),
        ("random() > 0", "not authorized"),
        ("platform = ?", "binding"),
        ("device_id = '\udcff'", "surrogates not allowed"),
        ("\0", "null character|unrecognized"),
        ("", "syntax error"),
    ],
)
def test_a_clause_that_cannot_be_is_refused_with_the_words_of_sqlite(clause: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=f"(?i){said}"):
        check_clause(clause)


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM devices",
        "UPDATE devices SET device_id = 'x'",
        "INSERT INTO devices VALUES (1)",
        "DROP TABLE devices",
        "SELECT * FROM secrets",
        "ATTACH ':memory:' AS other",
        "PRAGMA user_version",
        "CREATE TABLE more (x)",
        "SELECT load_extension('x')",
    ],
)
def test_the_authorizer_refuses_writes_other_tables_and_everything_else(statement: str) -> None:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.execute("CREATE TABLE devices (device_id)")
        connection.execute("CREATE TABLE secrets (key)")
        connection.execute("SELECT 1")
        connection.set_authorizer(only_devices)
        with pytest.raises(sqlite3.DatabaseError, match=r"not authorized|prohibited"):
            connection.execute(statement)
        assert connection.execute("SELECT count(*), upper('x') FROM devices").fetchall() == [(0, "X")]


def test_a_clause_runs_on_an_inventory_that_it_cannot_write(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[str] = []

    def watch(connection: sqlite3.Connection, *arguments: object) -> list[tuple[str, str]]:
        with pytest.raises(sqlite3.DatabaseError, match="prohibited"):
            connection.execute("SELECT * FROM export")
        connection.set_authorizer(None)
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            connection.execute("DELETE FROM devices")
        connection.set_authorizer(only_devices)
        found.append("watched")
        return chosen_rows(connection, *arguments)  # type: ignore[arg-type]  # as they came

    monkeypatch.setattr("capgo_async.bulk.inventory.choosing.chosen_rows", watch)

    @in_virtual_time
    async def run() -> None:
        assert len(await chosen(sandbox_of(devices=30), Choice(apps=(APP,)))) == 30

    run()
    assert found


@given(st.uuids(), st.fractions(0, 1), st.fractions(0, 1))
def test_a_smaller_sample_is_within_every_larger_one(device: UUID, one: Fraction, other: Fraction) -> None:
    smaller, larger = sorted((one, other))
    assert is_in_sample(str(device), larger) or not is_in_sample(str(device), smaller)
    assert not is_in_sample(str(device), Fraction(0))
    assert is_in_sample(str(device), Fraction(1))


def test_a_sample_is_about_its_share_and_always_the_same() -> None:
    devices = [f"device-{number}" for number in range(20_000)]
    found = [device for device in devices if is_in_sample(device, Fraction(1, 10))]
    assert 1850 < len(found) < 2150
    assert found[:3] == ["device-1", "device-3", "device-15"], "whoever draws a sample again gets the same devices"


@in_virtual_time
async def test_a_sample_is_drawn_of_what_the_clause_means() -> None:
    sandbox = sandbox_of(devices=2000)
    found = await chosen(sandbox, Choice(apps=(APP,), where="platform = 'ios'", sample=Fraction(1, 10)))
    devices = sandbox.world.apps[APP].devices
    expected = {d for d, device in devices.items() if device.traits.platform == "ios" and is_in_sample(d, Fraction(1, 10))}
    assert {device for _, device in found} == expected
    assert 40 < len(expected) < 160


@pytest.mark.parametrize(
    ("clause", "columns"),
    [
        ("country_code = 'DE'", ("country_code",)),
        (
            "COUNTRY_CODE IS NULL OR \"install_source\" = 'x' AND platform = 'ios'",
            ("platform", "install_source", "country_code"),
        ),
        ("device_id IN (SELECT device_id FROM devices WHERE custom_id = 'a')", ("custom_id",)),
        ("app_id = 'a' AND 'country_code' = 'x'", ()),
    ],
)
def test_the_columns_that_a_clause_reads(clause: str, columns: tuple[str, ...]) -> None:
    assert sorted(check_clause(clause)) == sorted(columns)


@pytest.mark.parametrize("column", ["country_code", "install_source"])
@in_virtual_time
async def test_a_query_on_a_column_that_lists_never_show_says_so(column: str) -> None:
    said = f"{column} is empty for all devices: lists of devices never show it."
    with pytest.raises(InputError, match=f"none of 100 devices match. Nothing would change. {said}"):
        await chosen(sandbox_of(), Choice(apps=(APP,), where=f"{column} = 'DE'"))
    async with client_of(sandbox_of()) as capgo:
        for clause, remarks in (
            (f"{column} IS NULL", (said,)),
            (f"platform = 'ios' OR {column} = 'DE'", (said,)),
            ("platform = 'ios'", ()),
            ("key_id IS NULL", ("key_id is empty for all devices.",)),
        ):
            source = ChosenDevices(Choice(apps=(APP,), where=clause), "beta", capgo)
            assert [rows async for rows in source.batches(1000)]
            assert source.remarks == remarks


@in_virtual_time
async def test_a_choice_of_nothing_is_refused() -> None:
    with pytest.raises(InputError, match="none of 100 devices match"):
        await chosen(sandbox_of(), Choice(apps=(APP,), where="platform = 'amiga'"))


@in_virtual_time
async def test_a_job_of_chosen_devices_unlinks_them_and_is_found_again(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=300)
    choice = Choice(apps=(APP,), where="platform = 'ios'")
    path = tmp_path / "job.capgo-job"
    async with client_of(sandbox) as capgo:
        async with await Job.create(path, ChosenDevices(choice, None, capgo), client=capgo) as job:
            report = await job.run(capgo)
        requests = len(sandbox.log)
        async with await Job.create(path, ChosenDevices(choice, None, None), client=capgo) as job:
            assert (await job.report()).done == report.done > 0
        assert len(sandbox.log) == requests, "nothing is read for a job that is there"
        for other in (Choice(apps=(APP,)), Choice(apps=(APP,), where=choice.where, sample=Fraction(1, 2)), Choice()):
            with pytest.raises(JobError, match="another source"):
                await Job.create(path, ChosenDevices(other, None, None), client=capgo)
        with pytest.raises(JobError, match="another source"):
            await Job.create(path, ChosenDevices(choice, "beta", None), client=capgo)
    devices = sandbox.world.apps[APP].devices
    assert not [device for device in links_of(sandbox) if devices[device].traits.platform == "ios"]
    assert links_of(sandbox)
    assert report.failed == 0
    assert ChosenDevices(choice, None, None).asked["kind"] == UnlinkDevice.__name__


@in_virtual_time
async def test_devices_of_an_inventory_on_disk_are_those_of_a_new_one(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=900, apps=3)
    path = tmp_path / "devices.sqlite"
    async with client_of(sandbox) as capgo:
        await export(path, InventoryKind.DEVICES, client=capgo)
        for choice in (
            Choice(),
            Choice(apps=(OTHER,), where="platform = 'ios'"),
            Choice(apps=(APP, OTHER), sample=Fraction(1, 5)),
        ):
            fresh = await chosen(sandbox, choice)
            requests = len(sandbox.log)
            source = ChosenDevices(choice, "beta", capgo, exported=str(path))
            rows = [row async for rows in source.batches(100) for row in rows]
            assert {(row.operation.app_id, row.operation.target.name) for row in rows if row.operation} == fresh
            assert len(sandbox.log) == requests, "only the file is read"
        for choice, said in (
            (Choice(where="platform = 'amiga'"), "none of 900 devices match"),
            (Choice(apps=(APP, "com.example.app99")), "has no devices of com.example.app99"),
        ):
            with pytest.raises(InputError, match=said):
                await anext(ChosenDevices(choice, "beta", capgo, exported=str(path)).batches())
    sandbox.log.clear()
    async with client_of(sandbox) as capgo:
        options = Options(inventory=str(path))
        source = ChosenDevices(Choice(apps=(APP,)), "beta", capgo, exported=str(path))
        async with await Job.create(tmp_path / "a.capgo-job", source, client=capgo, options=options) as job:
            assert (job.plan.rows, job.plan.skipped) == (300, list(links_of(sandbox).values()).count("beta"))
            assert {line.path for line in sandbox.log} <= {"/channel"}


@in_virtual_time
async def test_nothing_is_left_of_the_inventory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert await chosen(sandbox_of(), Choice(apps=(APP,)))
    assert list(tmp_path.iterdir()) == []
