"""The checks on backups, on the site and on OpenTofu."""

from __future__ import annotations

from pathlib import Path

import pytest

from checks import backup, site, tofu
from runbook.action import NoParams
from runbook.actions.backup import Unfreeze
from runbook.backup import sums
from runbook.backup.verify import verify
from runbook.errors import CouldNotLook, SecretError
from runbook.hosts.base import Completed
from runbook.secrets import Secret
from runbook.site.model import Backup, Contact, Machines, SecretRef, Tofu
from tests.unit.backups import dump, make_backup
from tests.unit.doubles import SECRETS, FakeClock, FakeSecrets, make_look, make_site
from tests.unit.here import Here
from tests.unit.test_actions_backup import World


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    made.host.program("grep", "exit 1")  # the system's crontabs are this PC's here
    return made


async def test_frozen_and_pinned_then_running(world: World) -> None:
    assert (await backup.schedule_frozen(world.look())).verdict == "fail"
    assert (await backup.schedule_running(world.look())).verdict == "pass"
    assert (await backup.pinned(world.look())).verdict == "fail"
    await world.freeze()
    assert (await backup.schedule_frozen(world.look())).verdict == "pass"
    assert (await backup.schedule_running(world.look())).verdict == "fail"
    assert (await backup.pinned(world.look())).verdict == "pass"
    context = world.context()
    await Unfreeze().act(context, NoParams(), await Unfreeze().plan(context, NoParams()))
    assert (await backup.schedule_running(world.look())).verdict == "pass"


async def test_a_schedule_elsewhere_is_not_called_stopped(world: World) -> None:
    world.tab.write_text("")
    assert (await backup.schedule_frozen(world.look())).verdict == "warn"
    await world.freeze()
    world.host.program("grep", "echo '/etc/cron.d/x:0 1 * * * root backup.sh'; echo '/etc/crontab:# backup'")
    found = await backup.schedule_frozen(world.look())
    assert found.verdict == "warn" and found.evidence == "/etc/cron.d/x:0 1 * * * root backup.sh"


async def test_a_pin_that_lost_a_file(world: World) -> None:
    await world.freeze()
    (world.root / "pinned/20261101/node-10.0.1.10/_users.json").unlink()
    found = await backup.pinned(world.look())
    assert found.verdict == "fail" and "lacks _users" in found.evidence


async def test_a_pin_of_the_same_size_but_other_content(world: World) -> None:
    await world.freeze()
    ours = world.pc / "20261101/node-10.0.1.10/_users.json"
    ours.write_bytes(ours.read_bytes().replace(b"_users-a", b"_users-z"))
    found = await backup.pinned(world.look())
    assert found.verdict == "fail" and "'node-10.0.1.10/_users.json' differs" in found.observed
    assert "Move the wrong one away" in found.evidence


async def test_what_is_on_this_pc_alone_is_said(world: World) -> None:
    await world.freeze()
    assert "files with the same SHA-256" in (await backup.pinned(world.look())).observed
    (world.pc / "20261101/node-10.0.1.10/no\nte").write_text("x")
    found = await backup.pinned(world.look())
    assert found.verdict == "warn" and found.observed.endswith("; 1 more on this PC alone")
    ours = world.pc / "20261101/node-10.0.1.10/_users.json"
    ours.unlink()
    found = await backup.pinned(world.look())
    assert found.verdict == "fail"


async def test_a_pin_that_cannot_be_read_is_unknown(world: World) -> None:
    await world.freeze()
    world.host.program("sha256sum", "echo 'sha256sum: x: Input/output error' >&2; exit 1")
    with pytest.raises(CouldNotLook, match=r"backup cannot be hashed: .*Input/output error"):
        await backup.pinned(world.look())


def test_names_are_taken_as_they_are(tmp_path: Path) -> None:
    raw = b"".join(b"%064d  /b/%s\0" % (n, name) for n, name in enumerate([b"a", b"x\n\\y", b"\xff"]))
    assert list(sums.parse(Completed(0, raw, b""), "/b")) == ["a", "x\n\\y", "\udcff"]


