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
{"Kernel pid terminated",application_controller,"{application_start_failure,mem3,{bad_return,{{mem3_app,start},{error,eacces}}}}"}
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


def _restarting(text: str) -> Change:
    """Faults that CouchDB meets when it starts: running ones are restarted into them."""

    async def change(world: World, vm: Vm | None) -> None:
        await world.restart_couchdb(vm)

    change.__doc__ = text
    return change


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


_AGAIN = _restarting("restart")
FAULTS = {
    fault.name: fault
    for fault in (
        Fault("vm-down", "the VM loses its power", True, _vm_down, _vm_up),
        Fault("disk-full", "the VM's disk is full", True, _disk_full, _disk_free),
        Fault("host-key-changed", "the VM shows another SSH host key", True, _key_changed, _key_back),
        Fault("couch-crash-loop", "CouchDB on the VM dies whenever it starts", True, _AGAIN, _AGAIN),
        Fault("cookie-monster", "CouchDB starts with the cookie 'monster' everywhere", False, _AGAIN, _AGAIN),
        Fault("wrong-couch-password", "CouchDB's admin has another password than the settings say", False, _AGAIN, _AGAIN),
        Fault("cut-dump", "one dump of the newest backup was cut off while it was made", False, *_backup(badbackups.cut_dump)),
        Fault("unsafe-tar", "the newest backup's config.tar.gz holds dangerous members", False, *_backup(badbackups.unsafe_tar)),
        Fault("missing-dump", "edxapp_files is missing from the newest backup", False, *_backup(badbackups.missing_dump)),
        Fault("compose-file-moved", "the compose file lies elsewhere in config.tar.gz", False, *_backup(badbackups.move_compose)),
        Fault("plan-deletes-backup", "OpenTofu's variables would replace the backup VM", False, _bigger_backup, _same_backup),
        Fault("cloud-refuses", "the cloud has no server of that type left", False, _nothing, _nothing),
        Fault("dns-stale", "one old address stays in the DNS", False, _stale, _not_stale),
        Fault("slow-link", "the way to the VMs is slow (150 kB/s, 0.3 s round trip)", False, _slow, _fast),
    )
}  # fmt: skip
