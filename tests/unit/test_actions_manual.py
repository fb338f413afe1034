"""Work by hand: shown, waited for, its evidence kept."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import pytest

from runbook.actions.manual import Manual, ManualParams
from runbook.errors import ActionFailed, WaitsForPerson
from tests.unit.doubles import ScriptedHost, make_context, make_look
from tests.unit.here import Here


async def act(params: ManualParams, tmp_path: Path, **more: object):
    context = make_context(more.pop("host", ScriptedHost("operator")), run_dir=tmp_path, **more)
    plan = await Manual().plan(context, params)
    return await Manual().act(context, params, plan), context


async def test_nothing_but_the_checks_can_tell() -> None:
    probe = await Manual().probe(make_look(), ManualParams())
    assert probe.satisfied is None and "the checks after it will tell" in probe.summary


async def test_a_sentence_is_kept(tmp_path: Path) -> None:
    params = ManualParams(instructions="Set the A records.\nThen wait.")
    outcome, context = await act(params, tmp_path, answers=["  ", "changed three records"])
    assert [kind for kind, _, _ in context.voice.asked] == ["evidence", "evidence"]
    assert "Set the A records." in context.voice.asked[0][1]
    assert context.voice.asked[1][1].startswith("Nothing was said.")
    assert context.voice.notes[0][1] == {"kind": "evidence", "said": "changed three records"}
    assert "changed three records" in outcome.summary


async def test_a_file_is_copied_with_its_hash(tmp_path: Path) -> None:
    file = tmp_path / "my screen shot\n.png"
    file.write_bytes(b"PNG")
    run = tmp_path / "run"
    params = ManualParams(evidence="file")
    for number in (1, 2):
        _, context = await act(params, run, answers=["/no/such/file", str(tmp_path), str(file)], step="dns")
        assert "there is no such file" in context.voice.asked[1][1]
        data = context.voice.notes[0][1]
        assert data["file"] == f"evidence/dns-{number}-my_screen_shot_.png"
        assert data["sha256"] == hashlib.sha256(b"PNG").hexdigest() and data["bytes"] == 3
        kept = run / data["file"]
        assert kept.read_bytes() == b"PNG" and kept.stat().st_mode & 0o777 == 0o600


async def test_asking_comes_to_an_end(tmp_path: Path) -> None:
    with pytest.raises(ActionFailed, match="No evidence after 5"):
        await act(ManualParams(evidence="file"), tmp_path, answers=["/nowhere"] * 9)
    with pytest.raises(WaitsForPerson):
        await act(ManualParams(), tmp_path)


async def test_their_word_alone(tmp_path: Path) -> None:
    params = ManualParams(evidence="none")
    assert (await act(params, tmp_path, answers=["done"]))[0].summary == "done by hand"
    with pytest.raises(ActionFailed, match="could not be done"):
        await act(params, tmp_path, answers=["not"])


async def test_practice_plays_the_person(tmp_path: Path) -> None:
    host = Here("operator", tmp_path / "home")
    run = tmp_path / "state/runs/r1"
    params = ManualParams(practice=["sh", "-c", 'echo "$RUNBOOK_STATE" > played'])
    plan = await Manual().plan(make_look(host, mode="practice"), params)
    assert any("plays the person's part" in item for item in plan.items)
    _, context = await act(params, run, host=host, mode="practice")
    assert (tmp_path / "home/played").read_text().strip() == str(tmp_path / "state")
    assert context.voice.notes[0][1]["simulated"] is True
    with pytest.raises(ActionFailed, match="failed: no lab"):
        bad = ManualParams(practice=["sh", "-c", "echo no lab >&2; exit 1"])
        await act(bad, run, host=host, mode="practice")


async def test_the_word_runbook_is_this_program(tmp_path: Path) -> None:
    host = ScriptedHost("operator").on(sys.executable)
    await act(ManualParams(practice=["runbook", "lab", "dns", "point"]), tmp_path, host=host, mode="practice")
    assert host.calls == [[sys.executable, "-m", "runbook.cli", "lab", "dns", "point"]]


async def test_a_drill_has_no_stand_in_for_people(tmp_path: Path) -> None:
    with pytest.raises(WaitsForPerson):
        await act(ManualParams(practice=["runbook", "lab"]), tmp_path, mode="drill")
