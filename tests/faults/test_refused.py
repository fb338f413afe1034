"""What is refused before anything begins: no run, no lab, no machine contacted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runbook.lab.samplesite import toml
from tests.faults.world import GUIDES, PLAIN_PASSWORD, Scene

SETTINGS: dict[str, Any] = {
    "name": "Somewhere",
    "platform": {"domain": "learn.example.test"},
    "couchdb": {name: {"env": f"RUNBOOK_{name.upper()}"} for name in ("password", "cookie", "secret")},
}


def settings(folder: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    data = {key: dict(value) if isinstance(value, dict) else value for key, value in SETTINGS.items()}
    change(data)
    path = folder / "runbook.toml"
    path.write_text(toml(data))
    return path


@pytest.mark.parametrize("mode", ["practice", "recovery"])
def test_a_guide_with_an_unknown_action(scene: Scene, mode: str) -> None:
    guide = GUIDES / "unknown-action.md"
    done = scene.runbook("run", str(guide), "--mode", mode, "--yes")
    assert done.returncode == 2
    lines = guide.read_text().splitlines()
    at = 1 + next(number for number, line in enumerate(lines) if "couchdb.restor" in line)
    assert f"{guide}:{at}: unknown action 'couchdb.restor'; did you mean couchdb.restore" in done.stderr
    assert f"{guide}:{at + 2}: unknown check 'couchdb.content_match'" in done.stderr
    assert "couchdb.contents_match" in done.stderr
    assert "Nothing was run." in done.stderr
    assert scene.untouched()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda d: d.update(machines={"count": "three"}), "machines.count: expected a whole number"),
        (lambda d: d["couchdb"].update(password=PLAIN_PASSWORD), "couchdb.password: secrets go by reference"),
        (
            lambda d: d.update(tofu={"variables": {"hcloud_token": PLAIN_PASSWORD}}),
            "tofu.variables.hcloud_token: plain text is refused here",
        ),
        (lambda d: d["platform"].update(domian="x"), "platform.domian: unknown key; did you mean domain"),
        (lambda d: d.pop("platform"), "platform is missing: the table [platform]"),
        (lambda d: d.update(objectives={"rto": "soon"}), "objectives.rto: "),
        (
            lambda d: d.update(machines={"backup": {"address": "not an address!"}}),
            "machines.backup.address: ",
        ),
    ],
    ids=["type", "secret", "secret-variable", "key", "table", "duration", "address"],
)
def test_wrong_settings(scene: Scene, change: Callable[[dict[str, Any]], object], told: str) -> None:
    path = settings(scene.folder, change)
    done = scene.runbook("--site", str(path), "run", "full-system-restore", "--mode", "recovery", "--yes")
    assert done.returncode == 2
    assert f"{path}: {told}" in done.stderr
    assert "Nothing was touched." in done.stderr
    assert PLAIN_PASSWORD not in done.stderr
    assert scene.untouched()


def test_settings_that_are_no_toml(scene: Scene) -> None:
    path = scene.folder / "runbook.toml"
    path.write_text(f'name = "x"\npassword = "{PLAIN_PASSWORD}\n')
    done = scene.runbook("--site", str(path), "site", "check")
    assert done.returncode == 2
    assert f"{path}: the file is not TOML" in done.stderr and "line 2" in done.stderr


def test_no_settings_at_all(scene: Scene) -> None:
    missing = scene.folder / "nowhere.toml"
    done = scene.runbook("--site", str(missing), "run", "full-system-restore", "--mode", "drill", "--yes")
    assert done.returncode == 2
    assert f"There is no settings file {missing} (from --site)" in done.stderr
    assert "runbook site init" in done.stderr
    assert scene.untouched()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("run", "full-system-restor", "--mode", "practice"), "full-system-restore"),
        (("resume", "yesterday"), "There is no run yesterday."),
        (("resume",), "There are no runs yet."),
        (("report", "yesterday"), "There is no run yesterday."),
        (("report", "verify", "yesterday"), "There is no run yesterday."),
        (("report", "../../etc"), "There is no run ../../etc."),
        (("check", "hosts.reachabel"), "There is no check hosts.reachabel."),
        (("lab", "break", "vm-down", "vm1"), "The practice lab is not running."),
    ],
)
def test_names_that_do_not_exist(scene: Scene, words: tuple[str, ...], told: str) -> None:
    done = scene.runbook(*words)
    assert done.returncode == 2
    assert told in done.stderr
    assert done.stdout == ""
    assert scene.untouched()


def test_a_guide_that_is_not_made_for_practice(scene: Scene) -> None:
    done = scene.runbook("run", str(GUIDES / "work.md"), "--mode", "practice", "--yes")
    assert done.returncode == 2
    assert "The guide work is not made for practice. Its modes: drill, recovery." in " ".join(
        line.removeprefix("runbook:").strip() for line in done.stderr.splitlines()
    )
    assert scene.untouched()
