"""Does a guide fit the program? Asked of a catalog made for the purpose."""

from __future__ import annotations

import inspect
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar, Literal, get_type_hints

import msgspec
import pytest

from runbook import catalog
from runbook.action import NoParams, Params
from runbook.check import Check
from runbook.errors import GuideError
from runbook.guide.calls import parse_call
from runbook.guide.check import arguments, check, check_file
from runbook.guide.model import parse
from runbook.units import Duration, Size


class UpParams(Params, frozen=True):
    services: tuple[str, ...]
    limit: int = 3
    kind: Literal["all", "some"] = "all"
    where: str = ""
    table: dict[str, str] = {}  # noqa: RUF012 (a struct copies it)
    wait: Duration = "5m"
    room: Size = "1GB"


async def disk_free(look: Any, *, min: Size = "1GB", share: float = 0.1, deep: bool = False) -> Any: ...
async def steady(look: Any, *, over: Duration = "6s") -> Any: ...
async def needs(look: Any, *, what: str) -> Any: ...
async def takes_all(look: Any, **anything: Any) -> Any: ...


class Catalog:
    actions: ClassVar[dict[str, Any]] = {
        "compose.up": SimpleNamespace(params=UpParams, outputs=()),
        "backup.freeze": SimpleNamespace(params=NoParams, outputs=("backup_id", "backup_path")),
        "tofu.apply": SimpleNamespace(params=NoParams, outputs=("*",)),
    }
    checks: ClassVar[dict[str, Any]] = {
        f"hosts.{each.__name__}": Check(f"hosts.{each.__name__}", "?", "once", each)
        for each in (disk_free, steady, needs, takes_all)
    }

    def action(self, name: str) -> Any:
        return self.actions[name]

    def check(self, name: str) -> Any:
        return self.checks[name]

    def action_names(self) -> list[str]:
        return sorted(self.actions)

    def check_names(self) -> list[str]:
        return sorted(self.checks)


EARLIER = """\
+++
title = "T"
+++

## Freeze

```toml step
id = "freeze"
action = "backup.freeze"
after = ["hosts.takes_all"]
save = ["backup_id"]
```

## Deploy

```toml step
id = "deploy"
action = "tofu.apply"
after = ["hosts.takes_all"]
save = ["*"]
```

## The step

```toml step
id = "it"
"""


def told(step: str, *, checked: bool = True) -> list[str]:
    """The problems of a step after two others, each as ``line in the step: text``. ``checked``: it gets
    a check after it, unless it has some."""
    above = EARLIER + ('after = ["hosts.takes_all"]\n' if checked and "after" not in step else "")
    text = above + step + "\n```\n"
    start = above.count("\n")
    return [f"{line - start}: {text}" for _, line, text in check(parse(text), Catalog())]


def up(parameters: str) -> list[str]:
    return told(f'action = "compose.up"\n[with]\n{parameters}')


def test_good_steps() -> None:
    assert not up('services = ["lms"]\nlimit = 5\nkind = "some"')
    assert not up('services = "${steps.deploy.anything}"\nlimit = "${site.couchdb.q}"')
    assert not up('services = ["${site.platform.domain}", "$${X}"]\nwhere = "${steps.freeze.backup_id}!"')
    assert not up('services = []\nwhere = "${site.tofu.variables.region}"')
    assert not up('services = []\nwait = "1h30m"\nroom = "500 MB"')
    assert not up('services = []\nwait = "${site.name}"'), "its form is known when it is filled in"
    assert not told("""after = ["hosts.steady(over='90s')", "hosts.disk_free(min='2.5TB')"]""")
    assert not told("""after = ["hosts.disk_free(min='2GB', share=1, deep=True, on='backup')"]""")
    assert not told("""after = ["hosts.needs(what='x')", "hosts.takes_all(x=1)"]""")


