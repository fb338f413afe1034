"""Where everything of the practice lab lies, and what its machines are called."""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import dataclass
from pathlib import Path

DOMAIN = "learn.example.test"
STUDIO = f"studio.{DOMAIN}"
MONITORING = f"monitoring.{DOMAIN}"

#: what the domain answers with before anybody points it at the new machines (TEST-NET-2)
OLD_ADDRESSES = ("198.51.100.1", "198.51.100.2", "198.51.100.3")


@dataclass(frozen=True)
class Spec:
    """One VM: its name, its address in the platform's network, and the public one (TEST-NET-3,
    reached only through the practice site's ssh_config, which maps it to loopback)."""

    name: str
    internal: str
    public: str
    users: tuple[str, ...]
    index: int  #: 1-based among the production VMs, 0 for the backup VM

    @property
    def production(self) -> bool:
        return self.index > 0


PRODUCTION = tuple(
    Spec(f"vm{n}", f"10.0.1.{9 + n}", f"203.0.113.{10 + n}", ("openedx",), n) for n in (1, 2, 3)
)
BACKUP = Spec("backup", "10.0.1.100", "203.0.113.100", ("backup-user", "openedx"), 0)
SPECS = {spec.name: spec for spec in (*PRODUCTION, BACKUP)}
BY_INTERNAL = {spec.internal: spec for spec in SPECS.values()}

#: a Unix socket's path is limited to 104 bytes (macOS) or 108 (Linux)
SOCKET_PATH_LIMIT = 90


@dataclass(frozen=True)
class Layout:
    """The lab's folder: ``<state>/lab``."""

    root: Path

    @classmethod
    def of(cls, state: Path) -> Layout:
        return cls(state.expanduser().resolve() / "lab")

    @property
    def info(self) -> Path:
        return self.root / "lab.json"

    @property
    def lock(self) -> Path:
        return self.root / "lab.lock"

    @property
    def log(self) -> Path:
        return self.root / "daemon.log"

    @property
    def socket(self) -> Path:
        """``control.sock`` in the lab's folder; in a short folder of its own when that path is too
        long for a socket."""
        usual = self.root / "control.sock"
        if len(str(usual).encode()) <= SOCKET_PATH_LIMIT:
            return usual
        digest = hashlib.sha256(str(self.root).encode()).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"runbook-lab-{digest}" / "control.sock"

    @property
    def site(self) -> Path:
        return self.root / "site"

    @property
    def site_file(self) -> Path:
        return self.site / "runbook.toml"

    @property
    def platform(self) -> Path:
        return self.root / "platform" / "openedx-ha"

    @property
    def infrastructure(self) -> Path:
        return self.platform / "infrastructure"

    @property
    def backups(self) -> Path:
        """The local PC's backups."""
        return self.root / "backups"

    @property
    def programs(self) -> Path:
        """Programs of the lab on the operator's side (the OpenTofu stand-in)."""
        return self.root / "bin"

    def vm(self, name: str) -> Path:
        return self.root / "vm" / name

    def home(self, name: str, user: str = "openedx") -> Path:
        return self.vm(name) / "home" / user

    @property
    def remote_backups(self) -> Path:
        """``/backup`` of the backup VM, as an absolute path."""
        return self.vm("backup") / "backup"
