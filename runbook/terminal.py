"""This program's terminal: lent to another program for a while, or asked of."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import termios
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

T = TypeVar("T")
#: seconds a program has to end by itself when its terminal is taken away
_GRACE = 2.0


async def run(argv: Sequence[str], *, stdout: int | None = None) -> int:
    """Run a program on this terminal until it ends; its exit status. The event loop goes on meanwhile.
    ``stdout``: a file descriptor, where this program's own is no terminal. Raises OSError."""
    with _not_ours(), _as_it_was():
        process = await asyncio.create_subprocess_exec(*argv, stdout=stdout)
        try:
            return await process.wait()
        except asyncio.CancelledError:
            await asyncio.shield(_hang_up(process))
            raise


async def _hang_up(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        process.send_signal(signal.SIGHUP)  # interactive shells do not listen to SIGTERM
        try:
            async with asyncio.timeout(_GRACE):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


@contextmanager
def _not_ours() -> Iterator[None]:
    """Ctrl+C and Ctrl+\\ are meant for the program that has the terminal. Handled and not ignored: what
    is ignored here would be ignored there too."""
    before: dict[signal.Signals, Any] = {}
    for one in (signal.SIGINT, signal.SIGQUIT):
        before[one] = signal.signal(one, lambda *_: None)
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, signal.SIG_DFL if handler is None else handler)


@contextmanager
def _as_it_was() -> Iterator[None]:
    """The terminal's settings, and whose it is, are put back: a program may have been killed."""
    stdin = sys.__stdin__
    if stdin is None or stdin.closed or not stdin.isatty():
        yield
        return
    file, settings = stdin.fileno(), termios.tcgetattr(stdin.fileno())
    try:
        yield
    finally:
        before = signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # or taking it back would stop us
        with suppress(OSError, termios.error):
            os.tcsetpgrp(file, os.getpgrp())
            termios.tcsetattr(file, termios.TCSADRAIN, settings)
        signal.signal(signal.SIGTTOU, before)


async def unwaited(ask: Callable[[], T]) -> T:
    """In a thread that the program does not wait for when it ends: a terminal cannot be unread."""
    loop = asyncio.get_running_loop()
    answered: asyncio.Future[T] = loop.create_future()

    def give(setter: Callable[[Any], None], value: object) -> None:
        if not answered.done():
            setter(value)

    def run() -> None:
        try:
            value = ask()
        except BaseException as error:
            loop.call_soon_threadsafe(give, answered.set_exception, error)
        else:
            loop.call_soon_threadsafe(give, answered.set_result, value)

    threading.Thread(target=run, daemon=True, name="question").start()
    return await answered
