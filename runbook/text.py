"""Bytes from outside -> text fit for a person.

What remote programs, guides and files say is data until it is shown; here it becomes text that
can do no harm in a terminal or in Markdown: no escape sequence, control or invisible character
survives. (Redaction of secrets, for what is written, is in redact.py.) It imports nothing of ours:
the first screen waits for it.
"""

from __future__ import annotations

import re
import unicodedata

#: Terminal control sequences: CSI; the strings OSC, DCS, SOS, PM, APC with their end; two-byte ones.
#: No alternative can run over another's start, so matching stays linear on hostile input.
_SEQUENCE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x80-\x9f]*(?:\x07|\x1b\\|\x9c)"
    r"|\x1b[ -/]*[0-~]"
)
#: Characters that take no or blank space though Unicode calls them letters, marks or symbols.
_BLANK = {0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFFA0}
_MORE = "…"


class _Visible(dict[int, str]):
    """A table for str.translate: fills itself with the characters that must not be shown."""

    def __missing__(self, code: int) -> str:
        kind = unicodedata.category(chr(code))
        if code < 0x20:
            shown = chr(0x2400 + code)
        elif code == 0x7F:
            shown = "␡"
        elif kind == "Zs":
            shown = " "
        elif kind == "Cs":
            shown = "\ufffd"
        elif kind in ("Cc", "Cf", "Zl", "Zp") or code in _BLANK or 0xE0100 <= code <= 0xE01EF:
            shown = f"<U+{code:04X}>"
        else:
            raise LookupError(code)  # translate() leaves it as it is
        self[code] = shown
        return shown


_VISIBLE = _Visible()


def printable(raw: bytes | str, *, limit: int = 4000) -> str:
    """One line for a terminal or for Markdown, at most ``limit`` characters and a "…".

    UTF-8 with replacement; control sequences vanish; what is left of controls, bidirectional
    overrides and invisible characters is shown as ``␊``, ``␛`` or ``<U+202E>``; tabs are blanks.
    """
    if isinstance(raw, bytes):
        raw = raw[: 16 * limit + 64].decode("utf-8", "replace")
    text = raw[: 16 * limit + 64]
    if not (text.isascii() and text.isprintable()):
        text = _SEQUENCE.sub("", text).expandtabs(8).translate(_VISIBLE)
    return text if len(text) <= limit else text[:limit] + _MORE


def _last_drawn(line: str) -> str:
    """What a terminal shows of a line that was drawn again and again after ``\\r``."""
    drawn = [part for part in line.split("\r") if part]
    return drawn[-1] if drawn else ""


def lines(raw: bytes | str, *, limit: int = 4000) -> list[str]:
    """Several lines, each as printable() gives it. Of a progress line the last state counts."""
    text = raw.decode("utf-8", "replace") if isinstance(raw, bytes) else raw
    parts = text.split("\n")
    if parts[-1] == "":
        parts.pop()
    return [printable(_last_drawn(part), limit=limit) for part in parts]


class LineSplitter:
    """Chunks of raw output -> complete, printable lines, for live display.

    Memory is bounded: of a line longer than ``limit`` characters the start is kept, with "…".
    """

    def __init__(self, limit: int = 4000) -> None:
        self._limit = limit
        self._bound = 4 * limit
        self._rest = b""
        self._cut = False

    def feed(self, chunk: bytes) -> list[str]:
        """The lines that this chunk completed."""
        *whole, rest = chunk.split(b"\n")
        done = []
        for part in whole:
            self._add(part)
            done.append(self.partial)
            self._rest, self._cut = b"", False
        self._add(rest)
        return done

    def flush(self) -> list[str]:
        """The last line, if it came without its line end."""
        done = [self.partial] if self._rest else []
        self._rest, self._cut = b"", False
        return done

    @property
    def partial(self) -> str:
        """The line that is still being written: a progress bar, a prompt."""
        text = printable(_last_drawn(self._rest.decode("utf-8", "replace")), limit=self._limit)
        return text + _MORE if self._cut and not text.endswith(_MORE) else text

    def _add(self, part: bytes) -> None:
        redrawn = part.rstrip(b"\r").rfind(b"\r")
        if redrawn >= 0 or (self._rest.endswith(b"\r") and part.strip(b"\r")):
            # drawn anew from the left: what stood there before is gone
            self._rest, self._cut = b"", False
            part = part[redrawn + 1 :]
        room = self._bound - len(self._rest)
        self._cut = self._cut or len(part.rstrip(b"\r")) > room
        self._rest += part[: max(room, 0)]
        if len(part) > room and part.endswith(b"\r"):
            self._rest = self._rest[: self._bound - 1] + b"\r"


#: What Markdown would act upon inside a line: code, emphasis, links, HTML, tables, formulas.
_MARKDOWN = re.compile(r"[\\`*\[\]|~$]|(?<![0-9A-Za-z])_|_(?![0-9A-Za-z])|:(?=//)|(?<=www)\.", re.IGNORECASE)
_ENTITY = re.compile(r"&(?=[#0-9A-Za-z])")
_LINE_START = re.compile(r"^(\d{1,9})([.)])(?=\s|$)|^([#+=>-])")


def cell(raw: bytes | str, *, limit: int = 400) -> str:
    """Text from outside as literal text inside Markdown: a table's cell, a list's item.

    It can neither end the cell nor make links, pictures, HTML, code or headings.
    """
    text = printable(raw, limit=limit).strip()
    text = _ENTITY.sub("&amp;", text).replace("<", "\0")
    text = _MARKDOWN.sub(lambda found: "\\" + found[0], text)
    text = _LINE_START.sub(lambda m: f"{m[1]}\\{m[2]}" if m[1] else f"\\{m[3]}", text)
    return text.replace("\0", "&lt;")
