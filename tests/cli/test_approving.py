"""`--approve`: a command decides between waves, by its exit code."""

import contextlib
import json
import os
import shlex
import signal
from pathlib import Path

import anyio
import pytest
from cli.conftest import Command
from cli.served import APP, Served, csv_of, environment
from jsonschema import Draft202012Validator

from benchmarks.forked import Forked
from capgo_async.bulk import Question
from capgo_async.bulk.report import Wave
from capgo_async.bulk.running import approval
from capgo_async.cli.job import approving
from capgo_async.cli.job.approving import ApprovalCommand
from capgo_async.cli.output.speech import Speech

pytestmark = pytest.mark.slow

RELINK = ("devices", "relink", "devices.csv", "--app", APP, "--channel", "beta", "--job", "m.capgo-job", "--yes")
WAVES = ("--waves", "10%,50%,100%")


def script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def question() -> Question:
    def wave(number: int) -> Wave:
        return Wave(number=number, share="50%", operations=10, settled=10, failed=0, state="verified")

    return Question(
        number=1,
        times=1,
        job="m.capgo-job",
        base_url="http://127.0.0.1",
        wave=wave(1),
        next_wave=wave(2),
        done=10,
        verified=10,
        contradicted=0,
        cannot_tell=0,
        unchecked=0,
        apps=(APP,),
    )


def test_a_command_is_asked_and_its_words_are_never_interpreted(server: Served, capgo: Command, here: Path) -> None:
    csv_of(here / "devices.csv")
    asked = script(
        here / "may go on", 'printf "%s\\n" "$@" > words; cat >> asked.jsonl; printf "crash rate\\033[31m 0.1 %%\\n"'
    )
    words = ["a b", "$(touch hacked)", "; touch hacked", "`touch hacked`", "*"]
    result = capgo(*RELINK, *WAVES, "--approve", shlex.join([str(asked), *words]))
    assert result.exit_code == 0, result.stderr
    assert (here / "words").read_text().splitlines() == words
    assert not (here / "hacked").exists()
    questions = [json.loads(line) for line in (here / "asked.jsonl").read_text().splitlines()]
    published = json.loads(capgo("schema", "question").stdout)
    assert all(Draft202012Validator(published).is_valid(each) for each in questions)
    assert published["$defs"]["Question"]["properties"].keys() == questions[0].keys()
    assert [(each["wave"]["number"], each["next_wave"]["number"]) for each in questions] == [(1, 2), (2, 3)]
    assert all(each["verified"] == each["done"] == each["wave"]["operations"] for each in questions)
    assert (questions[0]["base_url"], questions[0]["apps"]) == (server.base_url, [APP])
    assert "wave 1 is verified; asking for approval of wave 2\n" in result.stderr
    assert "--approve: crash rate\\u001b[31m 0.1 %\n" in result.stderr
    assert "wave 3 is approved\n" in result.stderr


def test_a_no_ends_the_run_and_says_how_to_go_on(server: Served, capgo: Command, here: Path) -> None:
    csv_of(here / "devices.csv")
    command = shlex.join([str(script(here / "no", "exit 3")), "a b"])
    result = capgo(*RELINK, *WAVES, "--approve", command)
    assert result.exit_code == 4
    sent = len(server.sent())
    assert "stopped after wave 1 (10%): the next wave was not approved (exit code 3)." in result.stderr
    assert "The next `job run FILE` asks again." in result.stderr
    again = next(line for line in result.stderr.splitlines() if line.startswith("to go on: "))
    assert ["--approve", command] == shlex.split(again)[-2:]
    shown = capgo("job", "show", "m.capgo-job")
    assert ", verified, not approved (exit code 3) " in shown.stdout
    assert "to go on: capgo-async job run m.capgo-job --approve CMD" in shown.stderr
    told = json.loads(capgo("job", "show", "m.capgo-job", "--json").stdout)["waves"][0]["approval"]
    assert (told["decision"], told["reason"], told["times"]) == ("declined", "exit code 3", 1)
    result = capgo("job", "run", "m.capgo-job")
    assert result.exit_code == 2
    assert "--approve true approves everything" in result.stderr
    assert len(server.sent()) == sent
    assert capgo("job", "run", "m.capgo-job", "--approve", "true").exit_code == 0
    assert set(server.sent().values()) == {1}


def test_an_answer_that_is_put_off_is_asked_for_again(capgo: Command, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(approval, "ASK_AGAIN_SECONDS", 0.01)
    csv_of(here / "devices.csv")
    patient = script(here / "patient", "echo >> times; test $(wc -l < times) -ge 3 || exit 75")
    result = capgo(*RELINK, "--waves", "10%,100%", "--approve", str(patient), "--json")
    assert result.exit_code == 0
    assert result.stderr.count("not yet approved; asking again in ") == 2
    assert json.loads(result.stdout)["waves"][0]["approval"]["times"] == 3


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((*WAVES, "--approve", ""), "--approve cannot be run: it is empty"),
        ((*WAVES, "--approve", "say 'yes"), "invalid --approve say 'yes: no closing quotation"),
        ((*WAVES, "--approve", "no-such-command --now"), "--approve cannot be run: no-such-command is not a command"),
        ((*WAVES, "--approve", "true; true"), "--approve cannot be run: true; is not a command"),
        ((*WAVES, "--approve", "./plain"), "--approve cannot be run: ./plain is no program, and no script that begins with #!"),
        (("--approve", "true"), "--approve needs --waves"),
    ],
)
def test_what_cannot_approve_is_wrong_usage(
    server: Served, capgo: Command, here: Path, options: tuple[str, ...], said: str
) -> None:
    csv_of(here / "devices.csv")
    (here / "plain").write_text("touch hacked\n")
    (here / "plain").chmod(0o755)
    result = capgo(*RELINK, *options)
    assert result.exit_code == 2
    assert not (here / "hacked").exists()
    assert said in result.stderr
    assert server.requests() == 0


