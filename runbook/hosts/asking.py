"""Local programs that ask questions on a terminal: known prompts become questions to a person,
answers are typed in, secrets stay out of the output.

Everything that asks nothing runs without a terminal, as a plain child (local.py).
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pexpect

from runbook.errors import HostError, TimedOut
from runbook.hosts.base import Completed, Sink
from runbook.hosts.collect import Collected
from runbook.hosts.processes import end_argv, read_end, unhurried
from runbook.redact import Redactor
from runbook.secrets import Secret

#: how much of a program's last words a pattern is looked for in
_MEMORY = 4000
_BLOCK = 65536
#: colours and cursor movements around a prompt
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\^_])")
_PROMPT = re.compile(r"(?:[:?>$#\]]|\by/n\)?|\byes/no\)?)\s*\Z", re.IGNORECASE)


@dataclass(frozen=True)
class Expected:
    """A prompt we know. ``pattern`` is searched in the text since the last answer, without
    escape sequences; ``text`` is the question in our words (empty: the program's own line)."""

    pattern: str
    kind: Literal["text", "secret", "confirm"]
    text: str = ""


#: asks a person: (the rule, the program's own line) -> what to type
Ask = Callable[[Expected, str], Awaitable[str | Secret]]


class Prompts:
    """The rules alone: feed it what a program prints, wherever it runs."""

    def __init__(self, expected: Sequence[Expected]) -> None:
        self._rules = [(re.compile(rule.pattern), rule) for rule in expected]
        self._text = ""

    def feed(self, chunk: bytes) -> tuple[Expected, str] | None:
        """The prompt that now waits for an answer, with the program's own line."""
        self._text = (self._text + chunk.decode("utf-8", "replace"))[-_MEMORY:]
        text = _ESCAPES.sub("", self._text)
        found = [(hit.start(), rule, hit) for pattern, rule in self._rules if (hit := pattern.search(text))]
        if not found:
            return None
        _, rule, hit = min(found, key=lambda item: item[0])
        self._text = text[hit.end() :]
        return rule, text[text.rfind("\n", 0, hit.start()) + 1 : hit.end()].strip()

    def unanswered(self) -> str:
        """The unfinished last line when it looks like a prompt that no rule knows; else empty."""
        line = _ESCAPES.sub("", self._text).rpartition("\n")[2].rpartition("\r")[2]
        return line.strip() if _PROMPT.search(line) else ""


async def converse(
    argv: Sequence[str],
    *,
    expected: Sequence[Expected],
    ask: Ask,
    cwd: str | Path | None = None,
    env: Mapping[str, str] | None = None,
    sink: Sink | None = None,
    timeout: float = 600.0,
    idle: float = 10.0,
    seems_to_wait: Callable[[str], None] | None = None,
    limit: int = 4_000_000,
    host: str = "operator",
    grace: float = 5.0,
) -> Completed:
    """Run ``argv`` on a terminal of its own to its end. The time a person takes to answer does not
    count. A program that is quiet for ``idle`` seconds at what looks like a prompt is reported to
    ``seems_to_wait`` (once for each such line).

    Raises HostError when it cannot be started, TimedOut; on cancel its process group is ended.
    """
    redactor = Redactor()
    output = _Output(sink, limit, redactor)
    child = await asyncio.to_thread(_spawn, list(argv), cwd, env, host)
    try:
        await _talk(child, Prompts(expected), ask, output, redactor, timeout, idle, seems_to_wait)
    except TimeoutError as error:
        gone = await unhurried(_end(child, grace))
        state = {True: "It is stopped.", False: "It is STILL RUNNING.", None: "It could not be looked at."}
        raise TimedOut(
            host, f"{host}: {argv[0]} did not end within {timeout:g}s. {state[gone]}", gone=gone
        ) from error
    except BaseException:
        await unhurried(_end(child, grace))
        raise
    output.flush()
    signal = child.signalstatus
    await asyncio.to_thread(child.close)
    return output.kept.completed(-signal if signal else child.exitstatus)


class _Output:
    """Redacted before anyone sees or keeps it."""

    def __init__(self, sink: Sink | None, limit: int, redactor: Redactor) -> None:
        self.kept = Collected(sink, limit)
        self._stream = redactor.stream()

    def add(self, chunk: bytes) -> None:
        self._out(self._stream.feed(chunk))

    def flush(self) -> None:
        self._out(self._stream.flush())

    def _out(self, clean: bytes) -> None:
        if clean:
            self.kept.add(clean, False)


async def _talk(
    child: pexpect.spawn[bytes],
    prompts: Prompts,
    ask: Ask,
    output: _Output,
    redactor: Redactor,
    timeout: float,
    idle: float,
    seems_to_wait: Callable[[str], None] | None,
) -> None:
    loop = asyncio.get_running_loop()
    deadline, heard, reported = loop.time() + timeout, loop.time(), ""
    while True:
        chunk = await asyncio.to_thread(_read, child)
        now = loop.time()
        if chunk is None:
            return
        if chunk:
            heard = now
            output.add(chunk)
            while found := prompts.feed(chunk):
                rule, line = found
                answer = await ask(rule, line)
                deadline += loop.time() - now
                now = heard = loop.time()
                await asyncio.to_thread(_answer, child, answer, redactor)
                chunk = b""
        elif now - heard > idle and seems_to_wait and (line := prompts.unanswered()) not in ("", reported):
            reported = line
            seems_to_wait(redactor.text(line))
        if now > deadline:
            raise TimeoutError


def _spawn(
    argv: list[str], cwd: str | Path | None, env: Mapping[str, str] | None, host: str
) -> pexpect.spawn[bytes]:
    try:
        return pexpect.spawn(
            argv[0],
            argv[1:],
            cwd=str(cwd or Path.home()),
            env={**os.environ, **(env or {})},
            echo=False,
            timeout=None,
            maxread=_BLOCK,
        )
    except (pexpect.ExceptionPexpect, OSError) as error:
        raise HostError(host, f"{host}: {argv[0]} could not be started: {error}. Nothing was run.") from error


def _read(child: pexpect.spawn[bytes]) -> bytes | None:
    """What came; empty when nothing did for a moment, None at the end."""
    try:
        return child.read_nonblocking(_BLOCK, timeout=0.2)
    except pexpect.TIMEOUT:
        # it may be gone while something it left behind still holds the terminal
        return b"" if child.isalive() else None
    except pexpect.EOF:
        if not child.isalive():
            return None
        time.sleep(0.1)  # it let go of the terminal and works on
        return b""


def _answer(child: pexpect.spawn[bytes], answer: str | Secret, redactor: Redactor) -> None:
    if isinstance(answer, Secret):
        redactor.learn(answer.reveal(), answer.label)
        child.waitnoecho(timeout=2)  # not yet silent: it would be echoed, and redacted then
        answer = answer.reveal()
    child.send(answer.encode() + b"\n")


async def _end(child: pexpect.spawn[bytes], grace: float) -> bool | None:
    """End its process group, look, and close the terminal."""
    gone: bool | None = None
    try:
        looker = await asyncio.create_subprocess_exec(
            *end_argv(child.pid or 0, grace),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        gone = read_end((await asyncio.wait_for(looker.communicate(), grace + 15))[0])
    except (OSError, TimeoutError):
        pass
    await asyncio.to_thread(child.close)
    return gone
