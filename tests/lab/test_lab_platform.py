"""The containers of a VM: compose, crash loops, ports, CouchDB, LMS, Caddy — and DNS in front."""

from __future__ import annotations

import asyncio
import json
import shutil
import ssl
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import asyncssh
import dns.asyncquery
import dns.message
import dns.rdatatype
import pytest

from runbook.lab import sampledata
from runbook.lab.layout import DOMAIN, SPECS, STUDIO
from tests.lab.conftest import Lab, until

PROJECT = "-p docker"
OTHERS = "lms cms prometheus grafana cadvisor node-exporter"


async def unpacked(lab: Lab, name: str, **env: str) -> asyncssh.SSHClientConnection:
    """A VM with the configuration of its backup, adapted as a recovery has to."""
    await lab.create(name)
    spec = SPECS[name]
    connection = await lab.ssh(name)
    archive = next((lab.layout.remote_backups / "daily").glob(f"*[0-9]/node-{spec.internal}/config.tar.gz"))
    shutil.copyfile(archive, lab.layout.home(name) / "config.tar.gz")
    ran = await connection.run("mkdir openedx-ha && tar -xzf config.tar.gz -C openedx-ha")
    assert ran.exit_status == 0, ran.stderr
    values = {"COUCHDB_COOKIE": "kekse", "COUCHDB_PASSWORD": "geheim", "VM_INDEX": str(spec.index)} | env
    folder = compose_dir(lab, name)
    lines = (folder / ".env").read_text().splitlines()
    kept = [line for line in lines if line.partition("=")[0] not in values]
    (folder / ".env").write_text(
        "\n".join([*kept, *(f"{key}={value}" for key, value in values.items())]) + "\n"
    )
    base = folder / "docker-compose.yml"
    base.write_text(base.read_text().replace('"9100:9100"', '"9101:9100"'))
    (folder / "docker-compose.override.yml").write_text(
        f"""version: "3.8"
services:
  couchdb:
    environment:
      NODENAME: {spec.internal}
    ports: ["4369:4369", "9100:9100"]
    volumes: ["./runbook-couchdb.ini:/opt/couchdb/etc/local.d/90-runbook.ini"]
"""
    )
    (folder / "runbook-couchdb.ini").write_text(
        "[chttpd_auth]\nsecret = gemeinsam\n[couchdb]\nuuid = 1234\nmax_document_size = 200000000\n"
    )
    return connection


def compose_dir(lab: Lab, name: str) -> Path:
    return lab.layout.home(name) / "openedx-ha" / "docker"


async def compose(lab: Lab, connection: asyncssh.SSHClientConnection, name: str, words: str) -> Any:
    program = "docker compose" if SPECS[name].index == 1 else "docker-compose"
    return await connection.run(f"cd openedx-ha/docker && {program} {PROJECT} {words}")


async def inspected(connection: asyncssh.SSHClientConnection, service: str) -> dict[str, Any]:
    ids = await connection.run(f"docker ps -aq --filter label=com.docker.compose.service={service}")
    ran = await connection.run(f"docker inspect {ids.stdout.strip()}")
    return dict(json.loads(ran.stdout)[0])


async def fetch(
    connection: asyncssh.SSHClientConnection, port: int, request: str, *, tls: ssl.SSLContext | None = None,
    host: str = "127.0.0.1", name: str = DOMAIN,
) -> tuple[int, str]:  # fmt: skip
    """One HTTP exchange through an SSH port forward, as the program under practice does it."""
    listener = await connection.forward_local_port("127.0.0.1", 0, host, port)
    try:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", listener.get_port(), ssl=tls, server_hostname=name if tls else None
        )
        writer.write(request.encode())
        reply = await asyncio.wait_for(reader.read(), 20)
        writer.close()
    finally:
        listener.close()
    head, _, body = reply.partition(b"\r\n\r\n")
    return int(head.split()[1]), body.decode("utf-8", "replace")


def get(path: str, host: str = DOMAIN) -> str:
    return f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"


def couch(method: str, path: str, body: Any = None) -> str:
    text = json.dumps(body) if body is not None else ""
    return (
        f"{method} {path} HTTP/1.1\r\nHost: couchdb\r\nAuthorization: Basic YWRtaW46Z2VoZWlt\r\n"
        "Connection: close\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(text.encode())}\r\n\r\n{text}"
    )


def post(path: str, form: dict[str, str]) -> str:
    """A form post with the token that Django wants back."""
    text = urlencode({**form, "csrfmiddlewaretoken": "abc"})
    kind = "application/x-www-form-urlencoded"
    return (
        f"POST {path} HTTP/1.1\r\nHost: {DOMAIN}\r\nConnection: close\r\nContent-Type: {kind}\r\n"
        "Cookie: csrftoken=abc\r\n"
        f"Content-Length: {len(text)}\r\n\r\n{text}"
    )


