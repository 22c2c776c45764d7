"""Timestamps, parameters, keys: the pure pieces, as tables."""

import pytest
from sandbox.talking import APP, Talk

from capgo_async.sandbox import ROLES, Binding, Incoming, Key, World, fleet, javascript, timestamps
from capgo_async.sandbox.exchange import Refusal
from capgo_async.sandbox.parameters import app_id, body_only, body_or_query, truthy

MOMENT = 1_782_901_230_123_450  # 2026-07-01T10:20:30.12345Z


@pytest.mark.parametrize(
    ("moment", "row", "device", "cursor", "seed"),
    [
        (
            MOMENT,
            "2026-07-01T10:20:30.12345+00:00",
            "2026-07-01T10:20:30.123Z",
            "2026-07-01T10:20:30.123450+00:00",
            "2026-07-01T10:20:30+00:00",
        ),
        (
            MOMENT - 123_450,
            "2026-07-01T10:20:30+00:00",
            "2026-07-01T10:20:30.000Z",
            "2026-07-01T10:20:30.000000+00:00",
            "2026-07-01T10:20:30+00:00",
        ),
        (
            MOMENT - 123_450 + 999_999,
            "2026-07-01T10:20:30.999999+00:00",
            "2026-07-01T10:20:30.999Z",
            "2026-07-01T10:20:30.999999+00:00",
            "2026-07-01T10:20:30+00:00",
        ),
    ],
)
def test_the_timestamp_formats(moment: int, row: str, device: str, cursor: str, seed: str) -> None:
    assert timestamps.row_format(moment) == row
    assert timestamps.device_format(moment) == device
    assert timestamps.cursor_format(moment) == cursor
    assert timestamps.seed_format(moment) == seed
    assert timestamps.read_stored(cursor) == moment


@pytest.mark.parametrize(
    ("text", "as_filter", "as_cursor"),
    [
        ("2026-07-01T10:20:30Z", True, True),
        ("2026-07-01T10:20:30.123456Z", True, True),
        ("2026-07-01 10:20:30", True, True),
        ("2026-07-01T10:20:30+00:00", False, True),
        ("2026-07-01T10:20:30", False, True),
        ("2026-07-01T10:20:30.123456 00:00", False, False),  # a `+` that went out unescaped
        ("2026-13-01T10:20:30Z", False, False),
        ("2026-07-01", False, False),
        ("a", False, False),
        ("", False, False),
    ],
)
def test_which_timestamps_are_read(text: str, *, as_filter: bool, as_cursor: bool) -> None:
    assert (timestamps.read_filter(text) is not None) is as_filter
    assert (timestamps.read_stored(text) is not None) is as_cursor


def test_a_float_of_whole_milliseconds_is_not_cut_short() -> None:
    whole = range(0, 1000, 37)
    assert all(
        timestamps.millis((1_784_538_000.0 + one / 1000) + other / 1000) == 1_784_538_000_000 + one + other
        for one in range(1000)
        for other in whole
    )


@pytest.mark.parametrize("form", ["com.example.app", "a.b", "1.2", "COM.X.Y_z-9"])
def test_app_ids_that_pass(form: str) -> None:
    assert app_id(form) == form


@pytest.mark.parametrize("form", ["app", "com..x", "com.x.", "com-x.y", "com_x.y", "com.x\n", "", "cöm.x", None, 5, ["com.x"]])
def test_app_ids_that_are_refused(form: object) -> None:
    with pytest.raises(Refusal, match="invalid_app_id"):
        app_id(form)


def _sent(body: bytes, method: str = "GET", query: tuple[tuple[str, str], ...] = (("a", "1"), ("a", "2"))) -> Incoming:
    return Incoming(method=method, path="/device", query=query, body=body)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", {"a": "1"}),
        (b"this is no json", {"a": "1"}),
        (b'{"b": 1}', {"b": 1}),
        (b'"text"', "text"),
        (b"[1]", [1]),
    ],
)
def test_body_or_query(body: bytes, expected: object) -> None:
    assert body_or_query(_sent(body)) == expected
    assert body_or_query(_sent(body, "DELETE")) == expected


@pytest.mark.parametrize("body", [b"{}", b"[]", b"null", b"5", b"true", b'""'])
@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_json_without_keys_is_refused_although_the_query_is_complete(body: bytes, method: str) -> None:
    with pytest.raises(Refusal) as caught:
        body_or_query(_sent(body, method))
    assert (caught.value.code, caught.value.more) == ("invalid_json_parse_body", {})


def test_neither_body_nor_query_is_refused_but_not_on_get() -> None:
    assert body_or_query(_sent(b"", query=())) == {}
    assert body_or_query(_sent(b"", "HEAD", query=())) == {}
    with pytest.raises(Refusal, match="invalid_json_parse_body"):
        body_or_query(_sent(b"", "DELETE", query=()))


@pytest.mark.parametrize(("body", "expected"), [(b"{}", {}), (b"[]", []), (b'"text"', "text"), (b"5", 5)])
def test_body_only_passes_on(body: bytes, expected: object) -> None:
    assert body_only(_sent(body, "POST")) == expected


@pytest.mark.parametrize("body", [b"", b"null", b"{", b"a=1"])
def test_body_only_refuses(body: bytes) -> None:
    with pytest.raises(Refusal) as caught:
        body_only(_sent(body, "POST"))
    assert (caught.value.code, caught.value.more) == ("invalid_json_parse_body", {"e": {}})


@pytest.mark.parametrize(
    ("value", "expected"),
    [("", False), (0, False), (None, False), (False, False), ([], True), ({}, True), ("false", True), (1, True)],
)
def test_truth_is_that_of_javascript(value: object, *, expected: bool) -> None:
    assert truthy(value) is expected


