"""A lab, the real program in processes of its own, and what the world looks like around it."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import subprocess
import threading
import time
import tomllib
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from runbook.events import Record
from runbook.lab import control
from runbook.lab.layout import PRODUCTION, SPECS, Layout
from runbook.lab.processes import MARK
from runbook.lab.samplesite import SECRETS, toml
from tests.lab import runs
from tests.lab.conftest import Lab
from tests.lab.test_lab_platform import fetch

GUIDES = Path(__file__).parent / "guides"
#: secrets that only these tests know; the lab's come on top
WRONG_PASSWORD = "a-wrong-couchdb-password-4kVt"
PLAIN_PASSWORD = "a-plain-value-in-the-settings-9Qx"
MARKED = {**SECRETS, "wrong": WRONG_PASSWORD, "plain": PLAIN_PASSWORD}
CANARIES = tuple(
    canary.encode()
    for value in MARKED.values()
    for canary in (value, base64.b64encode(f"admin:{value}".encode()).decode())
)

T = TypeVar("T")


class Scene:
    """One state folder, with a lab in it once ``up`` was called. Every output is searched."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.state = folder, folder / "state"
        self.state.mkdir()
        self.layout = Layout.of(self.state)
        self.said: list[str] = []

    # ── the program ────────────────────────────────────────────────────────────────────────
    def runbook(self, *words: str, **kwargs: Any) -> subprocess.CompletedProcess[str]:
        done = runs.runbook(self.state, *words, **kwargs)
        return self.heard(done)

    def heard(self, done: subprocess.CompletedProcess[str]) -> subprocess.CompletedProcess[str]:
        self.said.append(done.stdout + done.stderr)
        assert "Traceback" not in done.stderr, done.stderr
        assert "The program itself failed" not in done.stderr, done.stderr
        assert "the check itself failed" not in done.stderr, done.stderr
        return done

    def run(self, guide: str, *words: str, site: Path | None = None) -> subprocess.CompletedProcess[str]:
        """``run GUIDE --yes`` against the lab's machines, as if they were real ones."""
        path = str(site or self.site())
        return self.runbook("--site", path, "run", self.guide(guide), "--mode", "recovery", "--yes", *words)

    def guide(self, name: str) -> str:
        own = GUIDES / f"{name}.md"
        return str(own) if own.is_file() else name

    def records(self) -> list[Record]:
        return runs.records(self.state)

    def events(self, kind: type[T]) -> list[T]:
        return [record.event for record in self.records() if isinstance(record.event, kind)]

    def untouched(self) -> bool:
        """No run was begun and no lab was started."""
        return not any(self.state.iterdir())

    # ── the lab ────────────────────────────────────────────────────────────────────────────
    def up(self, *machines: str) -> Scene:
        asyncio.run(control.up(self.state))
        for name in machines:
            self.call("server_create", name=name)
        return self

    def call(self, verb: str, **arguments: Any) -> Any:
        return asyncio.run(control.call(self.state, verb, **arguments))

    def break_(self, fault: str, machine: str = "") -> None:
        self.call("break", fault=fault, machine=machine)

    def mend(self) -> None:
        self.call("mend")

    def down(self) -> None:
        asyncio.run(control.down(self.state))

    def site(self, change: Callable[[dict[str, Any]], None] | None = None) -> Path:
        """The lab's settings with the production VMs listed by hand, changed as wished."""
        data = tomllib.loads(self.layout.site_file.read_text())
        data["machines"]["production"] = [
            {"address": spec.public, "internal": spec.internal, "name": spec.name} for spec in PRODUCTION
        ]
        if change:
            change(data)
        path = self.folder / "site" / "runbook.toml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(toml(data))
        return path

    def secrets_file(self, **changed: str) -> Path:
        """The lab's secrets with some of them changed, outside the state folder."""
        path = self.folder / "other-secrets.env"
        path.touch(0o600)
        path.write_text("".join(f"{key}={value}\n" for key, value in (SECRETS | changed).items()))
        return path

    # ── the world ──────────────────────────────────────────────────────────────────────────
    def world(self) -> dict[str, str]:
        """Every file that a run could change outside its own folder, and every container."""
        found = {str(path.relative_to(self.layout.root)): _digest(path) for path in self._files()}
        for name in SPECS:
            for container in self.call("containers", name=name):
                found[f"container {name} {container['Name']}"] = container["State"]["Status"]
        return found

    def _files(self) -> Iterator[Path]:
        layout = self.layout
        places = [layout.backups, layout.infrastructure]
        for name in SPECS:
            places += [layout.vm(name) / part for part in ("home", "backup", "var/crontabs")]
        for place in places:
            for path in place.rglob("*"):
                if path.is_file() or path.is_symlink():
                    yield path

    def databases(self, name: str = "vm1") -> dict[str, int]:
        """Each database of that VM's CouchDB and how many documents it holds, asked past the program."""
        login = base64.b64encode(f"admin:{SECRETS['COUCHDB_PASSWORD']}".encode()).decode()

        async def ask() -> dict[str, int]:
            info = await control.status(self.state)
            assert info is not None
            lab = Lab(self.state, info)

            async def get(path: str) -> Any:
                request = f"GET {path} HTTP/1.1\r\nHost: couchdb\r\nAuthorization: Basic {login}\r\n"
                status, body = await fetch(connection, 5984, f"{request}Connection: close\r\n\r\n")
                assert status == 200, body
                return json.loads(body)

            try:
                connection = await lab.ssh(name)
                return {one: (await get(f"/{one}"))["doc_count"] for one in await get("/_all_dbs")}
            finally:
                await lab.close()

        return asyncio.run(ask())

    # ── secrets ────────────────────────────────────────────────────────────────────────────
    def search(self) -> None:
        """No secret in what was printed nor in the state folder (the lab's own part plays the
        machines and the operator's secrets file)."""
        for text in self.said:
            assert_clean("the program's output", text.encode())
        for path in self.state.rglob("*"):
            if self.layout.root not in path.parents and path.is_file():
                assert_clean(str(path), path.read_bytes())
                if zipfile.is_zipfile(path):  # as OpenTofu's plans are
                    with zipfile.ZipFile(path) as packed:
                        for name in packed.namelist():
                            assert_clean(f"{path}: {name}", packed.read(name))