@pytest.mark.parametrize("name", ["vm1", "vm2"])
async def test_couchdb_comes_up_under_both_composes(lab: Lab, name: str) -> None:
    connection = await unpacked(lab, name)
    ran = await compose(lab, connection, name, "up -d couchdb")
    assert ran.exit_status == 0, ran.stderr
    facts = await inspected(connection, "couchdb")
    assert facts["State"]["Status"] == "running"
    assert facts["Name"] == "/couchdb"
    assert facts["Config"]["Labels"]["com.docker.compose.project"] == "docker"
    assert facts["NetworkSettings"]["Ports"]["9100/tcp"] == [{"HostIp": "0.0.0.0", "HostPort": "9100"}]
    status, body = await fetch(connection, 5984, couch("GET", "/_membership"))
    assert status == 200
    assert json.loads(body)["all_nodes"] == [f"couchdb@{SPECS[name].internal}"]
    limit = "/_node/_local/_config/couchdb/max_document_size"
    assert (await fetch(connection, 5984, couch("GET", limit)))[1].strip() == '"200000000"'
    again = await compose(lab, connection, name, "up -d couchdb")
    assert again.exit_status == 0
    assert (await inspected(connection, "couchdb"))["Id"] == facts["Id"]


async def test_the_default_cookie_loops_while_up_says_ok(lab: Lab) -> None:
    connection = await unpacked(lab, "vm2", COUCHDB_COOKIE="monster")
    assert (await compose(lab, connection, "vm2", "up -d couchdb")).exit_status == 0
    assert " Up " in (await compose(lab, connection, "vm2", "ps")).stdout
    seen: set[str] = set()

    async def restarted() -> bool:
        facts = await inspected(connection, "couchdb")
        seen.add(facts["State"]["Status"])
        return facts["RestartCount"] >= 2 and seen == {"running", "restarting"}

    await until(restarted)
    assert "Monster" in (await connection.run("docker logs --tail 5 couchdb")).stdout
    with pytest.raises(asyncssh.ChannelOpenError):
        await connection.open_connection("127.0.0.1", 5984)


async def test_a_taken_port_is_refused_as_docker_does(lab: Lab) -> None:
    connection = await unpacked(lab, "vm1")
    base = compose_dir(lab, "vm1") / "docker-compose.yml"
    base.write_text(base.read_text().replace('"9101:9100"', '"9100:9100"'))
    assert (await compose(lab, connection, "vm1", "up -d couchdb")).exit_status == 0
    ran = await compose(lab, connection, "vm1", "up -d node-exporter")
    assert ran.exit_status == 1
    assert "Bind for 0.0.0.0:9100 failed: port is already allocated" in ran.stderr
    assert (await inspected(connection, "node-exporter"))["State"]["Status"] == "created"


async def test_power_loss_and_return(lab: Lab) -> None:
    connection = await unpacked(lab, "vm1")
    await compose(lab, connection, "vm1", "up -d couchdb")
    await fetch(connection, 5984, couch("PUT", "/kept"))
    await lab.call("break", fault="vm-down", machine="vm1")
    await asyncio.wait_for(connection.wait_closed(), 10)
    with pytest.raises(OSError):
        await lab.ssh("vm1")
    assert await lab.call("mend") == ["vm-down vm1"]
    connection = await lab.ssh("vm1")
    assert (await fetch(connection, 5984, couch("GET", "/kept")))[0] == 200


