"""Stand-ins for tests: a host that answers from a script, a voice that remembers, a small site.

host = ScriptedHost("vm1")
host.on("docker ps", b"abc\\n")                   # the longest matching beginning wins
host.on("docker inspect", [first, second])        # one after the other; the last one stays
host.on("docker-compose up", lambda argv, stdin: Completed(1, b"", b"no"))
look = make_look(host)
context = make_context(host); context.voice.notes
"""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from runbook.clock import Clock, SystemClock
from runbook.context import Context, Look
from runbook.errors import CouldNotLook, Unreachable, WaitsForPerson
from runbook.events import Mode, Option, QuestionKind
from runbook.hosts.base import Completed, Endpoint, Host, Machine, Role, Sink, Tick, Trouble
from runbook.secrets import Secret
from runbook.site.model import CouchDB, ListedMachine, Machines, Platform, SecretRef, Site

Reply = Completed | bytes | str | int | BaseException | Callable[[list[str], bytes], Completed]

SECRETS = {"COUCHDB_PASSWORD": "s3cret-pass", "COUCHDB_COOKIE": "c00kie-jar", "COUCHDB_SECRET": "h4sh-salt"}


def machine(name: str = "vm1") -> Machine:
    """``vm<n>``, ``backup`` or ``operator`` of the minimal site."""
    if name == "operator":
        return Machine("operator", "operator", "localhost")
    if name == "backup":
        return Machine("backup", "backup", "203.0.113.100", "10.0.1.100")
    index = int(name.removeprefix("vm"))
    role: Role = "production"
    return Machine(name, role, f"203.0.113.{10 + index}", f"10.0.1.{9 + index}", index)


class ScriptedHost:
    """A Host whose commands are answered from a script; asking for another is a test's mistake."""

    def __init__(
        self, name: str | Machine = "vm1", script: Mapping[str, Reply | list[Reply]] | None = None
    ) -> None:
        self.machine = name if isinstance(name, Machine) else machine(name)
        self.jobs_dir = ".runbook/jobs"
        self.cancel_listener: Callable[[bool | None, str], None] | None = None
        self.script: dict[str, list[Reply]] = {}
        self.calls: list[list[str]] = []
        self.stdins: list[bytes] = []
        self.cwds: list[str | None] = []
        self.files: dict[str, bytes] = {}
        self.modes: dict[str, int] = {}
        self.forwards: dict[tuple[str, int], Endpoint] = {}
        self.open_ports: set[tuple[str, int]] = set()
        #: set to an error: every use of this host raises it
        self.down: BaseException | None = None
        for command, reply in (script or {}).items():
            self.on(command, reply)

    def on(self, command: str, reply: Reply | list[Reply] = 0) -> ScriptedHost:
        """Answer commands that begin with ``command``: bytes/str are stdout, an int the exit status."""
        self.script[command] = list(reply) if isinstance(reply, list) else [reply]
        return self

    @property
    def name(self) -> str:
        return self.machine.name

    def ran(self, beginning: str) -> list[list[str]]:
        return [argv for argv in self.calls if shlex.join(argv).startswith(beginning)]

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
        if self.down:
            raise self.down
        line = shlex.join(argv)
        self.calls.append(list(argv))
        self.stdins.append(stdin)
        self.cwds.append(cwd)
        matching = [key for key in self.script if line.startswith(key)]
        if not matching:
            raise AssertionError(f"{self.name}: nothing scripted for: {line}")
        queue = self.script[max(matching, key=len)]
        reply = queue.pop(0) if len(queue) > 1 else queue[0]
        done = _completed(reply, list(argv), stdin)
        if sink:
            for part in (done.stdout, done.stderr):
                if part:
                    sink(part)
        return done

    async def read_bytes(self, path: str, *, limit: int = 16_000_000) -> bytes | None:
        if self.down:
            raise self.down
        return self.files.get(path)

    async def write_bytes(self, path: str, data: bytes, *, mode: int = 0o600) -> None:
        if self.down:
            raise self.down
        self.files[path], self.modes[path] = data, mode

    async def put_file(
        self, local: Path, remote: str, *, mode: int = 0o600, tick: Tick | None = None
    ) -> None:
        await self.write_bytes(remote, local.read_bytes(), mode=mode)

    async def get_file(self, remote: str, local: Path, *, tick: Tick | None = None) -> None:
        local.write_bytes(self.files[remote])

    async def get_tree(
        self, remote: str, local: Path, *, tick: Tick | None = None, trouble: Trouble | None = None
    ) -> None:
        for path, data in self.files.items():
            if path.startswith(remote.rstrip("/") + "/"):
                target = local / path[len(remote.rstrip("/")) + 1 :]
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(data)

    async def put_tree(
        self, local: Path, remote: str, *, tick: Tick | None = None, trouble: Trouble | None = None
    ) -> None:
        for path in sorted(local.rglob("*")):
            if path.is_file():
                self.files[f"{remote}/{path.relative_to(local)}"] = path.read_bytes()

    async def forward(self, address: str, port: int) -> Endpoint:
        if self.down:
            raise self.down
        try:
            return self.forwards[address, port]
        except KeyError:
            raise AssertionError(f"{self.name}: no forward to {address}:{port} scripted") from None

    async def can_connect(self, address: str, port: int, *, timeout: float = 10.0) -> bool:
        if self.down:
            raise self.down
        return (address, port) in self.open_ports

    def shell_argv(self) -> list[str]:
        return ["sh"]

    async def close(self) -> None:
        pass


