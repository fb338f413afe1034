"""What can be broken in the lab on purpose, and mended again."""

from __future__ import annotations

import shutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runbook.lab import badbackups
from runbook.lab.layout import OLD_ADDRESSES

if TYPE_CHECKING:
    from runbook.lab.vm import Vm
    from runbook.lab.world import World

#: the world, and the machine it is about where the fault has one
Change = Callable[["World", "Vm | None"], Awaitable[None]]

CRASH_LOG = """\
[error] 2026-01-01T00:00:00.000000Z nonode@nohost <0.246.0> -------- CRASH REPORT: could not open _dbs.couch
{"Kernel pid terminated",application_controller,"{application_start_failure,mem3,{error,eacces}}"}
Crash dump is being written to: erl_crash.dump...done"""
SLOW_RATE, SLOW_DELAY = 150_000.0, 0.15


@dataclass(frozen=True)
class Fault:
    """``machine``: it needs a VM's name (``vm-down vm2``)."""

    name: str
    text: str
    machine: bool
    make: Change
    mend: Change


async def _vm_down(world: World, vm: Vm | None) -> None:
    assert vm is not None
    await vm.power_off()


async def _vm_up(world: World, vm: Vm | None) -> None:
    assert vm is not None
    await vm.power_on()


async def _disk_full(world: World, vm: Vm | None) -> None:
    assert vm is not None
    (vm.root / "var" / "disk-full").touch()


async def _disk_free(world: World, vm: Vm | None) -> None:
    assert vm is not None
    (vm.root / "var" / "disk-full").unlink(missing_ok=True)


async def _key_changed(world: World, vm: Vm | None) -> None:
    assert vm is not None
    await vm.change_host_key()


async def _key_back(world: World, vm: Vm | None) -> None:
    assert vm is not None
    await vm.old_host_key()


async def _restart(world: World, vm: Vm | None) -> None:
    """Faults that CouchDB meets when it starts: running ones are restarted into them."""
    await world.restart_couchdb(vm)


async def _backup_type(world: World, wanted: str) -> None:
    path = world.layout.infrastructure / "terraform.tfvars"
    lines = path.read_text().splitlines()
    path.write_text(
        "".join(
            (f'backup_server_type     = "{wanted}"' if "backup_server_type" in line else line) + "\n"
            for line in lines
        )
    )


async def _bigger_backup(world: World, vm: Vm | None) -> None:
    await _backup_type(world, "cpx31")


async def _same_backup(world: World, vm: Vm | None) -> None:
    await _backup_type(world, "cpx21")


async def _stale(world: World, vm: Vm | None) -> None:
    world.dns.stuck = OLD_ADDRESSES[1]


async def _not_stale(world: World, vm: Vm | None) -> None:
    world.dns.stuck = ""


async def _slow(world: World, vm: Vm | None) -> None:
    for each in world.vms.values():
        each.link.rate, each.link.delay = SLOW_RATE, SLOW_DELAY


async def _fast(world: World, vm: Vm | None) -> None:
    for each in world.vms.values():
        each.link.rate = each.link.delay = 0.0


async def _nothing(world: World, vm: Vm | None) -> None:
    """The fault's name in the list of active ones is enough."""


def _backup(damage: Callable[[badbackups.Newest], None]) -> tuple[Change, Change]:
    async def make(world: World, vm: Vm | None) -> None:
        for newest in badbackups.newest(world.layout):
            newest.keep(world.layout.root / "undamaged")
            damage(newest)
            newest.rehash()

    async def mend(world: World, vm: Vm | None) -> None:
        kept = world.layout.root / "undamaged"
        for newest in badbackups.newest(world.layout):
            newest.restore(kept)
        shutil.rmtree(kept, ignore_errors=True)

    return make, mend


_AGAIN = (_restart, _restart)
_NOTHING = (_nothing, _nothing)
_LIST: tuple[tuple[str, str, bool, tuple[Change, Change]], ...] = (
    ("vm-down", "the VM loses its power", True, (_vm_down, _vm_up)),
    ("disk-full", "the VM's disk is full", True, (_disk_full, _disk_free)),
    ("host-key-changed", "the VM shows another SSH host key", True, (_key_changed, _key_back)),
    ("couch-crash-loop", "CouchDB on the VM dies whenever it starts", True, _AGAIN),
    ("cookie-monster", "CouchDB starts with the cookie 'monster' everywhere", False, _AGAIN),
    ("wrong-couch-password", "CouchDB's admin has another password than the settings say", False, _AGAIN),
    (
        "cut-dump",
        "a dump of the newest backup was cut off while it was made",
        False,
        _backup(badbackups.cut_dump),
    ),
    (
        "unsafe-tar",
        "the newest backup's config.tar.gz holds dangerous members",
        False,
        _backup(badbackups.unsafe_tar),
    ),
    (
        "missing-dump",
        "edxapp_files is missing from the newest backup",
        False,
        _backup(badbackups.missing_dump),
    ),
    (
        "compose-file-moved",
        "the compose file lies elsewhere in config.tar.gz",
        False,
        _backup(badbackups.move_compose),
    ),
    (
        "plan-deletes-backup",
        "OpenTofu's variables replace the backup VM",
        False,
        (_bigger_backup, _same_backup),
    ),
    ("cloud-refuses", "the cloud has no server of that type left", False, _NOTHING),
    ("dns-stale", "one old address stays in the DNS", False, (_stale, _not_stale)),
    ("slow-link", "the way to the VMs is slow (150 kB/s, 0.3 s round trip)", False, (_slow, _fast)),
)
FAULTS = {name: Fault(name, text, machine, *changes) for name, text, machine, changes in _LIST}
