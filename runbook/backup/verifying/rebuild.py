"""Could this backup alone rebuild the platform? By the names of what lies in it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

from runbook.backup.verifying import parts
from runbook.backup.verifying.configuration import COMPOSE
from runbook.backup.verifying.source import Content

_IMAGE = re.compile(r"^\s*(?:-\s*)?image:\s*[\"']?([^\"'\s#]+)", re.MULTILINE)
#: what is a version: a tag that moves is none
_MOVING = frozenset(("latest", "stable", "main", "master", "edge", "nightly"))
_CERTIFICATES = re.compile(r"(?:^|/)(?:certificates/.+\.crt|acme/.+|caddy_data/.+)$")


def lacks(files: Iterable[str], texts: Mapping[str, str], *, ours: bool) -> list[str]:
    """What a rebuild needs and this backup does not hold. ``files``: paths of all its files, those in its
    archives too; ``texts``: of the compose files; ``ours``: what the platform's dumps lack lies beside
    them."""
    paths = [PurePosixPath(name) for name in files]
    folders = {part for path in paths for part in path.parts[:-1]}
    found = []
    if not {path.name for path in paths} & set(COMPOSE):
        found.append("the configuration")
    if not any(path.suffix in (".tf", ".tofu") for path in paths):
        found.append("infrastructure/ (OpenTofu's files)")
    if not any(".tfstate" in path.name for path in paths):
        found.append("OpenTofu's state")
    if "scripts" not in folders:
        found.append("scripts/")
    if not _pinned(texts):
        found.append("versions of all images")
    if not any(_CERTIFICATES.search(str(path)) for path in paths):
        found.append("Caddy's certificates")
    if not ours:
        found += ["attachments' contents", "_security and revision limits of the databases"]
    return found


def _pinned(texts: Mapping[str, str]) -> bool:
    """Does a compose file name a version of every image?"""
    images = [
        image
        for name, text in texts.items()
        if PurePosixPath(name).name in COMPOSE
        for image in _IMAGE.findall(text)
    ]
    return bool(images) and all(map(_versioned, images))


def _versioned(image: str) -> bool:
    tag = image.rpartition("/")[2].partition(":")[2]
    return "@sha256:" in image or (bool(tag) and tag not in _MOVING and "$" not in tag)


def of(content: Content, ours: bool) -> list[str]:
    """What this backup lacks."""
    settings = parts.settings_of(content)
    files = [*content.files, *(name for one in settings for name in one.files)]
    texts = {
        f"{number}/{name}": text for number, one in enumerate(settings) for name, text in one.texts.items()
    }
    return lacks(files, texts, ours=ours)
