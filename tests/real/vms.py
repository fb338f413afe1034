"""Real "VMs" on one machine, as root: a network namespace, private mounts, own sshd, own dockerd.

One bridge stands for the platform's network 10.0.1.0/24; the test's machine is 10.0.1.1 on it. Each VM
has its own /home, /backup, /etc/ssh, /run, /var/lib/docker, crontabs, users and processes. Killing
its first process powers it off. Nothing here reaches any other network.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

NETWORK = "10.0.1"
GATEWAY = f"{NETWORK}.1"

INIT = r"""
set -eu
root=$1; name=$2; docker=$3
# the test holds the other end of this input: when it dies, however, the VM goes off
exec 9<&0 0</dev/null
{ read -r _ <&9 || kill -TERM 1; } &
mount --make-rprivate /
mount -t proc proc /proc
hostname "$name"
for file in passwd group shadow sudoers hosts; do
  [ -e "/etc/$file" ] && mount --bind "$root/etc/$file" "/etc/$file"
done
for user in openedx backup-user; do
  mkdir -p "$root/home/$user/.ssh"
  cp "$root/authorized_keys" "$root/home/$user/.ssh/authorized_keys"
done
# /tmp last: the VM's own folder may lie below it
for place in home backup etc/ssh run var/lib/docker var/spool/cron root tmp; do
  mkdir -p "$root/$place" "/$place"
  mount --bind "$root/$place" "/$place"
done
chmod 1777 /tmp
mkdir -p /run/sshd /run/lock /var/spool/cron/crontabs
chgrp crontab /var/spool/cron/crontabs 2>/dev/null && chmod 1730 /var/spool/cron/crontabs || true
for user in openedx backup-user; do
  chown -R $user:$user /home/$user
  chmod 700 /home/$user /home/$user/.ssh
done
chown backup-user:backup-user /backup
if [ "$docker" = yes ]; then
  dockerd --data-root /var/lib/docker --exec-root /run/docker --pidfile /run/docker.pid \
    -H unix:///run/docker.sock -G docker --storage-driver vfs >/var/lib/docker/dockerd.log 2>&1 9<&- &
