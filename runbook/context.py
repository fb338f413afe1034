"""What an action or a check is given: the world it may look at, and how it speaks.

``Look`` is enough for read-only questions; ``Context`` adds what an act may do. The engine is
the only one to make them (tests have their own).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from runbook.clock import Clock
from runbook.events import Mode, Option, QuestionKind
from runbook.hosts.base import Completed, Host, Hosts, Machine, Sink
from runbook.secrets import Secret
from runbook.site.model import SecretRef, Site


class Secrets(Protocol):
    async def get(self, ref: SecretRef) -> Secret:
        """Follow the reference (asking the person once where it says so). Every secret that
        comes out is known to the redactor from then on. Raises SecretError."""
        ...

    def learn(self, value: str, label: str) -> Secret:
        """Make the redactor know a secret that was met elsewhere (an .env file on a VM)."""
        ...


@dataclass(frozen=True)
class Look:
    """Read-only view for probes and checks."""

    site: Site
    mode: Mode
    step: str
    #: the host this question is about (the operator's PC for questions asked once)
    host: Host
    #: machines the step runs on
    on: tuple[Machine, ...]
    hosts: Hosts
    #: outputs of earlier steps: saved["deploy"]["production_ips"]
    saved: Mapping[str, Mapping[str, Any]]
    secrets: Secrets
    #: this run's folder on the operator's PC
    run_dir: Path
    clock: Clock

    def output(self, name: str) -> Any:
        """The newest value any step saved under ``name``; None when there is none."""
        found = None
        for values in self.saved.values():
            found = values.get(name, found)
        return found


class Voice(Protocol):
    """How an act speaks: into the journal, the output file and the progress channel."""

    attempt: int

    @property
    def sink(self) -> Sink:
        """Takes raw bytes: into the attempt's output file, redacted, and onto the screen."""
        ...

    def say(self, line: str) -> None:
        """A line of our own into the output."""
        ...

    def note(self, text: str, **data: Any) -> None:
        """A fact for the journal (Noted)."""
        ...

    def progress(self, what: str, done: float, total: float = 0, unit: str = "") -> None: ...

    def waiting(self, what: str, limit: float) -> None: ...

    async def ask(
        self,
        kind: QuestionKind,
        text: str,
        options: tuple[Option, ...] = (),
        *,
        default: str = "",
        unattended: bool = False,
    ) -> str:
        """Ask the person; returns the value of the answer. Raises WaitsForPerson when nobody
        can answer now."""
        ...

    async def ask_secret(self, text: str, label: str) -> Secret: ...

    async def run(
        self,
        argv: Sequence[str],
        *,
        host: Host | None = None,
        stdin: bytes = b"",
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float = 60.0,
    ) -> Completed:
        """host.run() on the record: the command, redacted, and its exit status become a Ran
        event; its output goes to the attempt's output."""
        ...

    async def job(
        self,
        argv: Sequence[str],
        *,
        name: str,
        host: Host | None = None,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        stdin: bytes = b"",
        timeout: float = 3600.0,
        grace: float = 10.0,
        heard: Sink | None = None,
    ) -> Completed:
        """A long command as a job that outlives this program. Its id is run+step+name (no
        attempt), journalled before it starts; if the run was killed meanwhile, calling it again
        with the same ``name`` finds the job running or done and goes on following it. Give a
        ``name`` that changes when the work changes (the plan's digest). stdout holds the last
        4 MB of the job's merged output. ``grace``: seconds it gets to end by itself when cancelled.
        ``heard``: reads the output as it comes, from its first byte, also on a resumed run.
        Its folder is removed after JobEnded is journalled."""
        ...


@dataclass(frozen=True)
class Context(Look):
    """What an act is given besides."""

    voice: Voice
