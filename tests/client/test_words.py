"""Words of fixed sets: a misspelt one is refused before anything is sent, an unlisted one is sent if that is said."""

import json
from collections.abc import Awaitable, Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from scripted import ScriptedTransport, answer
from tables import on_each

from capgo_async import (
    AuditFilter,
    Binding,
    CapgoClient,
    ChannelSettings,
    ConfigurationError,
    DeviceFilter,
    NewApiKey,
    NewOrganization,
    Problem,
    Unlisted,
)
from capgo_async.api.endpoints.api_keys import create_api_key
from capgo_async.api.endpoints.channels import write_channel
from capgo_async.api.endpoints.members import invite_member
from capgo_async.api.endpoints.organizations import create_organization, list_audit
from capgo_async.bulk import Job, UpdateChannel, from_operations
from capgo_async.bulk.operations.forms import form_of
from capgo_async.bulk.operations.operations import change_of, operation_of
from capgo_async.http.call import Call
from capgo_async.http.dialect import Dialect

APP = "com.example.app"
ORG = "046a36ac-0000-4000-8000-000000000001"


def binding(**fields: Any) -> NewApiKey:
    return NewApiKey(name="ci", bindings=[Binding(**{"role_name": "org_member", "scope_type": "org", "org_id": ORG, **fields})])


def channel(**fields: Any) -> Call:
    return write_channel(APP, "beta", ChannelSettings(**fields))


WORDS: dict[str, tuple[Callable[[Any], Call], str, str]] = {
    "disable_auto_update": (lambda word: channel(disable_auto_update=word), "majr", "major"),
    "update_package": (lambda word: channel(update_package=word), "detla", "delta"),
    "auto_pause_action": (lambda word: channel(auto_pause_action=word), "rolback", "rollback"),
    "mode": (lambda word: create_api_key(NewApiKey(name="ci", mode=word)), "uplod", "upload"),
    "role_name": (lambda word: create_api_key(binding(role_name=word)), "org_menber", "org_member"),
    "scope_type": (lambda word: create_api_key(binding(scope_type=word)), "chanel", "channel"),
    "global_permissions": (
        lambda word: create_api_key(NewApiKey(name="ci", global_permissions=[word])),
        "org.crate",
        "org.create",
    ),
    "role": (lambda word: invite_member(ORG, "a@x.test", word), "org_amdin", "org_admin"),
    "intent": (
        lambda word: create_organization(NewOrganization(name="New", intent=word), Dialect.MODERN),
        "explorign",
        "exploring",
    ),
    "table": (lambda word: list_audit(ORG, AuditFilter(table=word), 0), "chanels", "channels"),
    "operation": (lambda word: list_audit(ORG, AuditFilter(operation=word), 0), "update", "UPDATE"),
}


@on_each(WORDS)
def test_a_misspelt_word_is_refused_with_the_nearest_one(field: str) -> None:
    make, wrong, right = WORDS[field]

    with pytest.raises(ConfigurationError) as caught:
        make(wrong)

    assert str(caught.value).startswith(f"{field} {wrong!r} is not one of ")
    assert (f"Did you mean {right!r}?" in str(caught.value)) is (wrong != "update")
    assert str(caught.value).endswith(f"If a newer server takes it, pass Unlisted({wrong!r}).")
    assert caught.value.problem is Problem.WORD_UNLISTED


@on_each(WORDS)
def test_the_right_word_is_sent_and_so_is_an_unlisted_one(field: str) -> None:
    make, _, right = WORDS[field]

    for word in (right, Unlisted("of next year")):
        request = make(word).request
        assert str(word) in json.dumps(json.loads(request.body) if request.body else request.query)


async def test_words_of_this_package_are_named_without_a_way_around() -> None:
    transport = ScriptedTransport(last=answer(body=[]))
    days = date(2026, 7, 1), date(2026, 8, 1)
    async with CapgoClient(api_key="key", transport=transport) as capgo:
        calls: list[Callable[[], Awaitable[object]]] = [
            lambda: capgo.statistics.app(APP, *days, totals="dayly"),  # type: ignore[call-overload]  # misspelt
            lambda: capgo.devices.list(APP, DeviceFilter(order="dsc")).all(),  # type: ignore[arg-type]  # misspelt
        ]
        messages = []
        for call in calls:
            with pytest.raises(ConfigurationError) as caught:
                await call()
            messages.append(str(caught.value))
    assert messages == [
        "totals 'dayly' is not one of running, daily. Did you mean 'daily'?",
        "order 'dsc' is not one of asc, desc. Did you mean 'desc'? If a newer server takes it, pass Unlisted('dsc').",
    ]
    assert transport.requests == []


def test_a_job_keeps_an_unlisted_word() -> None:
    settings = ChannelSettings(disable_auto_update=Unlisted("of next year"), update_package="zip")
    operation = UpdateChannel(app_id=APP, channel="beta", settings=settings)

    again = operation_of(change_of(operation), APP, "beta")

    assert again == operation
    assert isinstance(again, UpdateChannel)
    assert write_channel(APP, "beta", again.settings).request == write_channel(APP, "beta", settings).request
    assert form_of(again)[0].settings == '{"disableAutoUpdate":"of next year","updatePackage":"zip"}'


async def test_a_plan_with_a_misspelt_word_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    transport = ScriptedTransport()
    settings = ChannelSettings(disable_auto_update="majr")  # type: ignore[arg-type]  # misspelt
    source = from_operations([UpdateChannel(app_id=APP, channel="beta", settings=settings)])
    async with CapgoClient(api_key="key", transport=transport) as capgo:
        with pytest.raises(ConfigurationError, match="Did you mean 'major'"):
            await Job.create(tmp_path / "a.capgo-job", source, client=capgo)

    assert transport.requests == []
