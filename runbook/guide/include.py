"""Steps taken from other guides: ``include = "full-system-restore#deploy"``.

The guide is looked for beside the including one, then among those shipped. Keys beside
``include`` replace those of the included step ([with] is merged), the including section's prose
comes before the included one. The outcome is text again, which needs no other file.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from runbook import tomltext
from runbook.errors import GuideError
from runbook.guide.file import Page, Problem, Section, read_text, scan, shipped

_FORM = re.compile(r"([\w-]+)#([\w-]+)")


def expand(page: Page, problems: list[Problem]) -> tuple[Section, ...]:
    """The sections with every include filled in."""
    return tuple(
        _filled(section, page.path, (), problems) if section.data and "include" in section.data else section
        for section in page.sections
    )


def _filled(
    section: Section, path: Path | None, seen: tuple[tuple[Path, str], ...], problems: list[Problem]
) -> Section:
    assert section.data is not None
    own: dict[str, Any] = {key: value for key, value in section.data.items() if key != "include"}
    file, line = section.where("include")

    def refused(text: str) -> Section:
        problems.append((file, line, f"include: {text}"))
        return section

    form = _FORM.fullmatch(str(section.data["include"]))
    if not form:
        return refused("write it like \"full-system-restore#deploy\": a guide's name and a step's id")
    name, step = form[1], form[2]
    source = _find(name, path)
    if source is None:
        return refused(f"there is no guide {name!r} beside this one, nor among {', '.join(shipped())}")
    if (source, step) in seen:
        return refused(f"{name}#{step} includes itself")
    try:
        page = scan(read_text(source), str(source), source)
    except GuideError as error:
        problems.extend(error.problems)
        return section
    base = next((each for each in page.sections if each.data and _id(each.data) == step), None)
    if base is None or base.data is None:
        ids = [_id(each.data) for each in page.sections if each.data]
        return refused(f"{name} has no step {step!r}; it has {', '.join(map(str, ids))}")
    last = base.line + base.raw.count("\n")
    problems.extend(problem for problem in page.problems if base.line <= problem[1] <= last)
    if "include" in base.data:
        base = _filled(base, source, (*seen, (source, step)), problems)
    return _merge(section, own, base)


def _find(name: str, path: Path | None) -> Path | None:
    beside = path.parent / f"{name}.md" if path else None
    found = beside if beside and beside.is_file() else shipped().get(name)
    return found.resolve() if found else None


def _id(data: dict[str, Any]) -> Any:
    """A step's id; one that only includes has the id of what it includes."""
    return data.get("id") or str(data.get("include", "")).rpartition("#")[2]


def _merge(section: Section, own: dict[str, Any], base: Section) -> Section:
    theirs = dict(base.data or {})
    theirs.pop("include", None)
    merged = theirs | own
    if isinstance(theirs.get("with"), dict) and isinstance(own.get("with"), dict):
        merged["with"] = theirs["with"] | own["with"]
    prose = "\n\n".join(text for text in (section.prose, base.prose) if text)
    return replace(
        section,
        data=merged,
        prose=prose,
        raw=f"## {section.title}\n\n{prose}\n\n```toml step\n{tomltext.table(merged)}\n```\n",
        blocks=section.blocks + base.blocks,
        departures=section.departures + base.departures,
    )


def text_of(page: Page, sections: tuple[Section, ...]) -> str:
    """The guide's text with these sections."""
    return "\n".join([page.head, *(section.raw for section in sections)])
