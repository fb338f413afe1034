"""Programs that ask questions on a terminal."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from runbook.errors import HostError, TimedOut
from runbook.hosts.asking import Expected, Prompts, converse
from runbook.secrets import Secret
from tests.unit.sshserver import alive, until

pytestmark = pytest.mark.filterwarnings("ignore:.*forkpty.*:DeprecationWarning")

PASSWORD = Expected(r"[Pp]assword: ?$", "secret", "The password of the key")
NAME = Expected(r"Your name\? $", "text")
SURE = Expected(r"\(yes/no\) $", "confirm", "Really?")


async def nobody(rule: Expected, line: str) -> str:
    raise AssertionError(f"asked: {line}")


async def test_known_prompts_become_questions(tmp_path: Path) -> None:
    program = tmp_path / "asks.py"
    program.write_text(
        "import getpass\n"
        "name = input('\\x1b[1mYour name?\\x1b[0m ')\n"
        "password = getpass.getpass('Password: ')\n"
        "print(f'{name} typed {password} of {len(password)}')\n"
        "print(input('Sure? (yes/no) '))\n"
        "raise SystemExit(3)\n"
    )
    asked, seen = [], bytearray()

    async def ask(rule: Expected, line: str) -> str | Secret:
        asked.append((rule.kind, line))
        return {"text": "Ann", "confirm": "yes"}.get(rule.kind) or Secret("s3cr3t-value", "the key")

    done = await converse(
        [sys.executable, str(program)],
        expected=[PASSWORD, NAME, SURE],
        ask=ask,
        sink=seen.extend,
        timeout=30,
    )
    assert asked == [("text", "Your name?"), ("secret", "Password:"), ("confirm", "Sure? (yes/no)")]
    assert done.exit_status == 3
    assert b"s3cr3t-value" not in seen
    assert b"Ann typed [secret the key] of 12" in seen
    assert done.stdout == bytes(seen)


async def test_a_prompt_that_nobody_knows_is_reported_once() -> None:
    reported: list[str] = []

    def report(line: str) -> None:
        reported.append(line)

    task = asyncio.create_task(
        converse(
            ["sh", "-c", "echo working; printf 'Overwrite? [y/N]: '; read x"],
            expected=[PASSWORD],
            ask=nobody,
            idle=0.3,
            seems_to_wait=report,
            grace=0.5,
        )
    )
    await until(lambda: reported)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert reported == ["Overwrite? [y/N]:"]


async def test_quiet_work_is_not_taken_for_a_question() -> None:
    done = await converse(
        ["sh", "-c", "echo compiling; sleep 1; echo done"],
        expected=[],
        ask=nobody,
        idle=0.2,
        seems_to_wait=lambda line: pytest.fail(line),
    )
    assert done.stdout == b"compiling\r\ndone\r\n"


async def test_cancel_ends_the_whole_group(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    task = asyncio.create_task(
        converse(
            ["sh", "-c", "sleep 99 & echo $! > pid.new; mv pid.new pid; wait"],
            expected=[],
            ask=nobody,
            cwd=tmp_path,
            grace=0.5,
        )
    )
    await until(pid.exists)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not alive(int(pid.read_text()))


async def test_time_out_but_not_while_a_person_thinks() -> None:
    async def slow(rule: Expected, line: str) -> str:
        await asyncio.sleep(1.0)
        return "Ann"

    ask_once = ["sh", "-c", "printf 'Your name? '; read x; echo hello $x"]
    done = await converse(ask_once, expected=[NAME], ask=slow, timeout=0.9)
    assert done.stdout.endswith(b"hello Ann\r\n")
    with pytest.raises(TimedOut) as failure:
        await converse(["sleep", "99"], expected=[], ask=nobody, timeout=0.3, grace=0.5)
    assert failure.value.gone is True


async def test_much_output_is_bounded() -> None:
    count = 0

    def sink(chunk: bytes) -> None:
        nonlocal count
        count += len(chunk)

    done = await converse(["seq", "100000"], expected=[], ask=nobody, sink=sink, limit=1000)
    assert count == sum(len(str(n)) + 2 for n in range(1, 100001))
    assert len(done.stdout) == 1000
    assert done.truncated


async def test_a_missing_program_is_a_host_error() -> None:
    with pytest.raises(HostError, match="could not be started"):
        await converse(["no-such-program"], expected=[], ask=nobody)


def test_a_prompt_in_pieces_and_two_at_once() -> None:
    prompts = Prompts([PASSWORD, SURE])
    assert prompts.feed(b"Pass") is None
    assert prompts.feed("wörd ".encode()) is None
    assert prompts.feed(b"\nkey Password:") == (PASSWORD, "key Password:")
    assert prompts.feed(b"\r\nok\r\nGo on? (yes/no) ") == (SURE, "Go on? (yes/no)")
    assert prompts.feed(b"") is None
    assert prompts.unanswered() == ""
