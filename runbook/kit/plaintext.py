"""Markdown as plain text, to be read with anything, or printed."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from markdown_it import MarkdownIt
from markdown_it.token import Token
from tabulate import tabulate

from runbook.text import lines

WIDTH = 78


def plain(markdown: str) -> str:
    """Headings underlined, lists indented, code as it is, tables drawn; front matter as a remark."""
    head = ""
    if markdown.startswith("+++\n"):
        head, _, markdown = markdown[4:].partition("\n+++\n")
    tokens = MarkdownIt("commonmark").enable("table").parse(markdown)
    blocks = [*([_indented(head, "    ")] if head else []), *_blocks(iter(tokens))]
    return "\n".join(lines("\n\n".join(blocks))) + "\n"


def _blocks(tokens: Iterator[Token], closing: str = "") -> list[str]:
    """Up to the token that closes what is being read."""
    found: list[str] = []
    number = 0
    for token in tokens:
        match token.type:
            case _ if token.type == closing:
                break
            case "heading_open":
                title = _line(next(tokens))
                found.append(title + "\n" + ("=" if token.tag == "h1" else "-") * min(len(title), WIDTH))
            case "inline":
                found.append(_wrapped(_line(token)))
            case "fence" | "code_block":
                found.append(_indented(token.content, "    "))
            case "hr":
                found.append("-" * WIDTH)
            case "bullet_list_open" | "ordered_list_open":
                number = int(token.attrs.get("start", 1)) if token.tag == "ol" else 0
                items = []
                for item in _items(tokens, token.type.replace("open", "close")):
                    mark = f"{number}. " if number else "- "
                    number += bool(number)
                    items.append(mark + _indented(item, " " * len(mark)).lstrip(" "))
                found.append("\n".join(items))
            case "blockquote_open":
                found.append(_indented("\n\n".join(_blocks(tokens, "blockquote_close")), "  | "))
            case "table_open":
                found.append(_table(tokens))
    return found


def _items(tokens: Iterator[Token], closing: str) -> Iterator[str]:
    for token in tokens:
        if token.type == closing:
            return
        if token.type == "list_item_open":
            yield "\n\n".join(_blocks(tokens, "list_item_close"))


def _table(tokens: Iterator[Token]) -> str:
    rows: list[list[str]] = []
    for token in tokens:
        if token.type == "table_close":
            break
        if token.type == "tr_open":
            rows.append([])
        elif token.type == "inline":
            rows[-1].append(_line(token))
    each = max(12, WIDTH // max(1, len(rows[0])) - 2)
    return tabulate(rows[1:], headers=rows[0], disable_numparse=True, maxcolwidths=each)


def _line(token: Token) -> str:
    """The words of an inline token; a link's address after its text."""
    text = ""
    address = ""
    for one in token.children or []:
        match one.type:
            case "text" | "code_inline" | "html_inline":
                text += one.content
            case "softbreak":
                text += " "
            case "hardbreak":
                text += "\n"
            case "image":
                text += f"[picture: {one.content}]"
            case "link_open":
                address = str(one.attrs.get("href", ""))
            case "link_close":
                text += f" <{address}>" if address and not text.endswith(address) else ""
    return text


def _wrapped(text: str) -> str:
    options = {"width": WIDTH, "break_long_words": False, "break_on_hyphens": False}
    return "\n".join(textwrap.fill(line, **options) for line in text.split("\n"))  # type: ignore[arg-type]


def _indented(text: str, by: str) -> str:
    return "\n".join((by + line).rstrip() for line in text.rstrip("\n").split("\n"))