def _completed(reply: Reply, argv: list[str], stdin: bytes) -> Completed:
    if isinstance(reply, BaseException):
        raise reply
    if isinstance(reply, Completed):
        return reply
    if isinstance(reply, int):
        return Completed(reply, b"", b"")
    if isinstance(reply, str):
        return Completed(0, reply.encode(), b"")
    if isinstance(reply, bytes):
        return Completed(0, reply, b"")
    return reply(argv, stdin)


class FakeHosts:
    """The given hosts; "operator" is added when missing."""

    def __init__(self, *hosts: Host) -> None:
        self.by_name: dict[str, Host] = {host.name: host for host in hosts}
        self.by_name.setdefault("operator", ScriptedHost("operator"))

    def machines(self) -> list[Machine]:
        known = [host.machine for host in self.by_name.values() if host.machine.role != "operator"]
        return sorted(known, key=lambda one: (one.role != "production", one.index, one.name))

    async def learn(self) -> None:
        pass

    def select(self, target: str) -> list[Machine]:
        every = self.machines()
        production = [one for one in every if one.role == "production"]
        if target.startswith("host:"):
            found = [one for one in every if one.name == target.removeprefix("host:")]
        else:
            found = {
                "operator": [self.by_name["operator"].machine],
                "first production": production[:1],
                "each production": production,
                "backup": [one for one in every if one.role == "backup"],
                "each machine": every,
            }[target]
        if not found:
            raise CouldNotLook(f"The site knows no machine for {target!r}.")
        return found

    async def open(self, name: str) -> Host:
        host = self.by_name.get(name)
        if host is None:
            raise Unreachable(name, f"{name} is not known.")
        if isinstance(host, ScriptedHost) and host.down:
            raise host.down
        return host

    def shell_argv(self, name: str) -> list[str]:
        return self.by_name[name].shell_argv() if name in self.by_name else []

    async def close(self) -> None:
        pass


class FakeSecrets:
    """Follows references by their env, key, file or question, from a dict."""

    def __init__(self, values: Mapping[str, str] = SECRETS) -> None:
        self.values = dict(values)
        self.learned: list[Secret] = []

    async def get(self, ref: SecretRef) -> Secret:
        name = ref.env or ref.key or ref.file or ref.ask or ""
        return Secret(self.values[name], name)

    def learn(self, value: str, label: str) -> Secret:
        secret = Secret(value, label)
        self.learned.append(secret)
        return secret


class FakeClock:
    """Stands still until it is moved."""

    def __init__(self, now: datetime = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)) -> None:
        self.moment, self.passed = now, 0.0

    def now(self) -> datetime:
        return self.moment

    def monotonic(self) -> float:
        return self.passed

    def move(self, seconds: float) -> None:
        self.moment += timedelta(seconds=seconds)
        self.passed += seconds


