"""The container engine of one VM: starts programs, restarts what crashes, publishes ports."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from runbook.lab.compose import Project, Service
from runbook.lab.container import Container, Crash, Program, moment

#: a crash loop as seen on a real engine: eight restarts in seven seconds
CRASH_AFTER = 0.4
RESTART_DELAY = 0.45

MakeProgram = Callable[[Project, Service], Program]


class EngineError(Exception):
    """The engine's own refusal; the text as a real one words it."""


class Engine:
    """``make`` builds the program of a service; ``version`` is Compose's major version there."""

    def __init__(self, make: MakeProgram, *, compose: int) -> None:
        self._make = make
        self.compose = compose
        self.containers: dict[str, Container] = {}
        #: held by whatever changes several containers
        self.lock = asyncio.Lock()

    # -- looking ---------------------------------------------------------------------------

    def find(self, reference: str) -> Container:
        """By name, or by id or its beginning."""
        for container in self.containers.values():
            if container.name == reference.removeprefix("/") or container.id.startswith(reference):
                return container
        raise EngineError(f"Error: No such object: {reference}")

    def of(self, project: str) -> list[Container]:
        return [c for c in self.containers.values() if c.project == project]

    def behind(self, port: int) -> int | None:
        """The loopback port of what this VM publishes on ``port``; None: connection refused."""
        for container in self.containers.values():
            if container.status == "running":
                for published in container.published:
                    if published.published == port:
                        return container.program.port(published.target)
        return None

    # -- changing --------------------------------------------------------------------------

    def create(self, project: Project, service: Service, labels: dict[str, str]) -> Container:
        taken = next((c for c in self.containers.values() if c.name == service.container_name), None)
        if taken is not None:
            raise EngineError(
                f'Error response from daemon: Conflict. The container name "/{taken.name}" is already in '
                f'use by container "{taken.id}". You have to remove (or rename) that container to be able '
                "to reuse that name."
            )
        container = Container(
            service, project.name, self._make(project, service), labels, restart_policy=service.restart
        )
        self.containers[container.id] = container
        return container

    async def start(self, container: Container) -> None:
        """Returns once the program runs, or crashed for the first time. Raises EngineError when a
        port is taken: nothing else tells that a service did not come up."""
        if container.up:
            return
        for port in container.published:
            holder = next(
                (
                    c
                    for c in self.containers.values()
                    if c is not container and c.up and any(p.published == port.published for p in c.published)
                ),
                None,
            )
            if holder is not None:
                container.error = (
                    f"driver failed programming external connectivity on endpoint {container.name} "
                    f"({container.id[:40]}): Bind for 0.0.0.0:{port.published} failed: "
                    "port is already allocated"
                )
                container.exit_code = 128
                raise EngineError(f"Error response from daemon: {container.error}")
        container.error, container.stopped = "", False
        first = asyncio.Event()
        container.loop = asyncio.create_task(self._run(container, first))
        await first.wait()

    async def _run(self, container: Container, first: asyncio.Event) -> None:
        """One container's life: `up -d` and `ps` see it run although it dies again and again."""
        try:
            while True:
                container.status, container.started_at = "running", moment()
                container.starting = asyncio.ensure_future(asyncio.to_thread(container.program.start))
                try:
                    await asyncio.shield(container.starting)
                except Crash as crash:
                    container.logged.extend(crash.log.splitlines())
                    container.exit_code = crash.exit_code
                else:
                    container.exit_code = 0
                    return
                finally:
                    first.set()
                await asyncio.sleep(CRASH_AFTER)
                container.finished_at = moment()
                if container.restart_policy not in ("always", "unless-stopped", "on-failure"):
                    container.status = "exited"
                    return
                container.status = "restarting"
                await asyncio.sleep(RESTART_DELAY)
                container.restart_count += 1
        except Exception as error:  # a fault of the lab itself: show it where a person looks
            container.logged.append(f"the practice lab failed to run this: {error!r}")
            container.status, container.exit_code = "exited", 125
        finally:
            first.set()

    async def stop(self, container: Container, *, by_hand: bool = True) -> None:
        if container.loop is not None:
            container.loop.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await container.loop
            container.loop = None
        if container.starting is not None:
            await asyncio.gather(container.starting, return_exceptions=True)
            container.starting = None
        if container.up:
            await asyncio.to_thread(container.program.stop)
            container.status, container.finished_at = "exited", moment()
        container.stopped = container.stopped or by_hand

    async def remove(self, container: Container) -> None:
        await self.stop(container)
        self.containers.pop(container.id, None)

    # -- the VM's power --------------------------------------------------------------------

    async def power_on(self) -> None:
        for container in list(self.containers.values()):
            if not container.stopped and container.restart_policy in ("always", "unless-stopped"):
                with contextlib.suppress(EngineError):
                    await self.start(container)

    async def power_off(self) -> None:
        for container in list(self.containers.values()):
            await self.stop(container, by_hand=False)

    def wipe(self) -> None:
        """The disk is gone, and the containers with it. (Stop them first.)"""
        self.containers.clear()
