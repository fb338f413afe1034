"""A guide: Markdown that people read, whose ``##`` sections with a step block are steps.

``load`` and ``parse`` give a Guide whose includes are filled in; its ``text`` is the resolved text
that goes into the journal, and parsing that again gives the same steps without any other file.
Whether actions, checks and parameters exist is asked of a catalog: see guidecheck.py.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args

from runbook.errors import GuideError, UseError
from runbook.events import Mode
from runbook.guide.calls import TARGETS, CheckCall, is_target
from runbook.guide.departures import Departure
from runbook.guide.file import Page, Problem, Section, read_text, scan, shipped
from runbook.guide.include import expand, text_of
from runbook.guide.keys import Keys
from runbook.guide.substitute import substitute

__all__ = [
    "CheckCall",
    "Departure",
    "Guide",
    "Problem",
    "Step",
    "load",
    "parse",
    "read",
    "shipped",
    "substitute",
]

MODES: tuple[Mode, ...] = get_args(Mode)
_ID = re.compile(r"[a-z][a-z0-9_-]{0,39}")
_NAME = re.compile(r"[A-Za-z_]\w*|\*")
_FRONT_KEYS = ("title", "summary", "modes", "rto")
_STEP_KEYS = (
    "id",
    "include",
    "action",
    "on",
    "before",
    "after",
    "timeout",
    "expected",
    "changes",
    "save",
    "with",
)


@dataclass(frozen=True)
class Step:
    """``timeout`` is in seconds, for one host and one attempt; None: no limit. ``expected`` is how long it
    usually takes ("15m", or empty). ``with_`` are the action's parameters, references unfilled.
    ``prose`` is the section's Markdown without the step block."""

    id: str
    title: str
    prose: str
    action: str | None = None
    on: str = "operator"
    before: tuple[CheckCall, ...] = ()
    after: tuple[CheckCall, ...] = ()
    timeout: float | None = None
    expected: str = ""
    changes: str = ""
    save: tuple[str, ...] = ()
    with_: Mapping[str, Any] = field(default_factory=dict)
    departures: tuple[Departure, ...] = ()
    #: where it stands; no part of what it is
    section: Section = field(repr=False, compare=False, kw_only=True)

    @property
    def line(self) -> int:
        return self.section.line

    @property
    def file(self) -> str:
        return self.section.file


@dataclass(frozen=True)
class Guide:
    """``intro``: the Markdown before the first step; ``outro``: sections after it that are no
    steps. ``text`` is resolved, ``sha256`` its hash. ``rto`` is a duration or empty."""

    name: str
    path: Path | None
    title: str
    summary: str
    modes: tuple[Mode, ...]
    rto: str
    intro: str
    outro: str
    steps: tuple[Step, ...]
    text: str = field(repr=False)
    sha256: str

    def step(self, id: str) -> Step:
        """Raises KeyError."""
        for step in self.steps:
            if step.id == id:
                return step
        raise KeyError(id)


def load(name_or_path: str | Path) -> Guide:
    """A shipped guide by its name, or one by its path. Raises GuideError, UseError."""
    path = find(name_or_path)
    return parse(read_text(path), name=path.stem, path=path)


def find(name_or_path: str | Path) -> Path:
    """Raises UseError naming the guides there are."""
    known, text = shipped(), str(name_or_path)
    if text in known:
        return known[text]
    path = Path(name_or_path).expanduser()
    if path.suffix == ".md" or len(path.parts) > 1 or path.is_file():
        return path
    near = get_close_matches(text, known, 1)
    hint = f"Did you mean {near[0]}?" if near else f"There are: {', '.join(known)}; or give a file's path."
    raise UseError(f"There is no guide {text!r}.", next=hint)


def parse(text: str, *, name: str = "guide", path: Path | None = None) -> Guide:
    """Raises GuideError with every problem found."""
    guide, problems = read(text, name=name, path=path)
    if problems:
        raise GuideError(problems)
    return guide