def test_verify_reads_everything(tmp_path: Path) -> None:
    folder = make_backup(tmp_path / "backup/daily/20261101")
    found = verify(folder, roots=[f"{tmp_path}/backup"], now=FakeClock().now(), rpo=86400)
    assert found.problems == ()
    assert found.way and found.documents["10.0.1.10/_users"] == 2
    assert "scripts/" in found.lacks
    assert "more than the RPO of 1d00h" in found.notes[0]


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("node-10.0.1.11/_users.json", dump("a", "b")[:-5], "cut off"),
        ("node-10.0.1.11/_users.json", b'{"error":"not_found"}\n', "_users"),
        ("node-10.0.1.12/config.tar.gz", b"\x1f\x8b\x08", "damaged"),
        ("node-10.0.1.12/logs.tar.gz", b"nonsense", "damaged"),
        ("backup_manifest.json", b"{}", "not as it should be"),
    ],
)
def test_every_damage_is_a_problem(tmp_path: Path, file: str, content: bytes, words: str) -> None:
    folder = make_backup(tmp_path / "backup/daily/20261101")
    (folder / file).write_bytes(content)
    found = verify(folder, roots=[f"{tmp_path}/backup"])
    assert any(words in problem for problem in found.problems), found.problems


async def test_verified_as_a_check(tmp_path: Path) -> None:
    settings = make_site(backup=Backup(remote=f"{tmp_path}/backup"))
    folder = make_backup(tmp_path / "backup/daily/20261124")
    look = make_look(site=settings, outputs={"backup_path": str(folder)}, clock=FakeClock())
    found = await backup.verified(look)
    assert found.verdict == "pass", found.evidence
    assert "paths as in" in found.observed and "only a restore proves" in found.observed
    file = folder / "node-10.0.1.10/_users.json"
    file.write_bytes(dump("other", "people"))
    found = await backup.verified(look)
    assert found.verdict == "fail" and "matches in none of the" in found.observed
    gone = make_look(site=settings, outputs={"backup_path": str(tmp_path / "gone")})
    assert (await backup.verified(gone)).verdict == "fail"


# ── OpenTofu and the settings ──────────────────────────────────────────────────────────────
async def test_a_stand_in_serves_in_practice_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = Here("operator", tmp_path)
    monkeypatch.setenv("PATH", f"{host.bin}:/usr/bin:/bin")
    assert (await tofu.installed(make_look(host))).verdict == "fail"
    host.program("tofu", "echo 'OpenTofu stand-in of the practice lab'")
    found = await tofu.installed(make_look(host, mode="practice"))
    assert found.verdict == "pass" and found.simulated
    assert (await tofu.installed(make_look(host, mode="recovery"))).verdict == "fail"


class Missing(FakeSecrets):
    async def get(self, ref: SecretRef) -> Secret:
        if ref.env == "COUCHDB_SECRET":
            raise SecretError("the environment has no COUCHDB_SECRET")
        return await super().get(ref)


async def test_everything_the_recovery_will_ask_for(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("x")
    key.chmod(0o600)
    (tmp_path / "main.tf").write_text("")
    good = make_site(
        machines=Machines(key=str(key)),
        tofu=Tofu(folder=str(tmp_path), secrets={"hcloud_token": SecretRef(env="TOKEN")}),
    )
    secrets = FakeSecrets(SECRETS | {"TOKEN": "t0ken"})
    found = await site.ready(make_look(site=good, secrets=secrets))
    assert (found.verdict, found.observed) == ("pass", "4 secrets found; all files there")

    key.chmod(0o644)
    (tmp_path / "main.tf").unlink()
    found = await site.ready(make_look(site=good, secrets=Missing(SECRETS | {"TOKEN": ""})))
    assert found.verdict == "fail"
    for words in (
        "couchdb.secret: the environment",
        "tofu.secrets.hcloud_token: is empty",
        "no .tf file",
        "chmod 600",
    ):
        assert words in found.evidence
    assert not any(value in found.evidence for value in SECRETS.values())


async def test_the_default_cookie_is_seen_early(tmp_path: Path) -> None:
    look = make_look(secrets=FakeSecrets(SECRETS | {"COUCHDB_COOKIE": "monster"}))
    assert "monster" in (await site.ready(look)).evidence


async def test_contacts() -> None:
    assert (await site.contacts(make_look())).verdict == "warn"
    people = (Contact(name="Ada", role="lead", phone="+1"), Contact(name="Bob"))
    found = await site.contacts(make_look(site=make_site(contacts=people)))
    assert (found.verdict, found.observed) == ("pass", "Ada (lead)")
