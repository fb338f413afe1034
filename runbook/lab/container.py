"""A container as the lab's engine keeps it, and as `docker inspect` shows it."""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

from runbook.lab.compose import Port, Service

NEVER = "0001-01-01T00:00:00Z"


def moment() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "000Z")


def image_id(name: str) -> str:
    return "sha256:" + hashlib.sha256(name.encode()).hexdigest()


class Crash(Exception):
    """The program in a container ended at once; the text is what it logged."""

    def __init__(self, log: str, exit_code: int = 1) -> None:
        super().__init__(log)
        self.log, self.exit_code = log, exit_code


class Program(Protocol):
    """What runs in a container: a part of the lab."""

    def start(self) -> None:
        """Blocking, in a thread. Raises Crash."""
        ...

    def stop(self) -> None: ...

    def port(self, target: int) -> int | None:
        """The loopback port behind a container's port; None when nothing listens."""
        ...

    def log(self) -> list[str]: ...

    def healthy(self) -> bool: ...


@dataclass
class Container:
    service: Service
    project: str
    program: Program
    labels: dict[str, str]
    id: str = ""
    status: str = "created"
    exit_code: int = 0
    error: str = ""
    restart_count: int = 0
    restart_policy: str = "no"
    created: str = field(default_factory=moment)
    started_at: str = NEVER
    finished_at: str = NEVER
    logged: deque[str] = field(default_factory=lambda: deque(maxlen=5000))
    loop: asyncio.Task[None] | None = None
    #: the program's start, which runs in a thread and cannot be taken back
    starting: asyncio.Future[None] | None = None
    #: stopped by hand: not started again when the VM's power comes back
    stopped: bool = False

    def __post_init__(self) -> None:
        if not self.id:
            seed = f"{self.project}/{self.service.name}/{self.created}".encode()
            self.id = hashlib.sha256(seed).hexdigest()

    @property
    def name(self) -> str:
        return self.service.container_name

    @property
    def up(self) -> bool:
        return self.status in ("running", "restarting")

    @property
    def published(self) -> list[Port]:
        return [port for port in self.service.ports if port.published]

    def lines(self) -> list[str]:
        return [*self.logged, *self.program.log()]

    def health(self) -> str | None:
        """None without a health check."""
        if not self.service.healthcheck:
            return None
        if self.status != "running":
            return "unhealthy"
        return "healthy" if self.program.healthy() else "starting"

    def inspect(self) -> dict[str, Any]:
        bindings = {
            f"{p.target}/tcp": [{"HostIp": p.address, "HostPort": str(p.published)}] if p.published else None
            for p in self.service.ports
        }
        live = self.status == "running"
        health = self.health()
        state: dict[str, Any] = {
            "Status": self.status,
            "Running": self.up,
            "Paused": False,
            "Restarting": self.status == "restarting",
            "OOMKilled": False,
            "Dead": False,
            "Pid": int(self.id[:4], 16) + 300 if live else 0,
            "ExitCode": self.exit_code,
            "Error": self.error,
            "StartedAt": self.started_at,
            "FinishedAt": self.finished_at,
        }
        if health is not None:
            state["Health"] = {"Status": health, "FailingStreak": int(health == "unhealthy"), "Log": []}
        mounts = [
            {"Type": "bind", "Source": m.source, "Destination": m.target, "Mode": "", "RW": True}
            if m.bind
            else {
                "Type": "volume", "Name": m.source, "Source": f"/var/lib/docker/volumes/{m.source}/_data",
                "Destination": m.target, "Driver": "local", "Mode": "z", "RW": True,
            }
            for m in self.service.mounts
        ]  # fmt: skip
        return {
            "Id": self.id,
            "Created": self.created,
            "Path": "/docker-entrypoint.sh",
            "Args": [],
            "State": state,
            "Image": image_id(self.service.image),
            "Name": f"/{self.name}",
            "RestartCount": self.restart_count,
            "Driver": "overlay2",
            "Platform": "linux",
            "HostConfig": {
                "PortBindings": {key: value for key, value in bindings.items() if value},
                "RestartPolicy": {"Name": self.restart_policy, "MaximumRetryCount": 0},
            },
            "Mounts": mounts,
            "Config": {
                "Hostname": self.id[:12],
                "Image": self.service.image,
                "Env": [f"{key}={value}" for key, value in self.service.environment.items()],
                "Labels": self.labels,
            },
            "NetworkSettings": {"Ports": bindings if live else {}},
        }
