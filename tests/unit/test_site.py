"""runbook.toml: what is right becomes a Site, what is wrong is named by its key, all of it."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runbook import tomltext
from runbook.errors import SiteError, UseError
from runbook.site import model as site

SMALL = """\
name = "Our Open edX"
[platform]
domain = "openedx.example.org"
[couchdb]
password = { env = "COUCHDB_PASSWORD" }
cookie = { command = ["pass", "show", "cookie"] }
secret = { ask = "the secret" }
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "runbook.toml"
    path.write_text(text)
    return path


def wrong(folder: Path, text: str) -> dict[str, str]:
    with pytest.raises(SiteError) as caught:
        site.load(write(folder, text))
    return dict(caught.value.problems)


def test_a_small_one_is_enough(tmp_path: Path) -> None:
    loaded = site.load(write(tmp_path, SMALL), state=tmp_path / "state")
    assert loaded.platform.domain == "openedx.example.org" and loaded.couchdb.q == 8
    assert loaded.couchdb.cookie.command == ("pass", "show", "cookie")
    assert loaded.machines.known_hosts == str(tmp_path / "state" / "known_hosts-our-open-edx")


def test_paths_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    text = SMALL.replace('{ env = "COUCHDB_PASSWORD" }', '{ file = "pw" }').replace(
        '{ ask = "the secret" }', '{ env_file = "~/.env", key = "S" }'
    )
    text += """
    [machines]
    key = "keys/id"
    known_hosts = "/etc/known"
    [tofu]
    var_files = ["a.tfvars"]
    program = "bin/tofu"
    secrets = { token = { file = "t" } }
    [requests.admin_login]
    path = "/login"
    form = { email = "a@b", password = { file = "f" } }
    """
    loaded = site.load(write(tmp_path, text))
    at = str(tmp_path) + "/"
    assert loaded.couchdb.password.file == at + "pw"
    assert loaded.couchdb.secret.env_file == "/home/me/.env"
    assert (loaded.machines.key, loaded.machines.known_hosts) == (at + "keys/id", "/etc/known")
    assert loaded.machines.ssh_config == "/home/me/.ssh/config"
    assert loaded.tofu.folder == at + "infrastructure" and loaded.tofu.var_files == (at + "a.tfvars",)
    assert loaded.tofu.program == at + "bin/tofu" and loaded.tofu.secrets["token"].file == at + "t"
    assert loaded.backup.local == "/home/me/openedx-backups" and loaded.platform.ca_file == ""
    assert loaded.requests.admin_login is not None
    password = loaded.requests.admin_login.form["password"]
    assert isinstance(password, site.SecretRef) and password.file == at + "f"


def test_every_problem_is_named_by_its_key(tmp_path: Path) -> None:
    told = wrong(
        tmp_path,
        """
        nmae = "x"
        [objectives]
        rto = "soon"
        [machines]
        count = "3"
        internal_base = "10.0.1"
        production = [{ address = "203.0.113.1" }, { adress = "vm2" }]
        [platform]
        domain = "https://openedx.example.org/"
        public_through = "smoke"
        folder = "../other"
        lms_port = 0
        cms_port = true
        [couchdb]
        password = { env = "A", file = "b" }
        cookie = { }
        secret = { env = "" }
        [dns]
        servers = ["192.0.2.1", "192.0.2.1:53", "[2001:db8::1]:53", "ns1.example.org", "192.0.2.1:dns"]
        names = "openedx.example.org"
        [requests.course]
        path = "courses"
        status = 20
        [backup]
        databases = ["openedx_1", "Big"]
        """,
    )
    expected = {
        "nmae": "did you mean name?",
        "name": "is missing",
        "objectives.rto": "1h30m",
        "machines.count": "whole number",
        "machines.internal_base": "IPv4",
        "machines.production[1].adress": "did you mean address?",
        "machines.production[1].address": "is missing",
        "platform.domain": "no https://",
        "platform.public_through": "direct or ssh",
        "platform.folder": "below the user's home",
        "platform.lms_port": "1 to 65535",
        "platform.cms_port": "whole number",
        "couchdb.password": "exactly one form",
        "couchdb.cookie": "exactly one form",
        "couchdb.secret": "may not be empty",
        "dns.servers[4]": "address:port",
        "dns.names": "a list",
        "requests.course.path": "such as /courses",
        "requests.course.status": "100 to 599",
        "backup.databases[1]": "database",
    }
    assert told.keys() == expected.keys()
    for key, words in expected.items():
        assert words in told[key], key


