"""Imports point one way: tui → checks → runbook; only tui knows a terminal library."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
#: programs of the lab: importing them is running them
PROGRAMS = {
    "runbook.lab.tofustandin.__main__",
    "runbook.lab.shims.setsid",
    "runbook.lab.shims.sha256sum",
    "runbook.lab.shims.network.sitecustomize",  # in no package: Python finds it by its path
}

IMPORT_ALL = """
import importlib, json, pkgutil, sys
package, *programs = sys.argv[1:]
def failed(name):
    raise
names = [package]
for found in pkgutil.walk_packages(importlib.import_module(package).__path__, package + ".", failed):
    if found.name not in programs:
        importlib.import_module(found.name)
        names.append(found.name)
print(json.dumps([names, [name.partition(".")[0] for name in sys.modules]]))
"""


def modules(package: str) -> set[str]:
    paths = (path.relative_to(ROOT).with_suffix("") for path in (ROOT / package).rglob("*.py"))
    return {".".join(path.parts).removesuffix(".__init__") for path in paths} - PROGRAMS


@pytest.mark.parametrize(
    ("package", "never"),
    [
        ("runbook", {"textual", "rich", "IPython", "tui", "checks"}),
        ("checks", {"textual", "rich", "IPython", "tui"}),
    ],
)
def test_no_module_pulls_in_what_stands_above_it(package: str, never: set[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL, package, *PROGRAMS],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    names, imported = json.loads(done.stdout)
    assert set(names) == modules(package), "every module was imported"
    assert never & set(imported) == set()
