"""Guides: what people write becomes steps, and what is wrong is told with its line."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runbook.errors import GuideError, UseError
from runbook.guide import model as guides

GOOD = """\
+++
title = "Small restore"
modes = ["practice", "drill"]
rto = "4h"
+++
# Small restore

Do this when it is small.

## Before you begin

Breathe.

## Freeze the backups

Stops the schedule.

> **Departs from the original.**
> *The original says:* nothing.
> *We do:* freeze first,
> and pin.
> *Why:* the nightly job prunes.
> *Evidence:* seen.

```toml step
id = "freeze"
action = "backup.freeze"
on = "backup"
before = [
    "site.ready",
    "hosts.disk_free(min='2GB', on='operator', within='5m', required=False)",
]
timeout = "1h30m"
save = ["backup_id"]
[with]
tier = "daily"
```

More prose.

## Look

```toml step
id = "look"
after = ["hosts.reachable"]
```

## Afterwards

Tell people.
"""


def wrong(text: str, **names: object) -> list[tuple[int, str]]:
    with pytest.raises(GuideError) as caught:
        guides.parse(text, **names)  # type: ignore[arg-type]
    return [(line, told) for _, line, told in caught.value.problems]


def a_guide(*blocks: str, front: str = 'title = "T"') -> str:
    steps = "\n".join(f"## S{n}\n\n```toml step\n{block}\n```\n" for n, block in enumerate(blocks))
    return f"+++\n{front}\n+++\n\n{steps}"


def line_of(text: str, part: str) -> int:
    return text[: text.index(part)].count("\n") + 1


def test_a_guide_becomes_steps() -> None:
    guide = guides.parse(GOOD, name="small")
    assert (guide.title, guide.modes, guide.rto) == ("Small restore", ("practice", "drill"), "4h")
    assert "Do this when it is small." in guide.intro and "Breathe." in guide.intro
    assert guide.outro == "## Afterwards\n\nTell people."
    freeze, look = guide.steps
    assert (freeze.id, freeze.title, freeze.action, freeze.on) == (
        "freeze",
        "Freeze the backups",
        "backup.freeze",
        "backup",
    )
    assert freeze.timeout == 5400 and freeze.save == ("backup_id",) and freeze.with_ == {"tier": "daily"}
    assert "Stops the schedule." in freeze.prose and "More prose." in freeze.prose
    assert "toml" not in freeze.prose
    ready, disk = freeze.before
    assert (ready.name, ready.args, ready.required, ready.within) == ("site.ready", {}, True, None)
    assert (disk.args, disk.on, disk.required, disk.within) == ({"min": "2GB"}, "operator", False, 300)
    assert (look.action, look.on, look.timeout) == (None, "operator", None)
    assert guide.step("look") is look
    assert freeze.line == line_of(GOOD, "## Freeze")


def test_a_departure_is_read_out_of_its_box() -> None:
    (box,) = guides.parse(GOOD).steps[0].departures
    assert box == guides.Departure("nothing.", "freeze first, and pin.", "the nightly job prunes.", "seen.")
    assert box.line == line_of(GOOD, "> **Departs")


@pytest.mark.parametrize("form", ["> - **{}:** text", "> **{}**: text", "> {}: text\\", "> _{}:_ text"])
def test_departures_may_be_set_in_several_ways(form: str) -> None:
    lines = [form.format(label) for label in ("The original says", "We do", "Why", "Evidence")]
    box = "\n".join(["> **Departs from the original.**", ">", *lines])
    text = a_guide('id = "a"\nafter = ["x.y"]').replace("```toml", box + "\n\n```toml")
    assert guides.parse(text).steps[0].departures == (guides.Departure(*["text"] * 4),)


def test_line_ends_do_not_matter() -> None:
    assert guides.parse(GOOD.replace("\n", "\r\n")).steps == guides.parse(GOOD).steps


def test_every_problem_is_told_with_its_line() -> None:
    text = a_guide(
        'id = "Bad Id"\naction = "x.y"\non = "moon"\ntimeout = "soon"\nflavour = 1\nsave = ["a b"]',
        'id = "b"\nbefore = [\n  "x.y",\n  "x.y(1)",\n]\naction = 5',
        'id = "b"\nafter = ["x.y"]\nbeforre = ["x.y"]',
        front='title = "T"\nmodes = ["dril"]\nrtoo = "1h"',
    )
    told = dict(wrong(text))
    for part, words in {
        'id = "Bad Id"': "no id",
        'on = "moon"': "each production",
        "timeout": "1h30m",
        "flavour": "unknown key",
        "save": "no name",
        '"x.y(1)"': "arguments need names",
        "action = 5": "must be text",
        "beforre": "did you mean before?",
        "modes": "practice, drill, recovery",
        "rtoo": "did you mean rto?",
    }.items():
        assert words in told[line_of(text, part)], part
    twins = [line for line, text in wrong(text) if "is taken" in text]
    assert twins == [text[: text.rindex('id = "b"')].count("\n") + 1]


@pytest.mark.parametrize(
    ("block", "told", "line"),
    [
        ('action = "x.y"', "needs an id", 7),
        ('id = "a"', "neither", 8),
        ('id = "a"\naction = ', "not TOML", 9),
        ('id = "a"\nafter = ["x.y"]\n[with]\na = 1', "this step has none", 10),
        ('id = "a"\nafter = ["x.y"]\nsave = ["s"]', "this step has none", 10),
        ('id = "a"\naction = "x.y"\nwith = 1', "must be a table", 10),
        ('id = "a"\nafter = "x.y"', "must be a list of texts", 9),
        ('id = "a"\nafter = ["x.y(${site.name})"]', "not a check call", 9),
        ("a = " + "[" * 3000, "nested too deeply", None),
    ],
)
def test_a_wrong_step(block: str, told: str, line: int | None) -> None:
    (problem,) = wrong(a_guide(block))
    assert told in problem[1] and line in (None, problem[0])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("# A guide\n", "front matter"),
        ("+++\ntitle = \n+++\n" + a_guide('id="a"\nafter=["x.y"]').split("+++\n\n")[1], "not TOML"),
        (a_guide(), "at least one ## section"),
        (a_guide('id="a"\nafter=["x.y"]') + "```toml step\nid='b'\n```\n", "holds one step"),
        (a_guide('id="a"\nafter=["x.y"]') + "```toml steps\n```\n", "begins with ```toml step"),
        (a_guide('id="a"\nafter=["x.y"]') + "- ```toml step\n  ```\n", "not in a list"),
        (a_guide('id="a"\nafter=["x.y"]') + "```\nopen", "never closed"),
        (a_guide('id="a"\nafter=["x.y"]').replace("## S0", "# S0"), "stands in a ## section"),
    ],
)
def test_wrong_markdown(text: str, told: str) -> None:
    assert any(told in problem for _, problem in wrong(text))


def test_headings_in_code_and_quotations_are_no_sections() -> None:
    text = a_guide('id = "a"\nafter = ["x.y"]').replace("## S0\n", "## S0\n\n```\n## no\n```\n> ## no\n")
    assert [step.title for step in guides.parse(text).steps] == ["S0"]


# ── includes ───────────────────────────────────────────────────────────────────────────────
def write(folder: Path, name: str, text: str) -> Path:
    path = folder / f"{name}.md"
    path.write_text(text)
    return path


def test_an_include_is_filled_in_and_the_text_stands_alone(tmp_path: Path) -> None:
    write(tmp_path, "small", GOOD)
    path = write(
        tmp_path,
        "other",
        a_guide('include = "small#freeze"\nid = "again"\ntimeout = "5m"\n[with]\nkeep = 3').replace(
            "## S0", "## S0\n\nOurs first."
        ),
    )
    guide = guides.load(path)
    (step,) = guide.steps
    assert (step.id, step.action, step.on, step.timeout) == ("again", "backup.freeze", "backup", 300)
    assert step.with_ == {"tier": "daily", "keep": 3}
    assert step.prose.startswith("Ours first.") and "Stops the schedule." in step.prose
    assert len(step.departures) == 1 and len(step.before) == 2
    for other in tmp_path.iterdir():
        other.unlink()
    assert "include" not in guide.text
    again = guides.parse(guide.text, name=guide.name)
    assert again.steps == guide.steps and again.sha256 == guide.sha256


def test_includes_may_follow_each_other_but_not_for_ever(tmp_path: Path) -> None:
    write(tmp_path, "a", a_guide('id = "x"\nafter = ["s.c"]', 'include = "b#y"'))
    write(tmp_path, "b", a_guide('id = "y"\ninclude = "a#x"', 'id = "z"\ninclude = "b#z"'))
    assert [step.id for step in guides.load(tmp_path / "a.md").steps] == ["x", "y"]
    with pytest.raises(GuideError, match="includes itself"):
        guides.load(tmp_path / "b.md")


@pytest.mark.parametrize(
    ("include", "told"),
    [
        ("nowhere#x", "no guide 'nowhere'"),
        ("a#nothing", "it has x"),
        ("../a#x", "write it like"),
        ("a", "write it like"),
    ],
)
def test_an_include_that_leads_nowhere(tmp_path: Path, include: str, told: str) -> None:
    write(tmp_path, "a", a_guide('id = "x"\nafter = ["s.c"]'))
    path = write(tmp_path, "b", a_guide(f'include = "{include}"'))
    with pytest.raises(GuideError) as caught:
        guides.load(path)
    ((file, line, text),) = caught.value.problems
    assert (file, line) == (str(path), 8) and told in text


def test_a_problem_in_an_included_step_names_its_own_file(tmp_path: Path) -> None:
    bad = write(tmp_path, "a", a_guide('id = "x"\nafter = ["s.c"]\ntimeout = "soon"'))
    with pytest.raises(GuideError) as caught:
        guides.load(write(tmp_path, "b", a_guide('include = "a#x"')))
    assert [problem[:2] for problem in caught.value.problems] == [(str(bad), 10)]


# ── finding ────────────────────────────────────────────────────────────────────────────────
def test_shipped_guides_are_good() -> None:
    for name in guides.shipped():
        guide = guides.load(name)
        assert guide.name == name
        assert guides.parse(guide.text).steps == guide.steps


def test_an_unknown_guide() -> None:
    with pytest.raises(UseError, match="Did you mean full-system-restore"):
        guides.load("full-sistem-restore")


def test_files_that_are_no_guides(tmp_path: Path) -> None:
    (tmp_path / "bytes.md").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "big.md").write_bytes(b" " * 1_000_001)
    for name in ("bytes.md", "big.md", "missing.md", "."):
        with pytest.raises(GuideError):
            guides.load(tmp_path / name)


# ── anything at all ────────────────────────────────────────────────────────────────────────
PIECES = [
    *("+++\n", 'title = "T"\n', "## A\n", "```toml step\n", "```\n", 'id = "a"\n', 'after = ["x.y"]\n'),
    *("[with]\n", "a = 1\n", "<!--\n", "\t", "\x00", "\u2028", "~~~\n", "> ", "- "),
    'include = "full-system-restore#dns"\n',
]
WORDS = st.sampled_from(PIECES)


@settings(max_examples=150, deadline=None)
@given(st.one_of(st.text(), st.lists(WORDS | st.text(max_size=8), max_size=25).map("".join)))
def test_any_text_is_a_guide_or_a_guide_error(text: str) -> None:
    try:
        guide = guides.parse(text)
    except GuideError as error:
        assert error.problems and all(line >= 1 for _, line, _ in error.problems)
    else:
        assert guides.parse(guide.text).steps == guide.steps


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(GOOD)), st.integers(0, 12), WORDS | st.just("")), max_size=4))
def test_a_damaged_guide_is_a_guide_or_a_guide_error(edits: list[tuple[int, int, str]]) -> None:
    text = GOOD
    for at, length, new in edits:
        text = text[:at] + new + text[at + length :]
    try:
        guide = guides.parse(text)
    except GuideError as error:
        assert error.problems and all(line >= 1 for _, line, _ in error.problems)
    else:
        assert guides.parse(guide.text).steps == guide.steps