fi
exec /usr/sbin/sshd -D -e -f /etc/ssh/sshd_config 9<&-
"""

SSHD_CONFIG = """
Port 22
HostKey /etc/ssh/host_ed25519
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
PermitRootLogin no
AuthorizedKeysFile .ssh/authorized_keys
Subsystem sftp internal-sftp
PidFile /run/sshd.pid
AllowTcpForwarding yes
MaxStartups 100
"""


def wait_until(what: str, ready: Callable[[], bool], limit: float = 60.0) -> None:
    """Poll until ready; fails naming what was waited for."""
    end = time.monotonic() + limit
    while not ready():
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not so after {limit:.0f} s")
        time.sleep(0.1)


def _run(*argv: str) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(argv)}: {done.stderr.strip()}")


@dataclass
class Network:
    """The bridge, and the VMs on it. ``tag`` keeps the names of two test runs apart."""

    folder: Path
    tag: str = field(default_factory=lambda: f"rb{os.getpid() % 100000}")
    vms: dict[str, Vm] = field(default_factory=dict)
    lock: IO[str] = field(init=False)

    @property
    def bridge(self) -> str:
        return f"{self.tag}br"

    def up(self) -> None:
        """One at a time on a machine: the addresses are always the same. What a killed test left of
        its network is removed; its VMs went off with it."""
        self.lock = Path(tempfile.gettempdir(), "runbook-real-vms.lock").open("w")  # noqa: SIM115
        fcntl.flock(self.lock, fcntl.LOCK_EX)
        for left in Path("/run/netns").glob("rb[0-9]*"):
            subprocess.run(["ip", "netns", "del", left.name], capture_output=True, check=False)
        for left in Path("/sys/class/net").glob("rb[0-9]*"):
            subprocess.run(["ip", "link", "del", left.name], capture_output=True, check=False)
        if taken := subprocess.run(
            ["ip", "route", "show", f"{NETWORK}.0/24"], capture_output=True, text=True, check=True
        ).stdout:
            raise RuntimeError(f"{NETWORK}.0/24 is in use on this machine: {taken}")
        _run("ip", "link", "add", self.bridge, "type", "bridge")
        _run("ip", "addr", "add", f"{GATEWAY}/24", "dev", self.bridge)
        _run("ip", "link", "set", self.bridge, "up")

    def down(self) -> None:
        for vm in self.vms.values():
            vm.power_off()
        subprocess.run(["ip", "link", "del", self.bridge], capture_output=True, check=False)
        self.lock.close()

    def vm(self, name: str, address: str, authorized: str, *, docker: bool = True) -> Vm:
        made = Vm(self, name, address, self.folder / name, authorized, docker)
        self.vms[name] = made
        return made


@dataclass
class Vm:
    network: Network
    name: str
    address: str
    root: Path
    authorized: str
    docker: bool
    process: subprocess.Popen[bytes] | None = None

    @property
    def netns(self) -> str:
        return f"{self.network.tag}{self.name}"

    def create(self) -> None:
        """A blank disk: host key, users, nothing else."""
        for place in ("etc/ssh", "etc"):
            (self.root / place).mkdir(parents=True, exist_ok=True)
        key = self.root / "etc/ssh/host_ed25519"
        if not key.exists():
            _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key))
        (self.root / "etc/ssh/sshd_config").write_text(SSHD_CONFIG)
        (self.root / "authorized_keys").write_text(self.authorized)
        users = [("openedx", 5001), ("backup-user", 5002)]
        for file, line in (
            ("passwd", "{user}:x:{id}:{id}::/home/{user}:/bin/bash\n"),
            ("group", "{user}:x:{id}:\n"),
            ("shadow", "{user}:*:19000:0:99999:7:::\n"),
        ):
            text = Path("/etc", file).read_text()
            text += "".join(line.format(user=user, id=id) for user, id in users)
            if file == "group":
                text = "".join(_with_docker(entry) for entry in text.splitlines(keepends=True))
            (self.root / "etc" / file).write_text(text)
        (self.root / "etc/shadow").chmod(0o640)
        (self.root / "etc/sudoers").write_text("root ALL=(ALL) ALL\nopenedx ALL=(ALL) NOPASSWD:ALL\n")
        (self.root / "etc/sudoers").chmod(0o440)
        (self.root / "etc/hosts").write_text(f"127.0.0.1 localhost\n{self.address} {self.name}\n")

    def power_on(self) -> None:
        self.create()
        _run("ip", "netns", "add", self.netns)
        inner = f"{self.netns}i"
        _run("ip", "link", "add", self.netns, "type", "veth", "peer", "name", inner)
        _run("ip", "link", "set", inner, "netns", self.netns)
        _run("ip", "link", "set", self.netns, "master", self.network.bridge, "up")
        inside = ["ip", "-n", self.netns]
        _run(*inside, "addr", "add", f"{self.address}/24", "dev", inner)
        _run(*inside, "link", "set", inner, "up")
        _run(*inside, "link", "set", "lo", "up")
        log = (self.root / "vm.log").open("ab")
        self.process = subprocess.Popen(
            [
                *("nsenter", f"--net=/run/netns/{self.netns}"),
                *("unshare", "--mount", "--pid", "--fork", "--uts", "--kill-child"),
                *("sh", "-c", INIT, "init", str(self.root), self.name, "yes" if self.docker else "no"),
            ],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env={**os.environ, "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
        )
        log.close()
        wait_until(f"{self.name}: SSH", self._answers)
        if self.docker:
            wait_until(f"{self.name}: dockerd", lambda: (self.root / "run/docker.sock").exists())

    def _answers(self) -> bool:
        if self.process is not None and self.process.poll() is not None:
            raise RuntimeError(f"{self.name} died: {(self.root / 'vm.log').read_text()[-2000:]}")
        try:
            with socket.create_connection((self.address, 22), timeout=1) as link:
                return link.recv(4) == b"SSH-"
        except OSError:
            return False

    def run(self, *argv: str, data: bytes = b"") -> str:
        """As root, inside the VM (for the test itself); ``data`` goes to its input."""
        assert self.process is not None, f"{self.name} is off"
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        enter = ["nsenter", "-t", children[0], "--mount", "--pid", "--net", "--uts"]
        done = subprocess.run([*enter, *argv], input=data, capture_output=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{self.name}: {' '.join(argv)}: {done.stderr.decode(errors='replace')}")
        return done.stdout.decode()

    def power_off(self) -> None:
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(20)
            assert self.process.stdin
            self.process.stdin.close()
            self._forget_containers()
        self.process = None
        subprocess.run(["ip", "netns", "del", self.netns], capture_output=True, check=False)
        subprocess.run(["ip", "link", "del", self.netns], capture_output=True, check=False)

    def _forget_containers(self) -> None:
        """The control groups of killed containers stay behind; nobody else would remove them."""
        for container in (self.root / "var/lib/docker/containers").glob("*"):
            groups = [*Path("/sys/fs/cgroup").glob(f"*/docker/{container.name}")]
            groups.append(Path("/sys/fs/cgroup/docker", container.name))
            for group in filter(Path.is_dir, groups):
                with contextlib.suppress(OSError, TimeoutError):
                    wait_until(f"{group} to be empty", lambda g=group: not _processes(g), 5)
                    group.rmdir()

    def wipe(self) -> None:
        """A new, blank machine will stand here next time."""
        self.power_off()
        shutil.rmtree(self.root, ignore_errors=True)


def _processes(group: Path) -> str:
    return (group / "cgroup.procs").read_text()


def _with_docker(entry: str) -> str:
    if not entry.startswith("docker:"):
        return entry
    head, _, members = entry.rstrip("\n").rpartition(":")
    return f"{head}:{','.join(filter(None, [members, 'openedx']))}\n"


@contextlib.contextmanager
def network(folder: Path) -> Iterator[Network]:
    net = Network(folder)
    try:
        net.up()
        yield net
    finally:
        net.down()
