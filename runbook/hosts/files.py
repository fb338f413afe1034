"""Small files on a machine over SSH, and the shell texts that all file work there shares."""

from __future__ import annotations

import posixpath
import re
import secrets
from typing import TYPE_CHECKING

from runbook.errors import HostError
from runbook.hosts.base import Completed
from runbook.hosts.channel import complaint
from runbook.hosts.processes import from_home

if TYPE_CHECKING:
    from runbook.hosts.ssh import SshHost

#: messages of strerror() in English, whatever the machine speaks
_ENGLISH = {"LC_ALL": "C"}
_READ = 'exec cat -- "$1"'
#: a connection that is lost midway ends our input early: the size is looked at before the rename
_WRITE = r"""
umask 077
mkdir -p -- "$2" && cat > "$3" && [ "$(wc -c < "$3")" -eq "$4" ] &&
  chmod "$5" "$3" && mv -f -- "$3" "$1" && exit 0
rm -f -- "$3"
exit 1
"""
#: sum: the SHA-256 of stdin; openssl is four times faster than an older sha256sum
SUM = r"""
sum() {
  if command -v openssl >/dev/null 2>&1; then openssl dgst -sha256 2>/dev/null && return; fi
  if command -v sha256sum >/dev/null 2>&1; then sha256sum && return; fi
  python3 -c 'import hashlib,sys; print(hashlib.file_digest(sys.stdin.buffer, "sha256").hexdigest())'
}
"""
_HEX = re.compile(rb"\b[0-9a-f]{64}\b")


def absolute(path: str) -> str:
    """Safe as a command's argument: never an option, home as the start."""
    path = from_home(path)
    return path if path.startswith("/") else f"./{path}"


def find_sum(text: bytes) -> str:
    """The SHA-256 in the output of any of the programs; empty when there is none."""
    found = _HEX.search(text)
    return found[0].decode() if found else ""


async def script(
    host: SshHost, text: str, *args: str, stdin: bytes = b"", timeout: float = 60.0, limit: int = 4_000_000
) -> Completed:
    """Run one of our shell texts; the arguments never become part of it."""
    argv = ["sh", "-c", text, "runbook", *args]
    return await host.run(argv, stdin=stdin, env=_ENGLISH, timeout=timeout, limit=limit)


async def read_bytes(host: SshHost, path: str, limit: int) -> bytes | None:
    done = await script(host, _READ, absolute(path), timeout=120, limit=limit)
    if done.truncated:
        raise HostError(host.name, f"{host.name}: {path} is larger than {limit} bytes; it was not read.")
    if done.ok:
        return done.stdout
    if b"No such file or directory" in done.stderr:
        return None
    raise HostError(host.name, f"{host.name}: {path} cannot be read: {complaint(host.name, done)}.")


async def write_bytes(host: SshHost, path: str, data: bytes, mode: int) -> None:
    target = absolute(path)
    folder = posixpath.dirname(target)
    temporary = f"{folder}/.{posixpath.basename(target)[:100]}.{secrets.token_hex(4)}"
    args = (target, folder, temporary, str(len(data)), f"{mode:o}")
    done = await script(host, _WRITE, *args, stdin=data, timeout=120)
    if not done.ok:
        raise HostError(
            host.name,
            f"{host.name}: {path} could not be written: {complaint(host.name, done)}. It is unchanged.",
        )
