"""A private Docker daemon in a temporary folder: own socket, images and containers; no network.

    with private_dockerd() as daemon:
        daemon.docker("ps")

Containers need ``network_mode: none`` or ``host``: the daemon makes no bridge and no firewall rules.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.real.groups import forget_groups
from tests.real.waiting import wait_until

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


@contextmanager
def private_dockerd() -> Iterator[Daemon]:
    folder = Path(tempfile.mkdtemp(prefix="dockerd-"))
    # a process and a mount namespace of its own: all of it goes when we go, however that is
    alone = ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                *(*alone, "--mount-proc", "dockerd"),
                f"--host=unix://{folder}/docker.sock",
                f"--data-root={folder}/data",
                f"--exec-root={folder}/exec",
                f"--pidfile={folder}/pid",
                f"--cgroup-parent=/{folder.name}",
                "--storage-driver=vfs",
                "--bridge=none",
                "--iptables=false",
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    daemon = Daemon(folder, process)
    try:
        _until_it_answers(daemon)
        yield daemon
    finally:
        process.kill()
        process.wait(20)
        forget_groups(folder.name)
        shutil.rmtree(folder, ignore_errors=True)


def _until_it_answers(daemon: Daemon) -> None:
    def answers() -> bool:
        assert daemon.process.poll() is None, "it ended"
        return bool(daemon.docker("info", "--format", "{{.ServerVersion}}", check=False))

    try:
        wait_until("dockerd to answer", answers)
    except (AssertionError, TimeoutError) as error:
        said = (daemon.folder / "log").read_text()[-1000:]
        raise AssertionError(f"dockerd did not come up, {error}: {said}") from None
