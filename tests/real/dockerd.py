"""A private Docker daemon in a temporary folder: own socket, images and containers; no network.

    with private_dockerd() as daemon:      # skips with a reason where that cannot work
        daemon.docker("ps")

Containers need ``network_mode: none`` or ``host``: the daemon makes no bridge and no firewall rules.
"""

from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

#: what services in tests are made of
APPLETS = ("sh", "sleep", "echo", "cat", "true", "false", "httpd", "nc", "date", "mkdir")


@dataclass(frozen=True)
class Daemon:
    folder: Path
    process: subprocess.Popen[bytes]

    @property
    def address(self) -> str:
        """For DOCKER_HOST."""
        return f"unix://{self.folder}/docker.sock"

    def docker(self, *argv: str, stdin: bytes = b"", check: bool = True) -> str:
        done = subprocess.run(
            ["docker", *argv],
            input=stdin,
            capture_output=True,
            env={**os.environ, "DOCKER_HOST": self.address},
            timeout=60,
        )
        if check and done.returncode:
            raise AssertionError(f"docker {argv[0]}: {done.stderr.decode()}")
        return done.stdout.decode().strip()

    def import_busybox(self, *tags: str) -> None:
        """An image that holds busybox alone, under each of the names."""
        image = io.BytesIO()
        with tarfile.open(fileobj=image, mode="w") as tar:
            for folder in ("bin", "tmp", "www"):
                entry = tarfile.TarInfo(folder)
                entry.type, entry.mode = tarfile.DIRTYPE, 0o755
                tar.addfile(entry)
            tar.add(shutil.which("busybox") or "/bin/busybox", "bin/busybox")
            for name in APPLETS:
                entry = tarfile.TarInfo(f"bin/{name}")
                entry.type, entry.linkname = tarfile.SYMTYPE, "busybox"
                tar.addfile(entry)
        first, *others = tags
        path = "ENV PATH=/bin"
        self.docker("import", "--change", path, "-", first, stdin=image.getvalue())
        for tag in others:
            self.docker("tag", first, tag)


def missing() -> str:
    """Why it cannot run here; "" when it can."""
    absent = [name for name in ("dockerd", "docker", "busybox") if not shutil.which(name)]
    if absent:
        return f"not installed: {', '.join(absent)}"
    return "" if os.geteuid() == 0 else "dockerd needs root"


@contextmanager
def private_dockerd() -> Iterator[Daemon]:
    if reason := missing():
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)
    folder = Path(tempfile.mkdtemp(prefix="dockerd-"))
    log = (folder / "log").open("wb")
    process = subprocess.Popen(
        [
            "dockerd",
            f"--host=unix://{folder}/docker.sock",
            f"--data-root={folder}/data",
            f"--exec-root={folder}/exec",
            f"--pidfile={folder}/pid",
            "--storage-driver=vfs",
            "--bridge=none",
            "--iptables=false",
        ],
        stdout=log,
        stderr=log,
        start_new_session=True,
    )
    daemon = Daemon(folder, process)
    try:
        _until_it_answers(daemon)
        yield daemon
    finally:
        _stop(daemon)
        log.close()


def _until_it_answers(daemon: Daemon, limit: float = 60.0) -> None:
    end = time.monotonic() + limit
    while time.monotonic() < end and daemon.process.poll() is None:
        if daemon.docker("info", "--format", "{{.ServerVersion}}", check=False):
            return
        time.sleep(0.1)
    said = (daemon.folder / "log").read_text()[-1000:]
    raise AssertionError(f"dockerd did not come up: {said}")


def _stop(daemon: Daemon) -> None:
    """Containers first (they would outlive a killed daemon), then the daemon, by its process id."""
    with suppress(AssertionError, subprocess.TimeoutExpired):
        if ids := daemon.docker("ps", "-aq", check=False).split():
            daemon.docker("rm", "-f", *ids, check=False)
    daemon.process.send_signal(signal.SIGTERM)
    try:
        daemon.process.wait(30)
    except subprocess.TimeoutExpired:
        daemon.process.kill()
        daemon.process.wait(10)
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for mount in sorted((one for one in mounts if one.startswith(f"{daemon.folder}/")), reverse=True):
        subprocess.run(["umount", "-l", mount], check=False)
    shutil.rmtree(daemon.folder, ignore_errors=True)
