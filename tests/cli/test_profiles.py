"""Profiles: server and keys by name, from a file that holds no secret."""

from pathlib import Path

import platformdirs
import pytest
from cli.conftest import Command
from cli.served import APP, KEY, Served, csv_of

from capgo_async.cli.options.profiles import Reference, path_of_profiles, read_profile
from capgo_async.errors import ConfigurationError
from capgo_async.sandbox import Binding
from capgo_async.sandbox.seeding import ORG_ID

pytestmark = pytest.mark.slow


@pytest.fixture
def profiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "config.toml"
    monkeypatch.setenv("CAPGO_CONFIG", str(path))
    return path


def write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def test_a_profile_names_server_and_key(unaimed: Command, server: Served, profiles: Path) -> None:
    profiles.with_name("key").write_text(KEY + "\n")
    write(profiles, f'[profiles.here]\nbase_url = "{server.base_url}"\napi_key = {{file = "{profiles.with_name("key")}"}}\n')
    result = unaimed("apps", "list", "--profile", "here", "--json")
    assert result.exit_code == 0, result.stderr
    assert APP in result.stdout


def test_files_of_windows_editors_are_read(unaimed: Command, server: Served, profiles: Path) -> None:
    profiles.with_name("key").write_text(f"{KEY}\r\n", encoding="utf-8-sig")
    text = f'[profiles.here]\nbase_url = "{server.base_url}"\napi_key = {{file = "{profiles.with_name("key")}"}}\n'
    profiles.write_text(text, encoding="utf-8-sig")
    result = unaimed("apps", "list", "--profile", "here", "--json")
    assert result.exit_code == 0, result.stderr


def test_an_option_goes_before_the_profile_and_that_before_the_environment(
    unaimed: Command, server: Served, profiles: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CAPGO_API_KEY", "wrong-key-of-the-environment")
    monkeypatch.setenv("CAPGO_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("HERE", KEY)
    write(profiles, f'[profiles.here]\nbase_url = "{server.base_url}"\napi_key = {{env = "HERE"}}\n')
    assert unaimed("apps", "list", "--profile", "here").exit_code == 0
    refused = unaimed("apps", "list", "--profile", "here", "--api-key", "wrong-key-of-the-option")
    assert refused.exit_code == 5
    assert "wrong-key" not in refused.stdout + refused.stderr


def test_keys_of_organizations_and_apps_make_a_ring(
    unaimed: Command, server: Served, profiles: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = "7ead0000-dead-4bee-8bad-c0ffee5ec2e7"
    key = server.sandbox.world.add_key(other, Binding(role="app_developer", org_id=ORG_ID, app_id=APP), user_id="u")
    monkeypatch.setenv("HERE", KEY)
    monkeypatch.setenv("OF_APP", other)
    write(
        profiles,
        f'[profiles.here]\nbase_url = "{server.base_url}"\napi_key = {{env = "HERE"}}\n'
        f'[profiles.here.apps]\n"{APP}" = {{env = "OF_APP"}}\n',
    )
    result = unaimed(
        "devices",
        "relink",
        csv_of(profiles.with_name("d.csv")),
        "--app",
        APP,
        "--channel",
        "beta",
        "--yes",
        "--profile",
        "here",
    )
    assert result.exit_code == 0, result.stderr
    assert other not in result.stdout + result.stderr
    assert {line.key for line in server.sandbox.log if line.path == "/device"} == {key.key_id}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "CAPGO_CONFIG names "),
        (None, "config.toml, which does not exist"),
        ("[profiles", "not TOML"),
        ('[profiles.here]\napi_key = "5ec2e7aa-in-the-clear"', "never the key itself"),
        ('[profiles.here.apps]\n"com.example.app" = "5ec2e7aa-in-the-clear"', "never the key itself"),
        ('[profiles.here]\nconcurrency = "3"', "Expected `int | null`, got `str` - at `$.profiles[...].concurrency`\n"),
        ("[profiles.other]", "has no profile 'here' (profiles: other)"),
        (
            "[profiles.here]\napi_kay = {}",
            "config.toml: profile here: unknown setting api_kay (known: base_url, api_key, rate, ",
        ),
        ("[profiles.here]\napi_key = {}", "must be {env = NAME} or {file = PATH}"),
        ('[profiles.here]\napi_key = {env = "NOT_SET"}', "environment variable NOT_SET, which is not set"),
        ('[profiles.here]\napi_key = {file = "/no/such/file"}', "/no/such/file, which cannot be read: No such file"),
        ("[profiles.here]\nrate = 3", "Expected `str | null`, got `int`"),
    ],
)
def test_what_is_wrong_with_a_profile_is_said_and_nothing_is_sent(
    capgo: Command, server: Served, profiles: Path, text: str | None, reason: str
) -> None:
    if text is not None:
        write(profiles, text)
    result = capgo("apps", "list", "--profile", "here")
    assert (result.exit_code, server.requests()) == (2, 0)
    assert reason in result.stderr
    assert "in-the-clear" not in result.stderr


