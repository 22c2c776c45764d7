"""What the command says to type next: the library says what happened, and names no command."""

import re
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
from cli.conftest import Command
from cli.served import APP, KEY, Served, csv_of, is_group, subcommands

import capgo_async
from capgo_async import errors
from capgo_async.bulk import Report
from capgo_async.bulk.operations.advice import Remedy
from capgo_async.cli.job import asking
from capgo_async.cli.output.advice import advice_on, next_steps
from capgo_async.cli.output.failing import announce, explain

RELINK = ("devices", "relink", "devices.csv", "--app", APP, "--channel", "beta", "--job", "m.capgo-job")
RUN = "capgo-async job run m.capgo-job"


def report(*remedies: Remedy, pending: int = 0) -> Report:
    nothing = {field.name: 0 for field in msgspec.structs.fields(Report) if field.required}
    failure = {"cause": "cause", "count": 1, "message": "message", "first": ["a/x"], "what_to_do": "what to do"}
    found = {**nothing, "job": "m.capgo-job", "pending": pending, "consistent": True}
    return msgspec.convert({**found, "failures": [{**failure, "remedy": remedy} for remedy in remedies]}, Report)


@pytest.mark.parametrize(
    ("found", "steps"),
    [
        (report(), []),
        (report(Remedy.NEW_JOB), ["to list the failed operations: capgo-async job show m.capgo-job --rows failed"]),
        (report(pending=1), [f"to go on: {RUN} --rate 1/s"]),
        (report(Remedy.RETRY, Remedy.NEW_JOB), [f"to send the failed operations again: {RUN} --failed --rate 1/s"]),
        (
            report(Remedy.RETRY_SLOWER),
            [f"to send the failed operations again: {RUN} --failed --rate 1/s; a lower --rate sends fewer requests"],
        ),
        (
            report(Remedy.RETRY_OR_UNDO, pending=1),
            [
                f"to go on: {RUN} --rate 1/s",
                f"to send the failed operations again: {RUN} --failed --rate 1/s",
                "to restore what it changed: capgo-async job undo m.capgo-job --rate 1/s",
            ],
        ),
    ],
)
def test_each_way_to_go_on_is_a_command(found: Report, steps: Sequence[str]) -> None:
    assert [*next_steps(found, Path("m.capgo-job"), ["--rate", "1/s"])] == steps
    again = [*next_steps(found, Path("m.capgo-job"), ["--rate", "1/s"], ["--no-stop", "--approve", "x"])]
    runs = [(before, after) for before, after in zip(steps, again, strict=True) if RUN in before]
    assert all("--rate 1/s --no-stop --approve x" in after for _, after in runs)


@pytest.mark.parametrize("problem", errors.Problem)
def test_every_problem_has_advice_with_something_to_type(problem: errors.Problem) -> None:
    error = errors.ConfigurationError("something is wrong", problem=problem)
    assert re.search(r"--[a-z]|`[a-z]+ [a-z]+|`unlisted:WORD`", advice_on(error))
    assert explain(error) == f"something is wrong. {advice_on(error)}"


def test_nothing_below_the_command_line_names_a_command() -> None:
    package = Path(capgo_async.__file__).parent
    commands = [" ".join(names) for names, found in subcommands() if len(names) > 1 and not is_group(found)]
    assert "job run" in commands
    named = re.compile(rf"\b(?:{'|'.join(commands)})\b")
    below = [path for path in package.rglob("*.py") if package / "cli" not in path.parents]
    assert {path.name: found for path in below if (found := named.findall(path.read_text()))} == {}


def test_verifying_an_unfinished_job_says_so(here: Path, capgo: Command) -> None:
    csv_of(here / "devices.csv")
    assert capgo(*RELINK, "--yes", "--max-requests", "7").exit_code == 4
    result = capgo("job", "verify", "m.capgo-job")
    assert result.exit_code == 130
    assert "; the verification took " in result.stdout
    said = result.stderr.splitlines()
    assert "the job is not finished: 12 operations are still pending (exit code 130: it can be resumed)" in said
    assert f"to go on: {RUN}" in said


def test_a_command_to_type_names_the_server_only_where_the_environment_does_not(
    server: Served, here: Path, capgo: Command, unaimed: Command
) -> None:
    csv_of(here / "devices.csv")
    aimed = f"to go on: {RUN} --base-url {server.base_url}"
    assert f"to go on: {RUN}" in capgo(*RELINK, "--plan-only").stderr.splitlines()
    for words in (("show", "m.capgo-job"), ("report", "m.capgo-job")):
        assert f"to go on: {RUN}" in capgo("job", *words).stderr.splitlines()
        assert aimed in unaimed("job", *words).stderr.splitlines()
        assert aimed in unaimed("job", *words, env={"CAPGO_BASE_URL": "http://127.0.0.1:9"}).stderr.splitlines()
        assert f"to go on: {RUN}" in unaimed("job", *words, env={"CAPGO_BASE_URL": f"{server.base_url}/"}).stderr.splitlines()
    given = unaimed("job", "verify", "m.capgo-job", "--base-url", server.base_url, "--api-key", KEY)
    assert aimed in given.stderr.splitlines()


def test_a_plan_without_requests_is_not_to_be_gone_on_with(here: Path, capgo: Command) -> None:
    csv_of(here / "devices.csv")
    assert capgo(*RELINK, "--yes").exit_code == 0
    result = capgo(*RELINK[:-1], "again.capgo-job", "--plan-only")
    assert result.exit_code == 0
    assert "to go on" not in result.stderr


def test_messages_name_options_instead_of_arguments(unaimed: Command) -> None:
    plain = unaimed("apps", "list", "--api-key", "a-key-of-12", "--base-url", "http://capgo.test")
    assert plain.stderr.endswith("unencrypted. Use https, or pass --allow-plain-http.\n")
    bare = unaimed("apps", "list", "--api-key", "a-key-of-12", "--base-url", "127.0.0.1:1")
    assert "write https://HOST, or http://HOST for a server on this machine" in bare.stderr
    token = errors.AuthenticationError("Invalid JWT", status=401, code="invalid_jwt")
    assert explain(token).endswith("must be sent in the header capgkey. --auth-header capgkey does that.")


def test_the_end_that_was_asked_for_is_no_error() -> None:
    stop = errors.SafetyStop("stopped: the time limit of 1m40s is reached", problem=errors.Problem.TIME_SPENT)
    assert announce(stop) == "stopped: the time limit of 1m40s is reached. --max-duration asked for this."
    failing = errors.SafetyStop("stopped: too many failed", problem=errors.Problem.TOO_MANY_FAILED)
    assert announce(failing).startswith("error: stopped: too many failed. ")


def test_a_finished_job_that_runs_again_says_that_nothing_is_left(capgo: Command, here: Path) -> None:
    csv_of(here / "devices.csv")
    assert "nothing is left to send" not in capgo(*RELINK, "--yes").stderr
    assert "nothing is left to send" in capgo("job", "run", "m.capgo-job").stderr


def test_nothing_learned_names_the_command_that_measures(unaimed: Command) -> None:
    assert "nothing learned yet; `capgo-async calibrate APP`" in unaimed("limits").stderr


def test_without_a_terminal_job_run_names_options_that_it_has(
    capgo: Command, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    csv_of(here / "devices.csv")
    assert capgo(*RELINK, "--plan-only").exit_code == 0
    monkeypatch.setattr(asking, "TERMINAL", here / "no-terminal")
    assert "pass --yes; `job show` shows the plan" in capgo("job", "run", "m.capgo-job").stderr
