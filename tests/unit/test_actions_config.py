"""Unpacking and adapting on a folder that stands for a VM's home, with the real tar."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from runbook.action import NoParams
from runbook.actions.config import Adapt, Unpack
from runbook.context import Context
from runbook.errors import ActionFailed, CouldNotLook
from runbook.platform import adapt, dotenv, unpack
from runbook.site.model import Backup
from tests.unit.backups import COMPOSE, SETTINGS, archive, make_backup
from tests.unit.doubles import SECRETS, FakeSecrets, make_context, make_site
from tests.unit.here import Here

BASE = """version: "3.8"
services:
  couchdb:
    image: couchdb:3.3.2
    container_name: couchdb
    environment:
      - COUCHDB_USER=${COUCHDB_USER}
    ports:
      - "5984:5984"
  node-exporter:   # the machine's own numbers
    image: prom/node-exporter:v1.6.0
    ports: ["127.0.0.1:9100:9100", '9101:9101']
  watchtower:
    image: containrrr/watchtower
"""


class VM:
    def __init__(self, folder: Path, name: str = "vm1") -> None:
        self.backups = folder / "pc"
        self.backup = make_backup(self.backups / "20261101")
        self.home = folder / name
        self.host = Here(name, self.home)
        self.secrets = FakeSecrets()
        self.outputs: dict[str, object] = {"backup_path": str(self.backup)}

    def context(self) -> Context:
        site = make_site(backup=Backup(local=str(self.backups)))
        return make_context(self.host, site=site, outputs=self.outputs, secrets=self.secrets)

    def put(self, node: str, members: dict[str, bytes]) -> Path:
        path = self.backup / f"node-{node}/config.tar.gz"
        path.write_bytes(archive(members))
        return path

    async def unpack(self):
        context = self.context()
        return await Unpack().act(context, NoParams(), await Unpack().plan(context, NoParams()))

    async def adapt(self):
        self.outputs["compose_dir"] = "openedx-ha/docker"
        context = self.context()
        return await Adapt().act(context, NoParams(), await Adapt().plan(context, NoParams()))


@pytest.fixture
def vm(tmp_path: Path) -> VM:
    return VM(tmp_path)


# ── unpack ─────────────────────────────────────────────────────────────────────────────────
async def test_unpack(vm: VM) -> None:
    assert (await Unpack().probe(vm.context(), NoParams())).satisfied is False
    outcome = await vm.unpack()
    assert outcome.outputs == {"compose_dir": "openedx-ha/docker"}
    assert (vm.home / "openedx-ha/docker/docker-compose.yml").read_bytes() == COMPOSE
    assert (vm.home / "openedx-ha").stat().st_mode & 0o777 == 0o700
    assert sorted(one.name for one in vm.home.iterdir()) == [".bin", "openedx-ha"]
    probe = await Unpack().probe(vm.context(), NoParams())
    assert probe.satisfied and probe.outputs == outcome.outputs


async def test_what_was_there_is_kept(vm: VM) -> None:
    (vm.home / "openedx-ha").mkdir()
    (vm.home / "openedx-ha/mine").write_text("mine")
    plan = await Unpack().plan(vm.context(), NoParams())
    assert any("before-" in item for item in plan.items)
    await vm.unpack()
    (kept,) = vm.home.glob("openedx-ha.before-*")
    assert (kept / "mine").read_text() == "mine"
    assert not (vm.home / "openedx-ha/mine").exists()


async def test_a_link_that_stands_in_the_way_is_not_followed(vm: VM, tmp_path: Path) -> None:
    target = tmp_path / "elsewhere"
    target.mkdir()
    (vm.home / "openedx-ha.runbook-staging").symlink_to(target)
    (vm.home / "openedx-ha").symlink_to(target)
    await vm.unpack()
    assert not list(target.iterdir())
    assert not (vm.home / "openedx-ha").is_symlink()


async def test_any_interruption_and_a_repeat_end_right(vm: VM) -> None:
    (vm.home / "openedx-ha").mkdir()
    (vm.home / "openedx-ha/mine").write_text("mine")
    for moment in range(60):
        context = vm.context()
        plan = await Unpack().plan(context, NoParams())
        vm.host.stop_at = moment
        try:
            await Unpack().act(context, NoParams(), plan)
            break
        except BaseException:
            vm.host.stop_at = None
            probe = await Unpack().probe(vm.context(), NoParams())
            whole = (vm.home / "openedx-ha/config/lms.env.json").exists()
            assert not probe.satisfied or whole
        finally:
            vm.host.stop_at = None
    else:
        pytest.fail("it never came to its end")
    assert (await Unpack().probe(vm.context(), NoParams())).satisfied
    assert any((kept / "mine").exists() for kept in vm.home.glob("openedx-ha.before-*"))
    assert not (vm.home / "openedx-ha.runbook-staging").exists()


async def test_a_file_changed_since_is_seen_but_what_adapt_edits_is_its_business(vm: VM) -> None:
    await vm.unpack()
    (vm.home / "openedx-ha/docker/.env").write_text("edited")
    assert (await Unpack().probe(vm.context(), NoParams())).satisfied
    (vm.home / "openedx-ha/config/lms.env.json").write_text("edited")
    probe = await Unpack().probe(vm.context(), NoParams())
    assert probe.satisfied is False and "lms.env.json" in probe.summary


async def test_a_backup_that_is_gone_leaves_the_probe_without_an_answer(vm: VM) -> None:
    await vm.unpack()
    vm.backup.rename(vm.backups / "gone")
    with pytest.raises(CouldNotLook, match="gone from this PC"):
        await Unpack().probe(vm.context(), NoParams())


async def test_another_archive_is_unpacked_anew(vm: VM) -> None:
    await vm.unpack()
    vm.put("10.0.1.10", SETTINGS | {"docker/new": b"x"})
    assert (await Unpack().probe(vm.context(), NoParams())).satisfied is False


async def test_the_compose_file_is_searched(vm: VM) -> None:
    vm.put("10.0.1.10", {"openedx-ha/deploy/main/compose.yml": COMPOSE, "openedx-ha/x": b""})
    plan = await Unpack().plan(vm.context(), NoParams())
    assert "the compose file lies in openedx-ha/deploy/main" in plan.items
    assert (await vm.unpack()).outputs == {"compose_dir": "openedx-ha/deploy/main"}
    vm.put("10.0.1.10", {"docker/readme": b"x"})
    with pytest.raises(ActionFailed, match="holds no compose file"):
        await Unpack().plan(vm.context(), NoParams())


async def test_another_nodes_archive_serves(vm: VM) -> None:
    (vm.backup / "node-10.0.1.10/config.tar.gz").unlink()
    plan = await Unpack().plan(vm.context(), NoParams())
    assert "no config.tar.gz of 10.0.1.10" in plan.items[0]


async def test_a_full_disk(vm: VM) -> None:
    (vm.home / "openedx-ha").mkdir()
    vm.host.program("tar", "echo 'tar: x: Cannot write: No space left on device' >&2; exit 2")
    with pytest.raises(ActionFailed, match="disk is full") as caught:
        await vm.unpack()
    assert "Make room" in caught.value.next
    assert sorted(one.name for one in vm.home.iterdir()) == [".bin", "openedx-ha"]


async def test_a_tar_that_lies_is_caught(vm: VM) -> None:
    vm.host.program("tar", "exit 0")
    with pytest.raises(ActionFailed, match="not as in the archive"):
        await vm.unpack()
    assert not (vm.home / "openedx-ha").exists()


async def test_an_archive_that_changed_since_the_plan(vm: VM) -> None:
    context = vm.context()
    plan = await Unpack().plan(context, NoParams())
    vm.put("10.0.1.10", SETTINGS | {"docker/new": b"x"})
    with pytest.raises(ActionFailed, match="changed since the plan"):
        await Unpack().act(context, NoParams(), plan)


def test_sha256sums_escaped_names() -> None:
    digest = hashlib.sha256(b"").hexdigest()
    output = f"{digest}  ./a b\n\\{digest}  ./a\\nb\\\\c\n".encode()
    assert unpack.parse_sums(output) == {"a b": digest, "a\nb\\c": digest}


# ── adapt ──────────────────────────────────────────────────────────────────────────────────
async def test_adapt(vm: VM) -> None:
    vm.put("10.0.1.10", SETTINGS | {"docker/docker-compose.yml": BASE.encode()})
    await vm.unpack()
    await vm.adapt()
    docker = vm.home / "openedx-ha/docker"

    env = dotenv.parse((docker / ".env").read_text())
    assert env["COUCHDB_COOKIE"] == SECRETS["COUCHDB_COOKIE"]
    assert env["VM_INDEX"] == "1" and env["DOMAIN_NAME"] == "learn.example.org"
    override = yaml.safe_load((docker / adapt.OVERRIDE).read_text())
    couchdb = override["services"]["couchdb"]
    assert couchdb["environment"]["NODENAME"] == "10.0.1.10"
    assert couchdb["environment"]["COUCHDB_ERLANG_COOKIE"] == "${COUCHDB_COOKIE}"
    assert couchdb["ports"] == ["4369:4369", "9100:9100"]
    assert override["services"]["watchtower"]["profiles"] == [adapt.DISABLED]
    assert override["version"] == "3.8"
    assert "127.0.0.1:9102:9100" in (docker / "docker-compose.yml").read_text()
    kept = {one.name.partition(".before-")[0] for one in docker.glob("*.before-*")}
    kept |= {one.name.partition(".before-")[0] for one in docker.glob(".*.before-*")}
    assert kept == {".env", "docker-compose.yml"}
    assert docker.stat().st_mode & 0o777 == 0o700

    assert (await Adapt().probe(vm.context(), NoParams())).satisfied
    assert (await Unpack().probe(vm.context(), NoParams())).satisfied
    assert (await Adapt().plan(vm.context(), NoParams())).summary == "nothing to write"


async def test_no_secret_in_the_plan(vm: VM) -> None:
    vm.put(
        "10.0.1.10", SETTINGS | {"docker/.env": b"COUCHDB_PASSWORD=old-but-secret\nCOUCHDB_COOKIE=monster\n"}
    )
    await vm.unpack()
    vm.outputs["compose_dir"] = "openedx-ha/docker"
    plan = await Adapt().plan(vm.context(), NoParams())
    text = json.dumps([plan.items, plan.data])
    for secret in (*SECRETS.values(), "old-but-secret"):
        assert secret not in text
    assert "-pbkdf2-" not in text
    assert "  -COUCHDB_COOKIE=monster (the default)" in plan.items
    assert "  +COUCHDB_COOKIE=****" in plan.items
    assert vm.secrets.learned[-1].reveal() == "old-but-secret"


async def test_any_interruption_of_adapt(vm: VM) -> None:
    vm.put("10.0.1.10", SETTINGS | {"docker/docker-compose.yml": BASE.encode()})
    await vm.unpack()
    original = (vm.home / "openedx-ha/docker/.env").read_bytes()
    for moment in range(60):
        vm.outputs["compose_dir"] = "openedx-ha/docker"
        context = vm.context()
        plan = await Adapt().plan(context, NoParams())
        vm.host.stop_at = moment
        try:
            await Adapt().act(context, NoParams(), plan)
            break
        except BaseException:
            continue
        finally:
            vm.host.stop_at = None
    assert (await Adapt().probe(vm.context(), NoParams())).satisfied
    kept = sorted((vm.home / "openedx-ha/docker").glob(".env.before-*"))
    assert original in [one.read_bytes() for one in kept]


async def test_the_cookie_monster_is_refused(vm: VM) -> None:
    await vm.unpack()
    vm.secrets = FakeSecrets(SECRETS | {"COUCHDB_COOKIE": "monster"})
    with pytest.raises(ActionFailed, match="monster"):
        await vm.adapt()
    with pytest.raises(CouldNotLook, match="monster"):
        await Adapt().probe(vm.context(), NoParams())


async def test_a_configuration_that_changed_since_the_plan(vm: VM) -> None:
    await vm.unpack()
    vm.outputs["compose_dir"] = "openedx-ha/docker"
    context = vm.context()
    plan = await Adapt().plan(context, NoParams())
    (vm.home / "openedx-ha/docker/.env").write_text("OTHER=1\n")
    with pytest.raises(ActionFailed, match="changed since the plan"):
        await Adapt().act(context, NoParams(), plan)
    assert (vm.home / "openedx-ha/docker/.env").read_text() == "OTHER=1\n"


async def test_all_vms_share_what_they_must(tmp_path: Path) -> None:
    texts = []
    for name in ("vm1", "vm2"):
        vm = VM(tmp_path / name, name)
        await vm.unpack()
        await vm.adapt()
        texts.append((vm.home / "openedx-ha/docker" / adapt.INI).read_text())
    assert texts[0] == texts[1]


# ── the texts ──────────────────────────────────────────────────────────────────────────────
def test_the_ini_as_the_images_start_script_looks_for_it() -> None:
    ini = adapt.couchdb_ini(user="admin", password="pw", secret="s3", max_document_size=200_000_000)
    assert "[chttpd_auth]\nsecret = s3\n" in ini
    assert "[admins]\nadmin = -pbkdf2-" in ini
    assert "max_document_size = 200000000" in ini


def test_the_admin_hash_is_couchdbs() -> None:
    # made by CouchDB for the password "s3cret" would be salted anew; the form and the length are fixed
    key, salt, iterations = adapt.admin_hash("pw", "00ff").removeprefix("-pbkdf2-").split(",")
    assert (len(key), salt, iterations) == (40, "00ff", "10")
    assert key == hashlib.pbkdf2_hmac("sha1", b"pw", b"00ff", 10, 20).hex()


def test_env_lines_are_changed_in_place() -> None:
    old = "# mine\r\nexport VM_INDEX = 1 # old\r\nX=1\nVM_INDEX=2"
    new = adapt.edit_env(old, {"VM_INDEX": "3", "COOKIE": "a b"})
    assert new == "# mine\r\nexport VM_INDEX=3\r\nX=1\nVM_INDEX=3\nCOOKIE='a b'\n"


plain = st.text(
    st.characters(codec="utf-8", exclude_characters="'\\", exclude_categories=["Cc", "Cs", "Zl", "Zp"])
)


@given(st.text(st.sampled_from("AB=#'\"\n\r x")), plain)
def test_what_is_written_is_read_back_and_stays(old: str, value: str) -> None:
    new = adapt.edit_env(old, {"A": value})
    assert dotenv.parse(new)["A"] == value
    assert adapt.edit_env(new, {"A": value}) == new


def test_values_no_compose_reads_alike_are_refused() -> None:
    with pytest.raises(ActionFailed, match="differently"):
        adapt.edit_env("", {"A": "it's"})


def test_names_below_the_old_domain_follow() -> None:
    old = {"DOMAIN_NAME": "old.org", "LMS_BASE": "old.org", "CMS_BASE": "studio.old.org"}
    assert adapt.follow_domain(old, "new.org") == {"LMS_BASE": "new.org", "CMS_BASE": "studio.new.org"}
    assert adapt.follow_domain(old | {"LMS_BASE": "bold.org"}, "new.org") == {"CMS_BASE": "studio.new.org"}


def test_ports_are_moved_where_they_stand() -> None:
    text, words = adapt.free_ports(BASE)
    assert words == ["node-exporter: published port 9100 becomes 9102 (CouchDB's cluster needs 9100)"]
    assert text == BASE.replace("127.0.0.1:9100:9100", "127.0.0.1:9102:9100")
    assert adapt.free_ports(text) == (text, [])
    long = "services:\n  e:\n    ports:\n      - target: 9100\n        published: 9100\n"
    assert adapt.free_ports(long)[0] == long.replace("published: 9100", "published: 9101")


def test_an_override_that_was_there_stays_in_it() -> None:
    present = (
        "services:\n  couchdb:\n    environment: [A=1, NODENAME=old]\n    mem_limit: 2g\n  lms: {cpus: 2}\n"
    )
    once = adapt.override(BASE, present, "couchdb@10.0.1.11")
    read = yaml.safe_load(once)["services"]
    assert read["lms"] == {"cpus": 2} and read["couchdb"]["mem_limit"] == "2g"
    assert read["couchdb"]["environment"]["A"] == "1"
    assert read["couchdb"]["environment"]["NODENAME"] == "10.0.1.11"
    assert adapt.override(BASE, once, "couchdb@10.0.1.11") == once


@pytest.mark.parametrize("text", ["a: [", "- x", "services: []", "services: {a: 1}", "services: {lms: {}}"])
def test_files_that_are_no_compose_files(text: str) -> None:
    with pytest.raises(ActionFailed):
        adapt.override(text, "", "couchdb@10.0.1.10")


def test_a_node_name_the_image_cannot_have() -> None:
    with pytest.raises(ActionFailed, match="always puts couchdb@"):
        adapt.override(BASE, "", "db@10.0.1.10")


def test_images_that_change_by_themselves() -> None:
    assert adapt.unpinned(BASE) == ["watchtower (containrrr/watchtower)"]


def test_lists_with_secrets_are_masked() -> None:
    shown = adapt.difference('x:\n  - DB_PASSWORD="abc"\n', "x:\n")
    assert shown == ["-  - DB_PASSWORD=****"]