@pytest.mark.parametrize(
    ("value", "as_number", "as_flag"),
    [
        (5, 5, None), (5.0, 5, None), (5.5, None, None), ("12", 12, None), (" -1 ", -1, None), ("1.5", None, None),
        (True, None, True), ("yes", None, True), ("T", None, True), (1, 1, True), ("off", None, False), (0, 0, False),
        ("o", None, None), ([1], None, None), (None, None, None),
    ],
)  # fmt: skip
def test_what_the_database_takes_for_numbers_and_booleans(
    value: object, as_number: int | None, *, as_flag: bool | None
) -> None:
    assert javascript.whole(value) == as_number
    assert javascript.boolean(value) is as_flag


# One line of contract C0 each: permission, then the roles that hold it.
PERMISSIONS = [
    ("org.read", {"org_super_admin", "org_admin", "org_member", "org_billing_admin", "apikey_manager"}),
    ("org.read_members", {"org_super_admin", "org_admin", "org_member"}),
    ("org.create_app", {"org_super_admin", "org_admin", "org_member", "org_billing_admin"}),
    ("org.update_settings", {"org_super_admin", "org_admin"}),
    ("org.manage_apikeys", {"org_super_admin", "org_admin", "apikey_manager"}),
    ("org.delete", {"org_super_admin"}),
    ("app.delete", {"org_super_admin"}),
    ("app.read", {"org_super_admin", "org_admin", "app_admin", "app_developer", "app_uploader", "app_reader", "app_preview"}),
    ("app.read_devices", {"org_super_admin", "org_admin", "app_admin", "app_developer", "app_uploader", "app_reader"}),
    ("app.read_channels", {"org_super_admin", "org_admin", "app_admin", "app_developer", "app_uploader", "app_reader"}),
    ("app.update_settings", {"org_super_admin", "org_admin", "app_admin"}),
    ("app.upload_bundle", {"org_super_admin", "org_admin", "app_admin", "app_developer", "app_uploader", "app_preview"}),
    ("app.create_channel", {"org_super_admin", "org_admin", "app_admin", "app_developer", "app_preview"}),
    ("app.manage_devices", {"org_super_admin", "org_admin", "app_admin", "app_developer"}),
    ("channel.manage_forced_devices", {"org_super_admin", "org_admin", "app_admin", "app_developer"}),
    ("channel.promote_bundle", {"org_super_admin", "org_admin", "app_admin", "app_developer", "app_uploader"}),
    ("channel.update_settings", {"org_super_admin", "org_admin", "app_admin"}),
    ("bundle.delete", {"org_super_admin", "app_admin"}),
    ("channel.delete", {"org_super_admin", "app_admin"}),
]


@pytest.mark.parametrize(("permission", "roles"), PERMISSIONS)
def test_what_each_role_allows(permission: str, roles: set[str]) -> None:
    assert {role for role, permissions in ROLES.items() if permission in permissions} == roles


def test_a_binding_reaches_its_app_and_no_other() -> None:
    one_app = Key(key_id=1, secret="k", user_id="u", bindings=(Binding(role="app_reader", org_id="o", app_id="a.b"),))
    whole_org = Key(key_id=2, secret="l", user_id="u", bindings=(Binding(role="org_admin", org_id="o"),))
    assert one_app.permits("app.read", org_id="o", app_id="a.b")
    assert not one_app.permits("app.read", org_id="o", app_id="a.c")
    assert not one_app.permits("app.read", org_id="p", app_id="a.b")
    assert whole_org.permits("app.read", org_id="o", app_id="a.c")
    assert not whole_org.permits("app.read", org_id="p", app_id="a.c")


def test_a_key_shows_no_secret_and_roles_are_checked() -> None:
    key = World().add_key("the-secret", user_id="u")
    assert "the-secret" not in repr(key)
    with pytest.raises(ValueError, match="unknown role 'emperor'"):
        Binding(role="emperor", org_id="o")


def test_a_hashed_key_works_by_its_plain_text_only() -> None:
    world = World()
    plain = world.add_key("plain", user_id="u")
    hashed = world.add_key("secret", user_id="u", hashed=True)
    assert world.keys.of("secret") is hashed
    assert world.keys.of("plain") is plain
    assert world.keys.of(hashed.secret) is None
    world.keys.remove(hashed)
    assert world.keys.of("secret") is None


def test_names_are_unique_and_numbers_and_moments_grow() -> None:
    world = World()
    app = world.add_app("a.b", org_id="o", user_id="u", now=10)
    channel = world.add_channel(app, "beta", now=10)
    bundle = world.add_bundle(app, "1.0.0", now=10)
    assert app.created_at < channel.created_at < bundle.created_at
    assert channel.id < bundle.id
    bundle.deleted = True
    with pytest.raises(ValueError, match=r"app a\.b exists"):
        world.add_app("a.b", org_id="p", user_id="u", now=11)
    with pytest.raises(ValueError, match="channel beta exists"):
        world.add_channel(app, "beta", now=11)
    with pytest.raises(ValueError, match=r"bundle 1\.0\.0 exists"):
        world.add_bundle(app, "1.0.0", now=11)


def test_the_inventory_can_change_under_a_listing() -> None:
    talk = Talk(fleet(1, 5))
    app = talk.sandbox.world.apps[APP]
    first = next(iter(app.devices_after("")))
    app.forget_device(first.device_id)
    assert len(talk.get("/device", app_id=APP, order="asc").json["data"]) == 4
    app.put_device(first)
    app.put_device(first)
    assert len(talk.get("/device", app_id=APP).json["data"]) == 5
    assert len(talk.get("/device", app_id=APP, order="asc").json["data"]) == 5
