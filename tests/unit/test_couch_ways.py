"""From where a restore can run: what is open, what is not and why, how long each way takes."""

import sys
import sysconfig

import pytest

from runbook.couch.reading.selection import choose
from runbook.couch.restoring import ways
from runbook.errors import ActionFailed, Unreachable
from runbook.hosts.base import Completed
from tests.unit.couch import ADDRESSES, backup, doc, dump
from tests.unit.doubles import ScriptedHost, make_look

OURS = f"{sysconfig.get_config_var('SOABI')} {sysconfig.get_platform()}\n".encode()
PYTHONS = ("python3", f"python3.{sys.version_info.minor}")


def chosen(folder):
    backup(folder / "20261101", {ADDRESSES[0]: {"openedx_1": dump([doc(f"d{n}") for n in range(50)])}})
    path = folder / "20261101" / f"node-{ADDRESSES[0]}" / "openedx_1.json"
    return [choose("openedx_1", {ADDRESSES[0]: path})], path


class Machine(ScriptedHost):
    """A machine with a Python of its own, and dumps or none."""

    def __init__(self, name, python=OURS, there=b""):
        super().__init__(name)
        self.python, self.there = python, there

    async def run(self, argv, **how):
        if argv[0] in PYTHONS:
            return Completed(0 if self.python else 127, self.python, b"")
        if argv[0] == "wc":
            return Completed(0 if self.there else 1, self.there, b"")
        assert argv[:2] == ["sh", "-c"] and how["stdin"], "only the line's speed is measured"
        return Completed(0, b"", b"")


async def found(*machines, folder):
    selections, path = chosen(folder)
    return {way.name: way for way in await ways.ways(make_look(*machines), selections)}, path


async def test_beside_the_data_needs_a_python_like_ours(tmp_path):
    vm1 = Machine("vm1", python=b"cpython-310-x86_64-linux-gnu linux-x86_64\n")
    found_ways, _ = await found(vm1, folder=tmp_path)
    assert "vm1 has no Python like this PC's" in found_ways["vm1"].lacks
    assert found_ways["vm1"].option.consequence.startswith("not possible: ")
    assert found_ways["here"].seconds is None
    assert found_ways["here"].words().startswith("its time is not known; ")


async def test_dumps_are_sent_to_the_first_machine_and_lie_on_the_backup_vm(tmp_path):
    _, path = chosen(tmp_path)
    size = path.stat().st_size
    there = f"{size} /backup/daily/20261101/node-{ADDRESSES[0]}/openedx_1.json\n".encode()
    machines = Machine("vm1"), Machine("backup", there=there)
    found_ways, _ = await found(*machines, folder=tmp_path)
    assert (found_ways["vm1"].upload, found_ways["backup"].upload) == (size, 0)
    assert "this PC may be closed" in found_ways["vm1"].words()
    assert "the dumps are there" in found_ways["backup"].words()
    assert all(way.seconds is not None for way in found_ways.values())


async def test_other_dumps_on_the_backup_vm_are_sent_anew(tmp_path):
    there = f"7 /backup/daily/20261101/node-{ADDRESSES[0]}/openedx_1.json\n".encode()
    machines = Machine("vm1"), Machine("backup", there=there)
    found_ways, path = await found(*machines, folder=tmp_path)
    assert found_ways["backup"].upload == path.stat().st_size


async def test_a_machine_that_is_not_there_is_no_way(tmp_path):
    class Gone(Machine):
        async def run(self, argv, **how):
            raise Unreachable("vm1", "vm1 cannot be reached.")

    found_ways, _ = await found(Gone("vm1"), folder=tmp_path)
    assert "cannot be reached" in found_ways["vm1"].lacks


async def test_the_line_is_measured_with_more_when_it_is_quick():
    sent = []

    class Line(Machine):
        async def run(self, argv, **how):
            sent.append(len(how["stdin"]))
            return Completed(0, b"", b"")

    assert await ways.line_speed(Line("vm1")) > 0
    assert sent == list(ways.SAMPLES)


async def test_a_line_that_takes_nothing_is_told():
    class Cut(Machine):
        async def run(self, argv, **how):
            return Completed(None, b"", b"")

    with pytest.raises(ActionFailed):
        await ways.line_speed(Cut("vm1"))