def test_profiles_stand_in_the_platform_s_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CAPGO_CONFIG", raising=False)
    assert (path_of_profiles() or Path()).name == "config.toml"
    assert "capgo-async" in str(path_of_profiles())


@pytest.mark.parametrize("missing", ["could not determine the home directory", None])
def test_without_a_home_directory_commands_work(
    unaimed: Command, server: Served, monkeypatch: pytest.MonkeyPatch, missing: str | None
) -> None:
    def nowhere(name: str) -> Path:
        if missing is not None:
            raise RuntimeError(missing)
        return Path("~", name)

    for name in ("CAPGO_CONFIG", "CAPGO_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(platformdirs, "user_config_path", nowhere)
    monkeypatch.setattr(platformdirs, "user_cache_path", nowhere)
    csv_of(Path("devices.csv"))
    for words in ("apps list", f"devices relink devices.csv --app {APP} --channel beta --yes", "limits", "limits --forget"):
        result = unaimed(*words.split(), env=server.environment)
        assert result.exit_code == 0, result.stderr
    result = unaimed("apps", "list", "--profile", "p", env=server.environment)
    assert result.exit_code == 2
    assert "there are no profiles, because this user has no home directory: CAPGO_CONFIG can name a file" in result.stderr
    assert not Path("~").exists()


def test_a_home_directory_of_somebody_else_stops_nothing(
    unaimed: Command, server: Served, monkeypatch: pytest.MonkeyPatch, here: Path
) -> None:
    class Closed(type(here)):  # type: ignore[misc]  # the class of paths on this system
        def exists(self, **_options: bool) -> bool:
            raise PermissionError(13, "Permission denied")

    monkeypatch.delenv("CAPGO_CONFIG", raising=False)
    monkeypatch.setattr(platformdirs, "user_config_path", lambda _: Closed(here))
    assert unaimed("channels", "update", APP, "beta", "public=false", "--yes", env=server.environment).exit_code in {0, 3}


def test_a_key_of_a_file_below_no_home_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def expanduser(_path: Path) -> Path:
        message = "Could not determine home directory."
        raise RuntimeError(message)

    monkeypatch.setattr(Path, "expanduser", expanduser)
    with pytest.raises(ConfigurationError, match="takes a key from ~/key, which cannot be read: Could not determine home"):
        Reference(file="~/key").secret()


def test_a_key_of_bytes_that_are_no_text_is_named_by_its_file(tmp_path: Path) -> None:
    tmp_path.joinpath("key").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(ConfigurationError, match="not UTF-8 text"):
        Reference(file=str(tmp_path / "key")).secret()


def test_the_line_that_says_how_to_go_on_names_the_profile(
    unaimed: Command, server: Served, profiles: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HERE", KEY)
    write(profiles, f'[profiles.here]\nbase_url = "{server.base_url}"\napi_key = {{env = "HERE"}}\n')
    source = csv_of(profiles.with_name("d.csv"))
    result = unaimed(
        "devices",
        "relink",
        source,
        "--app",
        APP,
        "--channel",
        "beta",
        "--plan-only",
        "--job",
        "x.capgo-job",
        "--profile",
        "here",
    )
    assert "capgo-async job run x.capgo-job --profile here" in result.stderr
    assert read_profile("here").base_url == server.base_url


@pytest.mark.parametrize("given", ["option", "profile", "environment"])
def test_a_key_that_cannot_be_read_does_not_let_another_be_said(
    unaimed: Command, server: Served, profiles: Path, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    monkeypatch.setenv("HERE", KEY if given == "profile" else "wrong-key-of-the-profile")
    monkeypatch.setenv("CAPGO_API_KEY", KEY if given == "environment" else "wrong-key-of-the-environment")
    own = 'api_key = {env = "HERE"}' if given == "profile" else ""
    write(
        profiles,
        f'[profiles.here]\nbase_url = "{server.base_url}"\n{own}\n'
        '[profiles.here.organizations]\nfirst = {env = "NOT_THERE"}\n[profiles.here.apps]\nlast = {file = "/nowhere"}\n',
    )
    option = ("--api-key", KEY) if given == "option" else ()
    result = unaimed("channels", "get", APP, f"echo-{KEY}", "--profile", "here", *option)
    assert "[API key]" in result.stderr, result.stderr


RELINK = ("devices", "relink", "d.csv", "--app", APP, "--channel", "beta", "--yes")


@pytest.mark.parametrize(
    ("text", "profile", "code"),
    [
        ('[protected]\nchannels = ["production", "beta"]\n', "", 2),
        (f'[protected]\nchannels = ["{APP}/beta"]\n', "", 2),
        ('[protected]\nchannels = ["beta"]\n[profiles.here]\n', "here", 2),
        ('[profiles.here]\nprotected_channels = ["beta"]\n', "here", 2),
        ('[profiles.here]\nprotected_channels = ["beta"]\n', "", 0),
        ('[protected]\nchannels = ["production", "com.other.app/beta"]\n', "", 0),
    ],
)
def test_protected_channels_are_refused_with_and_without_a_profile(
    capgo: Command, server: Served, profiles: Path, *, text: str, profile: str, code: int
) -> None:
    write(profiles, text)
    csv_of(profiles.with_name("d.csv"))
    result = capgo(*RELINK, *(("--profile", profile) if profile else ()))
    assert result.exit_code == code, result.stderr
    assert bool(server.sent()) is (code == 0)
    assert (f"beta of {APP} is protected by {profiles}" in result.stderr) is (code == 2)


@pytest.mark.parametrize(
    "words",
    [
        ("channels", "update", APP, "beta", "allow_dev=false"),
        ("channels", "delete", APP, "beta", "--yes"),
        ("channels", "roll-back", APP, "beta"),
        ("channels", "promote-rollout", APP, "beta"),
        ("bundles", "promote", APP, "1.0.0", "beta"),
        ("devices", "link", APP, "d", "beta"),
    ],
)
def test_one_change_of_a_protected_channel_is_refused_like_many(
    capgo: Command, server: Served, profiles: Path, words: tuple[str, ...]
) -> None:
    write(profiles, f'[protected]\nchannels = ["{APP}/beta"]\n')
    result = capgo(*words)
    assert result.exit_code == 2
    assert f"beta of {APP} is protected by {profiles}" in result.stderr
    assert server.requests() == 0


def test_everywhere_has_no_rows_to_fix(capgo: Command, server: Served, profiles: Path) -> None:
    write(profiles, f'[protected]\nchannels = ["{APP}/beta"]\n')
    result = capgo("channels", "update", "--everywhere", "beta", "allow_dev=false", "--yes")
    assert (result.exit_code, {line.method for line in server.sandbox.log}) == (2, {"GET"})
    assert f"beta of {APP} is protected by {profiles}\nerror: nothing was sent\n" == result.stderr


@pytest.mark.parametrize("text", ["[protected]\nchannel = []\n", '[protected]\nchannels = "beta"\n', "[protected", None])
def test_a_protection_that_cannot_be_read_protects_from_everything(
    capgo: Command, server: Served, profiles: Path, text: str | None
) -> None:
    if text is not None:
        write(profiles, text)
    csv_of(profiles.with_name("d.csv"))
    result = capgo(*RELINK)
    assert result.exit_code == 2
    assert str(profiles) in result.stderr
    assert not server.sent()


def test_a_channel_that_is_protected_later_is_refused_when_the_job_is_run(
    capgo: Command, server: Served, profiles: Path
) -> None:
    write(profiles, "")
    csv_of(profiles.with_name("d.csv"))
    assert capgo(*RELINK, "--plan-only", "--job", "m.capgo-job").exit_code == 0
    write(profiles, '[protected]\nchannels = ["alpha", "beta"]\n')
    for arguments in (("job", "run", "m.capgo-job", "--yes"), (*RELINK, "--job", "m.capgo-job")):
        result = capgo(*arguments)
        assert result.exit_code == 2
        assert f"changes protected channels: beta of {APP} (see {profiles}); nothing was sent" in result.stderr
        assert not server.sent()
    write(profiles, "")
    assert capgo("job", "run", "m.capgo-job", "--yes").exit_code == 0
