"""Session tokens in place of API keys: what they show, and what refuses them before anything is sent."""

import json

import pytest
from cli.conftest import Command
from cli.served import APP, Served

from capgo_async.sandbox.seeding import ORG_ID, USER_JWT


@pytest.fixture
def signed_in(server: Served, unaimed: Command) -> Command:
    """Run the command against the sandbox, with the token of a user session in place of the key."""
    environment = {"CAPGO_BASE_URL": server.base_url, "CAPGO_API_KEY": USER_JWT}
    return lambda *arguments: unaimed(*arguments, env=environment)


def test_a_token_lists_and_makes_keys(server: Served, signed_in: Command) -> None:
    keys = [json.loads(line) for line in signed_in("api-keys", "list", "--json").stdout.splitlines()]
    assert {"super admin", "reader"} < {key["name"] for key in keys}
    binding = f'bindings=[{{"role_name":"org_admin","scope_type":"org","org_id":"{ORG_ID}"}}]'
    result = signed_in("api-keys", "create", "ci", binding)
    assert result.exit_code == 0, result.stderr
    assert [key.name for key in server.sandbox.world.keys].count("ci") == 1
    assert USER_JWT not in result.stdout + result.stderr


def test_a_token_shows_the_numbers_that_a_key_shows(capgo: Command, signed_in: Command) -> None:
    words = ("stats", "org", ORG_ID, "--from", "2026-06-01", "--to", "2026-07-01", "--json")
    by_key, by_token = ([json.loads(line) for line in run(*words).stdout.splitlines()] for run in (capgo, signed_in))
    assert [point["mau"] for point in by_token] == [point["mau"] for point in by_key]
    assert sum(point["mau"] for point in by_token) > 0


@pytest.mark.parametrize(
    "words",
    [
        ("devices", "list", APP),
        ("devices", "link", APP, "some-device", "beta"),
        ("channels", "delete", APP, "beta", "--yes"),
        ("bundles", "delete-all", APP, "--confirm", APP),
        ("orgs", "list"),
        ("orgs", "create", "Another"),
        ("members", "remove", ORG_ID, "a@example.com", "--yes"),
        ("export", "devices", "-o", "devices.csv"),
        ("devices", "relink", "--all", "--app", APP, "--channel", "beta", "--yes"),
    ],
)
def test_what_takes_keys_only_refuses_a_token_and_sends_nothing(
    server: Served, signed_in: Command, words: tuple[str, ...]
) -> None:
    result = signed_in(*words)
    assert result.exit_code == 2, result.stderr
    assert "this takes an API key, not the token of a user session" in result.stderr
    assert "--api-key passes one, --profile uses a stored one." in result.stderr
    assert {line.path for line in server.sandbox.log} <= {"/ok"}


def test_who_cannot_make_a_key_is_told_to_pass_a_token(capgo: Command) -> None:
    result = capgo("api-keys", "create", "ci")
    assert result.exit_code == 3
    assert "pass the token of a user session (a JWT) in place of the API key" in result.stderr


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("remove", ORG_ID, "nobody@example.com"), 3, "invitation of somebody without an account cannot be removed through"),
        (
            ("remove-many", "--everywhere", "nobody@example.com"),
            2,
            f"nobody@example.com is invited to {ORG_ID} but has no account",
        ),
    ],
)
def test_an_invitation_without_an_account_is_told_to_stay(
    server: Served, capgo: Command, words: tuple[str, ...], code: int, said: str
) -> None:
    organization = server.sandbox.world.organizations.get(ORG_ID)
    assert organization is not None
    organization.invite("nobody@example.com", "org_member", "0a1b2c3d-0000-4000-8000-00000000beef", 4e9)
    result = capgo("members", *words, "--yes")
    assert result.exit_code == code, result.stderr
    assert said in result.stderr
    assert list(organization.invitations) == ["nobody@example.com"]


def test_a_query_on_a_column_that_lists_never_show_says_so(capgo: Command) -> None:
    words = ("devices", "relink", "--all", "--channel", "beta", "--plan-only")
    nothing = capgo(*words, "--where", "country_code = 'DE'")
    assert nothing.exit_code == 2
    assert "none of 30 devices match. Nothing would change. country_code is empty for all devices: lists" in nothing.stderr
    found = capgo(*words, "--where", "install_source IS NULL")
    assert found.exit_code == 0
    assert "install_source is empty for all devices: lists of devices never show it." in found.stderr
