"""The settings: is everything at hand that the recovery will ask for?"""

from __future__ import annotations

import asyncio
import shutil
import stat
from pathlib import Path
from typing import Any

import msgspec

from runbook.check import Finding, check
from runbook.context import Look
from runbook.errors import RunbookError
from runbook.site.model import SecretRef


@check("Settings and secrets are complete", on="once")
async def ready(look: Look) -> Finding:
    """Every secret's reference leads to a value (which is not shown), the key file is there and
    private, and the OpenTofu folder and variable files are there."""
    site = look.site
    problems: list[str] = []
    known = 0
    for name, ref in secrets(site):
        try:
            value = (await look.secrets.get(ref)).reveal()
        except RunbookError as error:
            problems.append(f"{name}: {error}")
            continue
        known += bool(value)
        if not value:
            problems.append(f"{name}: is empty")
        if name == "couchdb.cookie" and value == "monster":
            problems.append("couchdb.cookie: is 'monster', the default, which CouchDB refuses")
    if site.tofu.secrets or not site.machines.production:
        problems += await asyncio.to_thread(_files, site.tofu.folder, site.tofu.var_files)
    problems += await asyncio.to_thread(_key, site.machines.key)
    expected = "every secret found, key file private, OpenTofu folder there"
    if problems:
        observed = problems[0] + (f" (and {len(problems) - 1} more)" if len(problems) > 1 else "")
        return Finding(verdict="fail", expected=expected, observed=observed, evidence="\n".join(problems))
    return Finding(verdict="pass", expected=expected, observed=f"{known} secrets found; all files there")


@check("Somebody can be called", on="once")
async def contacts(look: Look) -> Finding:
    """The settings name at least one person with a telephone number."""
    expected = "contacts with a telephone number"
    people = look.site.contacts
    callable_ = [one for one in people if one.phone]
    if callable_:
        names = ", ".join(f"{one.name} ({one.role})" if one.role else one.name for one in callable_)
        return Finding(verdict="pass", expected=expected, observed=names)
    observed = "nobody has a telephone number" if people else "no contacts in the settings"
    return Finding(verdict="warn", expected=expected, observed=observed)


def secrets(site: Any, at: str = "") -> list[tuple[str, SecretRef]]:
    """(key in runbook.toml, reference) of every secret in the settings."""
    if isinstance(site, SecretRef):
        return [(at, site)]
    items: list[tuple[str, Any]] = []
    if isinstance(site, msgspec.Struct):
        items = [(name, getattr(site, name)) for name in site.__struct_fields__]
    elif isinstance(site, dict):
        items = list(site.items())
    found: list[tuple[str, SecretRef]] = []
    for name, value in items:
        found += secrets(value, f"{at}.{name}" if at else str(name))
    return found


def _files(folder: str, var_files: tuple[str, ...]) -> list[str]:
    problems = []
    path = Path(folder).expanduser()
    if not path.is_dir():
        problems.append(f"tofu.folder: there is no folder {path} (the backups do not hold it)")
    elif not [*path.glob("*.tf"), *path.glob("*.tofu"), *path.glob("*.tf.json")]:
        problems.append(f"tofu.folder: no .tf file in {path}")
    for name in var_files:
        if not Path(name).expanduser().is_file():
            problems.append(f"tofu.var_files: there is no file {name}")
    return problems


def _key(key: str) -> list[str]:
    if not key:
        return [] if shutil.which("ssh") else ["machines.key: no key is named, and there is no ssh here"]
    path = Path(key).expanduser()
    if not path.is_file():
        return [f"machines.key: there is no file {path}"]
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        return [f"machines.key: {path} can be read by others: chmod 600 {path}"]
    return []