def read(text: str, *, name: str = "guide", path: Path | None = None) -> tuple[Guide, list[Problem]]:
    """The guide as far as it can be understood, and what is wrong with it."""
    page = scan(text, str(path or name), path)
    problems = list(page.problems)
    sections = expand(page, problems)
    steps = _steps(sections, page.file, problems)
    resolved = text_of(page, sections)
    guide = _guide(name, page, sections, steps, resolved, problems)
    if sections != page.sections and not problems:
        again = read(resolved, name=name)[0]
        if again.steps != steps:
            problems.append((page.file, 1, "an included section's Markdown runs into what follows it"))
    return guide, sorted(set(problems), key=lambda problem: (problem[0] != page.file, problem))


def _guide(
    name: str,
    page: Page,
    sections: tuple[Section, ...],
    steps: tuple[Step, ...],
    text: str,
    problems: list[Problem],
) -> Guide:
    keys = Keys(page.front, Section("", page.file, 1, "", "", page.front, (page.front_block,)), problems)
    keys.unknown(_FRONT_KEYS, "the front matter")
    title = keys.text("title")
    if not title.strip():
        keys.wrong("title", "give the guide a title")
    modes = keys.texts("modes", MODES)
    if not modes or not set(modes) <= set(MODES):
        keys.wrong("modes", f"must be a list of {', '.join(MODES)}, at least one")
    keys.duration("rto")
    first = next((at for at, section in enumerate(sections) if section.data is not None), len(sections))
    before = [section.raw.strip("\n") for section in sections[:first]]
    after = [section.raw.strip("\n") for section in sections[first:] if section.data is None]
    return Guide(
        name=name,
        path=page.path,
        title=title,
        summary=keys.text("summary"),
        modes=tuple(mode for mode in MODES if mode in modes),
        rto=keys.text("rto", quiet=True),
        intro="\n\n".join(part for part in [page.intro, *before] if part),
        outro="\n\n".join(after),
        steps=steps,
        text=text,
        sha256=hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest(),
    )


def _steps(sections: tuple[Section, ...], file: str, problems: list[Problem]) -> tuple[Step, ...]:
    steps: list[Step] = []
    for section in sections:
        if section.data is None:  # prose, or TOML that could not be read (said already)
            continue
        step = _step(section, problems)
        twin = next((other for other in steps if other.id == step.id), None)
        if twin and step.id:
            where = f"line {twin.line}"
            problems.append((*section.where("id"), f"id {step.id!r} is taken by the step in {where}"))
        steps.append(step)
    if not any(section.blocks for section in sections):
        problems.append((file, 1, "a guide needs at least one ## section with a ```toml step block"))
    return tuple(steps)


def _step(section: Section, problems: list[Problem]) -> Step:
    data = section.data or {}
    keys = Keys(data, section, problems)
    keys.unknown(_STEP_KEYS, "a step")
    id, action, on = keys.text("id"), keys.text("action"), keys.text("on") or "operator"
    included = "include" in data  # still here: it could not be filled in, and that has been said
    if not included and "id" not in data:
        keys.wrong("id", 'a step needs an id, such as id = "deploy"')
    elif isinstance(data.get("id"), str) and not _ID.fullmatch(id):
        keys.wrong("id", f"{id!r} is no id: a lower-case letter, then letters, digits, _ or - (40 at most)")
    if not is_target(on):
        keys.wrong("on", f"{on!r} is no place: one of {', '.join(TARGETS)} or host:NAME")
    before, after = keys.calls("before"), keys.calls("after")
    if not (action or data.get("before") or data.get("after") or included):
        problems.append((*section.where("id"), "a step needs an action or checks; this one has neither"))
    save = keys.texts("save")
    for name in save:
        if not _NAME.fullmatch(name):
            keys.wrong("save", f"{name!r} is no name: letters, digits and _", name)
    with_ = data.get("with", {})
    if not isinstance(with_, dict):
        keys.wrong("with", "must be a table of the action's parameters")
        with_ = {}
    for key in ("with", "save"):
        if data.get(key) and not action and not included:
            keys.wrong(key, "is the action's, and this step has none")
    keys.duration("expected")
    return Step(
        id=id,
        title=section.title,
        prose=section.prose,
        action=action or None,
        on=on,
        before=before,
        after=after,
        timeout=keys.duration("timeout"),
        expected=keys.text("expected", quiet=True),
        changes=keys.text("changes"),
        save=save,
        with_=with_,
        departures=section.departures,
        section=section,
    )