def _digest(path: Path) -> str:
    if path.is_symlink():
        return f"-> {path.readlink()}"
    return hashlib.sha256(path.read_bytes()).hexdigest()


def assert_clean(where: str, data: bytes) -> None:
    found = [canary for canary in CANARIES if canary in data]
    assert not found, f"{where} holds {len(found)} secrets"


class Processes:
    """Looks at the arguments of every process that this test began, again and again, for a secret;
    and at the environment of those that run on a VM. ``marks``: one of
    them is in their environment (those on a VM have their home in the lab's folder)."""

    def __init__(self, *marks: str) -> None:
        self._marks = [mark.encode() for mark in marks]
        self.seen: set[str] = set()
        self.looks = self.ours = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Processes:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.03):
            self.looks += 1
            for process in Path("/proc").glob("[0-9]*"):
                self._look(process)

    def _look(self, process: Path) -> None:
        try:
            arguments = (process / "cmdline").read_bytes()
            environment = (process / "environ").read_bytes()
        except OSError:  # it is gone, or another user's
            return
        if not any(mark in environment or mark in arguments for mark in self._marks):
            return
        self.ours += 1
        line = arguments.replace(b"\0", b" ").decode(errors="replace")
        for canary in CANARIES:
            if canary in arguments:
                self.seen.add(f"arguments of {line}")
            if canary in environment and MARK.encode() + b"=" in environment:
                self.seen.add(f"environment on a VM of {line}")


def until(condition: Callable[[], T], limit: float = 60.0) -> T:
    """The first true answer; fails after ``limit`` seconds."""
    end = time.monotonic() + limit
    while not (found := condition()):
        assert time.monotonic() < end, f"not within {limit} s"
        time.sleep(0.02)
    return found
