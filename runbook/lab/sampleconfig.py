"""The platform's configuration as it lies in a backup: with every default that recovery trips over."""

from __future__ import annotations

import gzip
import io
import tarfile

from runbook.lab.layout import DOMAIN

COMPOSE = """\
version: "3.8"

services:
  couchdb:
    image: couchdb:3.3.2
    container_name: couchdb
    restart: unless-stopped
    environment:
      - COUCHDB_USER=${COUCHDB_USER}
      - COUCHDB_PASSWORD=${COUCHDB_PASSWORD}
      - COUCHDB_SECRET=${COUCHDB_SECRET}
      - COUCHDB_ERLANG_COOKIE=${COUCHDB_COOKIE}
    volumes:
      - couchdb_data:/opt/couchdb/data
    ports:
      - "5984:5984"

  lms:
    image: openedx-ha/lms:17.0
    container_name: lms
    restart: unless-stopped
    depends_on:
      - couchdb
    environment: &openedx
      COUCHDB_USER: ${COUCHDB_USER}
      COUCHDB_PASSWORD: ${COUCHDB_PASSWORD}
      VM_INDEX: ${VM_INDEX:-1}
      PLATFORM_NAME: ${PLATFORM_NAME}
      LMS_BASE: ${LMS_BASE}
      CMS_BASE: ${CMS_BASE}
    volumes:
      - ./config/lms:/openedx/config:ro
    ports:
      - "8000:8000"

  cms:
    image: openedx-ha/cms:17.0
    container_name: cms
    restart: unless-stopped
    depends_on:
      - couchdb
    environment: *openedx
    volumes:
      - ./config/cms:/openedx/config:ro
    ports:
      - "8001:8001"

  caddy:
    image: caddy:2.7
    container_name: caddy
    restart: unless-stopped
    environment:
      DOMAIN_NAME: ${DOMAIN_NAME}
    volumes:
      - ./config/Caddyfile:/etc/caddy/Caddyfile:ro
      - caddy_data:/data
    ports:
      - "80:80"
      - "443:443"

  prometheus:
    image: prom/prometheus:v2.45.0
    container_name: prometheus
    restart: unless-stopped
    volumes:
      - ./config/prometheus.yml:/etc/prometheus/prometheus.yml:ro
    ports:
      - "9090:9090"

  grafana:
    image: grafana/grafana:10.1.0
    container_name: grafana
    restart: unless-stopped
    ports:
      - "3000:3000"

  cadvisor:
    image: gcr.io/cadvisor/cadvisor:v0.47.0
    container_name: cadvisor
    restart: unless-stopped
    ports:
      - "8080:8080"

  node-exporter:
    image: prom/node-exporter:v1.6.1
    container_name: node-exporter
    restart: unless-stopped
    ports:
      - "9100:9100"

  watchtower:
    image: containrrr/watchtower:1.5.3
    container_name: watchtower
    restart: unless-stopped
    volumes:
      - /var/run/docker.sock:/var/run/docker.sock

volumes:
  couchdb_data:
  caddy_data:
"""

ENV = f"""\
# Open edX HA
COUCHDB_USER=admin
COUCHDB_PASSWORD=password
COUCHDB_SECRET=openedxsecret
COUCHDB_COOKIE=monster
VM_INDEX=1
DOMAIN_NAME={DOMAIN}
PLATFORM_NAME="Practice University"
CONTACT_EMAIL=contact@{DOMAIN}
LMS_BASE={DOMAIN}
CMS_BASE=studio.{DOMAIN}
"""

CADDYFILE = """\
{$DOMAIN_NAME} {
    reverse_proxy lms:8000
}
studio.{$DOMAIN_NAME} {
    reverse_proxy cms:8001
}
monitoring.{$DOMAIN_NAME} {
    reverse_proxy grafana:3000
}
:80 {
    respond /health "OK" 200
}
"""

LMS = f"""\
# Settings of the practice LMS
EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
EMAIL_HOST = "smtp.{DOMAIN}"
ENABLE_WEBHOOKS = True
COUCHDB_URL = "http://couchdb:5984"
"""

FILES = {
    "docker/docker-compose.yml": COMPOSE,
    "docker/.env": ENV,
    "docker/config/Caddyfile": CADDYFILE,
    "docker/config/lms/production.py": LMS,
    "docker/config/cms/production.py": LMS.replace("LMS", "Studio"),
    "docker/config/prometheus.yml": "scrape_configs:\n  - job_name: node\n",
    "config/backup.conf": "BACKUP_DIR=/backup\nKEEP_DAILY=7\nKEEP_WEEKLY=4\nKEEP_MONTHLY=12\n",
    "config/README.md": "# Custom configuration\nTheme: indigo. Registrar: see the password store.\n",
}


def tar_gz(contents: dict[str, str], mtime: float) -> bytes:
    """An archive whose bytes depend on nothing but its contents and the time given."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.GNU_FORMAT) as archive:
        folders: set[str] = set()
        for name, text in contents.items():
            parts = name.split("/")[:-1]
            for depth in range(1, len(parts) + 1):
                folder = "/".join(parts[:depth])
                if folder not in folders:
                    folders.add(folder)
                    archive.addfile(_member(f"{folder}/", tarfile.DIRTYPE, 0o755, mtime))
            data = text.encode()
            member = _member(name, tarfile.REGTYPE, 0o640 if name.endswith(".env") else 0o644, mtime)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return gzip.compress(plain.getvalue(), mtime=int(mtime))


def _member(name: str, kind: bytes, mode: int, mtime: float) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.mode, member.mtime = kind, mode, int(mtime)
    member.uid = member.gid = 1000
    member.uname = member.gname = "openedx"
    return member


def files(index: int) -> dict[str, str]:
    """The configuration of production VM ``index``."""
    return {**FILES, "docker/.env": ENV.replace("VM_INDEX=1", f"VM_INDEX={index}")}


def config_archive(index: int, mtime: float) -> bytes:
    """Its ``config.tar.gz``."""
    return tar_gz(files(index), mtime)


def logs_archive(index: int, mtime: float) -> bytes:
    lines = "".join(
        f"2026-01-01 00:00:{second:02} INFO request handled by vm{index}\n" for second in range(60)
    )
    return tar_gz({"lms.log": lines, "backup.log": "backup started\nbackup ended\n"}, mtime)
