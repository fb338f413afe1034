"""Checks of machines: canned answers -> verdicts."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from checks import hosts
from runbook.errors import CouldNotLook, HostKeyChanged, Unreachable
from runbook.hosts.base import Completed
from runbook.platform import diskspace
from tests.unit.doubles import FakeClock, ScriptedHost, make_look

HEAD = "Filesystem 1024-blocks Used Available Capacity Mounted on\n"
DF = """Filesystem     1024-blocks     Used Available Capacity Mounted on
/dev/sda1         78602540 41234567  34101132      55% /
"""


async def test_disk_free() -> None:
    host = ScriptedHost("vm1", {"df -Pk -- .": DF})
    found = await hosts.disk_free(make_look(host), min="30GB")
    assert (found.verdict, found.expected, found.observed) == ("pass", "30.0 GB free at .", "34.9 GB free")
    assert (await hosts.disk_free(make_look(host), min="40GB")).verdict == "fail"
    host.on("df -Pk -- backup", Completed(1, b"", b"df: backup: No such file or directory\n"))
    with pytest.raises(CouldNotLook, match="No such file"):
        await hosts.disk_free(make_look(host), path="~/backup")


@pytest.mark.parametrize(
    ("text", "free", "mount"),
    [
        (DF, 34101132, "/"),
        (HEAD + "//nas/a share  10 5 -5 101% /mnt/a b\n", -5, "/mnt/a b"),
        (HEAD + "overlay - 0 0 -\nnone 0 0 0 - /proc\n", 0, "/proc"),
        (HEAD + "very-long-name\n  100 50 50 50% /x\n", 50, "/x"),
    ],
)  # fmt: skip
def test_df_of_many_kinds(text: str, free: int, mount: str) -> None:
    assert diskspace.parse_df(Completed(0, text.encode(), b"")) == (free * 1024, mount)


@given(st.binary())
def test_wild_output_is_refused(raw: bytes) -> None:
    for parse in (diskspace.parse_df, hosts.parse_date, hosts.parse_cloud_init):
        try:
            parse(Completed(0, raw, b""))  # type: ignore[operator]
        except CouldNotLook as error:
            assert error.what


async def test_reachable() -> None:
    host = ScriptedHost("vm1", {"id -un": "openedx\n"})
    found = await hosts.reachable(make_look(host))
    assert (found.verdict, found.observed) == ("pass", "answers as openedx")
    host.down = Unreachable("vm1", "vm1 does not answer at 203.0.113.11:22.")
    found = await hosts.reachable(make_look(host))
    assert found.verdict == "fail" and "does not answer" in found.observed
    host.down = HostKeyChanged("vm1", "A", "B")
    with pytest.raises(HostKeyChanged):  # for a person: the engine does not look again
        await hosts.reachable(make_look(host))


async def test_asked_on_this_pc_it_is_about_every_machine() -> None:
    """A step that deploys runs here; that this PC reaches itself would say nothing."""
    one = ScriptedHost("vm1", {"id -un": "openedx"})
    two = ScriptedHost("vm2")
    two.down = Unreachable("vm2", "vm2 does not answer.")
    found = await hosts.reachable(make_look(ScriptedHost("operator"), one, two))
    assert found.verdict == "fail"
    assert found.observed == "vm1 answers as openedx; vm2 vm2 does not answer."
    with pytest.raises(CouldNotLook, match="No machine"):
        await hosts.reachable(make_look(ScriptedHost("operator")))


@pytest.mark.parametrize(
    ("said", "trip", "verdict"),
    [
        (b"{now}.500000000\n", 1.0, "pass"),
        (b"{later}.0\n", 0.0, "fail"),
        (b"{now}.%N\n", 0.0, "pass"),  # a date that does not know %N
        (b"{now}\n", 0.0, "pass"),
        (b"{now}.0\n", 60.0, "unknown"),  # too slow to tell
    ],
)
async def test_clock_offset(said: bytes, trip: float, verdict: str) -> None:
    clock = FakeClock()
    now = int(clock.moment.timestamp())
    text = said.replace(b"{now}", b"%d" % now).replace(b"{later}", b"%d" % (now + 9))

    def answer(argv: list[str], stdin: bytes) -> Completed:
        clock.move(trip)
        return Completed(0, text, b"")

    found = await hosts.clock_offset(make_look(ScriptedHost("vm1", {"date": answer}), clock=clock))
    assert found.verdict == verdict, found.observed


@pytest.mark.parametrize(
    ("done", "verdict", "word"),
    [
        (Completed(0, b"status: done\ndetail: DataSourceHetzner\nerrors: []\n", b""), "pass", "done"),
        (Completed(0, b"status: running\ndetail: DataSourceNone\n", b""), "fail", "not finished yet"),
        (Completed(1, b"status: error\ndetail:\nThe cloud-init failed\n", b""), "fail", "error"),
        (Completed(1, b"status: error\ndetail: ('a',\n  Error)\n", b""), "fail", "error: ('a', Error)"),
        (Completed(2, b"status: done\nextended_status: degraded done\n", b""), "warn", "got over"),
        (Completed(0, b"status: disabled\n", b""), "warn", "disabled"),
        (Completed(127, b"", b"cloud-init: not found"), "warn", "no cloud-init here"),
    ],
)  # fmt: skip
async def test_cloud_init(done: Completed, verdict: str, word: str) -> None:
    found = await hosts.cloud_init_done(make_look(ScriptedHost("vm1", {"cloud-init": done})))
    assert found.verdict == verdict and word in found.observed


async def test_what_cannot_be_seen_is_unknown() -> None:
    def lost(argv: list[str], stdin: bytes) -> Any:
        return Completed(None, b"", b"")

    host = ScriptedHost("vm1", {"date": lost, "cloud-init": lost, "sudo": 1})
    assert (await hosts.clock_offset(make_look(host))).verdict == "unknown"
    assert (await hosts.cloud_init_done(make_look(host))).verdict == "unknown"
    assert (await hosts.sudo(make_look(host))).verdict == "fail"
