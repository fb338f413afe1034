"""OpenTofu's files and its state: the one part of a kit that may hold secrets, and only in the state."""

from __future__ import annotations

import fnmatch
import os
import shutil
from collections.abc import Iterator, Mapping, Set
from pathlib import Path

from runbook.kit import known, plain
from runbook.kit.parts import Lack, Part, counted
from runbook.site.model import Tofu
from runbook.text import printable

FILES = "infrastructure"
STATE = "state"
VAR_FILES = "var-files"
#: never copied, and nothing that is missed: made anew, or taken elsewhere
_NOT = (".git", ".terraform", "terraform.tfstate.d", "*.tfstate", "*.tfstate.*", "*.tfplan", "*.plan",
        "*.lock.info", "crash*.log", "__pycache__")  # fmt: skip
#: with the modules that `init` has brought, none has to be brought again
_MODULES = Path(".terraform", "modules")
_LARGEST = 20_000_000


def files(tofu: Tofu | None, into: Path, secrets: Mapping[str, str]) -> Part:
    """Copied, but for what holds a secret in plain. ``secrets``: known ones, whatever their names."""
    if tofu is None or not Path(tofu.folder).is_dir():
        where = f"there is no folder {tofu.folder}" if tofu else "without settings it is not known where"
        lack = Lack(where, "Take it from the platform's repository; set tofu.folder in runbook.toml.")
        return Part(name=FILES, words="none", lacks=(lack,))
    root, target = Path(tofu.folder), into / FILES
    found = [(path, path.relative_to(root)) for path in _walk(root, root)]
    modules = root / _MODULES
    found += [(path, path.relative_to(root)) for path in _walk(modules, modules)]
    found += [
        (Path(file), Path(VAR_FILES, Path(file).name))
        for file in tofu.var_files
        if not Path(file).is_relative_to(root)
    ]
    names = frozenset().union(
        *(plain.variables(_text(path) or "") for path, _ in found if path.suffix == ".tf")
    )
    lacks, count = [], 0
    target.mkdir(mode=0o700)
    for path, name in found:
        try:
            whole, problem = _copy(path, target / name, names, secrets)
        except OSError as error:
            whole, problem = False, f"cannot be read ({error.strerror})"
        count += whole
        if problem:
            lacks.append(Lack(f"{printable(str(name))} {problem}", _NEXT[whole]))
    if not count:
        lacks.append(Lack(f"{root} holds no files", "Take them from the platform's repository."))
    return Part(name=FILES, words=f"{counted(count, 'file')} of {root}", lacks=tuple(lacks))


_NEXT = {
    True: "Give it by another way: [tofu.secrets] in runbook.toml refers to where it is kept.",
    False: "Keep it elsewhere safely, or take the secret out and run `runbook kit` again.",
}


def _walk(folder: Path, root: Path) -> Iterator[Path]:
    for at, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not _left_out(name))
        yield from (Path(at, name) for name in sorted(names) if not _left_out(name))


def _left_out(name: str) -> bool:
    return any(fnmatch.fnmatch(name, pattern) for pattern in _NOT)


def _copy(path: Path, target: Path, names: Set[str], secrets: Mapping[str, str]) -> tuple[bool, str]:
    """(is it in the kit now?, what was left out of it or why all of it was)."""
    if path.is_symlink() or not path.is_file() or "\n" in str(target):
        return False, "is no plain file"
    if path.stat().st_size > _LARGEST:
        return False, f"is larger than {_LARGEST // 1_000_000} MB"
    text, told = _text(path), ""
    if text is not None:
        clean, found = _clean(path, text, names)
        if left := known.find(clean or "", secrets):
            clean, found = None, [*found, *left]
        what = ", ".join(dict.fromkeys(printable(one.what) for one in found))
        if clean is None:
            return False, f"was left out: it holds secrets in plain ({what})"
        told = f"holds secrets in plain; the copy is without them: {what}" if found else ""
        text = clean
    target.parent.mkdir(parents=True, exist_ok=True)
    if text is None:
        shutil.copyfile(path, target)
    else:
        target.write_bytes(text.encode())
    target.chmod(0o700 if os.access(path, os.X_OK) else 0o600)
    return True, told


def _text(path: Path) -> str | None:
    """None: it is no text."""
    try:
        raw = path.read_bytes() if path.is_file() and path.stat().st_size <= _LARGEST else b"\0"
        return None if b"\0" in raw else raw.decode()
    except (OSError, UnicodeDecodeError):
        return None


def _clean(path: Path, text: str, names: Set[str]) -> tuple[str | None, list[plain.Found]]:
    """The text as it may be in a kit (None: not at all), and what is wrong with the original."""
    if path.suffix in (".tf", ".tofu", ".tfvars"):
        return plain.without(text, names, values=path.suffix == ".tfvars")
    found = plain.find(text, names=names, bare=path.suffix not in (".json", ".md"))
    return (None if found else text), found


# ── the state ──────────────────────────────────────────────────────────────────────────────
def state(tofu: Tofu | None, into: Path, *, wanted: bool) -> Part:
    """Files of mode 0600 in a folder 0700, or not at all."""
    if not wanted:
        return Part(
            name=STATE, words="left out, as asked", bring=("OpenTofu's state (left out: --no-state)",)
        )
    root = Path(tofu.folder) if tofu else None
    found = sorted([*root.glob("*.tfstate"), *root.glob("terraform.tfstate.d/*/*.tfstate")]) if root else []
    found = [path for path in found if path.is_file() and path.stat().st_size]
    if not root or not found:
        lack = Lack(
            f"there is none in {root}" if root else "without settings it is not known where it is",
            "If a backend keeps it: `tofu state pull > FILE`, kept with mode 0600. Without a state "
            "OpenTofu makes every machine a second time.",
        )
        return Part(name=STATE, words="none", lacks=(lack,))
    for path in found:
        if not _private(path, into / STATE / path.relative_to(root)):
            shutil.rmtree(into / STATE)
            lack = Lack(
                "it holds secrets, and files there cannot be kept from others (no mode 0600)",
                "Make the kit on an encrypted drive whose file system knows owners; keep the state apart.",
            )
            return Part(name=STATE, words="left out", lacks=(lack,))
    return Part(name=STATE, words=f"{counted(len(found), 'file')}; HOLDS SECRETS (mode 0600)")


def _private(path: Path, target: Path) -> bool:
    """Copied so that only this user can read it; False when it can be read by others nevertheless."""
    umask = os.umask(0o077)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    finally:
        os.umask(umask)
    handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with path.open("rb") as read, os.fdopen(handle, "wb") as write:
        if os.fstat(write.fileno()).st_mode & 0o077:
            return False
        shutil.copyfileobj(read, write)
    return True
