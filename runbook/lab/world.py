"""All of the lab in one process: VMs, their network, DNS, the cloud that makes VMs, and faults."""

from __future__ import annotations

import asyncio
import datetime
import os
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from runbook.lab import samplebackup, samplesite, tofu
from runbook.lab.cliwords import Send
from runbook.lab.compose import Project, Service
from runbook.lab.container import Program
from runbook.lab.control import LabInfo
from runbook.lab.dockercli import DockerCli
from runbook.lab.engine import Engine
from runbook.lab.faults import CRASH_LOG, FAULTS, Fault
from runbook.lab.layout import BACKUP, BY_INTERNAL, DOMAIN, MONITORING, SPECS, STUDIO, Layout, Spec
from runbook.lab.nameserver import NameServer
from runbook.lab.pki import Authority
from runbook.lab.services import Ailment, Couch, Front, Other, Site
from runbook.lab.vm import Vm

if TYPE_CHECKING:
    from runbook.lab.couchdb import Network, StandIn

HERE = frozenset({"127.0.0.1", "localhost", "::1", "0.0.0.0"})
CRONTAB = """\
# m h dom mon dow command
MAILTO=ops@learn.example.test
0 1 * * *  /backup/scripts/openedx-backup.sh daily >> /backup/logs/daily.log 2>&1
0 2 * * 0  /backup/scripts/openedx-backup.sh weekly >> /backup/logs/weekly.log 2>&1
0 3 1 * *  /backup/scripts/openedx-backup.sh monthly >> /backup/logs/monthly.log 2>&1
17 4 * * *  /usr/bin/find /tmp -mtime +7 -delete
"""


class Refused(Exception):
    """The lab says no; the text is for a person."""


