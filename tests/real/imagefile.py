"""The image of CouchDB, if this machine's Docker Engine has it, as an archive for the VMs' engines."""

from __future__ import annotations

import json
import subprocess
import tarfile
from pathlib import Path

from tests.real.lent import Unfit

IMAGE = "couchdb:3.3.2"


def _docker(*argv: str, timeout: float) -> str:
    """ "" where there is no docker, no engine that answers, or it refuses."""
    try:
        done = subprocess.run(["docker", *argv], capture_output=True, text=True, timeout=timeout, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def engine_image() -> str:
    """The id of the image in the engine that ``docker`` asks here; "" when there is none."""
    return _docker("image", "inspect", "--format", "{{.Id}}", IMAGE, timeout=30)


def saved(folder: Path) -> Path:
    """The engine's image as an archive. Raises Unfit."""
    archive = folder / "couchdb.tar"
    _docker("image", "save", "-o", str(archive), IMAGE, timeout=600)
    return checked(archive, f"the archive that docker saved of {IMAGE}")


def checked(archive: Path, what: str) -> Path:
    """``archive``, when it is of that image. Raises Unfit."""
    try:
        tags = tags_in(archive)
    except (OSError, tarfile.TarError, KeyError, TypeError, ValueError) as error:
        raise Unfit(f"{what} ({archive}) is not what `docker save` writes: {error}") from None
    if IMAGE not in tags:
        raise Unfit(f"{what} ({archive}) holds {', '.join(tags) or 'no tag'}, not {IMAGE}.")
    return archive


def tags_in(archive: Path) -> list[str]:
    with tarfile.open(archive) as tar:
        member = tar.extractfile("manifest.json")
        assert member is not None
        return [tag for image in json.load(member) for tag in image.get("RepoTags") or ()]