def test_a_job_without_waves_has_nothing_to_approve(server: Served, capgo: Command, here: Path) -> None:
    csv_of(here / "devices.csv")
    capgo(*RELINK, "--plan-only")
    result = capgo("job", "run", "m.capgo-job", "--yes", "--approve", "true")
    assert result.exit_code == 2
    assert "m.capgo-job has no waves" in result.stderr
    assert not server.sent()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rm $0", "cannot be run: No such file or directory"),
        ("echo 'touch hacked' > $0", "cannot be run: Exec format error"),
        ("test -e once && kill -9 $$; touch once", "was ended by SIGKILL"),
    ],
)
def test_a_command_that_gives_no_answer_stops_the_run_and_loses_nothing(
    server: Served, capgo: Command, here: Path, text: str, said: str
) -> None:
    csv_of(here / "devices.csv")
    result = capgo(*RELINK, *WAVES, "--approve", str(script(here / "fickle", text)))
    assert result.exit_code == 4
    assert f"stopped between waves: the command of --approve {said}" in result.stderr
    assert "to go on: " in result.stderr
    shown = json.loads(capgo("job", "show", "m.capgo-job", "--json").stdout)
    assert [wave["approval"] and wave["approval"]["decision"] for wave in shown["waves"]] == ["approved", None, None]
    assert capgo("job", "run", "m.capgo-job", "--approve", "true").exit_code == 0
    assert set(server.sent().values()) == {1}


def run_of(server: Served, *options: str) -> Forked:
    """Run the job in a process of its own."""
    words = ("job", "run", "m.capgo-job", "--yes", "--rate", "off", *options)
    return Forked(*words, env=environment(server), cwd=Path.cwd())


@pytest.mark.slow
def test_a_killed_process_neither_skips_nor_repeats_an_approval(server: Served, capgo: Command, here: Path) -> None:
    csv_of(here / "devices.csv")
    assert capgo(*RELINK[:-1], "--plan-only", *WAVES).exit_code == 0
    os.mkfifo("asked")
    os.mkfifo("answer")
    slow = script(here / "slow", 'cat >> asked.jsonl; echo > asked; read code < answer; exit "$code"')
    with run_of(server, "--approve", str(slow)) as process:
        Path("asked").read_text()
        first_wave = len(server.sent())
        shown = capgo("job", "show", "m.capgo-job")
        assert "running now: waiting for approval of the next wave" in shown.stdout
        process.kill()
    # The command outlives the run that asked it, and nobody hears its answer.
    Path("answer").write_text("0\n")
    shown = capgo("job", "show", "m.capgo-job")
    assert "run 2 was killed; nothing runs the job now" in shown.stdout
    assert json.loads(capgo("job", "show", "m.capgo-job", "--json").stdout)["waves"][0]["approval"]["decision"] is None
    with run_of(server, "--approve", str(slow)) as process:
        server.sandbox.on_change = lambda change: process.kill() if change == first_wave + 1 else None
        Path("asked").read_text()
        assert len(server.sent()) == first_wave, "nothing of the next wave is sent without an answer"
        Path("answer").write_text("0\n")
        process.wait()
    server.sandbox.on_change = None
    assert process.returncode == -signal.SIGKILL
    result = capgo("job", "run", "m.capgo-job", "--rate", "off", "--approve", str(script(here / "yes", "cat >> asked.jsonl")))
    assert result.exit_code == 0, result.stderr
    asked = [json.loads(line) for line in (here / "asked.jsonl").read_text().splitlines()]
    assert [(each["number"], each["times"], each["wave"]["number"]) for each in asked] == [(1, 1, 1), (1, 2, 1), (2, 1, 2)]
    assert json.loads(capgo("job", "show", "m.capgo-job", "--json").stdout)["verified"] == len(server.sent())


class Heard(Speech):
    """Notes that something was printed."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.spoken = anyio.Event()

    def say(self, text: str) -> None:
        self.lines.append(text)
        if text.startswith("--approve: "):
            self.spoken.set()


def test_a_command_ends_with_the_run_that_asked_it(here: Path) -> None:
    async def ask() -> int:
        heard = Heard()
        command = ApprovalCommand(str(script(here / "slow", "echo $$; exec sleep 1000")), heard)
        async with anyio.create_task_group() as group:
            group.start_soon(command, question())
            await heard.spoken.wait()
            group.cancel_scope.cancel()
        return int(heard.lines[-1].removeprefix("--approve: "))

    process = anyio.run(ask)
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


def test_an_answer_counts_although_something_holds_the_output_open(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(approving, "LAST_WORDS_SECONDS", 0.01)
    command = ApprovalCommand(str(script(here / "forks", "sleep 1000 & echo $! > child; exit 7")), Heard())
    try:
        assert anyio.run(command, question()).reason == "exit code 7"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(int((here / "child").read_text()), signal.SIGKILL)
