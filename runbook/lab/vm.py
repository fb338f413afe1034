"""One VM of the lab: a folder, an SSH server, a container engine, and power."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import asyncssh

from runbook.lab import processes, shims
from runbook.lab.engine import Engine
from runbook.lab.layout import Layout, Spec
from runbook.lab.link import Link
from runbook.lab.sshd import Route, Sshd

SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
#: seconds a new VM's cloud-init stays "running"
FIRST_BOOT = 0.5


class Vm:
    """``exists``: it was made (by OpenTofu); ``running``: its power is on."""

    def __init__(self, layout: Layout, spec: Spec, lab_id: str, engine: Engine, route: Route) -> None:
        self.layout, self.spec, self.engine = layout, spec, engine
        self.root = layout.vm(spec.name)
        self.exists = False
        self.link = Link()
        self._mark = f"{lab_id}/{spec.name}"
        self._keys = layout.root / "keys"
        self._sshd = Sshd(spec, self.root, self, layout.site / "id_ed25519.pub", route)
        self._first_boot: asyncio.TimerHandle | None = None

    @property
    def running(self) -> bool:
        return self.link.up

    @property
    def host_key(self) -> Path:
        """The private host key; kept when the VM is made anew, so that practice runs need no
        fingerprint compared (cloud-init can hand over a host key in the same way)."""
        return self._keys / self.spec.name

    def home(self, user: str) -> Path:
        return self.layout.home(self.spec.name, user)

    def environment(self, user: str) -> dict[str, str]:
        """What sshd gives a session. Carries the lab's mark, by which ``down`` finds detached jobs."""
        return {
            "HOME": str(self.home(user)),
            "USER": user,
            "LOGNAME": user,
            "SHELL": "/bin/sh",
            "LANG": "C.UTF-8",
            "TZ": "UTC",  # the sample backups are of 01:00 UTC, wherever the PC is
            "PATH": f"{self.root / 'bin'}:{SYSTEM_PATH}",
            "TMPDIR": str(self.root / "tmp"),
            "PS1": f"{user}@{self.spec.name}:$ ",
            processes.MARK: self._mark,
        }

    def prepare_key(self) -> asyncssh.SSHKey:
        """Make the host key when there is none; returns its public half."""
        self._keys.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not self.host_key.exists():
            self.new_key()
        return asyncssh.read_private_key(self.host_key)

    def new_key(self) -> None:
        key = asyncssh.generate_private_key("ssh-ed25519", comment=f"root@{self.spec.name}")
        key.write_private_key(self.host_key)

    async def create(self) -> None:
        """A blank VM with its power on. Nothing happens when there is one."""
        if self.exists:
            return
        for folder in ("tmp", "etc", "var/crontabs", *(f"home/{user}" for user in self.spec.users)):
            (self.root / folder).mkdir(parents=True, exist_ok=True)
        (self.root / "etc" / "hostname").write_text(f"{self.spec.name}\n")
        shims.install(self.layout, self.spec, compose=self.engine.compose)
        self.exists = True
        self._first_boot = asyncio.get_running_loop().call_later(FIRST_BOOT, self._booted)
        await self.power_on()

    def _booted(self) -> None:
        if self.exists:
            (self.root / "var" / "cloud-init-done").touch()

    async def power_on(self) -> None:
        if self.exists and not self.running:
            await self._sshd.start(self.host_key)
            await self.link.open(self._sshd.port)
            await self.engine.power_on()

    async def power_off(self) -> None:
        """As pulling the plug: every connection, command, job and container of it is gone."""
        await self.link.cut()
        await self._sshd.stop()
        await self.engine.power_off()
        await asyncio.to_thread(processes.end_marked, self._mark)

    async def delete(self) -> None:
        """The VM and its disk are gone."""
        if self._first_boot is not None:
            self._first_boot.cancel()
        self.exists = False
        await self.power_off()
        self.engine.wipe()
        await asyncio.to_thread(shutil.rmtree, self.root, True)

    async def change_host_key(self) -> None:
        """As after a reinstallation, or with somebody in between."""
        kept = self.host_key.with_suffix(".before")
        if not kept.exists():
            self.host_key.rename(kept)
        self.new_key()
        await self._restart_sshd()

    async def old_host_key(self) -> None:
        kept = self.host_key.with_suffix(".before")
        if kept.exists():
            kept.replace(self.host_key)
            await self._restart_sshd()

    async def _restart_sshd(self) -> None:
        if self.running:
            await self.link.cut()
            await self._sshd.stop()
            await self._sshd.start(self.host_key)
            await self.link.open(self._sshd.port)

    async def close(self) -> None:
        if self._first_boot is not None:
            self._first_boot.cancel()
        await self.power_off()
        await self.link.close()
