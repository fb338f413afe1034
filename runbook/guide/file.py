"""The Markdown of a guide, taken apart: front matter, sections, step blocks, with their lines.

Nothing here knows what a step means; it only finds things and remembers where they stood.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.token import Token

from runbook.errors import GuideError
from runbook.guide.departures import Departure, departures

#: (file, line from 1, what is wrong and what is allowed)
Problem = tuple[str, int, str]

LARGEST = 1_000_000
GUIDES = Path(__file__).parents[1] / "guides"
_TOML_LINE = re.compile(r"\s*\(at line (\d+), column \d+\)$")
_HEADER = re.compile(r"\s*\[\s*([^\[\]]+?)\s*\]\s*(#.*)?$")
_KEY = re.compile(r"""\s*(["']?)([\w-]+)\1\s*([.=])""")


@dataclass(frozen=True)
class Block:
    """A step's TOML where it stands; ``line`` is that of its opening fence."""

    file: str
    line: int
    text: str

    def find(self, key: str, value: str = "", table: str = "") -> int | None:
        """The line of ``key`` (and, if it is to be seen, of ``value`` after it)."""
        here, lines = "", self.text.split("\n")
        for number, text in enumerate(lines):
            if header := _HEADER.match(text):
                here = header[1]
                if here == key and not table:
                    return self.line + 1 + number
            elif (match := _KEY.match(text)) and here == table and match[2] == key:
                for later, other in enumerate(lines[number:] if value else (), number):
                    if value in other:
                        return self.line + 1 + later
                return self.line + 1 + number
        return self.find(table) if table else None


@dataclass(frozen=True)
class Section:
    """A ``##`` section. ``raw`` is its text, ``prose`` that without heading and step block.
    ``data`` is its step's TOML, None when it has none or it cannot be read. ``blocks``: where the
    keys of ``data`` come from, the nearest first (more than one after an include)."""

    title: str
    file: str
    line: int
    raw: str
    prose: str
    data: dict[str, Any] | None = None
    blocks: tuple[Block, ...] = ()
    departures: tuple[Departure, ...] = ()

    def where(self, key: str, value: str = "", table: str = "") -> tuple[str, int]:
        for block in self.blocks:
            if line := block.find(key, value, table):
                return block.file, line
        return self.file, self.blocks[0].line if self.blocks else self.line


@dataclass(frozen=True)
class Page:
    """A guide's file. ``head`` is its text up to the first section."""

    file: str
    path: Path | None
    front: dict[str, Any]
    front_block: Block
    head: str
    intro: str
    sections: tuple[Section, ...]
    problems: tuple[Problem, ...]


def shipped() -> dict[str, Path]:
    """The guides that come with the program, by name."""
    return {path.stem: path for path in sorted(GUIDES.glob("*.md"))}


def read_text(path: Path) -> str:
    """The file's text with plain line ends. Raises GuideError."""
    try:
        if path.stat().st_size > LARGEST:
            raise GuideError([(str(path), 1, f"a guide may have {LARGEST:,} bytes; this one is larger")])
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise GuideError([(str(path), 1, f"cannot be read: {error.strerror}")]) from None
    except UnicodeDecodeError as error:
        raise GuideError([(str(path), 1, f"is not UTF-8 text (byte {error.start})")]) from None
    return plain(text)


def plain(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


@cache
def _markdown() -> MarkdownIt:
    parser = MarkdownIt("commonmark")
    parser.core.ruler.enableOnly(["normalize", "block"])  # inline text is the reader's business
    return parser


def scan(text: str, file: str, path: Path | None = None) -> Page:
    """Take a guide's text apart. Never raises: what is wrong is in ``problems``."""
    lines = plain(text).split("\n")
    problems: list[Problem] = []
    front, front_block, body = _front(lines, file, problems)
    # the front matter as blank lines: line numbers stay those of the file
    text_lines = [""] * body + lines[body:]
    tokens = _markdown().parse("\n".join(text_lines))
    starts = [
        (token.map[0], tokens[at + 1].content.strip())
        for at, token in enumerate(tokens)
        if token.type == "heading_open" and token.markup == "##" and token.level == 0 and token.map
    ]
    ends = [*(start for start, _ in starts[1:]), len(text_lines)]
    first = starts[0][0] if starts else len(text_lines)
    for token in tokens:
        _fence(token, text_lines, first, file, problems)
    sections = tuple(
        _section(title, start, end, text_lines, tokens, file, problems)
        for (start, title), end in zip(starts, ends, strict=False)
    )
    head = "\n".join(lines[:first])
    intro = "\n".join(text_lines[:first]).strip("\n")
    return Page(file, path, front, front_block, head, intro, sections, tuple(problems))


def _front(lines: list[str], file: str, problems: list[Problem]) -> tuple[dict[str, Any], Block, int]:
    """The front matter, and how many lines it takes."""
    end = next((at for at, line in enumerate(lines[1:], 1) if line.rstrip() == "+++"), 0)
    if lines[0].rstrip() != "+++" or not end:
        problems.append((file, 1, "a guide begins with TOML front matter between two lines of +++"))
        return {}, Block(file, 1, ""), 0
    block = Block(file, 1, "\n".join(lines[1:end]))
    return _toml(block, problems) or {}, block, end + 1


def _toml(block: Block, problems: list[Problem]) -> dict[str, Any] | None:
    try:
        return tomllib.loads(block.text)
    except (ValueError, RecursionError) as error:
        text = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        match = _TOML_LINE.search(text)
        # "at end of document" has no line: it is the last one
        line = int(match[1]) if match else block.text.count("\n") + 1
        problems.append((block.file, block.line + line, f"not TOML: {_TOML_LINE.sub('', text)}"))
        return None


def _fence(token: Token, lines: list[str], first: int, file: str, problems: list[Problem]) -> None:
    """Say what is wrong with a fenced block, if anything."""
    if token.type != "fence" or token.map is None:
        return
    start, end = token.map
    words = token.info.split()
    line = start + 1
    closing = lines[end - 1].strip() if end - 1 > start else ""
    if token.level == 0 and not (closing.startswith(token.markup) and not closing.strip(token.markup[0])):
        problems.append((file, line, f"this block is never closed: end it with {token.markup}"))
    if len(words) > 1 and words[0].lower() == "toml" and words != ["toml", "step"]:
        problems.append((file, line, "a step's block begins with ```toml step"))
    elif words == ["toml", "step"] and token.level:
        problems.append((file, line, "a step's block stands on its own, not in a list or quotation"))
    elif words == ["toml", "step"] and start < first:
        problems.append((file, line, "a step's block stands in a ## section"))


def _section(
    title: str,
    start: int,
    end: int,
    lines: list[str],
    tokens: list[Token],
    file: str,
    problems: list[Problem],
) -> Section:
    inside = [token for token in tokens if token.map and start <= token.map[0] < end and token.level == 0]
    steps = [token for token in inside if token.type == "fence" and token.info.split() == ["toml", "step"]]
    for extra in steps[1:]:
        assert extra.map
        problems.append((file, extra.map[0] + 1, "a section holds one step; give this one a ## heading"))
    kept = lines[start + 1 : end]
    blocks: tuple[Block, ...] = ()
    data: dict[str, Any] | None = None
    if steps:
        top, bottom = steps[0].map or (start, end)
        kept = [*lines[start + 1 : top], "", *lines[bottom:end]]
        blocks = (Block(file, top + 1, steps[0].content.removesuffix("\n")),)
        data = _toml(blocks[0], problems)
    boxes = tuple(
        box
        for token in inside
        if token.type == "blockquote_open" and token.map
        for box in departures(lines[token.map[0] : token.map[1]], file, token.map[0] + 1)
    )
    raw, prose = "\n".join(lines[start:end]), "\n".join(kept).strip("\n")
    return Section(title, file, start + 1, raw, prose, data, blocks, boxes)