@pytest.mark.parametrize(
    ("parameters", "line", "words"),
    [
        ("limit = 5", 2, "needs the parameter 'services'"),
        ('services = []\nservice = "x"', 4, "did you mean services?"),
        ('services = "lms"', 3, "services: Expected `array`, got `str`"),
        ("services = [1]", 3, "services: Expected `str`, got `int`"),
        ('services = []\nlimit = "5"', 4, "Expected `int`, got `str`"),
        ('services = []\nkind = "none"', 4, "kind: Invalid enum value 'none'"),
        ('services = []\nwhere = "${site.platform.domian}"', 4, "it has domain"),
        ('services = []\nwhere = "${site.platform}"', 4, "is a table"),
        ('services = []\nwhere = "${site.name.x}"', 4, "site.name has no parts"),
        ('services = []\nwhere = "${site.couchdb.password}"', 4, "secrets are not reachable"),
        ('services = []\nwhere = "${site.couchdb.password.env}"', 4, "not reachable"),
        ('services = []\ntable = "${site.tofu.secrets}"', 4, "secrets are not reachable"),
        ('services = []\nwhere = "${steps.later.x}"', 4, "no earlier step has the id 'later'"),
        ('services = []\nwhere = "${steps.it.x}"', 4, "no earlier step has the id 'it'"),
        ('services = []\nwhere = "${steps.freeze.backup_path}"', 4, "does not save 'backup_path'"),
        ('services = []\nwhere = "${HOME}"', 4, "write $${"),
        ('services = []\nwhere = "${site.name"', 4, "write $${"),
        ('services = []\nlimit = "${site.name}"', 4, "Expected `int`, got `str`"),
        ('services = []\nlimit = "1${site.couchdb.q}"', 4, "Expected `int`, got `str`"),
        ('services = []\nwait = "soon"', 4, "wait: 'soon' is not a duration: write it like 90s, 30m, 1h30m"),
        ('services = []\nroom = "2XB"', 4, "room: '2XB' is not a size: write it like 500MB or 2GB"),
        ("services = []\nwait = 5", 4, "wait: Expected `str`, got `int`"),
        ('services = []\nwait = "${site.couchdb.q}"', 4, "wait: Expected `str`, got `int`"),
        ('services = []\ntable = { a = "${site.nam}" }', 4, "it has name"),
    ],
)
def test_wrong_parameters(parameters: str, line: int, words: str) -> None:
    (problem,) = up(parameters)
    assert problem.startswith(f"{line}: ") and words in problem


def test_references_lead_to_no_part_of_a_secret() -> None:
    for key in ("password", "password.env", "cookie.ask", "secret.command"):
        assert up(f'services = []\nwhere = "${{site.couchdb.{key}}}"'), key
    assert up('services = []\nwhere = "${site.requests.course.form.x}"')


@pytest.mark.parametrize(
    ("step", "line", "words"),
    [
        ('action = "compose.upp"', 1, "did you mean compose.up"),
        ('action = "docker.up"', 1, "did you mean compose.up"),
        ('action = "zzz"', 1, "there are backup.freeze, compose.up, tofu.apply"),
        ('action = "backup.freeze"\nsave = ["backup_di"]', 2, "did you mean backup_id"),
        ('after = ["hosts.disk_fre"]', 1, "did you mean hosts.disk_free"),
        ('after = ["disks.disk_free"]', 1, "did you mean hosts.disk_free"),
        ('after = [\n "hosts.disk_free",\n "hosts.disk_free(mni=1)",\n]', 3, "did you mean min"),
        ('after = ["hosts.disk_free(min=1)"]', 1, "Expected `str`, got `int`"),
        ("after = [\"hosts.disk_free(deep='yes')\"]", 1, "Expected `bool`, got `str`"),
        (
            "after = [\"hosts.disk_free(min='2XB')\"]",
            1,
            "min='2XB': '2XB' is not a size: write it like 500MB",
        ),
        (
            "after = [\n \"hosts.steady(over='3 parsecs')\",\n]",
            2,
            "is not a duration: write it like 90s, 30m",
        ),
        ("after = [\"hosts.steady(over='')\"]", 1, "is not a duration"),
        ('after = ["hosts.disk_free(look=1)"]', 1, "no argument 'look'"),
        ('after = ["hosts.needs"]', 1, "needs the argument 'what'"),
    ],
)
def test_wrong_names_and_arguments(step: str, line: int, words: str) -> None:
    (problem,) = told(step)
    assert problem.startswith(f"{line}: ") and words in problem


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ("", "a step with an action needs at least one check after it"),
        ('before = ["hosts.takes_all"]', "a step with an action needs at least one check after it"),
        ("after = []", "a step with an action needs at least one check after it"),
        (
            'after = ["hosts.takes_all(required=False)"]',
            "a step with an action needs at least one check after it that is required",
        ),
    ],
)
def test_an_action_that_no_check_would_judge(more: str, words: str) -> None:
    assert told(f'action = "backup.freeze"\n{more}', checked=False) == [f"1: {words}"]