class World:
    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.id = f"lab-{secrets.token_hex(4)}"
        self.dns = NameServer()
        self.vms: dict[str, Vm] = {}
        #: active faults: (name, machine name or "")
        self.faults: set[tuple[str, str]] = set()
        self._network: Network | None = None
        #: internal addresses whose cluster ports are reachable
        self._open: set[str] = set()
        self._standins: dict[tuple[str, str], StandIn] = {}
        self._authority: Authority | None = None
        self._verbs: dict[str, Callable[..., Awaitable[Any]]] = {
            "ping": self._ping,
            "status": self._status,
            "server_create": self._server_create,
            "server_delete": self._server_delete,
            "dns_point": self._dns_point,
            "break": self._break,
            "mend": self._mend,
            "faults": self._faults,
            "power_off": self._power_off,
            "power_on": self._power_on,
            "containers": self._containers,
            "couch": self._couch,
            "route": self._route,
        }
        self._info: LabInfo | None = None

    # -- life ------------------------------------------------------------------------------

    async def start(self) -> None:
        """Make the folders and the sample, start the backup VM, then announce the lab."""
        from runbook.lab.couchdb import Network

        layout = self.layout
        layout.site.mkdir(mode=0o700)
        samplesite.write_key(layout)
        samplesite.write_secrets(layout)
        self._authority = Authority(layout.root / "authority", layout.site / "ca.pem")
        self._network = Network()
        for spec in SPECS.values():
            self.vms[spec.name] = self._vm(spec)
        keys = {name: vm.prepare_key() for name, vm in self.vms.items()}
        ports = {name: vm.link.port for name, vm in self.vms.items()}
        await self.dns.start()
        program, stand_in = tofu.choose(layout)
        samplesite.write_ssh(layout, ports, keys)
        samplesite.write_site(layout, self.dns.port, program)
        samplesite.write_infrastructure(layout)
        await self._create(BACKUP.name)
        (layout.vm("backup") / "var" / "crontabs" / "backup-user").write_text(CRONTAB)
        now = datetime.datetime.now(datetime.UTC)
        await asyncio.to_thread(samplebackup.write, layout.remote_backups, layout.backups, now)
        simulated = samplesite.SIMULATED + (("OpenTofu: a stand-in",) if stand_in else ())
        self._info = LabInfo(
            id=self.id, pid=os.getpid(), socket=str(layout.socket), created=now.isoformat(timespec="seconds"),
            ports=ports, dns_port=self.dns.port, tofu=program, simulated=simulated,
        )  # fmt: skip
        new = layout.info.with_suffix(".new")
        new.write_bytes(msgspec.json.format(msgspec.json.encode(self._info)))
        new.replace(layout.info)

    async def stop(self) -> None:
        for vm in self.vms.values():
            await vm.close()
        self.dns.stop()

    def _vm(self, spec: Spec) -> Vm:
        engine = Engine(
            lambda project, service: self._program(spec, project, service), compose=_compose(spec)
        )
        return Vm(self.layout, spec, self.id, engine, lambda host, port: self.route(spec, host, port))

    async def _create(self, name: str) -> None:
        await self.vms[name].create()

    # -- the network -----------------------------------------------------------------------

    def route(self, origin: Spec, host: str, port: int) -> int | None:
        """Where a connection from one VM ends up: a loopback port, or None: refused."""
        if host in (DOMAIN, STUDIO, MONITORING):
            host = self.dns.answers()[0]
        spec = origin if host in HERE else BY_INTERNAL.get(host)
        spec = spec or next((s for s in SPECS.values() if s.public == host), None)
        vm = self.vms.get(spec.name) if spec else None
        if vm is None or not vm.running:
            return None
        return vm.link.port if port == 22 else vm.engine.behind(port)

    def _program(self, spec: Spec, project: Project, service: Service) -> Program:
        """What runs in a container; the services are known by their names in the compose file."""
        engine = self.vms[spec.name].engine
        if service.name == "couchdb" or service.image.startswith("couchdb:"):
            return Couch(
                service,
                lambda volume: self._standin(spec, volume),
                lambda opened: self._wire(spec, opened),
                lambda: self._ailment(spec),
            )
        if service.name in ("lms", "cms"):
            name = "LMS" if service.name == "lms" else "Studio"
            return Site(name, service, lambda: engine.behind(5984))
        if service.name == "caddy":
            assert self._authority is not None
            ports = {"lms": 8000, "cms": 8001, "grafana": 3000}
            return Front(
                service, self._authority, self.dns.points_at_vms, lambda name: engine.behind(ports[name])
            )
        return Other(service.name)

    def _standin(self, spec: Spec, volume: str) -> StandIn:
        """One CouchDB data volume; another project name means another, empty one."""
        from runbook.lab.couchdb import StandIn

        assert self._network is not None
        if (spec.name, volume) not in self._standins:
            made = StandIn(self._network, spec.internal)
            self._standins[spec.name, volume] = made
        standin = self._standins[spec.name, volume]
        self._network.add(standin)
        return standin

    def _wire(self, spec: Spec, opened: bool) -> None:
        """The cluster reaches a node only through its published ports 4369 and 9100."""
        assert self._network is not None
        (self._open.add if opened else self._open.discard)(spec.internal)
        for other in SPECS.values():
            if other.production and other != spec:
                both = opened and other.internal in self._open
                (self._network.heal if both else self._network.cut)(spec.internal, other.internal)

    # -- faults ----------------------------------------------------------------------------

    def active(self, fault: str, machine: str = "") -> bool:
        return (fault, machine) in self.faults

    def _ailment(self, spec: Spec) -> Ailment:
        crash = CRASH_LOG if self.active("couch-crash-loop", spec.name) else ""
        cookie = "monster" if self.active("cookie-monster") else ""
        password = "changed-by-somebody" if self.active("wrong-couch-password") else ""
        return Ailment(crash, cookie, password)

    async def restart_couchdb(self, vm: Vm | None) -> None:
        for each in [vm] if vm else list(self.vms.values()):
            for container in list(each.engine.containers.values()):
                if container.service.name == "couchdb" and container.up:
                    await each.engine.stop(container, by_hand=False)
                    await each.engine.start(container)

    # -- verbs of the control socket -------------------------------------------------------

    async def ask(self, verb: str, arguments: dict[str, Any]) -> Any:
        handler = self._verbs.get(verb)
        if handler is None:
            raise Refused(f"the lab knows no {verb!r}; it knows {', '.join(sorted(self._verbs))}")
        try:
            return await handler(**arguments)
        except TypeError as error:
            raise Refused(f"{verb}: {error}") from error

    async def docker(
        self, send: Send, *, vm: str, program: str, argv: list[str], cwd: str, environment: dict[str, str]
    ) -> int:
        return await DockerCli(self.vms[vm].engine).run(program, argv, Path(cwd), environment, send)

    def _machine(self, name: str) -> Vm:
        found = self.vms.get(name) or self.vms.get(f"vm{name}")
        if found is None:
            raise Refused(f"there is no machine {name!r}; there are {', '.join(self.vms)}")
        return found

    async def _ping(self) -> str:
        if self._info is None:
            raise Refused("the lab is still being prepared")
        return self.id

    async def _status(self) -> dict[str, Any]:
        machines = {
            name: {
                "exists": vm.exists,
                "running": vm.running,
                "address": vm.spec.public,
                "internal": vm.spec.internal,
                "ssh_port": vm.link.port,
                "containers": {c.name: c.status for c in vm.engine.containers.values()},
            }
            for name, vm in self.vms.items()
        }
        return {
            "id": self.id,
            "machines": machines,
            "dns": list(self.dns.answers()),
            "faults": sorted(" ".join(fault).strip() for fault in self.faults),
        }

    async def _server_create(self, name: str) -> str:
        vm = self._machine(name)
        if self.active("cloud-refuses"):
            raise Refused(
                "error during placement: server type unavailable in this location (resource_unavailable)"
            )
        if vm.exists:
            raise Refused(f"server name is already used: {name} (uniqueness_error)")
        await self._create(vm.spec.name)
        return f"server {name} runs at {vm.spec.public}"

    async def _server_delete(self, name: str) -> str:
        vm = self._machine(name)
        await vm.delete()
        for key in [key for key in self._standins if key[0] == vm.spec.name]:
            self._standins.pop(key).wipe()
        return f"server {name} is gone"

    async def _dns_point(self, addresses: list[str] | None = None) -> list[str]:
        return list(self.dns.point(tuple(addresses) if addresses else None))

    async def _route(self, vm: str, host: str, port: int) -> int | None:
        return self.route(SPECS[vm], host, int(port))

    async def _power_off(self, name: str) -> None:
        await self._machine(name).power_off()

    async def _power_on(self, name: str) -> None:
        await self._machine(name).power_on()

    async def _containers(self, name: str) -> list[dict[str, Any]]:
        return [container.inspect() for container in self._machine(name).engine.containers.values()]

    async def _couch(self, name: str, do: str, **how: Any) -> Any:
        """Faults of one VM's CouchDB, for tests: {"do": "lose_documents", "db": …, "ids": […]}."""
        if do not in ("fail_next", "drop_connections", "delay", "lose_documents"):
            raise Refused(f"CouchDB cannot be made to {do!r}")
        running = [s for (vm, _), s in self._standins.items() if vm == name and s.running]
        if not running:
            raise Refused(f"no CouchDB runs on {name}")
        return await asyncio.to_thread(getattr(running[0], do), **how)

    async def _faults(self) -> list[dict[str, Any]]:
        return [
            {
                "name": f.name,
                "text": f.text,
                "machine": f.machine,
                "active": sorted(m for n, m in self.faults if n == f.name),
            }
            for f in FAULTS.values()
        ]

    def _meant(self, fault: str, machine: str) -> tuple[Fault | None, str]:
        """The fault and the machine's name, where they are given. Raises Refused, naming those there are."""
        found = FAULTS.get(fault)
        if fault and found is None:
            raise Refused(f"there is no fault {fault!r}; there are {', '.join(FAULTS)}")
        if found and machine and not found.machine:
            raise Refused(f"{fault} is about no single machine: leave out {machine!r}")
        return found, self._machine(machine).spec.name if machine else ""

    async def _break(self, fault: str, machine: str = "") -> str:
        found, name = self._meant(fault, machine)
        if found is None:
            raise Refused(f"say which fault; there are {', '.join(FAULTS)}")
        if found.machine and not name:
            raise Refused(f"{fault} needs a machine: {', '.join(self.vms)}")
        vm = self.vms[name] if name else None
        if vm is not None and not vm.exists:
            raise Refused(f"{vm.spec.name} does not exist yet; OpenTofu makes it")
        self.faults.add((fault, name))
        await found.make(self, vm)
        return found.text

    async def _mend(self, fault: str = "", machine: str = "") -> list[str]:
        """One fault (on one machine), or all that are active; returns what was mended."""
        _, name = self._meant(fault, machine)
        chosen = sorted(f for f in self.faults if fault in ("", f[0]) and name in ("", f[1]))
        for one in chosen:
            self.faults.discard(one)
            await FAULTS[one[0]].mend(self, self.vms.get(one[1]))
        return [" ".join(one).strip() for one in chosen]


def _compose(spec: Spec) -> int:
    """Both generations of Compose occur: the first VM has the plugin, the others the old program."""
    return 2 if spec.index == 1 else 1
