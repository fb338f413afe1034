"""The drill report: a pure function of the journal, as Markdown or JSON.

``model`` what it holds · ``build`` records -> report · ``markdown``, ``json`` report -> text ·
``saving`` its files, on record · ``verify`` is anything changed since?
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runbook.report.model import Report

#: format -> the file in the run's folder
FILES = {"md": "report.md", "json": "report.json"}


def text(run_dir: Path, form: str = "md") -> str:
    """The report of the run in that folder as "md" or "json". A damaged journal is reported as
    far as it can be read, and the report says so. Raises StateError when there is none."""
    from runbook.record.journal import check
    from runbook.report.build import build, of_run

    return render(build(*of_run(*check(run_dir))), form)


def render(report: Report, form: str) -> str:
    from runbook.report import json, markdown

    return json.as_json(report).decode() if form == "json" else markdown.markdown(report)


def save(run_dir: Path) -> list[Path]:
    """Write report.md and report.json into the run's folder (mode 0600, each replaced as a whole);
    that they were written goes on record. Raises StateError."""
    from runbook.report.saving import save as save_files

    return save_files(run_dir)
