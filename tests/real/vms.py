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
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from tests.real.groups import forget_groups
from tests.real.waiting import wait_until

NETWORK = "10.0.1"
GATEWAY = f"{NETWORK}.1"
#: of everything that is made on the machine: bridge, interfaces, namespaces, control groups
PREFIX = "rbtest"
LOCK = Path("/run/runbook-real-vms.lock")

INIT = r"""
set -eu
root=$1; name=$2; docker=$3; group=$4
# the test holds the other end of this input: when it dies, however, the VM goes off
exec 9<&0 0</dev/null
trap 'exit 0' TERM
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
    -H unix:///run/docker.sock -G docker --cgroup-parent "/$group" >/var/lib/docker/dockerd.log 2>&1 9<&- &
fi
exec /usr/sbin/sshd -D -e -f /etc/ssh/sshd_config 9<&-
"""

#: of what runs on a VM: nothing of the test's own environment
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
}
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


def _run(*argv: str) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    if done.returncode:
        raise RuntimeError(f"{' '.join(argv)}: {done.stderr.strip()}")


def _try(*argv: str) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60).stdout


@dataclass
class Network:
    """The bridge, and the VMs on it: one at a time on a machine, the addresses are always the same."""

    folder: Path
    vms: dict[str, Vm] = field(default_factory=dict)
    lock: IO[str] | None = None

    @property
    def bridge(self) -> str:
        return f"{PREFIX}br"

    def up(self) -> None:
        """Waits for its turn; what a killed test left is removed."""
        self.lock = LOCK.open("w")
        wait_until(f"the tests that hold {LOCK} to end", self._locked, 600)
        self._clear()
        if taken := _try("ip", "route", "show", f"{NETWORK}.0/24"):
            raise RuntimeError(f"{NETWORK}.0/24 is in use on this machine: {taken}")
        _run("ip", "link", "add", self.bridge, "type", "bridge")
        _run("ip", "addr", "add", f"{GATEWAY}/24", "dev", self.bridge)
        _run("ip", "link", "set", self.bridge, "up")

    def _locked(self) -> bool:
        assert self.lock
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _clear(self) -> None:
        """VMs go off with their test, whatever ends it; this is for one that did not."""
        for left in Path("/run/netns").glob(f"{PREFIX}*"):
            for pid in map(int, _try("ip", "netns", "pids", left.name).split()):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            _try("ip", "netns", "del", left.name)
        for left in Path("/sys/class/net").glob(f"{PREFIX}*"):
            _try("ip", "link", "del", left.name)
        forget_groups(PREFIX)

    def power_off(self) -> None:
        """All of them; one that resists does not keep the others on."""
        with contextlib.ExitStack() as stack:
            for vm in self.vms.values():
                stack.callback(vm.power_off)

    def down(self) -> None:
        try:
            self.power_off()
        finally:
            _try("ip", "link", "del", self.bridge)
            if self.lock:
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
        return f"{PREFIX}{self.name}"

    def create(self) -> None:
        """What has to be on the disk before it starts: host key, users; /run and /tmp are empty."""
        for place in ("run", "tmp"):
            shutil.rmtree(self.root / place, ignore_errors=True)
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
        # the same each time: the others remember it, and would look for another one in vain for a minute
        mac = "02:00:" + ":".join(f"{int(part):02x}" for part in self.address.split("."))
        _run("ip", "link", "add", self.netns, "type", "veth", "peer", "name", inner, "address", mac)
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
                self.netns,
            ],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env=ENVIRONMENT,
        )
        log.close()
        wait_until(f"{self.name}: SSH", self._answers)
        if self.docker:
            try:
                wait_until(f"{self.name}: dockerd", (self.root / "run/docker.sock").exists)
            except TimeoutError as error:
                said = (self.root / "var/lib/docker/dockerd.log").read_text()[-2000:]
                raise RuntimeError(f"{error}: {said}") from None

    def _answers(self) -> bool:
        if self.process is not None and self.process.poll() is not None:
            raise RuntimeError(f"{self.name} died: {(self.root / 'vm.log').read_text()[-2000:]}")
        try:
            with socket.create_connection((self.address, 22), timeout=1) as link:
                return link.recv(4) == b"SSH-"
        except OSError:
            return False

    def run(self, *argv: str, data: bytes | Path = b"") -> str:
        """As root, inside the VM (for the test itself); ``data``, or what that file holds, goes to
        its input."""
        assert self.process is not None, f"{self.name} is off"
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        enter = ["nsenter", "-t", children[0], "--mount", "--pid", "--net", "--uts"]
        with contextlib.ExitStack() as stack:
            given = stack.enter_context(data.open("rb") if isinstance(data, Path) else _file(data))
            done = subprocess.run(
                [*enter, *argv], stdin=given, capture_output=True, check=False, env=ENVIRONMENT, timeout=300
            )
        if done.returncode:
            raise RuntimeError(f"{self.name}: {' '.join(argv)}: {done.stderr.decode(errors='replace')}")
        return done.stdout.decode()

    def power_off(self) -> None:
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(60)
            assert self.process.stdin
            self.process.stdin.close()
            self.process = None
        _try("ip", "netns", "del", self.netns)
        _try("ip", "link", "del", self.netns)
        forget_groups(self.netns)

    def wipe(self) -> None:
        """A new, blank machine will stand here next time."""
        self.power_off()
        shutil.rmtree(self.root, ignore_errors=True)


def _file(data: bytes) -> IO[bytes]:
    file = tempfile.TemporaryFile()  # noqa: SIM115
    file.write(data)
    file.seek(0)
    return file


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
