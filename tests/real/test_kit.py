"""A kit made of this tree, installed where there is no network at all, and made anew from there."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from runbook import __version__
from runbook.errors import EXIT_FAILED, EXIT_OK
from runbook.kit import sums

pytestmark = pytest.mark.real("root", "netns")

AWAY = ("unshare", "-n", "--")
STATE = '{"version": 4, "serial": 7, "outputs": {"token": {"value": "canary-state", "sensitive": true}}}'


def runbook(
    *words: str, program: str = "", away: bool = False, cwd: Path | None = None, **extra: str
) -> tuple[int, str, str]:
    own = [program] if program else [sys.executable, "-m", "runbook.cli"]
    done = subprocess.run(
        [*(AWAY if away else ()), *own, *words],
        cwd=cwd or Path(__file__).parents[2],
        env={name: value for name, value in os.environ.items() if not name.startswith("RUNBOOK_")} | extra,
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The settings of an installation with all that belongs into a kit."""
    folder = tmp_path_factory.mktemp("site")
    infrastructure = folder / "infrastructure"
    infrastructure.mkdir()
    (infrastructure / "main.tf").write_text('resource "terraform_data" "vm" {\n  input = "vm1"\n}\n')
    (infrastructure / "terraform.tfstate").write_text(STATE)
    (folder / "runbook.toml").write_text(
        'name = "Kit test"\n[[contacts]]\nname = "Ada"\nphone = "+1 555 0100"\n'
        '[platform]\ndomain = "learn.example.org"\n'
        '[couchdb]\npassword = { env = "COUCHDB_PASSWORD" }\n'
        'cookie = { ask = "the cookie" }\nsecret = { ask = "the secret" }\n'
    )
    return folder / "runbook.toml"


@pytest.fixture(scope="module")
def kit(site: Path) -> Path:
    code, out, err = runbook("--site", str(site), "kit", str(site.parent / "kit"))
    folder = site.parent / "kit"
    assert (folder / "program" / "requirements.txt").is_file(), out + err
    assert code == EXIT_OK or "- opentofu:" in out or "- providers:" in out, out + err
    return folder