def test_a_step_without_an_action_may_have_checks_of_either_kind() -> None:
    assert not told('before = ["hosts.takes_all"]', checked=False)
    assert not told('after = ["hosts.takes_all(required=False)"]')


def test_what_the_program_itself_offers_is_declared_so_that_it_can_be_checked() -> None:
    """A signature whose types cannot be looked up would let any argument pass."""
    for name in catalog.check_names():
        function = catalog.check(name).function
        hints = get_type_hints(function, include_extras=True)
        assert set(inspect.signature(function).parameters) <= set(hints), name
    for call, words in (
        ("hosts.disk_free(min='2XB')", "not a size"),
        ("hosts.clock_offset(max='soon')", "not a duration"),
        ("compose.steady(over='3 parsecs')", "not a duration"),
    ):
        (problem,) = arguments(parse_call(call), catalog.check(call.partition("(")[0]).function)
        assert words in problem
    for action in map(catalog.action, catalog.action_names()):
        for field in msgspec.structs.fields(action.params):
            named = field.name in ("timeout", "within", "limit", "every") or field.name.endswith("timeout")
            assert not named or field.type == Duration, f"{action}: {field.name}"


def test_a_form_is_looked_at_also_when_a_reference_was_filled_in() -> None:
    with pytest.raises(msgspec.ValidationError, match="wait: 'soon' is not a duration"):
        msgspec.convert({"services": [], "wait": "soon"}, UpParams)


def test_a_departure_without_its_reason(tmp_path: Path) -> None:
    box = "> **Departs from the original.**\n> *The original says:* x\n> *We do:* y\n"
    text = EARLIER + 'after = ["hosts.takes_all"]\n```\n\n' + box
    ((_, line, problem),) = check(parse(text), Catalog())
    assert line == text[: text.index("> **Departs")].count("\n") + 1
    assert "lacks 'Why:', 'Evidence:'" in problem


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("min='2XB'", "'2XB' is not a size: write it like 500MB or 2GB"),
        ("within='soon'", "within: 'soon' is not a duration: write it like 90s, 30m, 1h30m or 2d"),
        ("on='nowhere'", "on must be one of once, step, production, machines, backup, operator,"),
    ],
)
def test_values_are_refused_with_file_line_and_what_is_allowed(
    argument: str, words: str, tmp_path: Path
) -> None:
    path = tmp_path / "g.md"
    path.write_text(EARLIER + f'after = [\n  "hosts.takes_all",\n  "hosts.disk_free({argument})",\n]\n```\n')
    ((file, line, problem),) = check_file(path, Catalog())
    assert file == str(path) and argument in path.read_text().splitlines()[line - 1]
    assert words in problem


def test_a_file_is_told_all_at_once(tmp_path: Path) -> None:
    path = tmp_path / "g.md"
    path.write_text(EARLIER + 'action = "compose.upp"\nafter = ["hosts.takes_all"]\ntimeout = "soon"\n```\n')
    assert [text.split(":")[0] for _, _, text in check_file(path, Catalog())] == [
        "unknown action 'compose.upp'; did you mean compose.up?",
        "timeout",
    ]
    with pytest.raises(GuideError):
        check_file(tmp_path / "missing.md", Catalog())
