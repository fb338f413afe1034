"""What goes into a kit: OpenTofu's files without secrets, its state for one user alone, papers."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from runbook import cli
from runbook.errors import EXIT_USE, SiteError
from runbook.kit import infrastructure, known, opentofu, papers
from runbook.kit.parts import Part, missing_text
from runbook.kit.plaintext import plain
from runbook.site.model import Contact, SecretRef, Tofu
from tests.unit.doubles import make_site

SETTINGS = """\
name = "Kit test"
[platform]
domain = "learn.example.org"
[couchdb]
password = { env = "COUCHDB_PASSWORD" }
cookie = { ask = "the cookie" }
secret = { ask = "the secret" }
"""


@pytest.fixture
def tofu(tmp_path: Path) -> Tofu:
    folder = tmp_path / "infrastructure"
    for name, text in {
        "main.tf": 'variable "pin" {\n  sensitive = true\n}\n',
        "terraform.tfvars": 'pin = "canary-1"\nhcloud_token = "canary-2"\ndomain_name = "x.example.org"\n',
        ".env": "COUCHDB_PASSWORD=canary-3\n",
        "id_ed25519": "-----BEGIN OPENSSH PRIVATE KEY-----\ncanary-4\n",
        "cloud-init.yaml": "packages: [docker.io]\n",
        "run.sh": "#!/bin/sh\n",
        ".terraform.lock.hcl": "# locked\n",
        "apply.tfplan": "canary-5",
        "terraform.tfstate": '{"secret": "canary-6"}',
        "terraform.tfstate.backup": '{"secret": "canary-7"}',
        "terraform.tfstate.d/drill/terraform.tfstate": '{"secret": "canary-8"}',
        ".terraform/terraform.tfstate": '{"backend": "canary-9"}',
        ".terraform/modules/modules.json": "{}",
        ".terraform/providers/registry.example/acme/cloud/1.0.0/linux_amd64/provider": "binary",
    }.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (folder / "run.sh").chmod(0o755)
    (folder / "elsewhere").symlink_to("/etc/hostname")
    beside = tmp_path / "production.tfvars"
    beside.write_text("production_vm_count = 3\n")
    return Tofu(folder=str(folder), program="/nowhere/tofu", var_files=(str(beside),))


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_infrastructure_comes_without_its_secrets_and_each_is_named(tofu: Tofu, tmp_path: Path) -> None:
    (kit := tmp_path / "kit").mkdir()
    part = infrastructure.files(tofu, kit, {})
    copied = kit / "infrastructure"
    assert files(copied) == {
        "main.tf",
        "terraform.tfvars",
        "cloud-init.yaml",
        "run.sh",
        ".terraform.lock.hcl",
        ".terraform/modules/modules.json",
        "var-files/production.tfvars",
    }
    assert not [name for name in files(kit) if "canary" in (kit / name).read_text()]
    assert 'domain_name = "x.example.org"' in (copied / "terraform.tfvars").read_text()
    assert stat.S_IMODE((copied / "run.sh").stat().st_mode) == 0o700
    told = missing_text([part])
    assert "canary" not in told
    for what in ("pin, hcloud_token", "COUCHDB_PASSWORD", "a private key", "elsewhere is no plain file"):
        assert what in " ".join(told.split())


def test_a_secret_that_can_be_looked_up_is_found_under_any_name(
    tofu: Tofu, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COUCHDB_PASSWORD", "canary-long")
    monkeypatch.setenv("COUCHDB_COOKIE", "docker")
    secrets = known.secrets(make_site())
    assert secrets == {"couchdb.password": "canary-long"}, "not one that is unset, nor one that is short"
    (Path(tofu.folder) / "notes.md").write_text("On the VMs say canary-long to log in.\n")
    (kit := tmp_path / "kit").mkdir()
    told = missing_text([infrastructure.files(tofu, kit, secrets)])
    assert "notes.md" not in files(kit / "infrastructure")
    assert "the value of couchdb.password" in " ".join(told.split()) and "canary" not in told
    settings = tmp_path / "runbook.toml"
    settings.write_text(SETTINGS + "# say canary-long\n")
    with pytest.raises(SiteError, match=r"line 8.*the value of couchdb\.password"):
        papers.without_secrets(settings, secrets)


def test_the_state_is_for_this_user_alone(tofu: Tofu, tmp_path: Path) -> None:
    (kit := tmp_path / "kit").mkdir()
    part = infrastructure.state(tofu, kit, wanted=True)
    assert part.lacks == () and "SECRETS" in part.words and "2 files" in part.words
    assert files(kit / "state") == {"terraform.tfstate", "terraform.tfstate.d/drill/terraform.tfstate"}
    for path in (kit / "state").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)
    assert stat.S_IMODE((kit / "state").stat().st_mode) == 0o700


def test_the_state_stays_out_when_asked_and_its_absence_is_told(tofu: Tofu, tmp_path: Path) -> None:
    (kit := tmp_path / "kit").mkdir()
    out = infrastructure.state(tofu, kit, wanted=False)
    assert out.lacks == () and files(kit) == set()
    assert "--no-state" in missing_text([out])
    none = infrastructure.state(Tofu(folder=str(tmp_path / "nothing")), kit, wanted=True)
    assert "state pull" in none.lacks[0].next


def test_providers_that_init_brought_serve_where_there_is_no_network(tofu: Tofu, tmp_path: Path) -> None:
    (kit := tmp_path / "kit").mkdir()
    part = opentofu.providers(tofu, kit)
    assert part.lacks == () and part.words.startswith("1 provider, as `init` brought")
    assert files(kit / opentofu.PROVIDERS) == {"registry.example/acme/cloud/1.0.0/linux_amd64/provider"}
    bare = opentofu.providers(Tofu(folder=str(tmp_path), program="/nowhere/tofu"), tmp_path / "other")
    assert "there is no OpenTofu here" in bare.lacks[0].what


def test_a_program_that_only_calls_another_is_not_taken_for_opentofu(tmp_path: Path) -> None:
    script = tmp_path / "tofu"
    script.write_text('#!/bin/sh\nexec /opt/tofu "$@"\n')
    script.chmod(0o755)
    part = opentofu.program(Tofu(program=str(script)), tmp_path / "kit")
    assert "calls something else" in part.lacks[0].what and files(tmp_path / "kit") == set()
    none = opentofu.program(Tofu(program="/nowhere/tofu"), tmp_path / "kit")
    assert "not on the PATH" in none.lacks[0].what


def test_settings_come_as_they_are_and_what_they_refer_to_is_listed(tmp_path: Path) -> None:
    (kit := tmp_path / "kit").mkdir()
    path = tmp_path / "runbook.toml"
    path.write_text(SETTINGS)
    site = make_site(tofu=Tofu(secrets={"hcloud_token": SecretRef(command=("pass", "show", "token"))}))
    part = papers.settings(site, path, kit, {})
    assert (kit / papers.SETTINGS).read_text() == SETTINGS
    bring = "\n".join(part.bring)
    assert "couchdb.password: env COUCHDB_PASSWORD" in bring
    assert "tofu.secrets.hcloud_token: the output of pass" in bring


@pytest.mark.parametrize(
    "line",
    [
        '# password = "canary-1"',
        '[tofu.variables]\nhcloud_token = "canary-1"',
        "# http://admin:canary-1@10.0.1.10",
    ],
)
def test_settings_with_a_secret_in_plain_make_no_kit(
    line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "runbook.toml"
    path.write_text(SETTINGS + line + "\n")
    assert cli.main(["--site", str(path), "kit", str(tmp_path / "kit")]) == EXIT_USE
    told = capsys.readouterr()
    assert "runbook.toml" in told.err and "plain" in told.err
    assert "canary" not in told.err + told.out
    assert [one.name for one in tmp_path.iterdir()] == ["runbook.toml"]


def test_a_kit_is_not_made_inside_of_what_goes_into_it(
    tofu: Tofu, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "runbook.toml"
    path.write_text(SETTINGS)
    inside = Path(tofu.folder) / "kit"
    assert cli.main(["--site", str(path), "kit", str(inside)]) == EXIT_USE
    assert "lies in OpenTofu's folder" in capsys.readouterr().err
    assert not inside.exists()


def test_wrong_use_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["kit", "verify"]) == EXIT_USE
    assert cli.main(["kit", str(tmp_path / "one"), str(tmp_path / "two")]) == EXIT_USE
    assert cli.main(["kit", "verify", str(tmp_path / "nothing")]) == EXIT_USE
    assert "There is no folder" in capsys.readouterr().err
    assert cli.main(["--site", str(tmp_path / "none.toml"), "kit", str(tmp_path / "kit")]) == EXIT_USE
    assert list(tmp_path.iterdir()) == []


def test_contacts_are_plain_text_that_can_do_no_harm(tmp_path: Path) -> None:
    site = make_site(contacts=(Contact(name="Ada\x1b[31m", role="commander", phone="+1 555 0100"),))
    assert papers.contacts(site, tmp_path).words == "1 contact"
    text = (tmp_path / papers.CONTACTS).read_text()
    assert "\nAda\ncommander\n  phone: +1 555 0100\n" in text and "\x1b" not in text
    assert papers.contacts(make_site(), tmp_path).lacks[0].what == "nobody is named"


def test_every_guide_is_there_in_both_forms(tmp_path: Path) -> None:
    papers.guides(tmp_path)
    names = files(tmp_path / "guides")
    assert "full-system-restore.md" in names and "full-system-restore.txt" in names
    text = (tmp_path / "guides" / "full-system-restore.txt").read_text()
    assert "Full system restore\n===================\n" in text
    assert "**" not in text


def test_markdown_becomes_plain_text() -> None:
    text = plain(
        "# Title\n\nSome *words* and a [link](https://x.example.org).\n\n1. one\n2. two\n\n   more\n\n"
        "- a `b`\n\n> said\n\n```sh\nrun  it\n```\n\n| a | b |\n|---|---|\n| 1 | 2\x1b[0m |\n"
    )
    assert text == (
        "Title\n=====\n\nSome words and a link <https://x.example.org>.\n\n1. one\n2. two\n\n   more\n\n"
        "- a b\n\n  | said\n\n    run  it\n\na    b\n---  ---\n1    2\n"
    )


def test_a_complete_kit_says_that_nothing_is_missing() -> None:
    text = missing_text([Part(name="program", words="all", bring=("Python 3.11",))])
    assert "\nNothing.\n" in text and "- Python 3.11" in text