async def test_the_platform_shows_what_couchdb_holds(lab: Lab) -> None:
    connection = await unpacked(lab, "vm1")
    await compose(lab, connection, "vm1", f"up -d couchdb {OTHERS}")
    assert (await fetch(connection, 8000, get("/heartbeat")))[0] == 503
    rows = sampledata.everything()
    for database in ("openedx_1", "_users", "edxapp_files"):
        assert (await fetch(connection, 5984, couch("PUT", f"/{database}?q=1&n=1")))[0] in (201, 412)
        documents = [
            json.loads(line)["doc"] for identifier, line in rows[database] if not identifier.startswith("_")
        ]
        chosen = [d for d in documents if len(d.get("data", "")) < 300_000]
        body = {"new_edits": False, "docs": chosen}
        assert (await fetch(connection, 5984, couch("POST", f"/{database}/_bulk_docs", body)))[0] == 201
    assert (await fetch(connection, 8000, get("/heartbeat")))[0] == 200
    assert (await fetch(connection, 8001, get("/heartbeat")))[0] == 200
    login = "/user_api/v1/account/login_session/"
    good = {"email": sampledata.ADMIN_EMAIL, "password": sampledata.ADMIN_PASSWORD}
    status, body = await fetch(connection, 8000, post(login, good))
    assert (status, '"success": true' in body) == (200, True)
    assert (await fetch(connection, 8000, post(login, good).replace("=abc", "=xyz", 1)))[0] == 403
    status, body = await fetch(connection, 8000, post(login, good | {"password": "wrong"}))
    assert (status, '"success": false' in body) == (400, True)
    status, body = await fetch(connection, 8000, get(f"/courses/{sampledata.COURSE}/about"))
    assert (status, sampledata.COURSE_TITLE in body) == (200, True)
    status, body = await fetch(connection, 8000, get(f"/api/user/v1/accounts/{sampledata.LEARNER}"))
    assert sampledata.LEARNER_NAME in body
    assert (await fetch(connection, 8000, get("/uploads/notes%20%F0%9F%93%8E%20week%204.txt")))[0] == 200
    assert (await fetch(connection, 8000, get("/uploads/nothing.txt")))[0] == 404
    await compose(lab, connection, "vm1", "stop couchdb")
    assert (await fetch(connection, 8000, get("/heartbeat")))[0] == 503


async def test_caddy_gets_its_certificate_only_with_dns(lab: Lab) -> None:
    connection = await unpacked(lab, "vm1")
    await compose(lab, connection, "vm1", f"up -d couchdb {OTHERS} caddy")
    trusted = ssl.create_default_context(cafile=str(lab.layout.site / "ca.pem"))
    assert (await fetch(connection, 80, get("/health"))) == (200, "OK")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await fetch(connection, 443, get("/health"), tls=trusted)
    assert sorted(await lab.call("dns_point")) == ["203.0.113.11", "203.0.113.12", "203.0.113.13"]
    assert (await fetch(connection, 443, get("/health"), tls=trusted)) == (200, "OK")
    # through to LMS, which has no database yet, and says so
    assert (await fetch(connection, 443, get("/heartbeat"), tls=trusted))[0] == 503
    status, _ = await fetch(connection, 443, get("/heartbeat", STUDIO), tls=trusted, name=STUDIO)
    assert status == 503
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await fetch(connection, 443, get("/"), tls=trusted, name="other.example.test")


async def test_dns_over_udp_and_tcp(lab: Lab) -> None:
    query = dns.message.make_query(DOMAIN, dns.rdatatype.A)
    asked = {"where": "127.0.0.1", "port": lab.info.dns_port, "timeout": 5}

    async def answers() -> set[str]:
        udp = await dns.asyncquery.udp(query, **asked)
        tcp = await dns.asyncquery.tcp(query, **asked)
        assert udp.answer == tcp.answer
        assert udp.answer[0].ttl == 60
        return {record.address for record in udp.answer[0]}

    assert await answers() == {"198.51.100.1", "198.51.100.2", "198.51.100.3"}
    await lab.call("break", fault="dns-stale")
    await lab.call("dns_point")
    assert await answers() == {"203.0.113.11", "203.0.113.12", "198.51.100.2"}
    await lab.call("mend")
    assert await answers() == {"203.0.113.11", "203.0.113.12", "203.0.113.13"}
    missing = await dns.asyncquery.udp(dns.message.make_query(f"nope.{DOMAIN}", "A"), **asked)
    assert missing.rcode() == 3


async def test_three_nodes_form_a_cluster(lab: Lab) -> None:
    for name in ("vm1", "vm2", "vm3"):
        connection = await unpacked(lab, name)
        assert (await compose(lab, connection, name, "up -d couchdb")).exit_status == 0
    first = await lab.ssh("vm1")
    for name in ("vm2", "vm3"):
        body = {
            "action": "add_node", "host": SPECS[name].internal, "port": 5984,
            "username": "admin", "password": "geheim",
        }  # fmt: skip
        assert (await fetch(first, 5984, couch("POST", "/_cluster_setup", body)))[0] == 201
    everyone = {f"couchdb@{SPECS[name].internal}" for name in ("vm1", "vm2", "vm3")}

    async def joined() -> bool:
        members = json.loads((await fetch(first, 5984, couch("GET", "/_membership")))[1])
        return set(members["all_nodes"]) == everyone and set(members["cluster_nodes"]) == everyone

    await until(joined)
    # from one VM to another, as LMS or a cluster set-up would
    assert (await fetch(first, 5984, couch("GET", "/_up"), host="10.0.1.12"))[0] == 200
