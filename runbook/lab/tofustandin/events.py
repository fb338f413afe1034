"""What the stand-in prints: one line an event, JSON with -json, else its message."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from runbook.lab.tofustandin import PLAIN, VERSION


class Failed(Exception):
    """Ends the run with a diagnostic, as OpenTofu words it."""

    def __init__(self, summary: str, detail: str = "") -> None:
        super().__init__(summary)
        self.summary, self.detail = summary, detail


class Events:
    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json

    def emit(self, kind: str, message: str, level: str = "info", **data: Any) -> None:
        if not self.as_json:
            print(message, file=sys.stderr if level == "error" else sys.stdout, flush=True)
            return
        now = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()) + f".{time.time_ns() // 1000 % 10**6:06}Z"
        head = {"@level": level, "@message": message, "@module": "tofu.ui", "@timestamp": now}
        print(json.dumps({**head, **data, "type": kind}), flush=True)

    def version(self) -> None:
        if self.as_json:
            self.emit("version", f"OpenTofu {VERSION} (practice stand-in). {PLAIN}", tofu=VERSION, ui="1.2")

    def summary(self, message: str, operation: str, counted: dict[str, int]) -> None:
        self.emit("change_summary", message, changes={**counted, "import": 0, "operation": operation})

    def diagnostic(self, failed: Failed) -> None:
        facts = {"severity": "error", "summary": failed.summary, "detail": failed.detail}
        self.emit("diagnostic", f"Error: {failed.summary}", "error", diagnostic=facts)
        if not self.as_json and failed.detail:
            print(failed.detail, file=sys.stderr)
