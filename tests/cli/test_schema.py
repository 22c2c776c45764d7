"""Every command runs with `--json`, and each line that it prints is held against the schemas that it publishes."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
from cli.conftest import Command
from cli.served import APP, Served, csv_of, is_group, served, subcommands
from jsonschema import Draft202012Validator

from capgo_async.cli.commands.schema import HANDED, name_of, printed, schema_of
from capgo_async.sandbox import Binding, Settings, thresholds
from capgo_async.sandbox.seeding import ORG_ID, OUTSIDER_EMAIL, USER_ID, USER_JWT, device_id

DEVICE = device_id(APP, 0)
JOB = "move.capgo-job"
SETTINGS = Settings(generation="2026-11", limits=thresholds("off"))


def strict(document: type[msgspec.Struct]) -> Draft202012Validator:
    """Return what checks that a document has the fields that its schema names, and no others."""
    schema: Any = msgspec.to_builtins(schema_of(document))
    if "allOf" in schema:
        schema["unevaluatedProperties"] = False
    else:
        for part in schema["$defs"].values():
            if "properties" in part:
                part["additionalProperties"] = False
    return Draft202012Validator(schema)


PRINTED: Final = printed()
DOCUMENTS: Final = {document: strict(document) for document in PRINTED}


def checked(command: str, stdout: str) -> set[str]:
    """Check the first lines that `command` printed, and return the names of the documents."""
    mine = [document for document, commands in PRINTED.items() if command in commands]
    found = set()
    for line in stdout.splitlines()[:3]:
        told = json.loads(line)
        fitting = {name_of(document) for document in mine if DOCUMENTS[document].is_valid(told)}
        problems = [error.message for document in mine for error in DOCUMENTS[document].iter_errors(told)]
        assert fitting, (command, line, problems)
        found |= fitting
    return found


def runs(server: Served) -> Sequence[tuple[str, tuple[object, ...]]]:
    """Return commands that succeed one after another, with every document of theirs."""
    key = server.sandbox.world.add_key("0ther000-key", Binding(role="org_member", org_id=ORG_ID), user_id=USER_ID).key_id
    binding = f'bindings=[{{"role_name":"org_member","scope_type":"org","org_id":"{ORG_ID}"}}]'
    return (
        ("schema", ()),
        ("api-keys list", ()),
        ("api-keys get", (key,)),
        ("api-keys update", (key, "name=new")),
        ("api-keys create", ("ci", binding, "--api-key", USER_JWT)),
        ("api-keys regenerate", (key, "--yes")),
        ("api-keys delete", (key, "--yes")),
        ("apps list", ()),
        ("apps get", (APP,)),
        ("apps create", ("com.example.new", "New", ORG_ID)),
        ("apps update", (APP, "name=New")),
        ("apps delete", ("com.example.new", "--yes")),
        ("bundles list", (APP,)),
        ("bundles create", (APP, "9.0.0", "https://cdn.example.com/9.zip", "0" * 64)),
        ("bundles promote", (APP, "1.0.0", "beta")),
        ("bundles set-metadata", (APP, "1.0.0", "comment=good")),
        ("bundles delete", (APP, "9.0.0", "--yes")),
        ("bundles prune", ("--keep", "1", "--plan-only")),
        ("bundles delete-all", (APP, "--confirm", APP)),
        ("calibrate", (APP, "--budget", "20")),
        ("limits", ()),
        ("limits", ("--forget",)),
        ("channels list", (APP,)),
        ("channels get", (APP, "beta")),
        ("channels create", (APP, "gamma", "public=false")),
        ("channels update", (APP, "beta", "rollout_bundle=1.1.0", "rollout_percentage_bps=2500", "rollout_enabled=true")),
        ("channels roll-back", (APP, "beta")),
        ("channels update", (APP, "beta", "rollout_bundle=1.1.0", "rollout_percentage_bps=2500", "rollout_enabled=true")),
        ("channels promote-rollout", (APP, "beta")),
        ("channels delete", (APP, "gamma", "--yes")),
        ("devices list", (APP,)),
        ("devices get", (APP, DEVICE)),
        ("devices find", (APP, "user-0")),
        ("devices link", (APP, DEVICE, "alpha")),
        ("devices unlink", (APP, DEVICE)),
        ("devices relink", ("all.csv", "--app", APP, "--channel", "beta", "--waves", "50%,100%", "--plan-only", "--job", JOB)),
        ("job show", (JOB,)),
        ("job rehearse", (JOB,)),
        ("job run", (JOB, "--yes")),
        ("job verify", (JOB,)),
        ("job events", (JOB,)),
        ("job adoption", (JOB,)),
        ("job report", (JOB,)),
        ("job show", (JOB, "--rows", "skipped")),
        ("job undo", (JOB, "--yes")),
        ("devices renew", ("all.csv", "--app", APP, "--yes")),
        ("export apps", ("-o", "apps.csv")),
        ("export bundles", ("-o", "bundles.csv")),
        ("export channels", ("-o", "channels.csv")),
        ("export devices", ("-o", "devices.sqlite")),
        ("members list", (ORG_ID,)),
        ("members invite", (ORG_ID, OUTSIDER_EMAIL, "org_member")),
        ("members remove-many", ("--everywhere", OUTSIDER_EMAIL, "--plan-only")),
        ("members remove", (ORG_ID, OUTSIDER_EMAIL, "--yes")),
        ("stats app", (APP,)),
        ("stats org", (ORG_ID,)),
        ("stats org", (ORG_ID, "--by-app")),
        ("stats user", ()),
        ("stats bundles", (APP,)),
        ("stats natives", (APP,)),
        ("orgs list", ()),
        ("orgs get", (ORG_ID,)),
        ("orgs update", (ORG_ID, "name=Renamed")),
        ("orgs audit", (ORG_ID,)),
        ("orgs delete", (ORG_ID, "--yes")),
        ("sandbox", ("--devices", "1", "--lifeline", ended_pipe())),
    )


def ended_pipe() -> int:
    """Return a pipe whose other end is closed."""
    read, write = os.pipe()
    os.close(write)
    return read


ELSEWHERE: Final = {
    "demo",  # starts a process, and prints what `job run` prints
    "job watch",  # serves a page until it was loaded; its own tests read what it prints
    "orgs create",  # refused to keys, but not by the first servers
}


@pytest.mark.slow
def test_what_every_command_prints_has_its_schema(here: Path, unaimed: Command) -> None:
    csv_of(here / "all.csv", more=("", "bad id", DEVICE))
    seen: dict[str, set[str]] = {}
    with served(SETTINGS, apps=2) as server:
        for words, arguments in runs(server):
            result = unaimed(*words.split(), *arguments, "--json", env=server.environment)
            assert result.stdout, (words, result.stderr)
            seen.setdefault(words, set()).update(checked(words, result.stdout))
    assert seen.keys() == {" ".join(names) for names, found in subcommands() if not is_group(found)} - ELSEWHERE
    assert set[str]().union(*seen.values()) == {name_of(document) for document in PRINTED} - {"chart-written", "watch"}


@pytest.mark.parametrize(
    ("words", "arguments", "document"),
    [
        ("orgs create", ("Second",), "organization"),
        ("stats app", (APP, "--graph", "mau", "-o", "mau.svg", "--auth-header", "capgkey"), "chart-written"),
    ],
)
def test_what_the_first_servers_do_has_its_schema(
    unaimed: Command, words: str, arguments: Sequence[str], document: str
) -> None:
    with served(Settings(generation="seed")) as server:
        result = unaimed(*words.split(), *arguments, "--json", env=server.environment)
    assert checked(words, result.stdout) == {document}


def test_schemas_have_names_of_their_own_and_are_schemas(unaimed: Command) -> None:
    names = [json.loads(line)["name"] for line in unaimed("schema", "--json").stdout.splitlines()]
    assert len(names) == len(set(names)) == len(PRINTED) + len(HANDED)
    schema = json.loads(unaimed("schema", "report").stdout)
    Draft202012Validator.check_schema(schema)
    assert {"planned", "done", "failed", "pending"} <= set(schema["$defs"]["Report"]["required"])


@pytest.mark.parametrize("name", ["nothing", "Report", ""])
def test_a_schema_that_there_is_not(unaimed: Command, name: str) -> None:
    result = unaimed("schema", name)
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"no schema named {name}; `capgo-async schema` lists the names" in result.stderr
