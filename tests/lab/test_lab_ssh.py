"""The VMs' SSH servers, with a real client."""

from __future__ import annotations

import asyncio
from pathlib import Path

import asyncssh
import pytest

from tests.lab.conftest import Lab, until


async def backup(lab: Lab) -> asyncssh.SSHClientConnection:
    return await lab.ssh("backup", "backup-user")


async def test_a_command_runs_at_home(lab: Lab) -> None:
    connection = await backup(lab)
    ran = await connection.run("pwd; echo $HOME $USER; hostname; echo err >&2; exit 7")
    home = str(lab.layout.home("backup", "backup-user"))
    assert ran.stdout.split() == [home, home, "backup-user", "backup"]
    assert (ran.stderr, ran.exit_status) == ("err\n", 7)


async def test_stdin_reaches_the_command_and_signals_end_it(lab: Lab) -> None:
    connection = await backup(lab)
    ran = await connection.run("wc -c", input="x" * 2_000_000)
    assert ran.stdout.split() == ["2000000"]
    async with connection.create_process("sleep 600") as process:
        process.terminate()
        ended = await asyncio.wait_for(process.wait(), 10)
    assert ended.exit_signal is not None
    assert ended.exit_signal[0] == "TERM"


async def test_commands_end_with_the_connection_and_jobs_stay(lab: Lab, tmp_path: Path) -> None:
    connection = await backup(lab)
    await connection.run("setsid -f sh -c 'echo $$ > job; exec sleep 600' >/dev/null 2>&1 </dev/null")
    await connection.create_process("echo $$ > plain; exec sleep 600")
    home = lab.layout.home("backup", "backup-user")

    async def both() -> bool:
        return all((home / name).exists() and (home / name).read_text().strip() for name in ("job", "plain"))

    await until(both)
    job, plain = (int((home / name).read_text()) for name in ("job", "plain"))
    connection.abort()

    async def plain_gone() -> bool:
        return not Path(f"/proc/{plain}").exists()

    await until(plain_gone)
    assert Path(f"/proc/{job}").exists()


async def test_a_shell_has_a_terminal(lab: Lab) -> None:
    connection = await backup(lab)
    async with connection.create_process(term_type="xterm", term_size=(91, 33)) as process:
        process.stdin.write("stty size; tty; exit 5\n")
        output = await asyncio.wait_for(process.stdout.read(), 10)
        ended = await process.wait()
    assert "33 91" in output
    assert "/dev/" in output
    assert ended.exit_status == 5


async def test_files_by_sftp_stay_inside_the_vm(lab: Lab, tmp_path: Path) -> None:
    connection = await backup(lab)
    async with connection.start_sftp_client() as sftp:
        async with sftp.open("note.txt", "w") as file:
            await file.write("hello")
        assert (lab.layout.home("backup", "backup-user") / "note.txt").read_text() == "hello"
        assert await sftp.exists(str(lab.layout.remote_backups / "daily"))
        for outside in ("/etc/passwd", "../../../../site/secrets.env", str(lab.layout.site_file)):
            with pytest.raises(asyncssh.SFTPPermissionDenied):
                await sftp.open(outside)


async def test_only_the_sites_key_and_the_vms_users_get_in(lab: Lab) -> None:
    site = lab.layout.site
    options = {
        "config": str(site / "ssh_config"),
        "known_hosts": str(site / "known_hosts"),
        "agent_path": None,
    }
    stranger = asyncssh.generate_private_key("ssh-ed25519")
    with pytest.raises(asyncssh.PermissionDenied):
        await asyncssh.connect("203.0.113.100", username="backup-user", client_keys=[stranger], **options)
    with pytest.raises(asyncssh.PermissionDenied):
        await asyncssh.connect(
            "203.0.113.100", username="root", client_keys=[str(site / "id_ed25519")], **options
        )


async def test_lost_vms_refuse_and_created_ones_answer(lab: Lab) -> None:
    with pytest.raises(OSError):
        await lab.ssh("vm1")
    await lab.create("vm1")
    connection = await lab.ssh("vm1")
    assert (await connection.run("hostname -I")).stdout == "10.0.1.10\n"
    await lab.call("server_delete", name="vm1")
    with pytest.raises(OSError):
        await lab.ssh("vm1")
    assert not lab.layout.vm("vm1").exists()


async def test_refused_ports_fail_the_channel(lab: Lab) -> None:
    await lab.create("vm1", "vm2")
    connection = await lab.ssh("vm1")
    for host, port in (("127.0.0.1", 5984), ("10.0.1.11", 5984), ("10.0.1.12", 22), ("198.51.100.1", 80)):
        with pytest.raises(asyncssh.ChannelOpenError):
            await connection.open_connection(host, port)
    reader, writer = await connection.open_connection("10.0.1.11", 22, encoding=None)
    assert (await reader.readline()).startswith(b"SSH-2.0-")
    writer.close()


async def test_shims(lab: Lab) -> None:
    await lab.create("vm1")
    vm1, other = await lab.ssh("vm1"), await backup(lab)
    assert (await vm1.run("sudo -n true && sudo -n -u root hostname")).stdout == "vm1\n"
    assert (await vm1.run("cloud-init status --wait")).stdout == "status: done\n"
    table = (await other.run("crontab -l")).stdout
    assert "openedx-backup.sh daily" in table
    await other.run("crontab -", input=table.replace("\n0 1", "\n#0 1"))
    assert "\n#0 1" in (await other.run("crontab -l")).stdout
    assert (await vm1.run("crontab -l")).exit_status == 1
    # both generations of compose
    assert (await vm1.run("docker compose version --short")).stdout == "2.29.7\n"
    assert (await vm1.run("docker-compose version")).exit_status == 127
    assert (await other.run("docker compose version")).exit_status == 1
    assert "1.29.2" in (await other.run("docker-compose version")).stdout