class FakeVoice:
    """Remembers all that was said; answers questions from ``answers`` (by kind, else in order)."""

    def __init__(self, host: Host, answers: Mapping[str, str] | Sequence[str] = ()) -> None:
        self.attempt = 1
        self.host = host
        self.answers = dict(answers) if isinstance(answers, Mapping) else list(answers)
        self.raw = bytearray()
        self.sink: Sink = self.raw.extend
        self.said: list[str] = []
        self.notes: list[tuple[str, dict[str, Any]]] = []
        self.progressed: list[tuple[str, float, float, str]] = []
        self.waits: list[tuple[str, float]] = []
        self.asked: list[tuple[str, str, tuple[Option, ...]]] = []
        self.ran: list[list[str]] = []
        self.jobs: list[str] = []

    def say(self, line: str) -> None:
        self.said.append(line)

    def note(self, text: str, **data: Any) -> None:
        self.notes.append((text, data))

    def progress(self, what: str, done: float, total: float = 0, unit: str = "") -> None:
        self.progressed.append((what, done, total, unit))

    def waiting(self, what: str, limit: float) -> None:
        self.waits.append((what, limit))

    async def ask(
        self,
        kind: QuestionKind,
        text: str,
        options: tuple[Option, ...] = (),
        *,
        default: str = "",
        unattended: bool = False,
    ) -> str:
        self.asked.append((kind, text, options))
        return self._answer(kind, default if unattended else "")

    async def ask_secret(self, text: str, label: str) -> Secret:
        self.asked.append(("secret", text, ()))
        return Secret(self._answer("secret", ""), label)

    def _answer(self, kind: str, default: str) -> str:
        if isinstance(self.answers, dict) and kind in self.answers:
            return self.answers[kind]
        if isinstance(self.answers, list) and self.answers:
            return self.answers.pop(0)
        if default:
            return default
        raise WaitsForPerson("Nobody is here to answer.")

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
        self.ran.append(list(argv))
        where = host or self.host
        return await where.run(argv, stdin=stdin, cwd=cwd, env=env, timeout=timeout, sink=self.sink)

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
        self.jobs.append(name)
        done = await self.run(argv, host=host, stdin=stdin, cwd=cwd, env=env, timeout=timeout)
        if heard is not None:
            heard(done.stdout + done.stderr)
        return Completed(done.exit_status, done.stdout + done.stderr, b"")


def make_site(**tables: Any) -> Site:
    """The minimal site: three production VMs and a backup VM; tables given by name replace its own."""
    made: dict[str, Any] = {
        "name": "test",
        "platform": Platform(domain="learn.example.org"),
        "machines": Machines(
            production=tuple(
                ListedMachine(address=machine(f"vm{n}").address, internal=machine(f"vm{n}").internal)
                for n in (1, 2, 3)
            ),
            backup=ListedMachine(address=machine("backup").address, internal=machine("backup").internal),
        ),
        "couchdb": CouchDB(
            password=SecretRef(env="COUCHDB_PASSWORD"),
            cookie=SecretRef(env="COUCHDB_COOKIE"),
            secret=SecretRef(env="COUCHDB_SECRET"),
        ),
    }
    return Site(**(made | tables))


def _parts(
    host: Host | None,
    others: Sequence[Host],
    site: Site | None,
    mode: Mode,
    step: str,
    saved: Mapping[str, Mapping[str, Any]] | None,
    outputs: Mapping[str, Any] | None,
    secrets: FakeSecrets | None,
    clock: Clock | None,
    run_dir: Path | None,
    on: Sequence[Machine] | None,
) -> dict[str, Any]:
    here = host or ScriptedHost("vm1")
    hosts = FakeHosts(here, *others)
    return {
        "site": site or make_site(),
        "mode": mode,
        "step": step,
        "host": here,
        "on": tuple(on) if on is not None else (here.machine,),
        "hosts": hosts,
        "saved": saved if saved is not None else {"earlier": dict(outputs or {})},
        "secrets": secrets or FakeSecrets(),
        "run_dir": run_dir or Path(tempfile.gettempdir()),
        "clock": clock or SystemClock(),
    }


def make_look(
    host: Host | None = None,
    *others: Host,
    site: Site | None = None,
    mode: Mode = "drill",
    step: str = "step",
    saved: Mapping[str, Mapping[str, Any]] | None = None,
    outputs: Mapping[str, Any] | None = None,
    secrets: FakeSecrets | None = None,
    clock: Clock | None = None,
    run_dir: Path | None = None,
    on: Sequence[Machine] | None = None,
) -> Look:
    """A Look from ``host``; ``others`` are further machines; ``outputs`` what earlier steps saved."""
    return Look(**_parts(host, others, site, mode, step, saved, outputs, secrets, clock, run_dir, on))


def make_context(
    host: Host | None = None,
    *others: Host,
    voice: FakeVoice | None = None,
    answers: Mapping[str, str] | Sequence[str] = (),
    site: Site | None = None,
    mode: Mode = "drill",
    step: str = "step",
    saved: Mapping[str, Mapping[str, Any]] | None = None,
    outputs: Mapping[str, Any] | None = None,
    secrets: FakeSecrets | None = None,
    clock: Clock | None = None,
    run_dir: Path | None = None,
    on: Sequence[Machine] | None = None,
) -> Context:
    """The same with a FakeVoice: ``context.voice.notes``, ``.ran``, ``.asked`` …"""
    parts = _parts(host, others, site, mode, step, saved, outputs, secrets, clock, run_dir, on)
    return Context(**parts, voice=voice or FakeVoice(parts["host"], answers))
