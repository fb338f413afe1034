"""Secrets come by reference, are told to the redactor first, and show up nowhere else."""

from __future__ import annotations

import asyncio
import os
import pickle
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbook.errors import SecretError
from runbook.platform import dotenv
from runbook.secrets import Secret, SecretStore
from runbook.site.model import SecretRef


class Person:
    def __init__(self) -> None:
        self.learned: list[tuple[str, str]] = []
        self.asked: list[str] = []
        self.first = asyncio.Event()
        self.answer = asyncio.Event()

    async def ask(self, text: str, label: str) -> Secret:
        self.asked.append(text)
        self.first.set()
        await self.answer.wait()
        return Secret("typed", label)

    def store(self, **more: object) -> SecretStore:
        return SecretStore(
            learn=lambda value, label: self.learned.append((value, label)),
            ask=self.ask,
            env={"PW": "from env", "EMPTY": ""},
            **more,  # type: ignore[arg-type]
        )


@pytest.fixture
def person() -> Person:
    return Person()


def python(code: str) -> SecretRef:
    return SecretRef(command=(sys.executable, "-c", code))


async def test_places(person: Person, tmp_path: Path) -> None:
    file, env_file = tmp_path / "pw", tmp_path / ".env"
    file.write_text("from file\r\n")
    file.chmod(0o600)
    env_file.write_text("A=1\nPW='from # env file'  # remark\n")
    store = person.store()
    for ref, value, label in (
        (SecretRef(env="PW"), "from env", "env PW"),
        (SecretRef(file=str(file)), "from file", f"file {file}"),
        (SecretRef(env_file=str(env_file), key="PW"), "from # env file", f"PW in {env_file}"),
        (python("print('from command')"), "from command", f"the output of {sys.executable}"),
    ):
        secret = await store.get(ref)
        assert secret.reveal() == value and secret.label == label
        assert person.learned[-1] == (value, label)
        assert await store.get(ref) is secret
    assert len(person.learned) == 4


async def test_a_person_is_asked_once(person: Person) -> None:
    store, ref = person.store(), SecretRef(ask="the password")
    waiting = [asyncio.create_task(store.get(ref)) for _ in range(5)]
    await person.first.wait()
    waiting.pop(0).cancel()  # who asked first gave up; the others still get their answer
    person.answer.set()
    secrets = await asyncio.gather(*waiting)
    assert len({id(secret) for secret in secrets}) == 1 and secrets[0].reveal() == "typed"
    assert person.learned == [("typed", "the answer to: the password")]
    assert person.asked == ["the password"] * 2
    await store.get(ref)
    assert len(person.asked) == 2


async def test_what_failed_is_tried_again(person: Person, tmp_path: Path) -> None:
    store, ref = person.store(), SecretRef(file=str(tmp_path / "pw"))
    with pytest.raises(SecretError, match="No such file"):
        await store.get(ref)
    (tmp_path / "pw").write_text("now")
    (tmp_path / "pw").chmod(0o644)
    with pytest.raises(SecretError, match="chmod 600"):
        await store.get(ref)
    (tmp_path / "pw").chmod(0o600)
    assert (await store.get(ref)).reveal() == "now"


@pytest.mark.parametrize("name", ["EMPTY", "MISSING"])
async def test_nothing_is_no_secret(person: Person, name: str) -> None:
    with pytest.raises(SecretError, match=f"no secret in env {name}"):
        await person.store().get(SecretRef(env=name))
    with pytest.raises(SecretError):
        await person.store().get(SecretRef())


async def test_a_command_that_fails_tells_its_program_alone(
    person: Person, capfd: pytest.CaptureFixture[str]
) -> None:
    ref = python("import sys; print('hunter2'); print('hunter2', file=sys.stderr); sys.exit(3)")
    with pytest.raises(SecretError) as caught:
        await person.store().get(ref)
    assert "exit status 3" in str(caught.value) and sys.executable in str(caught.value)
    assert "hunter2" not in str(caught.value) + "".join(capfd.readouterr())


async def test_a_command_that_hangs_is_ended_with_its_children(person: Person, tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    ref = SecretRef(command=("sh", "-c", f"sleep 300 & echo $! > {mark}.part; mv {mark}.part {mark}; wait"))
    with pytest.raises(SecretError, match="was stopped"):
        await person.store(command_limit=2).get(ref)
    child = Path(f"/proc/{mark.read_text().strip()}/stat")
    for _ in range(200):
        if not child.exists() or child.read_text().rpartition(")")[2].split()[0] == "Z":
            break
        await asyncio.sleep(0.01)
    else:
        pytest.fail("the child still runs")


@pytest.mark.parametrize(
    ("ref", "told"),
    [
        (SecretRef(command=("/no/such/program", "hunter2")), "cannot be run"),
        (SecretRef(command=("a\x00b",)), "cannot be run"),
        (python("print('x' * 100_000)"), "larger than"),
        (python("import os; os.write(1, b'\\xff')"), "not UTF-8"),
        (python(""), "no secret"),
        (SecretRef(file="/"), "no regular file"),
        (SecretRef(file="/dev/null"), "no regular file"),
        (SecretRef(file="a\x00b"), "cannot be read"),
        (SecretRef(env_file="/no/such", key="X"), "cannot be read"),
    ],
)
async def test_refusals(person: Person, ref: SecretRef, told: str) -> None:
    with pytest.raises(SecretError, match=told) as caught:
        await person.store().get(ref)
    assert "hunter2" not in str(caught.value) and not person.learned


async def test_a_pipe_does_not_hold_us_up(person: Person, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(SecretError, match="no regular file"):
        await asyncio.wait_for(person.store().get(SecretRef(file=str(tmp_path / "pipe"))), 20)


def test_a_secret_is_not_text() -> None:
    secret = Secret("hunter2", "the label")
    assert repr(secret) == "<secret the label>" and secret != Secret("hunter2", "the label")
    for use in (str, "{}".format, pickle.dumps, lambda s: f"{s}"):
        with pytest.raises(TypeError):
            use(secret)


# ── .env files ─────────────────────────────────────────────────────────────────────────────
def test_dotenv() -> None:
    text = """\ufeff# c
A=1
 export B = two words # c
C="a\\n\\"b\\" #" # c
D='a\\n'
E=a#b
F=
G=#x
9=x
A=2
no
"""
    assert dotenv.parse(text) == {
        "A": "2",
        "B": "two words",
        "C": 'a\n"b" #',
        "D": "a\\n",
        "E": "a#b",
        "F": "",
        "G": "",
    }


@given(st.text() | st.text(alphabet="A=\"'\\ #\n$"))
def test_dotenv_reads_anything(text: str) -> None:
    assert all(isinstance(value, str) for value in dotenv.parse(text).values())
