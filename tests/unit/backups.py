"""Backups for tests, made the way the platform's script makes them."""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

NODES = ("10.0.1.10", "10.0.1.11", "10.0.1.12")


def dump(*ids: str) -> bytes:
    rows = ",\r\n".join(
        json.dumps({"id": i, "key": i, "value": {"rev": "1-a"}, "doc": {"_id": i, "_rev": "1-a"}})
        for i in ids
    )
    return f'{{"total_rows":{len(ids)},"offset":0,"rows":[\r\n{rows}\r\n]}}\n'.encode()


def archive(members: Mapping[str, bytes]) -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w:gz") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), 0o644
            tar.addfile(info, io.BytesIO(data))
    return raw.getvalue()


COMPOSE = b"services:\n  couchdb:\n    image: couchdb:3.3.2\n    ports:\n      - 5984:5984\n"
SETTINGS = {
    "docker/docker-compose.yml": COMPOSE,
    "docker/.env": b"COUCHDB_COOKIE=monster\nVM_INDEX=1\n",
    "docker/config/Caddyfile": b"{$DOMAIN_NAME} {\n    reverse_proxy lms:8000\n}\n",
    "config/lms.env.json": b"{}\n",
    "config/cms.env.json": b"{}\n",
}


def make_backup(
    folder: Path, nodes: Sequence[str] = NODES, *, made: str = "", kind: str = "daily", manifest: bool = True
) -> Path:
    """A backup in ``folder`` (named by its day), its checksum made there by find, md5sum and sort."""
    for number, node in enumerate(nodes, 1):
        below = folder / f"node-{node}"
        below.mkdir(parents=True)
        (below / f"openedx_{number}.json").write_bytes(dump(f"course{number}"))
        for other in range(1, len(nodes) + 1):
            (below / f"openedx_{other}.json").write_bytes(dump(f"course{other}"))
        for name in ("_users", "edxapp_files"):
            (below / f"{name}.json").write_bytes(dump(f"{name}-a", f"{name}-b"))
        (below / "config.tar.gz").write_bytes(archive(SETTINGS))
        (below / "logs.tar.gz").write_bytes(archive({"lms.log": b"x"}))
    if manifest:
        write_manifest(folder, nodes, made=made, kind=kind)
    return folder


def write_manifest(
    folder: Path, nodes: Sequence[str] = NODES, *, made: str = "", kind: str = "daily"
) -> None:
    """As the platform's script does, over what is there."""
    file = folder / "backup_manifest.json"
    file.write_bytes(b"")
    made_as = 'find "$1" -type f -exec md5sum {} \\; | sort | md5sum'
    done = subprocess.run(
        ["sh", "-c", made_as, "sh", str(folder)], capture_output=True, check=True, text=True
    )
    day = folder.name
    content = {
        "backup_date": made or f"{day[:4]}-{day[4:6]}-{day[6:8]}T01:00:07+00:00",
        "backup_type": kind,
        "nodes": list(nodes),
        "checksum": done.stdout.split()[0],
    }
    file.write_text(json.dumps(content))
