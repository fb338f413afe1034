"""A person at the keyboard: answers by a table, remembers what was asked."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from runbook.events import Asked, Live, Record, RunVerdict
from runbook.front import Answer
from runbook.workbench import Workbench


class Person:
    """``says``: an answer by the question's kind, or by kind and step ("failed:restore"); questions
    without one get their default."""

    def __init__(self, **says: str) -> None:
        self.says = {key.replace("__", ":"): value for key, value in says.items()}
        self.asked: list[Asked] = []

    async def answer(self, question: Asked) -> Answer:
        self.asked.append(question)
        assert len(self.asked) < 100, "asked again and again"
        value = self.says.get(f"{question.kind}:{question.step}", self.says.get(question.kind))
        value = question.default if value is None else value
        return Answer(question.id, value, "Tester", "test")

    def record(self, record: Record) -> None:
        pass

    def live(self, live: Live) -> None:
        pass

    def kinds(self, step: str = "") -> list[str]:
        return [question.kind for question in self.asked if step in ("", question.step)]

    # ── driving ────────────────────────────────────────────────────────────────────────────
    def runs(self, state: Path, site: Path, guide: str) -> RunVerdict:
        bench = Workbench(state, site)
        return asyncio.run(self._drive(bench.start(guide, "recovery")))

    def resumes(self, state: Path, site: Path) -> RunVerdict:
        bench = Workbench(state, site)
        return asyncio.run(self._drive(bench.resume(bench.folder("latest").name)))

    async def _drive(self, opening: Any) -> RunVerdict:
        session = await opening
        try:
            verdict: RunVerdict = await session.go(self)
            return verdict
        finally:
            await session.close()
