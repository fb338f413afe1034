"""The report as JSON, to compute with: always the same bytes for the same journal.

Only ASCII, everything else escaped: text from outside stays exactly what it was, and yet cannot
harm the terminal of who looks at the file.
"""

from __future__ import annotations

import json

import msgspec

from runbook.report.model import Report


def as_json(report: Report) -> bytes:
    plain = msgspec.to_builtins(report, order="deterministic")
    return json.dumps(plain, indent=2, ensure_ascii=True).replace("\x7f", "\\u007f").encode() + b"\n"
