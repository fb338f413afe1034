"""Host keys: unknown, known and changed are told apart before any login."""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import asyncssh
import pytest

from runbook.errors import HostKeyChanged, HostKeyUnknown, LoginRefused, StateError
from runbook.hosts.keys import KnownHosts, fingerprint
from tests.unit.sshserver import ADDRESS, SshServer

KEYS = [asyncssh.generate_private_key("ssh-ed25519").convert_to_public() for _ in range(3)]


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[SshServer]:
    server = SshServer(tmp_path / "server")
    await server.start()
    yield server
    await server.stop()


# ── the file ───────────────────────────────────────────────────────────────────────────────
def test_what_is_trusted_is_found_again(tmp_path: Path) -> None:
    known = KnownHosts(tmp_path / "new" / "known_hosts")
    assert not any(known.match(ADDRESS))
    known.trust(ADDRESS, KEYS[0])
    known.trust("2001:db8::1", KEYS[1])
    for port in (None, 22, 2222):
        assert known.match(ADDRESS, port)[0] == [KEYS[0]]
    assert known.match("2001:db8::1")[0] == [KEYS[1]]
    assert not any(known.match("203.0.113.12"))
    assert known.path.stat().st_mode & 0o077 == 0


def test_a_line_for_a_port_is_for_that_port(tmp_path: Path) -> None:
    known = KnownHosts(tmp_path / "known_hosts")
    known.trust("[vm]:2222", KEYS[0])
    assert known.match("vm", 2222)[0] == [KEYS[0]]
    assert not any(known.match("vm"))
    assert not any(known.match("vm", 2223))


def test_openssh_finds_what_we_wrote(tmp_path: Path) -> None:
    program = shutil.which("ssh-keygen")
    if program is None:
        pytest.skip("no ssh-keygen")
    known = KnownHosts(tmp_path / "known_hosts")
    known.trust(ADDRESS, KEYS[0])
    found = subprocess.run([program, "-F", ADDRESS, "-f", known.path], capture_output=True, check=False)
    assert found.returncode == 0


def test_forget(tmp_path: Path) -> None:
    known = KnownHosts(tmp_path / "known_hosts")
    assert known.forget("a") == 0
    for name, key in (("a", KEYS[0]), ("b", KEYS[1]), ("a", KEYS[2]), ("[a]:2222", KEYS[2])):
        known.trust(name, key)
    assert known.forget("a") == 3
    assert not any(known.match("a", 2222))
    assert known.match("b")[0] == [KEYS[1]]


def test_a_torn_last_line_is_not_glued_to_the_next(tmp_path: Path) -> None:
    path = tmp_path / "known_hosts"
    path.write_text("# a remark without a line end")
    KnownHosts(path).trust("a", KEYS[0])
    assert KnownHosts(path).match("a")[0] == [KEYS[0]]


