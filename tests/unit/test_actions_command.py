"""Any command as an action: run as it stands, judged by its exit status, its questions answered."""

from __future__ import annotations

from pathlib import Path

import pytest

from runbook.actions.command import Command, CommandParams, Expect
from runbook.errors import ActionFailed, OutcomeUnknown
from runbook.hosts import jobscripts
from runbook.hosts.base import Completed
from runbook.secrets import Secret
from tests.unit.doubles import FakeVoice, ScriptedHost, make_context, make_look
from tests.unit.here import Here


async def run(params: CommandParams, host: ScriptedHost, **more: object):
    context = make_context(host, **more)
    plan = await Command().plan(context, params)
    return await Command().act(context, params, plan), context


async def test_a_job_on_a_machine(tmp_path: Path) -> None:
    host = Here("vm2", tmp_path)
    (tmp_path / "sub").mkdir()
    params = CommandParams(argv=["sh", "-c", "pwd; cat; echo '$HOME; `id`'"], cwd="sub", stdin="given")
    outcome, context = await run(params, host)
    assert bytes(context.voice.raw).decode().splitlines() == [f"{tmp_path}/sub", "given$HOME; `id`"]
    assert outcome.summary.endswith("exit status 0")
    assert context.voice.jobs[0].startswith("command-")


async def test_the_jobs_name_changes_with_the_work() -> None:
    host = ScriptedHost("vm1").on("a").on("b")
    names = [(await run(CommandParams(argv=argv), host))[1].voice.jobs[0] for argv in (["a"], ["b"], ["a"])]
    assert names[0] == names[2] != names[1]


async def test_a_failure_says_the_last_words() -> None:
    host = ScriptedHost("vm1").on("make", Completed(2, b"one\n", b"two\nno rule\n"))
    with pytest.raises(ActionFailed, match=r"vm1: make it ended with exit status 2: .*no rule"):
        await run(CommandParams(argv=["make", "it"]), host)


@pytest.mark.parametrize(
    ("status", "said", "words"),
    [
        (127, "job: 59: exec: /no/such: not found\n", "/no/such was not found"),  # dash
        (127, "job: line 59: exec: /no/such: not found\n", "/no/such was not found"),  # bash, by name
        (
            127,
            "job: line 59: /no/such: No such file or directory\n"
            "job: line 59: exec: /no/such: cannot execute: No such file or directory\n",
            "/no/such was not found",
        ),
        (126, "job: 59: exec: /no/such: Permission denied\n", "/no/such cannot be executed"),
    ],
)
async def test_a_program_that_is_not_there(status: int, said: str, words: str) -> None:
    host = ScriptedHost("vm1").on("/no/such", Completed(status, said.encode(), b""))
    with pytest.raises(ActionFailed) as caught:
        await run(CommandParams(argv=["/no/such", "x"]), host)
    assert caught.value.what == f"The program {words} on vm1; nothing was run."


class Jobs(FakeVoice):
    """Runs a job by the real runner, under this system's sh."""

    async def job(self, argv: list[str], *, cwd: str | None = None, **_: object) -> Completed:  # type: ignore[override]
        folder = self.host.at("job")
        folder.mkdir()
        runner = ["sh", "-c", 'exec 3>&-; exec "$@"', "sh", "sh", "-c", jobscripts.RUNNER]
        done = await self.host.run([*runner, "job", str(folder), "077", cwd or ".", *argv])
        return Completed(int((folder / "rc").read_text()), done.stdout + done.stderr, b"")


async def test_this_systems_shell_says_it_in_a_known_way(tmp_path: Path) -> None:
    host = Here("vm1", tmp_path)
    with pytest.raises(ActionFailed, match="The program no-such-program was not found on vm1; nothing was"):
        await run(CommandParams(argv=["no-such-program"]), host, voice=Jobs(host))


async def test_a_program_that_ran_may_end_with_127_too() -> None:
    host = ScriptedHost("vm1").on("sh", Completed(127, b"begun\nsh: 1: nosuch: not found\n", b""))
    with pytest.raises(ActionFailed, match=r"ended with exit status 127: begun / sh: 1: nosuch"):
        await run(CommandParams(argv=["sh", "-c", "echo begun; nosuch"]), host)


async def test_a_lost_connection_is_not_a_failure() -> None:
    host = ScriptedHost("vm1").on("make", Completed(None, b"", b""))
    with pytest.raises(OutcomeUnknown):
        await run(CommandParams(argv=["make"]), host)


async def test_unless_tells_that_there_is_nothing_to_do() -> None:
    host = ScriptedHost("vm1").on("test -e", [0, 1, Completed(None, b"", b"")])
    params = CommandParams(argv=["touch", "x"], unless=["test", "-e", "x"])
    found = [(await Command().probe(make_look(host), params)).satisfied for _ in range(3)]
    assert found == [True, False, None]
    assert (await Command().probe(make_look(host), CommandParams(argv=["x"]))).satisfied is None


async def test_wrong_parameters_run_nothing() -> None:
    look = make_look(ScriptedHost("vm1"))
    for params in (
        CommandParams(argv=[]),
        CommandParams(argv=["x"], expect=[Expect(pattern="?")]),
    ):
        with pytest.raises(ActionFailed, match="Nothing was run"):
            await Command().plan(look, params)


def test_a_limit_that_is_no_duration_is_no_parameter() -> None:
    with pytest.raises(ValueError, match="limit: 'soon' is not a duration: write it like 90s"):
        CommandParams(argv=["x"], limit="soon")


class Answering(FakeVoice):
    async def ask_secret(self, text: str, label: str) -> Secret:
        self.asked.append(("secret", text, ()))
        return Secret("pass-phrase-9", label)


async def test_questions_of_a_program_are_asked_and_secrets_stay_out(tmp_path: Path) -> None:
    script = tmp_path / "ask"
    script.write_text(
        "#!/bin/sh\nprintf 'Name: '; read -r n\nstty -echo; printf 'Passphrase: '; read -r p; stty echo\n"
        'echo; echo "hello $n"; [ "$p" = pass-phrase-9 ] || exit 5; echo "got $p"\n'
    )
    script.chmod(0o755)
    host = ScriptedHost("operator")
    voice = Answering(host, {"text": "Ada"})
    params = CommandParams(
        argv=[str(script)],
        cwd=str(tmp_path),
        expect=[
            Expect(pattern="Name: ", text="Who?"),
            Expect(pattern="Passphrase: ", kind="secret", text="The key's passphrase?"),
        ],
    )
    await run(params, host, voice=voice)
    assert [(kind, text) for kind, text, _ in voice.asked] == [
        ("text", "Who?"),
        ("secret", "The key's passphrase?"),
    ]
    assert b"hello Ada" in voice.raw and b"pass-phrase-9" not in voice.raw