@pytest.fixture(scope="module")
def installed(kit: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What install.sh lays out, without a network, for somebody with a pip configuration of their own."""
    target = tmp_path_factory.mktemp("borrowed") / "a folder" / "recovery"
    done = subprocess.run(
        [*AWAY, "sh", str(kit / "install.sh"), str(target)],
        cwd="/",
        env={"PATH": os.environ["PATH"], "HOME": str(target.parent), "PIP_REQUIRE_VIRTUALENV": "nonsense"},
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return target


def test_it_runs_where_there_is_no_network(installed: Path, site: Path) -> None:
    program = str(installed / "venv" / "bin" / "runbook")
    code, out, _ = runbook("--version", program=program, away=True, cwd=installed)
    assert (code, out.strip()) == (EXIT_OK, f"runbook {__version__}")
    code, out, _ = runbook("guide", "list", program=program, away=True, cwd=installed)
    assert code == EXIT_OK and "full-system-restore" in out
    where = subprocess.run(
        [str(installed / "venv" / "bin" / "python"), "-c", "import runbook; print(runbook.__file__)"],
        cwd="/",
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert where.stdout.startswith(str(installed)), "it must be the installed one, not the checkout"


def test_the_folder_to_work_in_is_laid_out_for_one_user(installed: Path, site: Path) -> None:
    state = installed / "infrastructure" / "terraform.tfstate"
    assert state.read_text() == STATE and stat.S_IMODE(state.stat().st_mode) == 0o600
    assert stat.S_IMODE(state.parent.stat().st_mode) == 0o700
    done = subprocess.run(
        ["sh", "-c", '. "$1/env" && command -v runbook && exec runbook site check', "sh", str(installed)],
        cwd="/",
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == EXIT_OK, done.stderr
    assert done.stdout.splitlines() == [
        str(installed / "venv" / "bin" / "runbook"),
        "Kit test: the settings are well-formed",
    ]


def test_what_a_kit_holds(kit: Path) -> None:
    checked = subprocess.run(
        ["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=kit, capture_output=True, timeout=60, check=False
    )
    assert checked.returncode == 0, checked.stderr
    listed = {line.partition("  ")[2] for line in (kit / "SHA256SUMS").read_text().splitlines()}
    files = {str(path.relative_to(kit)) for path in kit.rglob("*") if path.is_file()}
    assert listed == files - {"SHA256SUMS"}
    for name in (
        "CONTACTS.txt",
        "MISSING.txt",
        "README.txt",
        "guides/full-system-restore.txt",
        "docs/README.md",
    ):
        assert name in files
    assert [name for name in files if b"canary-state" in (kit / name).read_bytes()] == [
        "state/terraform.tfstate"
    ]
    assert all(path.stat().st_mode & 0o077 == 0 for path in (kit, *kit.rglob("*")))


def test_verify_tries_it_and_sees_a_change(kit: Path) -> None:
    code, out, err = runbook("kit", "verify", str(kit))
    assert code == EXIT_OK, out + err
    assert f"runbook {__version__} was installed from it" in out and "without any network" in out
    wheel = next((kit / "program" / "wheels").glob("tabulate-*.whl"))
    good = wheel.read_bytes()
    try:
        wheel.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
        code, out, _ = runbook("kit", "verify", str(kit))
        assert code == EXIT_FAILED
        assert f"{wheel.name} has changed" in out and "Nothing of it was run" in out
    finally:
        wheel.write_bytes(good)


def test_where_the_network_cannot_be_taken_away_that_is_said(kit: Path, tmp_path: Path) -> None:
    (tmp_path / "unshare").write_text("#!/bin/sh\necho 'Operation not permitted' >&2\nexit 1\n")
    (tmp_path / "unshare").chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    code, out, err = runbook("kit", "verify", "--json", str(kit), PATH=path)
    assert code == EXIT_OK, out + err
    told = json.loads(out)
    assert "--no-index" in told["how"] and told["version"] == f"runbook {__version__}"


def test_without_network_and_without_an_older_kit_it_says_what_is_missing(site: Path, tmp_path: Path) -> None:
    folder = tmp_path / "kit"
    # an address where nobody listens, so that nothing is waited for
    nowhere = {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": "http://127.0.0.1:9/", "PIP_RETRIES": "1"}
    words = ("--site", str(site), "kit", str(folder))
    code, out, _ = runbook(*words, away=True, **nowhere, PIP_FIND_LINKS="")
    told = " ".join(out.split())
    assert code == EXIT_FAILED
    assert "program: the wheels it needs could not be had: pip could not connect" in told
    assert (folder / "CONTACTS.txt").is_file() and sums.problems(folder) == []
    assert (folder / "MISSING.txt").read_text() in out
    code, out, _ = runbook("kit", "verify", str(folder))
    assert code == EXIT_FAILED and "holds no program" in out


def test_it_is_made_anew_by_the_installed_program_without_a_network(installed: Path, kit: Path) -> None:
    program = str(installed / "venv" / "bin" / "runbook")
    before = (kit / "program" / "requirements.txt").read_text()
    words = ("--site", str(installed / "runbook.toml"), "kit", "--no-state", str(kit))
    code, out, err = runbook(*words, program=program, away=True, cwd=installed)
    assert "- program:" not in out, out + err
    assert sums.problems(kit) == [] and not (kit / "state").exists()
    others = [line for line in before.splitlines() if not line.startswith("openedx")]
    assert set(others) < set((kit / "program" / "requirements.txt").read_text().splitlines())
    assert (kit / "docs" / "README.md").is_file()
    code, out, err = runbook("kit", "verify", str(kit))
    assert code == EXIT_OK, out + err


def test_a_new_one_that_would_hold_less_does_not_take_its_place(kit: Path, tmp_path: Path) -> None:
    before = (kit / "SHA256SUMS").read_bytes()
    code, out, err = runbook("kit", "--no-state", str(kit), cwd=tmp_path, XDG_CONFIG_HOME=str(tmp_path))
    assert code == EXIT_FAILED and out == ""
    assert "settings/runbook.toml" in err and "It is unchanged" in " ".join(err.split())
    assert (kit / "SHA256SUMS").read_bytes() == before and sums.problems(kit) == []


def test_killed_while_it_is_made_the_old_one_stands(kit: Path, site: Path) -> None:
    before = (kit / "SHA256SUMS").read_bytes()
    beside = kit.with_name(".kit.new")
    words = [sys.executable, "-m", "runbook.cli", "--site", str(site), "kit", str(kit)]
    with subprocess.Popen(
        words, cwd=Path(__file__).parents[2], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as making:  # fmt: skip
        until = time.monotonic() + 120
        while not (beside / "program" / "wheels").is_dir() and making.poll() is None:
            assert time.monotonic() < until
            time.sleep(0.005)
        os.killpg(making.pid, signal.SIGKILL)
        assert making.wait() == -signal.SIGKILL
    assert beside.is_dir()
    assert (kit / "SHA256SUMS").read_bytes() == before and sums.problems(kit) == []
    runbook("--site", str(site), "kit", str(kit))
    assert not beside.exists() and sums.problems(kit) == []
    assert (kit / "state" / "terraform.tfstate").read_text() == STATE
