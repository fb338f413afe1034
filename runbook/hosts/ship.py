"""Bringing a worker to a machine: this program's own files and the two packages a worker needs.

The machine must have the same kind of Python, since one of the packages is compiled. Nothing is
installed there: a folder in the user's cache, named by the hash of its content, that can be removed
at any time. Whether the worker runs there is tried, not concluded.
"""

from __future__ import annotations

import hashlib
import io
import sys
import sysconfig
import tarfile
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import runbook
from runbook import __version__
from runbook.errors import ActionFailed, HostError
from runbook.hosts.base import Host

FOLDER = ".cache/openedx-dr-runbook"
#: what workers need, and what of runbook they do not
PACKAGES = ("runbook", "couchdb", "msgspec")
LEFT_OUT = frozenset({"__pycache__", "lab", "guides", "report", "tests", "tools"})
_WHICH = "import sys, sysconfig; print(sysconfig.get_config_var('SOABI'), sysconfig.get_platform())"
_UNPACK = r"""
umask 077
[ -f "$1/complete" ] && exit 0
rm -rf -- "$1.new" && mkdir -p -- "$1.new" && tar -xzf "$2" -C "$1.new" && : > "$1.new/complete" \
  && rm -rf -- "$1" && mv -- "$1.new" "$1" && rm -f -- "$2"
"""


async def python(host: Host) -> str:
    """The Python there that can run the worker. Raises ActionFailed saying what is lacking."""
    ours = f"{sysconfig.get_config_var('SOABI')} {sysconfig.get_platform()}"
    seen = []
    for name in ("python3", f"python3.{sys.version_info.minor}"):
        try:
            done = await host.run([name, "-c", _WHICH], timeout=30)
        except HostError as error:
            raise ActionFailed(f"{host.name} cannot be asked for its Python: {error.what}") from None
        found = done.stdout.decode("utf-8", "replace").strip()
        if done.ok and found == ours:
            return name
        seen.append(f"{name}: {found or 'none'}")
    raise ActionFailed(
        f"{host.name} has no Python like this PC's ({ours}); it has {', '.join(seen)}. Nothing was changed.",
        next="Do it from this PC, or start this program on that machine.",
    )


async def bring(host: Host, worker: str) -> tuple[str, str]:
    """(Python, folder for PYTHONPATH) with which ``-m WORKER`` runs there; asked for its ``--version``, the
    worker prints this program's. Safe to repeat. Raises ActionFailed, HostError."""
    program = await python(host)
    data = bundle()
    folder = f"{FOLDER}/worker-{hashlib.sha256(data).hexdigest()[:16]}"
    if not await _runs(host, program, folder, worker):
        archive = f"{folder}.tar.gz"
        await host.write_bytes(archive, data)
        done = await host.run(["sh", "-c", _UNPACK, "unpack", folder, archive], timeout=120)
        if not done.ok or not await _runs(host, program, folder, worker):
            why = done.stderr.decode("utf-8", "replace").strip() or "the worker does not start there"
            raise ActionFailed(f"{host.name}: the worker {worker} could not be brought to {folder}: {why}.")
    return program, folder


async def _runs(host: Host, program: str, folder: str, worker: str) -> bool:
    argv = [program, "-m", worker, "--version"]
    done = await host.run(argv, env={"PYTHONPATH": folder}, timeout=60)
    return done.ok and done.stdout.decode("utf-8", "replace").strip() == __version__


@cache
def bundle() -> bytes:
    """A tar.gz of the packages; the same bytes for the same files."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w:gz", compresslevel=6, format=tarfile.PAX_FORMAT) as archive:
        for name in PACKAGES:
            root = _folder(name)
            for path in sorted(root.rglob("*")):
                parts = path.relative_to(root).parts
                if path.is_file() and not LEFT_OUT.intersection(parts) and path.suffix in (".py", ".so"):
                    info = tarfile.TarInfo("/".join((name, *parts)))
                    content = path.read_bytes()
                    info.size, info.mode = len(content), 0o600
                    archive.addfile(info, io.BytesIO(content))
    return _without_time(raw.getvalue())


def _folder(package: str) -> Path:
    if package == "runbook":
        return Path(runbook.__file__).parent
    spec = find_spec(package)
    assert spec is not None and spec.origin is not None, package  # it is a dependency of ours
    return Path(spec.origin).parent


def _without_time(data: bytes) -> bytes:
    """gzip's header holds the time of writing, bytes 4 to 8."""
    return data[:4] + bytes(4) + data[8:]
