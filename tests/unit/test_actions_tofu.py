"""What OpenTofu says, read; the program found. (The real program: tests/real/test_terraform.py.)"""

from __future__ import annotations

import asyncio
import io
import json
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbook.actions.tofu import Apply, ApplyParams, Following, _watch
from runbook.errors import ActionFailed, CouldNotLook
from runbook.hosts.base import Completed
from runbook.site.model import Tofu
from runbook.tofu import end as tofuend
from runbook.tofu import job as tofujob
from runbook.tofu import plan as tofuplan
from runbook.tofu import program as tofu
from tests.unit.doubles import machine, make_context, make_look, make_site
from tests.unit.here import Here

LOCKED = """Error: Error acquiring the state lock

  Lock Info:
    ID:        2bc6d5a6-8f2e
    Path:      terraform.tfstate
    Operation: OperationTypeApply
    Who:       ada@laptop
    Version:   1.11.4
    Created:   2026-11-24 01:02:03 UTC
"""


def resource(address: str, *actions: str, **change: Any) -> dict[str, Any]:
    return {"address": address, "change": {"actions": list(actions), "before": None, "after": None} | change}


def plan(*resources: dict[str, Any], **fields: Any) -> bytes:
    return json.dumps({"format_version": "1.2", "resource_changes": list(resources), **fields}).encode()


def test_changes_worst_first() -> None:
    read = tofuplan.read_plan(
        plan(
            resource("a.new", "create"),
            resource("a.same", "no-op"),
            resource("a.data", "read"),
            resource("a.size", "update", before={"size": 1, "x": 1}, after={"size": 2, "x": 1}),
            resource("a.type", "delete", "create", before={"t": "a"}, after={"t": "b"}),
            resource("a.old", "delete"),
            resource("a.out", "forget"),
            output_changes={"ips": {"actions": ["create"]}, "same": {"actions": ["no-op"]}},
            resource_drift=[{"address": "a.size"}],
            prior_state={"values": {"outputs": {}}},
        )
    )
    assert [change.words for change in read.changes] == [
        "delete  a.old",
        "replace a.type  (t)",
        "forget  a.out",
        "update  a.size  (size)",
        "create  a.new",
        "output  ips",
    ]
    assert read.drifted == ("a.size",)
    assert read.usable and read.empty_state


def test_the_digest_is_of_the_changes() -> None:
    first = tofuplan.read_plan(plan(resource("a", "create"), timestamp="one"))
    assert first.digest == tofuplan.read_plan(plan(resource("a", "create"), timestamp="two")).digest
    other = tofuplan.read_plan(plan(resource("a", "create", after={"size": "xl"})))
    assert other.digest != first.digest


def test_a_plan_that_calls_itself_incomplete() -> None:
    assert not tofuplan.read_plan(plan(applyable=False)).usable
    assert not tofuplan.read_plan(plan(errored=True)).usable


@given(
    st.one_of(
        st.binary(max_size=200),
        st.recursive(st.none() | st.text(max_size=5), st.lists).map(msgspec.json.encode),
    )
)
def test_what_is_no_plan_is_refused(raw: bytes) -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        tofuplan.read_plan(raw)


def test_which_resource_is_which_machine() -> None:
    change = tofuplan.Change(
        kind="delete", address="hcloud_server.production[0]", before=("x", "203.0.113.11")
    )
    assert tofuplan.is_machine(change, machine("vm1"))
    assert not tofuplan.is_machine(change, machine("vm2"))
    assert not tofuplan.is_machine(change, machine("backup"))
    by_name = tofuplan.Change(kind="delete", address="hcloud_server.backup")
    by_address = tofuplan.Change(kind="delete", address="hcloud_server.x", before=("10.0.1.100",))
    assert tofuplan.is_machine(by_name, machine("backup"))
    assert tofuplan.is_machine(by_address, machine("backup"))


def test_a_lock_and_a_stale_plan() -> None:
    found = tofuplan.lock(LOCKED)
    assert found == tofuplan.Lock(
        who="ada@laptop", since="2026-11-24 01:02:03 UTC", id="2bc6d5a6-8f2e", operation="OperationTypeApply"
    )
    framed = "\n".join(f"│ {line}" for line in LOCKED.splitlines())
    assert tofuplan.lock(framed) == found
    assert tofuplan.lock("Error: no such file") is None
    assert tofuplan.is_stale("Error: Saved plan is stale")


