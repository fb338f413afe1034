"""Files on this PC: written whole or not at all, compared after every copy."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import shutil
import tempfile
import threading
from collections.abc import Iterable
from pathlib import Path

from runbook.errors import HostError
from runbook.hosts.base import Tick

BLOCK = 1 << 20
#: a TCP connection that was tried and did not come about
NOT_REACHED = frozenset((errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ETIMEDOUT))


def read_bytes(host: str, path: Path, limit: int) -> bytes | None:
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise HostError(host, f"{host}: {path} cannot be read: {error.strerror}.") from error
    if len(data) > limit:
        raise HostError(host, f"{host}: {path} is larger than {limit} bytes; it was not read.")
    return data


def write_bytes(host: str, path: Path, data: bytes, mode: int) -> None:
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:100]}.")
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(mode)
        Path(temporary).replace(path)
    except OSError as error:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        raise HostError(
            host, f"{host}: {path} could not be written: {error.strerror}. It is unchanged."
        ) from error


def part_of(path: Path) -> Path:
    return path.with_name(path.name + ".part")


def sha256(path: Path, stop: threading.Event | None = None) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while (block := file.read(BLOCK)) and not (stop and stop.is_set()):
            digest.update(block)
    return digest.hexdigest()


def manifest(root: Path, stop: threading.Event | None = None) -> dict[str, str]:
    """SHA-256 of every regular file below ``root``, by its path from there."""
    found = {}
    for folder, _, files in os.walk(root):
        for name in files:
            path = Path(folder, name)
            if path.is_file() and not path.is_symlink():
                found[str(path.relative_to(root))] = sha256(path, stop)
    return found


def first_difference(want: dict[str, str], have: dict[str, str]) -> str:
    """In words, what differs first between two manifests; empty when nothing does."""
    for name in sorted(want.keys() | have.keys()):
        if name not in have:
            return f"{name!r} is missing"
        if name not in want:
            return f"{name!r} is there besides"
        if want[name] != have[name]:
            return f"{name!r} differs"
    return ""


async def copy_file(host: str, source: Path, target: Path, mode: int, tick: Tick | None) -> None:
    """Into ``target.part``, compared, renamed. On any error ``target`` is what it was."""
    loop, stop = asyncio.get_running_loop(), threading.Event()

    def copy() -> None:
        part = part_of(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        total, done, digest = source.stat().st_size, 0, hashlib.sha256()
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        with source.open("rb") as read, os.fdopen(handle, "wb") as write:
            while (block := read.read(BLOCK)) and not stop.is_set():
                write.write(block)
                digest.update(block)
                done += len(block)
                if tick:
                    loop.call_soon_threadsafe(tick, done, total)
            write.flush()
            os.fsync(write.fileno())
        if stop.is_set():
            return
        _forget([part])
        if sha256(part, stop) != digest.hexdigest():
            part.unlink()
            raise HostError(host, f"{host}: the copy of {source} differs from it; {target} is unchanged.")
        part.chmod(mode)
        part.replace(target)

    await _in_thread(host, copy, stop, f"{source} could not be copied to {target}")


async def copy_tree(host: str, source: Path, target: Path, tick: Tick | None) -> None:
    loop, stop = asyncio.get_running_loop(), threading.Event()

    def copy() -> None:
        part, done = part_of(target), 0
        if os.path.lexists(target):
            raise HostError(host, f"{host}: {target} is already there; nothing was copied.")
        if part.exists():
            shutil.rmtree(part)
        target.parent.mkdir(parents=True, exist_ok=True)
        total = sum(path.stat().st_size for path in source.rglob("*") if path.is_file())

        def one(old: str, new: str) -> str:
            nonlocal done
            if stop.is_set():
                raise InterruptedError(errno.EINTR, "cancelled")
            done += Path(shutil.copy2(old, new)).stat().st_size
            if tick:
                loop.call_soon_threadsafe(tick, done, total)
            return new

        shutil.copytree(source, part, symlinks=True, copy_function=one)
        os.sync()
        _forget(path for path in part.rglob("*") if path.is_file() and not path.is_symlink())
        if difference := first_difference(manifest(source, stop), manifest(part, stop)):
            raise HostError(host, f"{host}: the copy of {source} is not the same: {difference}.")
        if not stop.is_set():
            part.rename(target)

    await _in_thread(host, copy, stop, f"{source} could not be copied to {target}")


def _forget(files: Iterable[Path]) -> None:
    """What is read of them next comes from the disk, not from memory: else a comparison would only compare
    what was meant to be written. A wish, where the system knows it."""
    if hasattr(os, "posix_fadvise"):
        for path in files:
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


async def _in_thread(host: str, work: object, stop: threading.Event, what: str) -> None:
    """Run it in a thread that ends soon after a cancel; OSError becomes a HostError."""
    assert callable(work)
    task = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        stop.set()
        await asyncio.gather(task, return_exceptions=True)
        raise
    except (OSError, shutil.Error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise HostError(host, f"{host}: {what}: {reason}. The target is unchanged.") from error
