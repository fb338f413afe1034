"""Secrets written out in text that people write: settings, OpenTofu's files, scripts.

Recognised by their names, by logins in addresses, and by private keys' marks. What nobody could
tell from text without knowing the secret (a password under a harmless name) is not found.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Set
from typing import NamedTuple

_SPEAKS = (
    r"[\w-]*(?:pass(?:word|wd|phrase)|secret|token|cookie|credential|authorization"
    r"|(?:api|access|private)[-_]?key)[\w-]*"
)
#: names that speak of a secret and hold where it is, not what it is
_ABOUT = re.compile(r"[-_](path|file|name|id|env|command|length|type|version)$", re.IGNORECASE)
_QUOTED = r"""(?:"(?P<double>[^"\n]+)"|'(?P<single>[^'\n]+)'|(?P<here><<)|(?P<long>\"\"\"|'''))"""
_BARE = r"(?P<bare>[^\s\"'<{\[(|>#][^\s]*)\s*$"
_REFERENCE = re.compile(r"^\$[\w{(]|^%?\{\{|^<.*>$|^\*+$|^$|^(null|true|false)\b|^…$|^\.\.\.$")
_LOGIN = re.compile(r"://[^/\s:@\"']+:(?!\$)[^/\s@\"']+@")
_KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY")
_VARIABLE = re.compile(r'^variable\s+"([\w-]+)"\s*\{([^{}\n]*\}|.*?^\})', re.MULTILINE | re.DOTALL)
_SENSITIVE = re.compile(r"\bsensitive\s*=\s*true\b")
_DEFAULT = re.compile(r'\bdefault\s*=\s*(?!null\b|"")(?=\S)')
_COMMENT = re.compile(r"^\s*(#|//)")
_ONE_LINE = re.compile(r"""^\s*"?[\w-]+"?\s*=\s*("[^"]*"|[\w.-]+)\s*(#.*|//.*)?$""")
LEFT_OUT = "left out of the kit: a secret"


class Found(NamedTuple):
    line: int  #: from 1
    what: str  #: its name; never its value


def find(text: str, *, names: Set[str] = frozenset(), bare: bool = False) -> list[Found]:
    """Where a secret stands in plain. ``names``: further names that hold one. ``bare``: values need no
    quotes (dotenv, YAML, shell)."""
    pattern = _pattern(names, bare)
    found = []
    for number, line in enumerate(text.split("\n"), 1):
        for match in pattern.finditer(line):
            value = next((group for group in match.groups()[1:] if group), "")
            if not _ABOUT.search(match["name"]) and not _REFERENCE.search(value):
                found.append(Found(number, match["name"]))
        if _LOGIN.search(line):
            found.append(Found(number, "a login in an address"))
        if _KEY.search(line):
            found.append(Found(number, "a private key"))
    return found


def _pattern(names: Set[str], bare: bool) -> re.Pattern[str]:
    words = "|".join([_SPEAKS, *map(re.escape, sorted(names))])
    value = f"(?:{_QUOTED}|{_BARE})" if bare else _QUOTED
    return re.compile(rf"""(?<![\w-])["']?(?P<name>{words})["']?\s*[=:]\s*{value}""", re.IGNORECASE)


def variables(text: str) -> set[str]:
    """The variables that an OpenTofu file declares as sensitive."""
    return {name for name, body in _VARIABLE.findall(text) if _SENSITIVE.search(body)}


def without(text: str, names: Set[str], *, values: bool) -> tuple[str | None, list[Found]]:
    """An OpenTofu file without its secrets, and what they were; None for the text when that cannot be done
    line by line. In code a value becomes ``null``. ``values``: it is a file of variables' values, which stand
    above the environment's: there the line becomes a remark, of whatever kind the value is."""
    found = {one.line: one.what for one in find(text, names=names)}
    found |= dict(_assigned(text, names) if values else _defaults(text, names))
    lines = text.split("\n")
    for number, what in found.items():
        line = lines[number - 1]
        if values and (_COMMENT.match(line) or _ONE_LINE.match(line)):
            lines[number - 1] = f"# {what}: {LEFT_OUT}"
        elif not values:
            lines[number - 1] = _masked(line, names)
    clean = "\n".join(lines)
    told = [Found(number, what) for number, what in sorted(found.items())]
    left = find(clean, names=names) or dict(_assigned(clean, names) if values else _defaults(clean, names))
    return (None if left else clean), told


def _assigned(text: str, names: Set[str]) -> Iterator[tuple[int, str]]:
    """Every value of such a name, quoted or not."""
    words = "|".join([_SPEAKS, *map(re.escape, sorted(names))])
    pattern = re.compile(rf'^\s*"?({words})"?\s*=', re.IGNORECASE)
    for number, line in enumerate(text.split("\n"), 1):
        if (match := pattern.match(line)) and not _ABOUT.search(match[1]):
            yield number, match[1]


def _defaults(text: str, names: Set[str]) -> Iterator[tuple[int, str]]:
    """The default of every variable that is a secret."""
    for match in _VARIABLE.finditer(text):
        speaks = re.fullmatch(_SPEAKS, match[1], re.IGNORECASE) and not _ABOUT.search(match[1])
        default = _DEFAULT.search(match[2])
        if default and (match[1] in names or speaks):
            yield text.count("\n", 0, match.start(2) + default.start()) + 1, match[1]


def _masked(line: str, names: Set[str]) -> str:
    """Values of secrets, and a variable's default, as nothing."""
    pattern = _pattern(names | {"default"}, bare=False)

    def nothing(match: re.Match[str]) -> str:
        if match["here"] or match["long"] or _ABOUT.search(match["name"]):
            return match[0]
        return f"{match[0][: match.end('name') - match.start()]} = null /* {LEFT_OUT} */"

    return pattern.sub(nothing, line)
