"""A real OpenSSH sshd on loopback, run as whoever runs the tests, with keys, settings and a home
of its own: nobody's account or configuration is touched."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import asyncssh

from runbook.hosts.base import Machine
from runbook.hosts.connection import AcceptKey, SshOptions
from runbook.hosts.keys import KnownHosts
from runbook.hosts.ssh import SshHost
from tests.real.ports import free_port

PROGRAM = shutil.which("sshd") or ("/usr/sbin/sshd" if Path("/usr/sbin/sshd").exists() else None)
#: TEST-NET-3: no packet ever goes there, the ssh_config maps it to loopback
ADDRESS = "203.0.113.11"


def eventually(true: Callable[[], object], *, limit: float = 20.0) -> bool:
    """Poll a condition; False when the limit has passed."""
    end = time.monotonic() + limit
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def parent_of(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return 0


def children_of(pid: int) -> list[int]:
    every = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    return [child for child in every if parent_of(child) == pid]


@dataclass
class Sshd:
    folder: Path
    port: int = 0
    extra: list[str] = field(default_factory=list)
    process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        self.home = self.folder / "home"
        self.home.mkdir(parents=True)
        self.key = self.folder / "id_ed25519"
        self.new_host_key()
        key = asyncssh.generate_private_key("ssh-ed25519")
        key.write_private_key(self.key)
        self.key.chmod(0o600)
        (self.folder / "authorized_keys").write_bytes(key.export_public_key("openssh"))
        (self.folder / "authorized_keys").chmod(0o600)
        self.port = free_port()
        self.known_hosts = KnownHosts(self.folder / "known_hosts")
        self.ssh_config = self.folder / "ssh_config"
        self.ssh_config.write_text(f"Host {ADDRESS}\n  HostName 127.0.0.1\n  Port {self.port}\n")

    def new_host_key(self, kind: str = "ssh-ed25519") -> None:
        self.host_key = asyncssh.generate_private_key(kind)
        self.host_key.write_private_key(self.folder / "host_key")
        (self.folder / "host_key").chmod(0o600)

    def start(self) -> None:
        settings = [
            f"ListenAddress 127.0.0.1:{self.port}",
            f"HostKey {self.folder}/host_key",
            f"AuthorizedKeysFile {self.folder}/authorized_keys",
            f"PidFile {self.folder}/pid",
            f"SetEnv HOME={self.home}",
            "StrictModes no",
            "UsePAM no",
            "PasswordAuthentication no",
            "KbdInteractiveAuthentication no",
            "PermitRootLogin yes",
            *self.extra,
        ]
        (self.folder / "sshd_config").write_text("\n".join(settings) + "\n")
        if os.geteuid() == 0:  # its privilege separation wants this folder
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        assert PROGRAM is not None
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                # it goes when we go, however that is
                ["setpriv", "--pdeathsig", "TERM", PROGRAM, "-D", "-e", "-f", f"{self.folder}/sshd_config"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        if not eventually(self.listening, limit=60):
            self.stop()
            raise RuntimeError((self.folder / "log").read_text())

    def listening(self) -> bool:
        with socket.socket() as probe:
            probe.settimeout(1)
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def cut(self) -> int:
        """Kill the processes that serve connections, as a lost line does. The number of them."""
        assert self.process is not None
        serving = children_of(self.process.pid)
        for pid in [below for child in serving for below in children_of(child)] + serving:
            with contextlib.suppress(ProcessLookupError, FileNotFoundError):
                if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"sshd"):  # no command of theirs
                    os.kill(pid, signal.SIGKILL)
        return len(serving)

    def stop(self) -> None:
        if self.process is not None:
            self.cut()
            self.process.terminate()
            self.process.wait(10)
            self.process = None

    def trust(self) -> None:
        self.known_hosts.trust(ADDRESS, self.host_key.convert_to_public())

    def host(self, accept_key: AcceptKey | None = None, **options: object) -> SshHost:
        settings: dict[str, object] = {
            "user": getpass.getuser(),
            "known_hosts": self.known_hosts,
            "key": self.key,
            "ssh_config": self.ssh_config,
            "grace": 1,
            **options,
        }
        machine = Machine(name="vm1", role="production", address=ADDRESS, index=1)
        return SshHost(machine, SshOptions(**settings), accept_key)  # type: ignore[arg-type]