@pytest.mark.parametrize(
    "text",
    [
        'Error: Module not installed ... Run "terraform init" to install all modules',
        'please run "tofu init"',
        "Error: This folder is not initialized",
        "Backend initialization required",
    ],
)
def test_a_folder_that_needs_init(text: str) -> None:
    assert tofuplan.needs_init(text)
    assert not tofuplan.needs_init("Error: Invalid credentials")


def test_events_are_rendered_by_their_message() -> None:
    assert tofujob.line({"@message": "made", "type": "something_new"}) == "made"
    diagnostic = {
        "severity": "error",
        "summary": "no",
        "detail": "why",
        "range": {"filename": "main.tf", "start": {"line": 3}},
    }
    assert tofujob.line({"@message": "Error: no", "diagnostic": diagnostic}) == "Error: no (main.tf:3)\nwhy"
    stream = (
        b'{"@level":"info","@message":"a"}\nplain\n'
        + json.dumps({"@level": "error", "@message": "Error: no", "diagnostic": diagnostic}).encode()
    )
    assert tofuplan.problems(stream) == "no: why (main.tf:3)"
    assert tofuplan.problems(b"only\ntext\n") == "only\ntext"


def errors(*said: tuple[str, str, str]) -> bytes:
    """Diagnostics of these (address, summary, detail), as an apply tells of them."""
    return b"\n".join(
        msgspec.json.encode(
            {
                "@level": "error",
                "@message": f"Error: {summary}",
                "type": "diagnostic",
                "diagnostic": {"severity": "error", "summary": summary, "detail": detail, "address": address},
            }
        )
        for address, summary, detail in said
    )


def test_a_reason_is_told_once_with_all_that_met_it() -> None:
    stream = errors(("s.a", "no", "why"), ("s.b", "no", "why"), ("s.c", "other", ""), ("", "general", ""))
    assert tofuplan.problems(stream) == "s.a, s.b: no: why\ns.c: other\ngeneral"


@pytest.mark.parametrize(
    ("summary", "detail", "means", "then"),
    [
        (
            "the server limit has been reached", "limit exceeded (resource_limit_exceeded)",
            "account's limit", "higher limit",
        ),
        ("Error creating server", "project server quota exhausted", "account's limit", "higher limit"),
        ("unauthorized", "the token you provided is invalid", "refuses the token", "tofu.secrets"),
        ("error during placement", "resource_unavailable", "none left", "another server type or location"),
        ("rate limit exceeded", "slow down", "no more requests", "Wait"),
        ("server name is already used", "uniqueness_error", "of that name already", "tofu import"),
        ("Get https://api", "dial tcp: lookup api: no such host", "cannot be reached", "network"),
        ("Reference to undeclared input variable", "x", "", "Correct what it names; then run the step again"),
    ],
)  # fmt: skip
def test_why_a_cloud_refuses_is_told_and_what_to_do(summary: str, detail: str, means: str, then: str) -> None:
    done = Completed(1, errors(("hcloud_server.production[1]", summary, detail)), b"")
    error = tofu.failed("apply", done, "Done, and stays: nothing.")
    assert f"hcloud_server.production[1]: {summary}: {detail}" in error.what
    assert means in error.what and error.what.endswith("\nDone, and stays: nothing.")
    assert then in error.next


def ended(kind: str, address: str) -> dict[str, Any]:
    return {"type": kind, "hook": {"resource": {"addr": address}, "action": "create"}}


def test_what_was_made_and_what_was_not() -> None:
    planned = {"s.a": "create", "s.b": "create", "s.c": "replace", "s.d": "update", "s.e": "create"}
    seen = [ended("apply_complete", "s.a"), *(ended("apply_errored", one) for one in ("s.b", "s.c", "s.d"))]
    told = tofuend.outcome(seen, planned, {"s.a", "s.c", "s.d"})
    assert told == (
        "Done, and stays: create s.a. Half done, and made anew by the next apply: replace s.c."
        " Not done: create s.b, update s.d, create s.e."
    )
    blind = tofuend.outcome(seen, planned, None)
    assert "Not done: create s.b, replace s.c" in blind and "state could not be read" in blind
    many = tofuend.outcome([], {f"s.{n}": "create" for n in range(40)}, set())
    assert many.startswith("Done, and stays: nothing.") and "and 28 more" in many


