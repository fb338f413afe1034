"""The lab's one process: ``python -m runbook.lab.daemon FOLDER``. Started by ``control.up``."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import logging
import marshal
import os
import shutil
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from runbook.lab import processes
from runbook.lab.layout import Layout
from runbook.lab.world import Refused, World

LINE_LIMIT = 16 * 1024 * 1024
#: seconds between two looks whether the lab's folder is still there
LOOK_EVERY = 1.0


async def serve(layout: Layout, lock: TextIO) -> None:
    """Prepare the lab, answer until told to stop, then end all that was started."""
    world = World(layout)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    server: asyncio.Server | None = None
    try:
        layout.socket.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        layout.socket.unlink(missing_ok=True)
        server = await asyncio.start_unix_server(
            lambda reader, writer: _client(world, stop, reader, writer), str(layout.socket), limit=LINE_LIMIT
        )
        layout.socket.chmod(0o600)
        await world.start()
        _ready()
        while not stop.is_set() and _still_ours(layout, lock):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), LOOK_EVERY)
    finally:
        layout.info.unlink(missing_ok=True)
        await world.stop()
        if server is not None:
            server.close()
        processes.end_marked(f"{world.id}/")


def _still_ours(layout: Layout, lock: TextIO) -> bool:
    """False when somebody removed the lab's folder under us: then nobody can reach us any more."""
    try:
        return layout.lock.stat().st_ino == os.fstat(lock.fileno()).st_ino
    except OSError:
        return False


def _ready() -> None:
    """Tell who started us, and let go of its pipe."""
    print("ready", flush=True)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())


async def _client(
    world: World, stop: asyncio.Event, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """One request. As a line of JSON, or marshalled from a VM's `docker`, which must start quickly."""
    dump = _json

    def send(message: object) -> None:
        if not writer.is_closing():
            writer.write(dump(message))

    try:
        first = await reader.readexactly(1)
        if first != b"{":
            dump = _marshalled
            size = int.from_bytes(first + await reader.readexactly(3), "big")
            await _docker(world, send, reader, marshal.loads(await reader.readexactly(size)))
            return
        request = json.loads(first + await reader.readline())
        verb = request.pop("verb")
        if verb == "down":
            stop.set()
            send({"ok": True})
        else:
            send({"ok": await world.ask(verb, request)})
    except Refused as refused:
        send({"error": str(refused)})
    except (asyncio.CancelledError, asyncio.IncompleteReadError):
        pass
    except Exception as error:
        traceback.print_exc()
        send({"error": f"the lab's daemon failed: {error!r} (see daemon.log)"})
    finally:
        with contextlib.suppress(OSError):
            await writer.drain()
            writer.close()


def _json(message: object) -> bytes:
    return json.dumps(message).encode() + b"\n"


def _marshalled(message: Any) -> bytes:
    data = marshal.dumps(message)
    return len(data).to_bytes(4, "big") + data


async def _docker(
    world: World, send: Callable[[object], None], reader: asyncio.StreamReader, request: dict[str, Any]
) -> None:
    work = asyncio.ensure_future(world.docker(send, **request))
    gone = asyncio.ensure_future(reader.read())  # a `logs -f` ends when its client goes
    await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
    if not work.done():
        work.cancel()
    gone.cancel()
    send({"exit": await work})


def main(argv: list[str]) -> int:
    layout = Layout(Path(argv[0]))
    logging.basicConfig(level=logging.WARNING)
    logging.getLogger("asyncssh").setLevel(logging.ERROR)
    os.umask(0o077)
    lock = layout.lock.open("a+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return 0  # another daemon has this folder
    lock.truncate(0)
    lock.write(f"{os.getpid()}\n")
    lock.flush()
    status = 1
    try:
        _clear(layout)
        asyncio.run(serve(layout, lock))
        status = 0
    except Exception:
        traceback.print_exc()
    # The lock is free when this process is gone, and no sooner; threads that still serve do not
    # hold it up.
    sys.stderr.flush()
    os._exit(status)


def _clear(layout: Layout) -> None:
    """What a daemon that died left behind: its processes and its folder's contents."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        processes.end_marked(f"{json.loads(layout.info.read_bytes())['id']}/")
    for entry in layout.root.iterdir():
        if entry in (layout.lock, layout.log):
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
