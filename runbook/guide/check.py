"""Does a guide fit this program? Every action, check, parameter and reference, before a run.

All problems are collected, each with its file and line and what is allowed there.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Protocol, get_args, get_origin, get_type_hints

import msgspec
from msgspec import inspect as kinds

from runbook.action import Action
from runbook.check import Check
from runbook.guide import substitute
from runbook.guide.calls import CheckCall
from runbook.guide.file import Problem, Section, read_text
from runbook.guide.model import Guide, Step, read
from runbook.units import check_form

_PLAIN: dict[type, Any] = {
    kinds.StrType: "text",
    kinds.IntType: 1,
    kinds.FloatType: 1.5,
    kinds.BoolType: True,
    kinds.VarTupleType: [],
    kinds.DictType: {},
}


class Catalog(Protocol):
    """The names there are; ``action`` and ``check`` raise KeyError for others."""

    def action(self, name: str) -> Action: ...
    def check(self, name: str) -> Check: ...
    def action_names(self) -> list[str]: ...
    def check_names(self) -> list[str]: ...


def check_file(path: Path, catalog: Catalog) -> list[Problem]:
    """All that is wrong with a guide's file; [] when it is good. Raises GuideError when it
    cannot be read at all."""
    guide, problems = read(read_text(path), name=path.stem, path=path)
    return sorted(set(problems + check(guide, catalog)))


def check(guide: Guide, catalog: Catalog) -> list[Problem]:
    """What is wrong with a guide that could be parsed, as far as the catalog can tell."""
    problems: list[Problem] = []
    earlier: dict[str, Step] = {}
    for step in guide.steps:
        one = _StepCheck(step, catalog, earlier, problems)
        one.action()
        for key, calls in (("before", step.before), ("after", step.after)):
            for call in calls:
                one.call(key, call)
        one.departures()
        earlier.setdefault(step.id, step)
    return problems


def near(name: str, names: Iterable[str]) -> str:
    """``did you mean A or B?``; when none is close, those of the same subject, or all there are."""
    names = list(names)
    subject, _, rest = name.rpartition(".")
    # the right word in the wrong subject is the commonest slip
    close = get_close_matches(name, names, 3) or [each for each in names if each.endswith(f".{rest}")][:3]
    if close:
        return f"did you mean {' or '.join(close)}?"
    some = [each for each in names if subject and each.startswith(f"{subject}.")] or names
    return f"there are {', '.join(some[:15])}{', …' if len(some) > 15 else ''}" if some else "there are none"


class _StepCheck:
    def __init__(
        self, step: Step, catalog: Catalog, earlier: Mapping[str, Step], problems: list[Problem]
    ) -> None:
        self.step, self.catalog, self.earlier, self.problems = step, catalog, earlier, problems

    @property
    def section(self) -> Section:
        return self.step.section

    def wrong(self, text: str, key: str, value: str = "", table: str = "") -> None:
        self.problems.append((*self.section.where(key, value, table), text))

    def action(self) -> None:
        name = self.step.action
        if not name:
            return
        if not any(call.required for call in self.step.after):
            # the verdict comes from the world: without a check only an exit status would be left
            only = " that is required" if self.step.after else ""
            self.wrong(f"a step with an action needs at least one check after it{only}", "action")
        try:
            action = self.catalog.action(name)
        except KeyError:
            self.wrong(f"unknown action {name!r}; {near(name, self.catalog.action_names())}", "action")
            return
        for saved in self.step.save:
            if "*" not in action.outputs and saved not in (*action.outputs, "*"):
                self.wrong(
                    f"save: {name} has no output {saved!r}; {near(saved, action.outputs)}", "save", saved
                )
        self.parameters(name, action)

    def parameters(self, name: str, action: Action) -> None:
        fields = {field.encode_name: field for field in msgspec.structs.fields(action.params)}
        given, good = self.step.with_, True
        for key in given:
            if key not in fields:
                good = False
                self.wrong(f"{name} has no parameter {key!r}; {near(key, fields)}", key, table="with")
        for key, field in fields.items():
            if key not in given:
                if field.required:
                    good = False
                    self.wrong(f"{name} needs the parameter {key!r} in [with]", "with")
                continue
            try:
                if self.references(given[key]):
                    good = False  # the whole can be looked at only with the values filled in
                    self.fits(given[key], field.type)
                else:
                    fit(given[key], field.type)
            except ValueError as error:  # msgspec's ValidationError is one
                good = False
                self.wrong(f"{name}: {key}: {error}", key, table="with")
        if good:
            try:
                msgspec.convert(given, action.params, strict=True)
            except msgspec.ValidationError as error:
                self.wrong(f"{name}: {error}", "with")

    def references(self, value: Any) -> bool:
        """Whether there are any; ValueError when one leads nowhere."""
        found = list(substitute.references(value))
        for path in found:
            if path[0] == "site":
                substitute.site_kind(path)
            else:
                self.saved(path)
        return bool(found)

    def saved(self, path: tuple[str, ...]) -> None:
        _, id, name = path
        step = self.earlier.get(id)
        if step is None:
            raise ValueError(f"no earlier step has the id {id!r}; {near(id, self.earlier)}")
        if "*" in step.save and step.action:
            try:
                outputs = self.catalog.action(step.action).outputs
            except KeyError:
                return  # said where it stands
            if "*" in outputs or name in outputs:
                return
            raise ValueError(f"{step.action} of step {id} has no output {name!r}; {near(name, outputs)}")
        if name not in step.save:
            raise ValueError(f"step {id} does not save {name!r}; {near(name, step.save)}")

    def fits(self, value: Any, wanted: Any) -> None:
        """Can a value with references in it become what is wanted? Sure only in plain cases."""
        if not isinstance(value, str):
            return
        whole = substitute.whole(value)
        if whole is None:
            sample: Any = "text"
        elif whole[0] == "site":
            sample = _PLAIN.get(type(substitute.site_kind(whole)))
        else:
            return
        if get_origin(wanted) is Annotated:
            wanted = get_args(wanted)[0]
        if sample is not None and wanted in (str, int, float, bool):
            msgspec.convert(sample, wanted, strict=True)

    def call(self, key: str, call: CheckCall) -> None:
        try:
            check = self.catalog.check(call.name)
        except KeyError:
            text = f"unknown check {call.name!r}; {near(call.name, self.catalog.check_names())}"
            self.wrong(text, key, call.text)
            return
        for text in arguments(call, check.function):
            self.wrong(text, key, call.text)

    def departures(self) -> None:
        words = {"original": "The original says", "ours": "We do", "why": "Why", "evidence": "Evidence"}
        for box in self.step.departures:
            lacking = [f"'{label}:'" for name, label in words.items() if not getattr(box, name)]
            if lacking:
                text = f"this departure lacks {', '.join(lacking)}: each on a line of its own, with its text"
                self.problems.append((box.file, box.line, text))


def fit(value: Any, declared: Any) -> None:
    """Is it of the type and form that a parameter is declared with? ValueError says what is allowed."""
    msgspec.convert(value, declared, strict=True)
    check_form(value, declared)


def arguments(call: CheckCall, function: Callable[..., Any]) -> list[str]:
    """What is wrong with a call's arguments, by the function's signature."""
    found = []
    try:
        hints = get_type_hints(function, include_extras=True)
    except (NameError, TypeError):  # names that exist for type checkers only
        hints = {}
    parameters = dict(list(inspect.signature(function).parameters.items())[1:])  # without the Look
    open_ended = any(each.kind is each.VAR_KEYWORD for each in parameters.values())
    takes = {name: each for name, each in parameters.items() if each.kind is not each.VAR_KEYWORD}
    for name, value in call.args.items():
        if name in takes:
            try:
                fit(value, hints.get(name, Any))
            except ValueError as error:  # msgspec's ValidationError is one
                found.append(f"{call.name}: {name}={value!r}: {error}")
        elif not open_ended:
            known = [*takes, "on", "required", "within"]
            found.append(f"{call.name} has no argument {name!r}; {near(name, known)}")
    for name, each in takes.items():
        if each.default is each.empty and name not in call.args:
            found.append(f"{call.name} needs the argument {name!r}")
    return found
