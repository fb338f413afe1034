"""The first runbook.toml: it loads, holds no secret, and nothing is overwritten."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runbook.errors import UseError
from runbook.site import model as site
from runbook.site.init import init

OUTPUTS = {
    "production_ips": {"sensitive": False, "value": ["203.0.113.11", "203.0.113.12"]},
    "backup_ip": {"sensitive": False, "value": "203.0.113.100"},
    "password": {"sensitive": True, "value": "hunter2"},
}
ENV = 'DOMAIN_NAME=edx.example.org\nCOUCHDB_USER="boss"\nCOUCHDB_PASSWORD=hunter2\nCOUCHDB_SECRET=hunter3\n'


def test_from_what_is_known(tmp_path: Path) -> None:
    (tmp_path / "outputs.json").write_text(json.dumps(OUTPUTS))
    for folder in ("docker", "infrastructure"):
        (tmp_path / "openedx-ha" / folder).mkdir(parents=True)
    (tmp_path / "openedx-ha" / "docker" / ".env").write_text(ENV + "COUCHDB_COOKIE=monster\n")
    (tmp_path / "openedx-ha" / "infrastructure" / "main.tf").write_text("")
    out = tmp_path / "runbook.toml"
    hints = init(out, tmp_path / "outputs.json", checkout=tmp_path / "openedx-ha")
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert "hunter" not in out.read_text()
    loaded = site.load(out)
    env_file = str(tmp_path / "openedx-ha" / "docker" / ".env")
    assert loaded.platform.domain == "edx.example.org" and loaded.couchdb.user == "boss"
    assert loaded.couchdb.password == site.SecretRef(env_file=env_file, key="COUCHDB_PASSWORD")
    assert loaded.couchdb.secret.key == "COUCHDB_SECRET"
    assert loaded.machines.count == 2 and "203.0.113.12" in out.read_text()
    # addresses are not pinned: after a rebuild they are others
    assert loaded.machines.production == () and loaded.machines.production_output == "production_ips"
    assert loaded.tofu.folder == str(tmp_path / "openedx-ha" / "infrastructure")
    # CouchDB refuses the default cookie: it is not taken over
    assert loaded.couchdb.cookie.ask and [hint for hint in hints if hint.startswith("couchdb.cookie")]


def test_from_nothing(tmp_path: Path) -> None:
    hints = init(tmp_path / "runbook.toml")
    assert site.load(tmp_path / "runbook.toml").couchdb.password.ask
    assert [hint.split(":")[0] for hint in hints] == [
        "name",
        "platform.domain",
        "couchdb.password",
        "couchdb.cookie",
        "couchdb.secret",
    ]


def test_outputs_of_other_names(tmp_path: Path) -> None:
    renamed = {"my_production": {"value": ["203.0.113.1"]}, "ip_of_backup": {"value": "203.0.113.9"}}
    (tmp_path / "o.json").write_text(json.dumps(renamed))
    init(tmp_path / "runbook.toml", tmp_path / "o.json")
    machines = site.load(tmp_path / "runbook.toml").machines
    assert (machines.production_output, machines.backup_output) == ("my_production", "ip_of_backup")


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    out = tmp_path / "runbook.toml"
    out.write_text("mine")
    with pytest.raises(UseError, match="exists"):
        init(out)
    assert out.read_text() == "mine"
    link = tmp_path / "link.toml"
    link.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UseError, match="exists"):
        init(link)
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("text", ["", "[]", "{", '{"production_ips": 3}', "[" * 100_000])
def test_outputs_that_are_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "o.json").write_text(text)
    with pytest.raises(UseError, match="tofu output -json"):
        init(tmp_path / "runbook.toml", tmp_path / "o.json")
    assert not (tmp_path / "runbook.toml").exists()


def test_places_that_are_not_there(tmp_path: Path) -> None:
    for given_ in ({"env_file": tmp_path / "x"}, {"tofu_json": tmp_path / "x"}, {"checkout": tmp_path / "x"}):
        with pytest.raises(UseError):
            init(tmp_path / "runbook.toml", **given_)
    with pytest.raises(UseError, match="cannot be written"):
        init(tmp_path / "no" / "runbook.toml")


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(st.sampled_from(["DOMAIN_NAME", "COUCHDB_USER", "COUCHDB_COOKIE"]), st.text(max_size=12)),
    st.dictionaries(
        st.sampled_from(["production_ips", "backup_ip", 'x"production\n']),
        st.fixed_dictionaries({"value": st.text(max_size=8) | st.lists(st.text(max_size=8), max_size=2)}),
    ),
)
def test_whatever_it_reads_the_result_loads(
    tmp_path: Path, env: dict[str, str], outputs: dict[str, object]
) -> None:
    lines = "\n".join(f"{name}={value}" for name, value in env.items())
    (tmp_path / "e\n\"'é").write_text(lines, encoding="utf-8")
    (tmp_path / "o").write_text(json.dumps(outputs))
    (tmp_path / "out.toml").unlink(missing_ok=True)
    init(tmp_path / "out.toml", tmp_path / "o", tmp_path / "e\n\"'é")
    site.load(tmp_path / "out.toml")
