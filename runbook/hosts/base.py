"""A host: something that runs commands and moves files. This PC, or a VM over SSH.

Commands are argument lists, never shell text; a host that needs a shell quotes them itself.
Relative paths and ``~/…`` start at the user's home on that host.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from runbook.errors import HostError

Role = Literal["operator", "production", "backup", "other"]
#: receives raw output as it comes (stdout and stderr in the order of arrival)
Sink = Callable[[bytes], None]
#: receives (done, total) bytes
Tick = Callable[[int, int], None]
#: receives a line about a connection that was lost and is opened again
Trouble = Callable[[str], None]


@dataclass(frozen=True)
class Machine:
    """A machine of the site: ``name`` (vm1, backup) is its name in guides, journal and screens."""

    name: str
    role: Role
    address: str  #: where SSH goes
    internal: str = ""  #: address inside the platform's network (10.0.1.10)
    index: int = 0  #: 1-based among the production machines; 0 for others


@dataclass(frozen=True)
class Completed:
    """A command that ended. ``exit_status`` None: the connection went, outcome unknown.

    ``stdout``/``stderr`` are whole up to the limit given to run() (then ``truncated``).
    A signal shows as a negative number.
    """

    exit_status: int | None
    stdout: bytes
    stderr: bytes
    truncated: bool = False

    @property
    def ok(self) -> bool:
        return self.exit_status == 0


@dataclass(frozen=True)
class Endpoint:
    """Where a forwarded port is reached from this PC."""

    host: str
    port: int


class Host(Protocol):
    machine: Machine
    #: hears (gone, detail) when a cancelled command was looked at: True it is gone, False STILL
    #: RUNNING, None could not look
    cancel_listener: Callable[[bool | None, str], None] | None

    @property
    def name(self) -> str: ...

    @property
    def jobs_dir(self) -> str:
        """Folder for jobs on this host (relative to home, or absolute)."""
        ...

    async def run(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float = 60.0,
        sink: Sink | None = None,
        limit: int = 4_000_000,
    ) -> Completed:
        """Run ``argv`` to its end. Its own process group; on cancel or time-out the group is
        ended (TERM, then KILL) and looked at. ``env`` must hold no secrets (they go to stdin).

        Raises Unreachable and its sisters before anything ran; TimedOut; OutcomeUnknown when the
        connection was lost after it began. A non-zero exit is not an error.
        """
        ...

    async def read_bytes(self, path: str, *, limit: int = 16_000_000) -> bytes | None:
        """The file's bytes; None when there is no such file. HostError when it cannot be read."""
        ...

    async def write_bytes(self, path: str, data: bytes, *, mode: int = 0o600) -> None:
        """Atomically: temporary file beside it, then rename. Makes parent folders."""
        ...

    async def put_file(
        self, local: Path, remote: str, *, mode: int = 0o600, tick: Tick | None = None
    ) -> None:
        """Upload into ``remote.part`` (a right prefix is kept), compare SHA-256, rename."""
        ...

    async def get_file(self, remote: str, local: Path, *, tick: Tick | None = None) -> None:
        """Download likewise."""
        ...

    async def get_tree(
        self, remote: str, local: Path, *, tick: Tick | None = None, trouble: Trouble | None = None
    ) -> None:
        """A folder into ``local.part``, compared file by file by SHA-256, then renamed to ``local``
        (which must not exist). Over SSH it goes on after a lost connection, and with the next call;
        what ``local.part`` holds whole is not sent again. Unsafe members are refused."""
        ...

    async def put_tree(
        self, local: Path, remote: str, *, tick: Tick | None = None, trouble: Trouble | None = None
    ) -> None:
        """The other way round, with the same guarantees."""
        ...

    async def forward(self, address: str, port: int) -> Endpoint:
        """A local end of a connection to ``address:port`` as this host sees it. Reused if open.
        Connections through it fail when the far side refuses; opening it does not tell."""
        ...

    async def can_connect(self, address: str, port: int, *, timeout: float = 10.0) -> bool:
        """Can this host open a TCP connection there? CouldNotLook when it cannot be tried."""
        ...

    def shell_argv(self) -> list[str]:
        """The local command that gives a person an interactive shell there."""
        ...

    async def close(self) -> None: ...


class Hosts(Protocol):
    """The machines of a run, opened when first used. Names come from the site and from what
    earlier steps saved (OpenTofu outputs), so they can appear while the run goes on."""

    def machines(self) -> list[Machine]:
        """All machines known now, production first, in index order; not the operator's PC."""
        ...

    async def learn(self) -> None:
        """Ask the world (OpenTofu's outputs) for machines that neither site nor steps name."""
        ...

    def select(self, target: str) -> list[Machine]:
        """``operator``, ``first production``, ``each production``, ``backup``, ``each machine``,
        ``host:NAME``. Raises CouldNotLook when the site knows no such machine yet."""
        ...

    async def open(self, name: str) -> Host:
        """The host of that machine name ("operator" for this PC); connects when needed."""
        ...

    def shell_argv(self, name: str) -> list[str]:
        """The local command that opens a shell there for a person; [] when no such machine is known."""
        ...

    async def close(self) -> None: ...


__all__ = [
    "Completed",
    "Endpoint",
    "Host",
    "HostError",
    "Hosts",
    "Machine",
    "Role",
    "Sink",
    "Tick",
    "Trouble",
]