def test_many_writers_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "known_hosts"

    def write(n: int) -> None:
        known = KnownHosts(path)
        known.trust(f"host{n}", KEYS[n % 3])
        if n % 4 == 0:
            known.forget(f"host{n}")

    threads = [threading.Thread(target=write, args=(n,)) for n in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    names = {line.split()[0] for line in path.read_text().splitlines()}
    assert names == {f"host{n}" for n in range(40) if n % 4}


def test_a_damaged_file_is_said_plainly(tmp_path: Path) -> None:
    path = tmp_path / "known_hosts"
    path.write_text("garbage\n")
    with pytest.raises(StateError, match="is damaged"):
        KnownHosts(path).match("a")


# ── the connection ─────────────────────────────────────────────────────────────────────────
async def test_unknown_is_refused_when_nobody_can_be_asked(server: SshServer) -> None:
    with pytest.raises(HostKeyUnknown) as failure:
        await server.host().run(["true"])
    assert failure.value.fingerprint == fingerprint(server.host_key)
    assert server.logins == []  # nothing was tried before the key was right


async def test_unknown_and_refused_by_a_person(server: SshServer) -> None:
    async def refuse(host: str, fingerprint: str) -> bool:
        return False

    with pytest.raises(HostKeyUnknown):
        await server.host(refuse).run(["true"])
    assert server.logins == []
    assert not server.known_hosts.path.exists()


async def test_unknown_and_accepted_is_asked_once(server: SshServer) -> None:
    asked = []

    async def accept(host: str, fingerprint: str) -> bool:
        assert server.logins == []
        asked.append((host, fingerprint))
        return True

    for _ in range(2):
        host = server.host(accept)
        assert (await host.run(["true"])).ok
        await host.close()
    assert asked == [("vm1", fingerprint(server.host_key))]


async def test_changed_stops_always(server: SshServer) -> None:
    async def accept(host: str, fingerprint: str) -> bool:
        raise AssertionError("a changed key is no question")

    server.known_hosts.trust(ADDRESS, KEYS[0])
    with pytest.raises(HostKeyChanged) as failure:
        await server.host(accept).run(["true"])
    assert (failure.value.known, failure.value.offered) == (
        fingerprint(KEYS[0]),
        fingerprint(server.host_key),
    )
    assert "ssh-keygen -R '203.0.113.11'" in failure.value.next
    assert server.logins == []


async def test_another_kind_of_key_is_a_changed_key(server: SshServer) -> None:
    key = asyncssh.generate_private_key("ecdsa-sha2-nistp256").convert_to_public()
    server.known_hosts.trust(ADDRESS, key)
    with pytest.raises(HostKeyChanged):
        await server.host().run(["true"])


async def test_of_several_keys_the_known_one_is_asked_for(server: SshServer) -> None:
    other = asyncssh.generate_private_key("ecdsa-sha2-nistp256")
    await server.stop()
    await server.start(host_keys=[server.host_key, other])
    server.known_hosts.trust(ADDRESS, other.convert_to_public())
    host = server.host()
    assert (await host.run(["true"])).ok
    await host.close()


async def test_a_revoked_key_stops(server: SshServer) -> None:
    line = server.host_key.export_public_key().decode().strip()
    server.known_hosts.path.write_text(f"@revoked * {line}\n{ADDRESS} {line}\n")
    with pytest.raises(HostKeyChanged, match="revoked"):
        await server.host().run(["true"])


async def test_the_users_own_settings_cannot_switch_checking_off(server: SshServer) -> None:
    with server.ssh_config.open("a") as file:
        file.write("  StrictHostKeyChecking no\n  UserKnownHostsFile none\n")
    server.known_hosts.trust(ADDRESS, KEYS[0])
    with pytest.raises(HostKeyChanged):
        await server.host().run(["true"])


async def test_a_key_that_only_the_loopback_port_has_is_not_the_machines(server: SshServer) -> None:
    server.known_hosts.trust(f"[127.0.0.1]:{server.port}", server.host_key.convert_to_public())
    with pytest.raises(HostKeyUnknown):
        await server.host().run(["true"])


async def test_login_refused(server: SshServer) -> None:
    server.trust()
    asyncssh.generate_private_key("ssh-ed25519").write_private_key(server.key)
    with pytest.raises(LoginRefused, match="refused the login of somebody"):
        await server.host().run(["true"])


async def test_a_key_file_that_is_not_there_contacts_nobody(server: SshServer) -> None:
    with pytest.raises(LoginRefused, match="was not contacted"):
        await server.host(key=server.folder / "nothing").run(["true"])
    assert server.connections == []


async def test_a_key_file_that_is_no_key(server: SshServer) -> None:
    server.key.write_text("hello")
    with pytest.raises(LoginRefused, match="is no private key"):
        await server.host().run(["true"])


async def test_a_broken_ssh_config_is_named(server: SshServer) -> None:
    server.ssh_config.write_text("Host *\n  Port many\n")
    with pytest.raises(Exception, match=r"ssh_config.*vm1 was not contacted"):
        await server.host().run(["true"])
