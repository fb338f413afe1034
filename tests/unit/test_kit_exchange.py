"""A kit appears under its name whole or not at all, and what is there is never lost on the way."""

from __future__ import annotations

from pathlib import Path

import pytest

from runbook.errors import UseError
from runbook.kit import sums
from runbook.kit.exchange import Place


def fill(folder: Path, word: str) -> None:
    for name in ("MISSING.txt", "install.sh", "guide.txt"):
        (folder / name).write_text(word)
    sums.write(folder)


def made(folder: Path, word: str) -> None:
    place = Place(folder)
    with place.building() as into:
        fill(into, word)
        place.exchange()


def test_the_new_one_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    kit = tmp_path / "below" / "kit"
    for word in ("first", "second"):
        made(kit, word)
        assert (kit / "guide.txt").read_text() == word
        assert sums.problems(kit) == []
        assert [path.name for path in kit.parent.iterdir()] == ["kit"]


def test_one_that_failed_leaves_the_old_one_and_nothing_else(tmp_path: Path) -> None:
    kit = tmp_path / "kit"
    made(kit, "first")
    place = Place(kit)
    with pytest.raises(OSError, match="no space"), place.building() as into:
        (into / "guide.txt").write_text("half")
        raise OSError("no space")
    assert (kit / "guide.txt").read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["kit"]


def test_one_that_was_killed_between_the_renames_is_put_back(tmp_path: Path) -> None:
    kit = tmp_path / "kit"
    made(kit, "first")
    kit.rename(tmp_path / ".kit.old")
    (tmp_path / ".kit.new").mkdir()
    (tmp_path / ".kit.new" / "half").write_text("half")
    with Place(kit).building() as into:
        assert list(into.iterdir()) == []
        assert (kit / "guide.txt").read_text() == "first"


def test_two_at_once_do_not_mix(tmp_path: Path) -> None:
    kit = tmp_path / "kit"
    with Place(kit).building() as into:
        (into / "mine").write_text("mine")
        with pytest.raises(UseError, match="makes this kit now"), Place(kit).building():
            pytest.fail("the second one got the first one's folder")
        assert (into / "mine").exists()


def test_what_is_no_kit_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "one.jpg").write_text("x")
    with pytest.raises(UseError, match="holds other things"):
        Place(tmp_path / "photos")
    (tmp_path / "file").write_text("x")
    with pytest.raises(UseError, match="is a file"):
        Place(tmp_path / "file")
    with pytest.raises(UseError, match="a drive's own folder"):
        Place(Path("/"))
    assert (tmp_path / "photos" / "one.jpg").read_text() == "x"


def test_an_empty_folder_becomes_the_kit(tmp_path: Path) -> None:
    (tmp_path / "kit").mkdir()
    made(tmp_path / "kit", "first")
    assert sums.problems(tmp_path / "kit") == []


def test_every_difference_is_named(tmp_path: Path) -> None:
    kit = tmp_path / "kit"
    made(kit, "first")
    (kit / "guide.txt").write_text("other")
    (kit / "install.sh").unlink()
    (kit / "added").symlink_to("/etc/passwd")
    assert sums.problems(kit) == [
        "install.sh is missing",
        "added is not of this kit",
        "guide.txt has changed",
    ]
    (kit / sums.NAME).write_text("0" * 64 + "  ../../etc/passwd\n")
    assert "is damaged" in sums.problems(kit)[0]
    with pytest.raises(UseError, match="is not a kit"):
        sums.problems(tmp_path)
