"""Secrets: a value that cannot be printed, and references to where it lives."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path

from runbook.errors import SecretError
from runbook.platform import dotenv
from runbook.site.model import SecretRef

#: bytes a secret, or a file that holds some, may have
LARGEST = 64_000
#: seconds a command may take to give its secret (it may ask its own user for a passphrase)
COMMAND_LIMIT = 60.0


class Secret:
    """A password, token, key or cookie. Has no str, repr, pickle or comparison by value;
    ``reveal()`` is the one way to the text, called where it is handed to a program."""

    __slots__ = ("_value", "label")

    def __init__(self, value: str, label: str) -> None:
        self._value = value
        #: what a person may read instead: "couchdb.password from env COUCHDB_PASSWORD"
        self.label = label

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return f"<secret {self.label}>"

    def __str__(self) -> str:
        raise TypeError("a secret is not text; reveal() it where it is handed over")

    def __format__(self, spec: str) -> str:
        raise TypeError("a secret is not text; reveal() it where it is handed over")

    def __reduce__(self) -> str:
        raise TypeError("a secret is never written")


class SecretStore:
    """Follows references, once a run each. ``learn(value, label)`` is told every secret before
    anybody else gets it; ``ask(text, label)`` asks the person."""

    def __init__(
        self,
        *,
        learn: Callable[[str, str], object],
        ask: Callable[[str, str], Awaitable[Secret]],
        env: Mapping[str, str] | None = None,
        command_limit: float = COMMAND_LIMIT,
    ) -> None:
        self._learn, self._ask = learn, ask
        self._env = os.environ if env is None else env
        self._command_limit = command_limit
        self._known: dict[SecretRef, Secret] = {}
        self._locks: dict[SecretRef, asyncio.Lock] = {}

    def learn(self, value: str, label: str) -> Secret:
        """A secret that was met elsewhere."""
        self._learn(value, label)
        return Secret(value, label)

    async def get(self, ref: SecretRef) -> Secret:
        """The secret there. Callers at the same time share one look and one question. Raises
        SecretError naming the place, never the value; what failed is tried again next time."""
        async with self._locks.setdefault(ref, asyncio.Lock()):
            if ref not in self._known:
                self._known[ref] = await self._follow(ref)
            return self._known[ref]

    async def _follow(self, ref: SecretRef) -> Secret:
        label = describe(ref)
        if ref.ask:
            value = (await self._ask(ref.ask, label)).reveal()
        elif ref.env:
            value = self._env.get(ref.env, "")
        elif ref.file:
            value = _one_line_end_off(await asyncio.to_thread(_read, Path(ref.file), True))
        elif ref.env_file:
            values = dotenv.parse(await asyncio.to_thread(_read, Path(ref.env_file), False))
            value = values.get(ref.key or "", "")
        elif ref.command:
            value = _one_line_end_off(await _output_of(ref.command, self._command_limit))
        else:
            raise SecretError("A secret's reference names no place.", next="Correct runbook.toml.")
        if not value:
            raise SecretError(f"There is no secret in {label}.", next="Set it, then go on.")
        return self.learn(value, label)


def describe(ref: SecretRef) -> str:
    """The place, for a person: ``env COUCHDB_PASSWORD``. Of a command only the program."""
    if ref.env:
        return f"env {ref.env}"
    if ref.file:
        return f"file {ref.file}"
    if ref.env_file:
        return f"{ref.key} in {ref.env_file}"
    if ref.command:
        return f"the output of {ref.command[0]}"
    return f"the answer to: {ref.ask}"


def _one_line_end_off(text: str) -> str:
    return text.removesuffix("\n").removesuffix("\r")


def _text(data: bytes, where: str) -> str:
    if len(data) > LARGEST:
        raise SecretError(f"{where} is larger than {LARGEST} bytes.", next="This is hardly a secret.")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise SecretError(f"{where} is not UTF-8 text.", next="Correct it, then go on.") from None


def _read(path: Path, private: bool) -> str:
    """The file, looked at by the very handle that is read (it cannot be swapped between)."""
    try:
        # non-blocking: a named pipe must not hold us up before it is refused
        handle = os.open(path.expanduser(), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError, RuntimeError) as error:
        why = getattr(error, "strerror", None) or "no such path"
        raise SecretError(f"{path} with a secret cannot be read: {why}.", next="See runbook.toml.") from None
    try:
        mode = os.fstat(handle).st_mode
        if not stat.S_ISREG(mode):
            raise SecretError(f"{path} is no regular file.", next="Name a file in runbook.toml.")
        if private and stat.S_IMODE(mode) & 0o077:
            raise SecretError(
                f"{path} holds a secret and others may read it (mode {stat.S_IMODE(mode):04o}).",
                next=f"chmod 600 {path}",
            )
        with os.fdopen(handle, "rb", closefd=False) as file:
            return _text(file.read(LARGEST + 1), str(path))
    finally:
        os.close(handle)


async def _output_of(argv: tuple[str, ...], limit: float) -> str:
    """What a password store prints. Its stderr is kept out: it may repeat what it was given."""
    name = argv[0]
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
            limit=2 * LARGEST,
        )
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "not a command"
        raise SecretError(f"{name}, which gives a secret, cannot be run: {why}.") from None
    assert process.stdout
    status: int | None = None
    try:
        async with asyncio.timeout(limit):
            data = await _at_most(process.stdout, LARGEST + 1)
            if len(data) <= LARGEST:
                status = await process.wait()
    except TimeoutError:
        raise SecretError(
            f"{name} gave no secret within {limit:.0f} s and was stopped.",
            next="Run it by hand: it may wait for a passphrase.",
        ) from None
    finally:
        if status is None:
            await _end(process)
    if status:
        raise SecretError(f"{name}, which gives a secret, ended with exit status {status}.")
    return _text(data, f"the output of {name}")


async def _at_most(stream: asyncio.StreamReader, count: int) -> bytes:
    try:
        return await stream.readexactly(count)
    except asyncio.IncompleteReadError as end:
        return end.partial


async def _end(process: asyncio.subprocess.Process) -> None:
    """Nothing of it stays behind, children included."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    await asyncio.shield(process.wait())
