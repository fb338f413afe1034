"""The practice backups: every tier on the backup VM, an older copy on the operator's PC."""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from runbook.lab import sampledata
from runbook.lab.layout import PRODUCTION
from runbook.lab.sampleconfig import config_archive, logs_archive
from runbook.lab.sampledata import Row

#: the node whose dump was read last from shards that had not yet the newest writes
LAGGING = PRODUCTION[2].internal
HOUR = 1
DAILY, WEEKLY, MONTHLY = 7, 4, 12
#: age in days of the copy on the operator's PC
LOCAL_AGE = 9


def dump(rows: Iterable[bytes]) -> bytes:
    """The body of GET /{db}/_all_docs?include_docs=true, byte for byte as CouchDB prints it."""
    lines = list(rows)
    head = f'{{"total_rows":{len(lines)},"offset":0,"rows":[\r\n'.encode()
    return head + b",\r\n".join(lines) + b"\r\n]}\n"


def newest(now: datetime.datetime) -> datetime.datetime:
    """When the newest daily backup was made: the last 01:00 UTC."""
    today = now.astimezone(datetime.UTC).replace(hour=HOUR, minute=0, second=0, microsecond=0)
    return today if today <= now else today - datetime.timedelta(days=1)


def write(remote: Path, local: Path, now: datetime.datetime) -> str:
    """Make all backups; returns the id of the newest. Older ones share their files by hard links
    (never within one backup), so that twelve months take a few megabytes."""
    data = sampledata.everything()
    latest = newest(now)
    newest_id = f"{latest:%Y%m%d}"
    new = _Contents(remote / "daily" / newest_id)
    new.fill(data, latest.timestamp(), lag=True)
    new.manifest(latest, "daily", new.folder)

    old_data = {name: _older(name, rows) for name, rows in data.items()}
    dailies = [latest - datetime.timedelta(days=n) for n in range(1, DAILY)]
    first = _Contents(remote / "daily" / f"{dailies[0]:%Y%m%d}")
    first.fill(old_data, dailies[0].timestamp(), lag=False)
    first.manifest(dailies[0], "daily", first.folder)
    for day in dailies[1:]:
        folder = remote / "daily" / f"{day:%Y%m%d}"
        first.link(folder).manifest(day, "daily", folder)
    sunday = latest - datetime.timedelta(days=(latest.weekday() + 1) % 7)
    for n in range(WEEKLY):
        day = sunday - datetime.timedelta(weeks=n)
        year, week, _ = day.isocalendar()
        # the copies keep the daily's checksum, made over the daily's paths
        first.link(remote / "weekly" / f"{year}-week{week:02}").manifest(
            day, "weekly", remote / "daily" / f"{day:%Y%m%d}"
        )
    month = latest.replace(day=1)
    for _ in range(MONTHLY):
        first.link(remote / "monthly" / f"{month:%Y-%m}").manifest(
            month, "monthly", remote / "daily" / f"{month:%Y%m%d}"
        )
        month = (month - datetime.timedelta(days=1)).replace(day=1)

    _local(first, remote, local, latest - datetime.timedelta(days=LOCAL_AGE))
    return newest_id


def _local(source: _Contents, remote: Path, local: Path, day: datetime.datetime) -> None:
    """A fetched copy: its manifest speaks of the backup VM's paths, and the platform's fetch
    script has dropped a file of its own into it."""
    folder = local / f"{day:%Y%m%d}"
    copy = source.link(folder, shutil.copyfile)
    checksum = copy.manifest(day, "daily", remote / "daily" / folder.name)
    (folder / "calculated_checksum.txt").write_text(f"{checksum}\n")
    (local / "logs").mkdir(parents=True, exist_ok=True)
    (local / "logs" / f"fetch_{folder.name}.log").write_text("download complete\n")


class _Contents:
    """One backup folder while it is made; ``hashes`` has the MD5 of each file by relative path."""

    def __init__(self, folder: Path, hashes: dict[str, str] | None = None) -> None:
        self.folder = folder
        self.hashes = hashes or {}

    def fill(self, data: dict[str, list[Row]], made: float, *, lag: bool) -> None:
        bodies = {name: dump(line for _, line in rows) for name, rows in data.items()}
        for spec in PRODUCTION:
            behind = lag and spec.internal == LAGGING
            node = f"node-{spec.internal}"
            (self.folder / node).mkdir(parents=True)
            for name, rows in data.items():
                body = (
                    dump(_lagging(name, rows)) if behind and name in ("openedx_1", "_users") else bodies[name]
                )
                self._put(f"{node}/{name}.json", body, made)
            self._put(f"{node}/config.tar.gz", config_archive(spec.index, made), made)
            self._put(f"{node}/logs.tar.gz", logs_archive(spec.index, made), made)

    def _put(self, name: str, data: bytes, made: float) -> None:
        path = self.folder / name
        path.write_bytes(data)
        path.chmod(0o644)
        os.utime(path, (made, made))
        self.hashes[name] = hashlib.md5(data, usedforsecurity=False).hexdigest()

    def link(self, folder: Path, how: object = os.link) -> _Contents:
        """The same files in another folder."""
        for name in self.hashes:
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            how(self.folder / name, target)  # type: ignore[operator]
        return _Contents(folder, dict(self.hashes))

    def manifest(self, made: datetime.datetime, kind: str, hashed_as: Path) -> str:
        """Write ``backup_manifest.json``; ``hashed_as`` is the folder whose paths the checksum
        covers. Returns the checksum."""
        checksum = platform_checksum(self.hashes, hashed_as)
        text = {
            "backup_date": made.replace(second=7).isoformat(timespec="seconds"),
            "backup_type": kind,
            "nodes": [spec.internal for spec in PRODUCTION],
            "checksum": checksum,
        }
        path = self.folder / "backup_manifest.json"
        path.write_text(json.dumps(text, indent=2) + "\n")
        for entry in (path, self.folder):
            os.utime(entry, (made.timestamp(), made.timestamp()))
        return checksum


def platform_checksum(hashes: dict[str, str], folder: Path) -> str:
    """As ``find DIR -type f -exec md5sum {} \\; | sort | md5sum`` gives it while the shell's
    redirection has already made the manifest, empty."""
    empty = hashlib.md5(b"", usedforsecurity=False).hexdigest()
    lines = [
        f"{digest}  {folder / name}" for name, digest in {**hashes, "backup_manifest.json": empty}.items()
    ]
    text = "".join(f"{line}\n" for line in sorted(lines, key=str.encode))
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def _older(name: str, rows: list[Row]) -> list[Row]:
    """What was there a day and more ago."""
    if name == "edxapp_files":
        return [row for row in rows if row[0] != "lecture-recording.mp4"]
    return [row for row in rows if not row[0].startswith("progress.") or row[0] < "progress.00460"]


def _lagging(name: str, rows: list[Row]) -> list[bytes]:
    """The same database as the lagging node saw it: without its newest documents."""
    newest_ids = {"progress.00497", "progress.00498", "progress.00499", "org.couchdb.user:learner0259"}
    return [line for identifier, line in rows if identifier not in newest_ids]
