"""The command line: help that helps, and options that may stand before the word or after it."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import pytest

from runbook import cli, clihelp
from runbook.errors import EXIT_OK, EXIT_USE


def commands(
    parser: argparse.ArgumentParser, words: str = ""
) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Every command there is, with its words: ``guide``, ``guide check`` …"""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, one in action.choices.items():
                yield f"{words} {name}".strip(), one
                yield from commands(one, f"{words} {name}".strip())


#: the parsers that the words' own modules make
OWN = ("backup", "couchdb", "kit", "lab")
COMMANDS = [name for name, _ in commands(cli._parser()) if name not in OWN]


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_says_what_it_does_and_gives_an_example(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([*name.split(), "--help"])
    assert ended.value.code == EXIT_OK
    said = capsys.readouterr().out
    assert clihelp.ABOUT[name].text in said
    assert f"Example: runbook {name}" in said or name in ("guide", "site")
    assert "--state DIR" in said and "--site FILE" in said


@pytest.mark.parametrize("name", COMMANDS)
def test_each_example_is_one_that_the_parser_takes(name: str) -> None:
    import shlex

    args = cli._parser().parse_args(shlex.split(clihelp.ABOUT[name].example)[1:])
    assert callable(args.command)


@pytest.mark.parametrize("word", ["runs", "lab status", "couchdb status", "guide list", "report verify r"])
def test_state_and_site_may_stand_before_the_word_and_after_it(word: str) -> None:
    options = ["--state", "/the/state", "--site", "/the/site.toml"]
    for line in ([*options, *word.split()], [*word.split(), *options]):
        args, rest = cli._parser().parse_known_args(line)
        assert (args.state, args.site) == (Path("/the/state"), Path("/the/site.toml"))
        assert not set(options) & set(rest)


def test_without_them_nothing_is_set_and_the_later_one_counts() -> None:
    args = cli._parser().parse_args(["runs"])
    assert (args.state, args.site) == (None, None)
    args = cli._parser().parse_args(["--state", "/first", "runs", "--state", "/second"])
    assert args.state == Path("/second")


def test_both_places_look_into_the_same_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "runs" / "broken").mkdir(parents=True)
    (tmp_path / "runs" / "broken" / "journal.jsonl").write_text("no journal\n")
    shown = []
    for line in (["--state", str(tmp_path), "runs"], ["runs", "--state", str(tmp_path)]):
        assert cli.main(line) == EXIT_OK
        shown.append(capsys.readouterr().out)
    assert shown[0] == shown[1]
    assert "broken" in shown[0]


def test_an_option_that_nobody_knows_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["runs", "--sate", "/x"])
    assert ended.value.code == EXIT_USE
    assert "--sate" in capsys.readouterr().err


def test_without_runs_that_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--state", str(tmp_path), "runs"]) == EXIT_OK
    told = capsys.readouterr()
    assert told.out == "" and "there are no runs yet" in told.err


def test_a_first_file_is_not_called_complete(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "runbook.toml"
    assert cli.main(["site", "init", "-o", str(path)]) == EXIT_OK
    capsys.readouterr()
    assert cli.main(["--site", str(path), "site", "check"]) == EXIT_USE
    told = capsys.readouterr()
    assert "well-formed" not in told.out
    assert "name is still the example's; platform.domain is still the example's" in " ".join(told.err.split())