@pytest.mark.parametrize(
    "line",
    [
        '[couchdb]\npassword = "hunter2"',
        '[couchdb]\npassword = ["hunter2"]',
        '[couchdb]\npassword = { value = "hunter2" }',
        '[couchdb]\npassword = { command = "hunter2" }',
        '[couchdb]\npassword = { env = "hunter2", ask = "hunter2" }',
        '[tofu.variables]\nhcloud_token = "hunter2"',
        '[tofu.secrets]\ntoken = "hunter2"',
        '[requests.admin_login]\npath = "/"\nform = { password = "hunter2" }',
        '[requests.course]\npath = "/"\nheaders = { Authorization = "hunter2" }',
    ],
)
def test_secrets_in_the_settings_are_refused_and_not_repeated(tmp_path: Path, line: str) -> None:
    with pytest.raises(SiteError) as caught:
        site.load(write(tmp_path, SMALL.split("[couchdb]")[0] + line))
    assert "hunter2" not in str(caught.value) and "hunter2" not in repr(caught.value.problems)
    assert 'env = "NAME"' in str(caught.value)


def test_a_secret_file_that_others_may_read(tmp_path: Path) -> None:
    secret = tmp_path / "pw"
    secret.write_text("x")
    secret.chmod(0o640)
    text = SMALL.replace('{ env = "COUCHDB_PASSWORD" }', '{ file = "pw" }')
    assert f"chmod 600 {secret}" in wrong(tmp_path, text)["couchdb.password"]
    secret.chmod(0o400)
    site.load(write(tmp_path, text))


@pytest.mark.parametrize("text", ["a = ", "\xff\xfe", "a = " + "[" * 5000, "name = 1\nname = 2"])
def test_files_that_are_no_settings(tmp_path: Path, text: str) -> None:
    (tmp_path / "runbook.toml").write_bytes(text.encode("latin-1"))
    with pytest.raises(SiteError):
        site.load(tmp_path / "runbook.toml")


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(SiteError, match="runbook site init"):
        site.load(tmp_path / "none.toml")


def test_the_record_has_no_secrets_and_gives_the_same_site(tmp_path: Path) -> None:
    loaded = site.load(write(tmp_path, SMALL))
    record = json.loads(json.dumps(site.masked(loaded)))
    assert record["couchdb"]["password"] == {"env": "COUCHDB_PASSWORD"}
    assert site.from_record(record) == loaded
    with pytest.raises(SiteError):
        site.from_record({"name": 1})


def test_where_settings_are_found(tmp_path: Path) -> None:
    cwd, config = tmp_path / "here", tmp_path / "config" / "runbook"
    cwd.mkdir()
    config.mkdir(parents=True)
    env = {"XDG_CONFIG_HOME": str(tmp_path / "config")}
    with pytest.raises(UseError, match="runbook site init"):
        site.find(None, env, cwd)
    general = write(config, SMALL)
    assert site.find(None, env, cwd) == general
    near = write(cwd, SMALL)
    assert site.find(None, env, cwd) == near
    named = write(tmp_path, SMALL)
    assert site.find(None, {**env, "RUNBOOK_SITE": str(named)}, cwd) == named
    assert site.find(named, {**env, "RUNBOOK_SITE": str(near)}, cwd) == named
    with pytest.raises(UseError, match="from RUNBOOK_SITE"):
        site.find(None, {**env, "RUNBOOK_SITE": "nowhere.toml"}, cwd)


def test_the_state_folder(tmp_path: Path) -> None:
    env = {"XDG_STATE_HOME": "/x"}
    assert site.state_folder(env) == Path("/x/runbook")
    assert site.state_folder({**env, "RUNBOOK_STATE": "/y"}) == Path("/y")
    assert site.state_folder({**env, "RUNBOOK_STATE": "/y"}, tmp_path) == tmp_path


WORDS = ["name", "platform", "domain", "couchdb", "password", "env", "file", "machines", "production"]
WORDS += ["address", "tofu", "secrets", "variables", "requests", "upload", "form", "path", "dns", "servers"]
KEYS = st.sampled_from(WORDS)
VALUES = st.recursive(
    st.booleans() | st.integers() | st.text(max_size=8),
    lambda deep: st.lists(deep, max_size=3) | st.dictionaries(KEYS | st.text(max_size=4), deep, max_size=4),
    max_leaves=12,
)


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(KEYS, VALUES, max_size=6))
def test_any_table_is_settings_or_a_site_error(tmp_path: Path, data: dict[str, object]) -> None:
    path = tmp_path / "runbook.toml"
    path.write_text(tomltext.table(data), encoding="utf-8")
    with pytest.raises(SiteError):
        site.load(path)


@given(st.text())
def test_quoted_text_comes_back(text: str) -> None:
    assert tomllib.loads(f"{tomltext.key(text)} = {tomltext.quote(text)}") == {text: text}
