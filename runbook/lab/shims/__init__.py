"""Small programs that stand first on a practice VM's PATH, written out when the VM is made."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from runbook.lab.composewords import VERSIONS
from runbook.lab.layout import Layout, Spec

HERE = Path(__file__).parent
CLIENT = HERE / "client.py"
SHELL = ("df", "tar", "cloud-init", "crontab", "sudo", "hostname", "docker", "python3")
#: programs of this PC that a practice VM must not reach through the rest of its PATH
HIDDEN = ("docker-compose", "podman", "kubectl")
GUARDED = (
    "systemctl", "service", "shutdown", "reboot", "poweroff", "halt", "init", "apt", "apt-get", "dpkg", "yum",
    "dnf", "mount", "umount", "iptables", "nft", "ufw", "useradd", "userdel", "usermod", "passwd", "mkfs",
    "fdisk",
)  # fmt: skip
#: what Linux has and macOS has not
SPARE = {
    "sha256sum": ("sha256sum.py", "sha256"),
    "md5sum": ("sha256sum.py", "md5"),
    "setsid": ("setsid.py", ""),
}


def quoted(path: object) -> str:
    """For between two single quotes of a shell script."""
    return str(path).replace("'", "'\\''")


def install(layout: Layout, spec: Spec, *, compose: int) -> None:
    """Write the shims of one VM. ``compose``: 1 gives it docker-compose, 2 `docker compose`."""
    folder = layout.vm(spec.name) / "bin"
    folder.mkdir(parents=True, exist_ok=True)
    values = {
        "ROOT": layout.vm(spec.name),
        "NAME": spec.name,
        "INTERNAL": spec.internal,
        "SOCKET": layout.socket,
        "PYTHON": sys.executable,
        "ENGINE": HERE / "engine.py",
        "COMPOSE": compose,
        "VERSION": VERSIONS[compose],
        "NETWORK": HERE / "network",
        "DF": shutil.which("df") or "/bin/df",
        "TAR": shutil.which("tar") or "/bin/tar",
    }
    for name in HIDDEN:
        _write(folder / name, f'#!/bin/sh\necho "sh: 1: {name}: not found" >&2\nexit 127\n')
    for name in GUARDED:
        _write(
            folder / name, f'#!/bin/sh\necho "{name}: a practice VM has no system of its own" >&2\nexit 1\n'
        )
    names = (*SHELL, "docker-compose") if compose == 1 else SHELL
    for name in names:
        text = (HERE / name).read_text()
        for key, value in values.items():
            text = text.replace(f"@{key}@", quoted(value))
        _write(folder / name, text)
    for name, (program, argument) in SPARE.items():
        if shutil.which(name) is None:
            python, script = quoted(sys.executable), quoted(HERE / program)
            _write(folder / name, f"#!/bin/sh\nexec '{python}' -SEs '{script}' {argument} \"$@\"\n")


def _write(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)
