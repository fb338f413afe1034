"""Host keys: which ones this site trusts, and why a key was refused.

One file a site, in OpenSSH's known_hosts form. A machine stands in it under its address alone,
as OpenSSH does with ``HostKeyAlias``: the port that an ssh_config may map it to is not part of
its name. ``[address]:port`` is understood too, and then meant for that port only.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncssh

from runbook.errors import StateError

#: asyncssh's own form of a look-up: host keys, CA keys, revoked keys, and four lists for X.509
Match = tuple[Any, ...]
#: what a server that is not known yet is asked for, best first (no certificates)
PLAIN_ALGORITHMS = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "rsa-sha2-512",
    "rsa-sha2-256",
)


def fingerprint(key: asyncssh.SSHKey) -> str:
    """``SHA256:…``, as ssh-keygen and a console show it."""
    return key.get_fingerprint()


@dataclass(eq=False)
class KnownHosts:
    """The site's file. A missing file knows nobody."""

    path: Path
    #: held while a person is asked, so that the same machine is asked about once
    asking: asyncio.Lock = field(default_factory=asyncio.Lock, repr=False)

    def match(self, name: str, port: int | None = None) -> Match:
        """What is known of ``name``; all lists empty means unknown. Raises StateError."""
        try:
            text = self.path.read_text(encoding="utf-8", errors="surrogateescape")
        except FileNotFoundError:
            text = ""
        except OSError as error:
            raise StateError(
                f"{self.path} cannot be read: {error.strerror}. No machine was contacted.",
                next="It holds the machines' host keys; make it readable.",
            ) from error
        try:
            return tuple(asyncssh.import_known_hosts(text).match(name, "", port))
        except ValueError as error:
            raise StateError(
                f"{self.path} is damaged: {error}. No machine was contacted.",
                next="Correct or remove that line.",
            ) from error

    def algorithms(self, name: str, port: int | None = None) -> list[str]:
        """Host key algorithms to ask for: those of the known keys first, so that a server which
        also has others is recognised; then the rest, so that a changed kind of key is seen."""
        found = self.match(name, port)
        known = [alg.decode() for key in found[0] for alg in key.sig_algorithms]
        certificates = [f"{name}-cert-v01@openssh.com" for name in PLAIN_ALGORITHMS] if found[1] else []
        wanted = [*certificates, *known, *PLAIN_ALGORITHMS]
        return [alg for alg in dict.fromkeys(wanted) if alg != "ssh-rsa"]

    def trust(self, name: str, key: asyncssh.SSHKey) -> None:
        """Add one line: at once, whole, and safe against other programs doing the same."""
        kind, encoded = key.export_public_key("openssh").decode().split()[:2]
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self._locked() as file:
            size = os.fstat(file).st_size
            torn = size > 0 and os.pread(file, 1, size - 1) != b"\n"
            os.write(file, (b"\n" if torn else b"") + f"{name} {kind} {encoded}\n".encode())
            os.fsync(file)

    def forget(self, name: str) -> int:
        """Drop every plain line of ``name`` (a rebuilt machine). Returns how many there were;
        hashed and pattern lines stay (``ssh-keygen -R`` knows them)."""
        if not self.path.exists():
            return 0
        with self._locked():
            lines = self.path.read_bytes().splitlines(keepends=True)
            mine = [line for line in lines if _names(line, name)]
            if mine:
                _replace(self.path, b"".join(line for line in lines if line not in mine))
        return len(mine)

    @contextmanager
    def _locked(self) -> Iterator[int]:
        while True:
            file = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                fcntl.flock(file, fcntl.LOCK_EX)
                if os.path.samestat(os.fstat(file), os.stat(self.path)):  # noqa: PTH116
                    yield file
                    return
            finally:
                os.close(file)


def _names(line: bytes, name: str) -> bool:
    fields = line.split()
    patterns = fields[0].split(b",") if fields and not fields[0].startswith((b"#", b"@")) else []
    plain = name.encode()
    return plain in patterns or any(item.startswith(b"[" + plain + b"]:") for item in patterns)


def _replace(path: Path, data: bytes) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    Path(temporary).replace(path)


class Verifier(asyncssh.SSHClient):
    """Watches one connection's key exchange. Never lets a key pass that the file does not hold:
    it notes what was offered, so that a person can be asked before anything is sent."""

    def __init__(self) -> None:
        self.offered: asyncssh.SSHKey | None = None
        self.port: int | None = None

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        self.offered = key
        return False


def lookup(known: KnownHosts, name: str, verifier: Verifier) -> Callable[[str, str, int | None], Match]:
    """For asyncssh's ``known_hosts=``: by our name for the machine, never by the TCP peer's
    address (behind an ssh_config mapping that is some loopback port)."""

    def match(host: str, addr: str, port: int | None) -> Match:
        verifier.port = port
        return known.match(name, port)

    return match