@given(
    st.recursive(
        st.none() | st.text(max_size=5), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_no_event_stops_it(value: Any) -> None:
    events = [{"type": value, "hook": value}, {"type": "apply_complete", "hook": {"resource": value}}]
    assert "Not done: create s.a" in tofuend.outcome(events, {"s.a": "create"}, None)


@given(st.binary(max_size=100))
def test_no_line_stops_the_stream(raw: bytes) -> None:
    tofuplan.problems(raw)
    for event in tofuplan.events(raw):
        tofujob.line(event)


def test_progress_counts_what_is_through() -> None:
    seen = [
        {"type": "apply_start", "@message": "a: Creating..."},
        {"type": "apply_complete", "@message": "a: done"},
        {"type": "apply_errored", "@message": "b: no"},
    ]
    assert tofuplan.progress(seen) == (2, "a: done")


def test_events_are_followed_from_where_the_last_look_ended(tmp_path: Path) -> None:
    file = tmp_path / "events"
    following = Following(file)
    assert following.news() == []
    lines = [json.dumps({"@message": str(n), "type": "apply_complete"}) + "\n" for n in range(3)]
    with file.open("a") as out:
        out.write(lines[0] + lines[1][:7])
        out.flush()
        assert [event["@message"] for event in following.news()] == ["0"]
        assert following.news() == []
        out.write(lines[1][7:] + "no event\n" + lines[2])
        out.flush()
    assert [event["@message"] for event in following.news()] == ["1", "2"]
    assert following.offset == file.stat().st_size and following.news() == []


async def test_progress_adds_up_and_nothing_is_read_on_the_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, threads = tmp_path / "events", set()
    news = Following.news

    def watched(self: Following) -> list[dict[str, Any]]:
        threads.add(threading.get_ident())
        return news(self)

    monkeypatch.setattr(Following, "news", watched)
    context = make_context(Here("operator", tmp_path))
    watching = asyncio.create_task(_watch(context, file, 2))
    try:
        for name in ("a", "b"):
            with file.open("a") as out:
                out.write(json.dumps({"@message": f"{name}: done", "type": "apply_complete"}) + "\n")
            async with asyncio.timeout(10):
                while not any(what == f"{name}: done" for what, *_ in context.voice.progressed):
                    await asyncio.sleep(0.02)
    finally:
        watching.cancel()
    assert context.voice.progressed[-1] == ("b: done", 2, 2, "resources")
    assert threads and threading.get_ident() not in threads


@pytest.mark.parametrize(
    ("first", "kind"),
    [("OpenTofu v1.10.2", "tofu"), ("Terraform v1.11.4", "terraform"), ("OpenTofu stand-in 1", "stand-in")],
)
async def test_the_program_is_recognised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: str, kind: str
) -> None:
    host = Here("operator", tmp_path)
    host.program("tofu", f"echo '{first}'; echo more")
    monkeypatch.setenv("PATH", f"{host.bin}:/usr/bin:/bin")
    found = await tofu.find(make_look(host))
    assert (found.kind, found.version, found.path) == (kind, first, f"{host.bin}/tofu")


async def test_no_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CouldNotLook, match="Neither tofu nor terraform"):
        await tofu.find(make_look(Here("operator", tmp_path)))
    look = make_look(Here("operator", tmp_path), site=make_site(tofu=Tofu(folder=str(tmp_path))))
    with pytest.raises(ActionFailed, match="Neither tofu"):
        await Apply().plan(look, ApplyParams())


async def test_encrypted_state_never_falls_back_to_terraform(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = Here("operator", tmp_path)
    host.program("terraform", "echo Terraform v1.11.4")
    monkeypatch.setenv("PATH", f"{host.bin}:/usr/bin:/bin")
    (tmp_path / "main.tf").write_text("terraform {\n  encryption {\n  }\n}\n")
    look = make_look(host, site=make_site(tofu=Tofu(folder=str(tmp_path))))
    with pytest.raises(CouldNotLook, match=r"must be handled by OpenTofu \(main.tf encrypts the state\)"):
        await tofu.workshop(look)


def test_the_job_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    class Stdin:
        buffer = io.BytesIO(b'{"TF_VAR_t": "v"}')

    monkeypatch.setattr(tofujob.sys, "stdin", Stdin)
    monkeypatch.setattr(tofujob.signal, "signal", lambda *_: None)
    script = """echo '{"@message":"one"}'; echo two; echo '{"@message":"'$TF_VAR_t'"}'; exit 4"""
    assert tofujob.main([str(tmp_path / "events"), "sh", "-c", script]) == 4
    assert capfd.readouterr().out == "one\ntwo\nv\n"
    assert len(tofuplan.events((tmp_path / "events").read_bytes())) == 2
